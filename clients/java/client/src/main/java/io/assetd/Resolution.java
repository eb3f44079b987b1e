package io.assetd;

/** How the version that a spec stands for was found. */
public enum Resolution {
  /** A way of a newer daemon. */
  UNSPECIFIED,
  /** The spec names it in full. */
  EXACT,
  /** The store was asked, just now. */
  STORE,
  /** It is the newest that fits in the cache, as was asked for. */
  CACHE,
  /** As CACHE, since the store did not answer. Operators may want to know. */
  FALLBACK
}
