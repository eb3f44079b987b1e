package io.assetd;

import java.time.Instant;
import java.util.Optional;

/**
 * What this node's cache holds of a version at the moment of the answer. Without a hold or a pin the
 * version may be evicted right after.
 *
 * @param presence none of it, some, or all
 * @param relativePath where it is, below ASSETS_DIR; empty when nothing is here
 * @param path the same as the daemon sees it
 * @param diskBytes what it takes on the disk
 * @param lastUsedTime when it was last used; empty when not known
 * @param isPinned whether it is kept until somebody undoes that
 * @param isLeased whether some process has a lease on it
 * @param holdCount how many calls hold it
 */
public record CacheState(
    Presence presence,
    String relativePath,
    String path,
    long diskBytes,
    Optional<Instant> lastUsedTime,
    boolean isPinned,
    boolean isLeased,
    int holdCount) {
  /** How much of a version is in the cache. */
  public enum Presence {
    /** A way of a newer daemon. */
    UNSPECIFIED,
    /** Nothing that could be used. */
    ABSENT,
    /** Some of its files. */
    PARTIAL,
    /** All of it. */
    PRESENT
  }
}
