package io.assetd;

import java.time.Duration;
import java.util.Map;

/** The moment at which a call has to be over, repeats included. */
final class Deadline {
  private final Duration timeout;
  private final Seams seams;
  private final long begin;

  /** Begins now; null for never. */
  Deadline(Duration timeout, Seams seams) {
    if (timeout != null && timeout.isNegative()) {
      throw new IllegalArgumentException("the timeout is " + timeout + ", and has to be 0 or more");
    }
    this.timeout = timeout;
    this.seams = seams;
    this.begin = seams.now();
  }

  /** Returns the nanoseconds that are left, never below 0; {@link Times#FOREVER} without an end. */
  long nanosLeft() {
    if (timeout == null) {
      return Times.FOREVER;
    }
    long nanos = Times.nanos(timeout);
    return nanos == Times.FOREVER ? nanos : Math.max(0, nanos - (seams.now() - begin));
  }

  /** Returns the failure of a call that it ended. */
  CallTimeoutException error() {
    String seconds = Times.seconds(Times.nanos(timeout));
    return new CallTimeoutException(
        "not done within " + seconds + " seconds", Map.of("timeout_seconds", seconds), null);
  }
}
