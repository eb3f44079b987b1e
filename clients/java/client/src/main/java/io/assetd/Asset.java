package io.assetd;

import java.nio.file.Path;
import java.time.Duration;

/**
 * A version that is present on this node: whole, verified and durable.
 *
 * @param path the absolute path of the version, or of the part that the spec names. As the daemon
 *     sees it, or where that is not visible here, below the client's ASSETS_DIR. Read it, never
 *     write to it
 * @param relativePath the same below ASSETS_DIR, for programs that mount ASSETS_DIR elsewhere
 * @param assetVersion the version
 * @param resolution how the version was found
 * @param source where the missing bytes came from; {@link Source#CACHE}: none were missing
 * @param verification what the files were compared with
 * @param transferredBytes bytes that this fetch took from the source; 0 on a hit
 * @param joined it shared the download of a caller who had come before
 * @param reusedBytes bytes that were here already
 * @param elapsed how long the daemon took
 */
public record Asset(
    Path path,
    String relativePath,
    AssetVersion assetVersion,
    Resolution resolution,
    Source source,
    Verification verification,
    long transferredBytes,
    boolean joined,
    long reusedBytes,
    Duration elapsed) {
  /**
   * Returns the asset's name.
   *
   * @return the name
   */
  public String name() {
    return assetVersion.name();
  }

  /**
   * Returns the version in full.
   *
   * @return the version, such as {@code 1.2}
   */
  public String version() {
    return assetVersion.version();
  }

  /**
   * Returns the version's identity.
   *
   * @return {@code sha256:} and 64 hex digits; empty when not known
   */
  public String digest() {
    return assetVersion.digest();
  }
}
