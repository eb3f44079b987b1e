package io.assetd;

import java.util.concurrent.locks.LockSupport;
import java.util.function.BooleanSupplier;

/** Waiting for what another thread or process brings about; the tests have the limit. */
final class Waiting {
  private Waiting() {}

  static void until(BooleanSupplier isSo) {
    while (!isSo.getAsBoolean()) {
      LockSupport.parkNanos(2_000_000);
      if (Thread.interrupted()) {
        throw new IllegalStateException("it took too long");
      }
    }
  }
}
