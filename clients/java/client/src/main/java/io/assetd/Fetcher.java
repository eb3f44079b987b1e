package io.assetd;

import io.assetd.v1.AssetServiceGrpc;
import io.assetd.v1.FetchRequest;
import io.assetd.v1.FetchResponse;
import java.time.Duration;
import java.util.function.Consumer;

/** Fetches: streams that are watched, followed to {@code completed}, and joined again after a cut. */
final class Fetcher {
  // The daemon's own, where a fetch asks for none, and its limit.
  private static final Duration PROGRESS_INTERVAL = Duration.ofMillis(500);
  private static final Duration MAX_PROGRESS_INTERVAL = Duration.ofSeconds(5);
  // A stream may miss so many reports before it counts as silent.
  private static final int MISSED_REPORTS = 3;

  private final Connection connection;
  private final RetryPolicy policy;

  Fetcher(Connection connection, RetryPolicy policy) {
    this.connection = connection;
    this.policy = policy;
  }

  /** What a fetch leaves: its stream is open and says nothing more if it holds, else it has ended. */
  record Outcome(Course.Fetched fetched, MessageStream<FetchRequest, FetchResponse> stream) {}

  /**
   * Makes the version present, or fails. Leaves no call behind when anything is thrown, by the
   * caller's function too.
   *
   * @throws AssetdException if the fetch failed
   */
  Outcome run(Course course, Call call) {
    for (; ; ) {
      FetchRequest request = course.begin();
      call.check();
      MessageStream<FetchRequest, FetchResponse> stream = open(request, call);
      boolean isFetched = false;
      try {
        follow(stream, course, call, silenceNanos(request));
        if (!request.getHold()) {
          // The status comes right behind. Whatever it says, a version that completed is here.
          stream.drain(silenceNanos(request));
        }
        Outcome outcome = new Outcome(course.fetched(), stream);
        isFetched = true;
        return outcome;
      } catch (CutException cut) {
        call.retry().waitOrThrow(cut.failure(), call);
      } finally {
        if (!isFetched) {
          stream.cancel();
        }
      }
    }
  }

  /** Begins one stream of a fetch. */
  MessageStream<FetchRequest, FetchResponse> open(FetchRequest request, Call call) {
    MessageStream<FetchRequest, FetchResponse> stream =
        connection.open(AssetServiceGrpc.getFetchMethod(), call);
    stream.sendLast(request);
    return stream;
  }

  /** Begins one stream of a fetch that nobody waits for. */
  MessageStream<FetchRequest, FetchResponse> open(
      FetchRequest request,
      Call call,
      Consumer<FetchResponse> onMessage,
      Consumer<AssetdException> onEnd) {
    MessageStream<FetchRequest, FetchResponse> stream =
        connection.open(AssetServiceGrpc.getFetchMethod(), call, onMessage, onEnd);
    stream.sendLast(request);
    return stream;
  }

  private static void follow(
      MessageStream<FetchRequest, FetchResponse> stream, Course course, Call call, long silence)
      throws CutException {
    for (; ; ) {
      FetchResponse response = stream.next(silence);
      if (response == null) {
        return;
      }
      call.retry().answered(response.getProgress().getPresentBytes());
      course.note(response);
      if (course.isCompleted()) {
        return;
      }
    }
  }

  /** Returns how long the stream of a fetch may say nothing before it is given up. */
  long silenceNanos(FetchRequest request) {
    Duration interval =
        request.hasProgressInterval()
            ? Convert.duration(request.getProgressInterval())
            : PROGRESS_INTERVAL;
    long nanos = Math.min(Times.nanos(interval), Times.nanos(MAX_PROGRESS_INTERVAL));
    return Times.add(Times.nanos(policy.stallTimeout()), MISSED_REPORTS * Math.max(nanos, 0));
  }
}
