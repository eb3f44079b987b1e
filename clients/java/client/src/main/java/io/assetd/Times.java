package io.assetd;

import java.math.BigDecimal;
import java.time.Duration;

/** Durations as nanoseconds, of which there are 292 years: what is longer lasts for ever. */
final class Times {
  static final long FOREVER = Long.MAX_VALUE;

  private Times() {}

  /** Returns the nanoseconds of a duration, or FOREVER. */
  static long nanos(Duration duration) {
    try {
      return duration.toNanos();
    } catch (ArithmeticException tooLong) {
      return duration.isNegative() ? Long.MIN_VALUE : FOREVER;
    }
  }

  /** Adds two lengths of time; neither is negative. */
  static long add(long nanos, long more) {
    return nanos > FOREVER - more ? FOREVER : nanos + more;
  }

  /** Returns the seconds as people write them, such as {@code 0.15}. */
  static String seconds(long nanos) {
    return BigDecimal.valueOf(nanos, 9).stripTrailingZeros().toPlainString();
  }
}
