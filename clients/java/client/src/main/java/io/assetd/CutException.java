package io.assetd;

/** A stream ended with a failure. Told apart from what the caller's own functions throw. */
final class CutException extends Exception {
  private static final long serialVersionUID = 1;

  private final AssetdException failure;

  CutException(AssetdException failure) {
    super(failure);
    this.failure = failure;
  }

  /** Returns why. */
  AssetdException failure() {
    return failure;
  }
}
