package io.assetd;

import java.util.Optional;

/**
 * A version in a listing.
 *
 * @param assetVersion the version
 * @param cacheState what this node holds of it
 * @param inStore whether the store has it; empty where the store was not asked
 */
public record ListEntry(
    AssetVersion assetVersion, CacheState cacheState, Optional<Boolean> inStore) {
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
}
