package io.assetd;

/**
 * The version that a push created.
 *
 * @param assetVersion the version
 * @param alreadyExisted it was there before this push: somebody else had pushed the same. Nothing
 *     was changed. A repeat under one push id gets the answer of the first try
 * @param pushId under what name the push can be repeated
 */
public record PushedVersion(AssetVersion assetVersion, boolean alreadyExisted, String pushId) {
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
   * @return {@code sha256:} and 64 hex digits
   */
  public String digest() {
    return assetVersion.digest();
  }
}
