package io.assetd;

/**
 * What a spec stands for now.
 *
 * @param assetVersion the version
 * @param resolution how it was found
 * @param cacheState what this node holds of it
 */
public record ResolvedVersion(
    AssetVersion assetVersion, Resolution resolution, CacheState cacheState) {
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
