package io.assetd;

import io.grpc.Status;

/**
 * One call's failures since it last came further: when the call is made again, and when its failure
 * is believed. Not for several threads.
 *
 * <p>This is the only layer that repeats calls: gRPC's own retries are off, and the daemon's repeats
 * towards the store are its own affair.
 */
final class Retry {
  private final RetryPolicy policy;
  private final Deadline deadline;
  private final Seams seams;
  private int failures;
  private long firstFailure;
  private boolean isAnswered;
  private long furthest;

  Retry(RetryPolicy policy, Deadline deadline, Seams seams) {
    this.policy = policy;
    this.deadline = deadline;
    this.seams = seams;
  }

  /**
   * Notes that the daemon sent something, and how far the call is by some figure.
   *
   * <p>An answer alone is no reason for new patience: a daemon whose store is down may begin well
   * each time.
   */
  void answered(long done) {
    isAnswered = true;
    if (done > furthest) {
      furthest = done;
      failures = 0;
    }
  }

  /**
   * Pauses until the call may be made again.
   *
   * @throws AssetdException {@code failure}, if a repeat is of no use: it is no cut, patience has
   *     ended, or the pause would outlast the call's deadline
   */
  void waitOrThrow(AssetdException failure, Call call) {
    waitOrThrow(failure, call, false);
  }

  /** The same; {@code passes}: this failure ends by itself, whatever its code. */
  void waitOrThrow(AssetdException failure, Call call, boolean passes) {
    seams.pause(delayOrThrow(failure, passes), call);
    call.check();
  }

  /** Returns after how many nanoseconds the call may be made again. */
  long delayOrThrow(AssetdException failure, boolean passes) {
    if (!failure.isCut() && !passes) {
      throw failure;
    }
    if (!(failure instanceof DaemonUnavailableException)) {
      isAnswered = true;
    }
    long now = seams.now();
    if (failures == 0) {
      firstFailure = now;
    }
    failures++;
    long asked = failure.retryAfter().map(Times::nanos).orElse(0L);
    long delay = Times.add(policy.delayNanos(failures, seams.jitter()), Math.max(asked, 0));
    long patience = Times.nanos(isAnswered ? policy.patience() : policy.connectPatience());
    if (Times.add(now - firstFailure, delay) > patience || delay >= deadline.nanosLeft()) {
      throw failure;
    }
    return delay;
  }

  /**
   * Returns why a hold ended, as UNAVAILABLE if a later call may get another answer.
   *
   * <p>A status without a reason was not the daemon's decision: its process ended, or something on
   * the way did. A restarted daemon may lack room until all its callers are back.
   */
  static AssetdException passing(AssetdException failure) {
    boolean isPassing =
        failure.code() == Status.Code.UNAVAILABLE
            || failure.code() == Status.Code.RESOURCE_EXHAUSTED;
    if (!failure.reason().isEmpty() && !isPassing) {
      return failure;
    }
    return new DaemonUnavailableException(
        failure.getMessage(), failure.metadata(), failure.retryAfter().orElse(null), failure);
  }
}
