package io.assetd;

import static io.assetd.Events.completed;
import static io.assetd.Events.play;
import static io.assetd.Events.playAndWait;
import static io.assetd.Events.playThenFail;
import static io.assetd.Events.started;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.assetd.ScriptedDaemon.Script;
import io.assetd.v1.FetchRequest;
import io.assetd.v1.FetchResponse;
import io.grpc.Channel;
import io.grpc.ClientCall;
import io.grpc.ClientInterceptor;
import io.grpc.MethodDescriptor;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

@Timeout(60)
class HoldTest {
  @TempDir Path folder;
  private final Impatient seams = new Impatient();
  private final CountDownLatch told = new CountDownLatch(1);

  private static Script<FetchRequest, FetchResponse> holding() {
    return playAndWait(started(), completed());
  }

  /** Ends a hold with the error when told to. */
  private Script<FetchRequest, FetchResponse> holdingUntilTold() {
    StatusRuntimeException draining =
        ScriptedDaemon.error(Status.Code.UNAVAILABLE, Reason.SHUTTING_DOWN, Map.of(), 100L);
    return stage -> {
      play(started(), completed()).play(stage);
      told.await();
      throw draining;
    };
  }

  /** A scope ends the hold and its call. */
  @Test
  void scope() {
    try (ScriptedDaemon daemon = ScriptedDaemon.fetching(folder, holding());
        AssetdClient client = seams.client(daemon)) {
      Hold kept;
      try (Hold held = client.hold("nlp/ranker")) {
        kept = held;
        assertEquals(Path.of("/assets/nlp/ranker/1.2"), held.path());
        assertEquals("1.2", held.asset().version());
        assertTrue(held.isHeld());
        assertFalse(held.ended().isDone());
        assertEquals(1, daemon.open());
      }
      assertFalse(kept.isHeld());
      AssetdClient.await(kept.ended());
      daemon.quiet();
      kept.close();
    }
  }

  /** A hold is taken again after a drain, for the very version, and not hashed again. */
  @Test
  void holdsAgain() {
    try (ScriptedDaemon daemon = ScriptedDaemon.fetching(folder, holdingUntilTold(), holding());
        AssetdClient client = seams.client(daemon);
        Hold held =
            client.hold("nlp/ranker[a]", new FetchOptions().verify().forceDownload())) {
      told.countDown();
      Waiting.until(() -> daemon.fetches.size() == 2);
      FetchRequest first = daemon.fetches.get(0);
      FetchRequest second = daemon.fetches.get(1);
      assertTrue(first.getVerify() && first.getForceDownload() && first.getHold());
      assertTrue(!second.getVerify() && !second.getForceDownload() && second.getHold());
      assertEquals("nlp/ranker:1.2[a]", second.getSpec());
      assertTrue(held.isHeld());
      held.close();
      daemon.quiet();
    }
  }

  /** A hold outlives cuts, full caches, good ends and statuses that nobody decided. */
  @Test
  void outlives() {
    try (ScriptedDaemon daemon = ScriptedDaemon.fetching(folder, holdingUntilTold());
        AssetdClient client = seams.client(daemon);
        Hold held = client.hold("nlp/ranker")) {
      daemon.fetchScripts.add(
          playThenFail(ScriptedDaemon.error(Status.Code.RESOURCE_EXHAUSTED, Reason.CACHE_FULL)));
      daemon.fetchScripts.add(play(started()));
      daemon.fetchScripts.add(play(started(), completed()));
      daemon.fetchScripts.add(playThenFail(new StatusRuntimeException(Status.UNKNOWN)));
      daemon.fetchScripts.add(
          stage -> {
            play(started(), completed()).play(stage);
            daemon.restart();
          });
      daemon.fetchScripts.add(holding());
      told.countDown();
      Waiting.until(() -> daemon.fetchScripts.isEmpty());
      assertTrue(held.isHeld());
      held.close();
      daemon.quiet();
    }
  }

  /** An answer that no later call may change ends the hold, and it tells. */
  @Test
  void lost() {
    try (ScriptedDaemon daemon = ScriptedDaemon.fetching(folder, holdingUntilTold());
        AssetdClient client = seams.client(daemon);
        Hold held = client.hold("nlp/ranker")) {
      daemon.fetchScripts.add(
          playThenFail(ScriptedDaemon.error(Status.Code.NOT_FOUND, Reason.VERSION_NOT_FOUND)));
      told.countDown();
      AssetdException why =
          assertThrows(AssetdException.class, () -> AssetdClient.await(held.ended()));
      assertTrue(why.is(Reason.VERSION_NOT_FOUND));
      assertFalse(held.isHeld());
      held.close();
      daemon.quiet();
    }
  }

