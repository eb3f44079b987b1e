package io.assetd;

import io.assetd.v1.FetchRequest;
import java.nio.file.Path;
import java.util.Map;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Future;

/**
 * A version that the cache keeps for this process, until {@code close}, the client's {@code close},
 * or the end of the process. A scope for {@code try (Hold held = client.hold(spec))}.
 *
 * <p>When the daemon stops, restarts or is out of reach, the version is held again without the
 * caller's doing, however long that takes; a successor evicts nothing before the holders had time to
 * come back. Only an answer that no later call could change ends it: then {@link #ended} tells.
 *
 * <p>A hold costs an open call, and no thread, also while a daemon is away: all holds of a client
 * share a few. Safe for threads.
 */
public final class Hold implements AutoCloseable {
  private final AssetdClient client;
  private final Asset asset;
  private final Call scope;
  private final FetchRequest request;
  private final CompletableFuture<Void> ended = new CompletableFuture<>();
  // What goes on once this is over, while no stream holds.
  private volatile Future<?> pause = CompletableFuture.completedFuture(null);
  private volatile boolean isLost;

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
    return !isLost && !ended.isDone();
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
    pause.cancel(false);
  }

  /** Goes on when the stream that held was cut; in a thread that may not wait, as all below. */
  private void onCut(AssetdException cut) {
    orLose(() -> holdAgain(cut, client.workers().endlessRetry()));
  }

  /**
   * Pauses, and asks for the same version again, for as long as it takes.
   *
   * @throws AssetdException if the daemon will not hold the version any more
   */
  private void holdAgain(AssetdException cut, Retry retry) {
    AssetdException failure = Retry.passing(cut == null ? endedWithoutAWord() : cut);
    long nanos = retry.delayOrThrow(failure, false);
    pause = client.workers().pause(nanos, () -> orLose(() -> ask(retry)));
    if (!isHeld()) {
      pause.cancel(false);
    }
  }

  private void ask(Retry retry) {
    HoldAttempt attempt =
        new HoldAttempt(client.workers(), client.fetcher().silenceNanos(request));
    attempt.begin(
        client.fetcher(),
        request,
        scope,
        cut -> {
          if (attempt.isHeld()) {
            onCut(cut);
          } else {
            orLose(() -> holdAgain(cut, retry));
          }
        });
  }

  /** Takes a step, one at a time, unless the hold has ended; what it throws ends the hold. */
  private synchronized void orLose(Runnable step) {
    if (!isHeld()) {
      return;
    }
    try {
      step.run();
    } catch (RuntimeException | Error lost) {
      isLost = true;
      client.forget(this);
      scope.abort(new CancellationException("this hold was lost"));
      // Whoever is told may take a while. After `close` it ended well already.
      client.workers().inBackground(() -> ended.completeExceptionally(lost));
    }
  }

  private static AssetdException endedWithoutAWord() {
    // Not the daemon's decision, it seems: its word would be a status.
    return new DaemonUnavailableException("the daemon ended the hold", Map.of(), null, null);
  }
}
