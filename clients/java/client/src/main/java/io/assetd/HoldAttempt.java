package io.assetd;

import io.assetd.v1.FetchRequest;
import io.assetd.v1.FetchResponse;
import java.util.concurrent.Future;
import java.util.function.Consumer;

/**
 * One try to hold a version again, by a stream of its own that no thread waits for. It is watched for
 * silence until the version is held.
 */
final class HoldAttempt {
  private final Workers workers;
  private final long silenceNanos;
  private volatile MessageStream<FetchRequest, FetchResponse> stream;
  private volatile Future<?> watch;
  private volatile long heard = System.nanoTime();
  private volatile boolean isOver;
  private volatile boolean isHeld;
  // Of the timer's thread alone.
  private boolean isGraceGiven;

  /** Begins nothing yet. */
  HoldAttempt(Workers workers, long silenceNanos) {
    this.workers = workers;
    this.silenceNanos = silenceNanos;
  }

  /** Asks for the version; {@code onEnd} is told of the end of the stream, once, whenever that is. */
  void begin(
      Fetcher fetcher, FetchRequest request, Call scope, Consumer<AssetdException> onEnd) {
    stream =
        fetcher.open(
            request,
            scope,
            this::hear,
            why -> {
              end();
              onEnd.accept(why);
            });
    if (silenceNanos != Times.FOREVER) {
      lookIn(silenceNanos);
    }
  }

  /** Whether the version was held by this. */
  boolean isHeld() {
    return isHeld;
  }

  private void hear(FetchResponse response) {
    heard = System.nanoTime();
    if (response.hasCompleted()) {
      isHeld = true;
      end();
    }
  }

  private void end() {
    isOver = true;
    Future<?> unwanted = watch;
    if (unwanted != null) {
      unwanted.cancel(false);
    }
  }

  private void lookIn(long nanos) {
    watch = workers.schedule(nanos, this::look);
    if (isOver) {
      end();
    }
  }

  private void look() {
    long left = silenceNanos - (System.nanoTime() - heard);
    if (isOver) {
      return;
    }
    if (left > 0) {
      isGraceGiven = false;
      lookIn(left);
    } else if (!isGraceGiven) {
      isGraceGiven = true;
      lookIn(MessageStream.GRACE_NANOS);
    } else {
      stream.stall(silenceNanos);
    }
  }
}
