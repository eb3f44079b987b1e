package io.assetd;

import java.time.Duration;
import java.time.temporal.ChronoUnit;

/**
 * How patient a client is with failures that end by themselves. They are met by a repeat, and no
 * others are:
 *
 * <ul>
 *   <li>{@code UNAVAILABLE}: no daemon is there, one is stopping, a stream was cut or fell silent,
 *       the store does not answer;
 *   <li>{@code CANCELLED} and {@code INTERNAL} without a reason, which gRPC or something on the way
 *       made: where the daemon itself fails, it says why;
 *   <li>of a push, also {@code PUSH_IN_PROGRESS} of its own earlier try;
 *   <li>of a hold that lost its daemon, also {@code RESOURCE_EXHAUSTED}, and whatever has no reason.
 * </ul>
 *
 * <p>A duration of {@link #FOREVER} never ends.
 *
 * @param patience how long failures are met by a repeat; 15 s by default. It starts anew whenever
 *     the call has come further than ever, so that a fetch may be cut as often as it likes. Holds
 *     know no end of patience
 * @param connectPatience the same while no daemon has answered the call at all; 1.5 s by default.
 *     Short, so that somebody who forgot to start one is told so, and long enough for a restart
 * @param firstDelay the pause before the first repeat, 100 ms by default; it doubles from one to the
 *     next. Up to half of every pause is left out at random, and what the daemon asks for is added
 * @param maxDelay what the pause grows to; 2 s by default
 * @param stallTimeout how long the stream of a fetch may say nothing, beyond three of its progress
 *     intervals, before it is cut and joined again; 30 s by default. A daemon that lives tells how
 *     far it is even if nothing moves; one that is frozen would be waited for for ever
 */
public record RetryPolicy(
    Duration patience,
    Duration connectPatience,
    Duration firstDelay,
    Duration maxDelay,
    Duration stallTimeout) {
  /** A duration that never ends. */
  public static final Duration FOREVER = ChronoUnit.FOREVER.getDuration();

  /** The policy of a client that is given none. */
  public static final RetryPolicy DEFAULT =
      new RetryPolicy(
          Duration.ofSeconds(15),
          Duration.ofMillis(1500),
          Duration.ofMillis(100),
          Duration.ofSeconds(2),
          Duration.ofSeconds(30));

  /**
   * Makes one.
   *
   * @param patience how long failures are met by a repeat
   * @param connectPatience the same while no daemon has answered the call at all
   * @param firstDelay the pause before the first repeat
   * @param maxDelay what the pause grows to
   * @param stallTimeout how long the stream of a fetch may say nothing
   * @throws IllegalArgumentException if a duration is negative
   */
  public RetryPolicy {
    for (Duration each :
        new Duration[] {patience, connectPatience, firstDelay, maxDelay, stallTimeout}) {
      if (each.isNegative()) {
        throw new IllegalArgumentException(each + " is negative: patience is 0 or more");
      }
    }
  }

  /**
   * Returns the same with another patience.
   *
   * @param changed as {@link #patience}
   * @return a policy
   */
  public RetryPolicy withPatience(Duration changed) {
    return new RetryPolicy(changed, connectPatience, firstDelay, maxDelay, stallTimeout);
  }

  /**
   * Returns the same with another patience for a daemon that has not answered at all.
   *
   * @param changed as {@link #connectPatience}
   * @return a policy
   */
  public RetryPolicy withConnectPatience(Duration changed) {
    return new RetryPolicy(patience, changed, firstDelay, maxDelay, stallTimeout);
  }

  /**
   * Returns the same with other pauses.
   *
   * @param first as {@link #firstDelay}
   * @param max as {@link #maxDelay}
   * @return a policy
   */
  public RetryPolicy withDelays(Duration first, Duration max) {
    return new RetryPolicy(patience, connectPatience, first, max, stallTimeout);
  }

  /**
   * Returns the same with another limit for silence.
   *
   * @param changed as {@link #stallTimeout}
   * @return a policy
   */
  public RetryPolicy withStallTimeout(Duration changed) {
    return new RetryPolicy(patience, connectPatience, firstDelay, maxDelay, changed);
  }

  /** Returns the same pauses without an end, for a hold. */
  RetryPolicy endless() {
    return withPatience(FOREVER).withConnectPatience(FOREVER);
  }

  /** Returns the nanoseconds to pause after so many failures: half to all of what doubling gives. */
  long delayNanos(int failures, double jitter) {
    // Callers who were cut off together must not come back together. The exponent is bounded, since
    // a hold repeats for days.
    double doubled = Times.nanos(firstDelay) * Math.pow(2, Math.min(failures - 1, 64));
    return (long) (Math.min(doubled, Times.nanos(maxDelay)) * (1 + jitter) / 2);
  }
}
