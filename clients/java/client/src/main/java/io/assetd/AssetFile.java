package io.assetd;

import java.util.OptionalLong;

/**
 * A file of a version.
 *
 * @param path its path inside the version; empty for a file asset
 * @param sizeBytes its size; empty when not known
 * @param digest {@code sha256:} and 64 hex digits of its bytes; empty when not known
 * @param isCached whether it is on this node
 */
public record AssetFile(String path, OptionalLong sizeBytes, String digest, boolean isCached) {}