  /** The timeout of the fetch does not end the hold. */
  @Test
  void timeoutIsOfTheFetch() {
    try (ScriptedDaemon daemon = ScriptedDaemon.fetching(folder, holdingUntilTold(), holding());
        AssetdClient client = seams.client(daemon);
        Hold held =
            client.hold("nlp/ranker", new FetchOptions().timeout(Duration.ofMillis(150)))) {
      // The pause alone is longer than that.
      told.countDown();
      Waiting.until(() -> daemon.fetches.size() == 2);
      assertTrue(held.isHeld());
    }
  }

  /** A future that is cancelled leaves no call behind, before the version is here and after. */
  @Test
  void cancelled() throws Exception {
    try (ScriptedDaemon daemon =
            ScriptedDaemon.fetching(folder, playAndWait(started()), holding());
        AssetdClient client = seams.client(daemon)) {
      CompletableFuture<Hold> wanted = client.holdAsync("nlp/ranker", new FetchOptions());
      Waiting.until(() -> daemon.fetches.size() == 1);
      wanted.cancel(true);
      daemon.quiet();
      CompletableFuture<Hold> held = client.holdAsync("nlp/ranker", new FetchOptions());
      Hold hold = held.get();
      // Too late to cancel: it is the caller's to close.
      assertFalse(held.cancel(true));
      assertTrue(hold.isHeld());
      hold.close();
      daemon.quiet();
    }
  }

  /** Closing the client ends its holds. */
  @Test
  void closing() {
    try (ScriptedDaemon daemon = ScriptedDaemon.fetching(folder, holding())) {
      AssetdClient client = seams.client(daemon);
      Hold held = client.hold("nlp/ranker");
      client.close();
      AssetdClient.await(held.ended());
      assertFalse(held.isHeld());
      daemon.quiet();
    }
  }

  /** A hold that is closed while a daemon is away stops asking. */
  @Test
  void closedWhileWaiting() {
    List<Future<?>> pauses = new CopyOnWriteArrayList<>();
    Impatient patient =
        new Impatient() {
          @Override
          public Future<?> pause(long nanos, Runnable then, ScheduledExecutorService timer) {
            pausedMillis.add(nanos / 1_000_000);
            // A pause that only the end of the hold ends.
            Future<?> pause = timer.schedule(then, Times.FOREVER, TimeUnit.NANOSECONDS);
            pauses.add(pause);
            return pause;
          }
        };
    try (ScriptedDaemon daemon = ScriptedDaemon.fetching(folder, holdingUntilTold());
        AssetdClient client = patient.client(daemon);
        Hold held = client.hold("nlp/ranker")) {
      told.countDown();
      Waiting.until(() -> !patient.pausedMillis.isEmpty());
      assertTrue(held.isHeld());
      held.close();
      daemon.quiet();
      assertEquals(1, daemon.fetches.size());
      Waiting.until(() -> pauses.get(0).isCancelled());
    }
  }

  /** A daemon that falls silent while a version is to be held again is asked anew. */
  @Test
  void silence() {
    RetryPolicy policy = RetryPolicy.DEFAULT.withStallTimeout(Duration.ZERO);
    try (ScriptedDaemon daemon =
            ScriptedDaemon.fetching(
                folder, holdingUntilTold(), playAndWait(started()), holding());
        AssetdClient client = seams.client(daemon.address(), policy);
        Hold held =
            client.hold("nlp/ranker", new FetchOptions().progressInterval(Duration.ofMillis(50)))) {
      told.countDown();
      Waiting.until(() -> daemon.fetches.size() == 3 && daemon.open() == 1);
      assertTrue(held.isHeld());
      held.close();
      daemon.quiet();
    }
  }

  /** A defect of this process ends the hold, and it tells. */
  @Test
  void lostByADefect() throws Exception {
    AtomicBoolean isBroken = new AtomicBoolean();
    Error defect = new AssertionError("mine");
    ClientInterceptor breaking =
        new ClientInterceptor() {
          @Override
          public <Q, R> ClientCall<Q, R> interceptCall(
              MethodDescriptor<Q, R> method, io.grpc.CallOptions options, Channel next) {
            if (isBroken.get()) {
              throw defect;
            }
            return next.newCall(method, options);
          }
        };
    try (ScriptedDaemon daemon = ScriptedDaemon.fetching(folder, holdingUntilTold());
        AssetdClient client =
            AssetdClient.builder().address(daemon.address()).intercept(breaking).build();
        Hold held = client.hold("nlp/ranker")) {
      isBroken.set(true);
      told.countDown();
      ExecutionException lost =
          assertThrows(ExecutionException.class, () -> held.ended().get());
      assertSame(defect, lost.getCause());
      assertFalse(held.isHeld());
      daemon.quiet();
    }
  }
}
