package io.assetd;

import io.assetd.v1.FetchRequest;
import io.assetd.v1.FetchResponse;
import java.nio.file.Path;
import java.util.Map;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletableFuture;

/**
 * A version that the cache keeps for this process, until {@code close}, the client's {@code close},
 * or the end of the process. A scope for {@code try (Hold held = client.hold(spec))}.
 *
 * <p>When the daemon stops, restarts or is out of reach, the version is held again without the
 * caller's doing, however long that takes; a successor evicts nothing before the holders had time to
 * come back. Only an answer that no later call could change ends it: then {@link #ended} tells.
 *
 * <p>A hold costs an open call, and no thread. Safe for threads.
 */
public final class Hold implements AutoCloseable {
  private final AssetdClient client;
  private final Asset asset;
  private final Call scope;
  private final FetchRequest request;
  private final CompletableFuture<Void> ended = new CompletableFuture<>();

  /** Holds by this stream of a fetch, which has completed. */
  Hold(AssetdClient client, Asset asset, Call scope, Fetcher.Outcome outcome) {
    this.client = client;
    this.asset = asset;
    this.scope = scope;
    this.request = Requests.holdingAgain(outcome.fetched().request());
    scope.owns(outcome.stream());
    outcome.stream().rest(this::onCut);
  }

  /**
   * Returns what is held.
   *
   * @return the version and where it is
   */
  public Asset asset() {
    return asset;
  }

  /**
   * Returns the path of the version, or of the part that the spec names.
   *
   * @return as in {@link #asset}
   */
  public Path path() {
    return asset.path();
  }

  /**
   * Tells whether the version is kept. Also true while a daemon that went away is waited for. False
   * after {@code close}, and once the daemon will not hold it any more.
   *
   * @return whether it is kept
   */
  public boolean isHeld() {
    return !ended.isDone();
  }

  /**
   * Returns what completes when the hold has ended: well after {@code close} or the client's {@code
   * close}, and with an {@link AssetdException} when the daemon will not hold the version any more.
   *
   * @return a future of the caller's own
   */
  public CompletableFuture<Void> ended() {
    return ended.copy();
  }

  /** Ends the hold, also one that was lost; idempotent, and never throws. */
  @Override
  public void close() {
    client.forget(this);
    ended.complete(null);
    scope.abort(new CancellationException("this hold was closed"));
  }

  /** Goes on when the stream was cut, in a thread that may wait. */
  private void onCut(AssetdException cut) {
    if (isHeld()) {
      client.workers().inBackground(() -> keep(cut == null ? endedWithoutAWord() : cut));
    }
  }

  private void keep(AssetdException cut) {
    try {
      holdAgain(cut);
    } catch (RuntimeException | Error lost) {
      // After `close` it ended well already.
      client.forget(this);
      ended.completeExceptionally(lost);
    }
  }

  /**
   * Repeats the fetch until it completes, for as long as it takes.
   *
   * @throws AssetdException if the daemon will not hold the version any more
   */
  private void holdAgain(AssetdException cut) {
    Retry retry = client.workers().endlessRetry();
    for (AssetdException failure = cut; ; ) {
      retry.waitOrThrow(Retry.passing(failure), scope);
      MessageStream<FetchRequest, FetchResponse> stream = client.fetcher().open(request, scope);
      boolean isHeldAgain = false;
      try {
        isHeldAgain = isCompleted(stream);
        failure = endedWithoutAWord();
      } catch (CutException again) {
        failure = again.failure();
      } finally {
        if (!isHeldAgain) {
          stream.cancel();
        }
      }
      if (isHeldAgain) {
        stream.rest(this::onCut);
        return;
      }
    }
  }

  /** Follows a stream until the version is present and held; false if it ended before. */
  private boolean isCompleted(MessageStream<FetchRequest, FetchResponse> stream)
      throws CutException {
    long silence = client.fetcher().silenceNanos(request);
    for (; ; ) {
      FetchResponse response = stream.next(silence);
      if (response == null || response.hasCompleted()) {
        return response != null;
      }
    }
  }

  private static AssetdException endedWithoutAWord() {
    // Not the daemon's decision, it seems: its word would be a status.
    return new DaemonUnavailableException("the daemon ended the hold", Map.of(), null, null);
  }
}
