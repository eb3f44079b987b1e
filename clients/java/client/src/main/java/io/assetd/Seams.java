package io.assetd;

import java.util.concurrent.Future;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;

/** Time and chance, in whose place a test puts its own. */
interface Seams {
  /** The real ones. */
  Seams REAL = new Seams() {};

  /** Returns nanoseconds that never run backwards, from any moment on. */
  default long now() {
    return System.nanoTime();
  }

  /** Returns a number between 0 and 1. */
  default double jitter() {
    return ThreadLocalRandom.current().nextDouble();
  }

  /** Waits for so many nanoseconds, but not longer than the call lasts. */
  default void pause(long nanos, Call call) {
    call.sleep(nanos);
  }

  /** Does something in so many nanoseconds, without a thread that waits; cancelling it forgets it. */
  default Future<?> pause(long nanos, Runnable then, ScheduledExecutorService timer) {
    return timer.schedule(then, nanos, TimeUnit.NANOSECONDS);
  }
}
