package io.assetd;

/** What the files of a version were compared with, weakest first. */
public enum Verification {
  /** A way of a newer daemon. */
  UNSPECIFIED,
  /** Nothing. */
  NONE,
  /** Their sizes. */
  SIZE,
  /** Their sizes and checksums, which find damage, not forgery. */
  CHECKSUM,
  /** Their SHA-256, and so the digest of the version. */
  DIGEST
}
