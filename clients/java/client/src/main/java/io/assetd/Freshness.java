package io.assetd;

/** Who decides which version an unpinned spec ({@code name}, {@code name:1}) stands for. */
public enum Freshness {
  /** The store; the call fails when it does not answer. */
  STORE,
  /** The store, or the cache when it does not answer; {@link Resolution#FALLBACK} tells. */
  STORE_OR_CACHE,
  /** The cache; the store is not asked. */
  CACHE
}
