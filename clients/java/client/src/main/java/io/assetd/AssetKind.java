package io.assetd;

/** Whether a version is one file or a directory. */
public enum AssetKind {
  /** Not known. */
  UNSPECIFIED,
  /** One file. */
  FILE,
  /** A directory of at least one file. */
  DIRECTORY
}
