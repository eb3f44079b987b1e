package io.assetd;

import java.time.Duration;

/**
 * What every call may be told. Options are read when a call begins: one object may serve many calls,
 * one after the other. Not for several threads at a time.
 *
 * @param <S> the options themselves, so that what is said of them can be strung together
 */
public abstract class CallOptions<S extends CallOptions<S>> {
  private Duration timeout;

  CallOptions() {}

  abstract S self();

  /**
   * Limits the whole call with its repeats; of a listing, the call for each page. Without it, a call
   * takes as long as it takes.
   *
   * @param limit 0 or more
   * @return these options
   */
  public S timeout(Duration limit) {
    timeout = limit;
    return self();
  }

  Duration timeout() {
    return timeout;
  }
}
