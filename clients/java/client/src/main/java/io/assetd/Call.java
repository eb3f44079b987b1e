package io.assetd;

import io.grpc.Metadata;

/**
 * One call of the client over all its repeats: what ends it early, and whom that concerns. A stream
 * and a pause both end with it.
 */
final class Call {
  private final Deadline deadline;
  private final Retry retry;
  private final Metadata headers;
  private RuntimeException cause;
  private MessageStream<?, ?> stream;

  /** The headers are those of each of its streams. */
  Call(Deadline deadline, Retry retry, Metadata headers) {
    this.deadline = deadline;
    this.retry = retry;
    this.headers = headers;
  }

  Retry retry() {
    return retry;
  }

  Metadata headers() {
    return headers;
  }

  /** Returns the nanoseconds that it may still take. */
  long nanosLeft() {
    return deadline.nanosLeft();
  }

  /** Ends it; the first cause counts. Safe for threads. */
  void abort(RuntimeException why) {
    MessageStream<?, ?> ended;
    synchronized (this) {
      if (cause != null) {
        return;
      }
      cause = why;
      ended = stream;
      notifyAll();
    }
    if (ended != null) {
      ended.cancel();
    }
  }

  /** Whether it was ended. */
  synchronized boolean isAborted() {
    return cause != null;
  }

  /** Returns why it was ended; {@code thrown}, if it was not. */
  synchronized Throwable causeOr(Throwable thrown) {
    return cause == null ? thrown : cause;
  }

  /** Throws why it was ended, or that its time is over, if it is. */
  synchronized void check() {
    if (cause != null) {
      throw cause;
    }
    if (nanosLeft() <= 0) {
      throw deadline.error();
    }
  }

  /** Ends this stream with the call, and no longer the one before. */
  void owns(MessageStream<?, ?> next) {
    synchronized (this) {
      stream = next;
    }
    if (isAborted()) {
      next.cancel();
    }
  }

  /** Lets go of its stream, which then outlives it; throws if it was ended before, its time aside. */
  synchronized void handOver() {
    if (cause != null) {
      throw cause;
    }
    stream = null;
  }

  /** Waits for so long, or until it is ended. */
  synchronized void sleep(long nanos) {
    long end = System.nanoTime() + nanos;
    try {
      for (long left = nanos; left > 0 && cause == null; left = end - System.nanoTime()) {
        // A moment longer rather than a moment shorter, of which `wait(0)` would be for ever.
        wait(left / 1_000_000 + 1);
      }
    } catch (InterruptedException ours) {
      // Nobody has the threads of a client but the client itself.
      throw new IllegalStateException(ours);
    }
  }
}
