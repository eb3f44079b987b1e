package io.assetd;

import static io.assetd.Events.completed;
import static io.assetd.Events.play;
import static io.assetd.Events.playAndWait;
import static io.assetd.Events.playThenFail;
import static io.assetd.Events.progressed;
import static io.assetd.Events.started;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.assetd.v1.FetchRequest;
import io.assetd.v1.FetchResponse;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

@Timeout(60)
class FetchTest {
  @TempDir Path folder;
  private final Impatient seams = new Impatient();

  private static StatusRuntimeException busy() {
    return ScriptedDaemon.error(
        Status.Code.UNAVAILABLE, Reason.STORE_UNAVAILABLE, Map.of(), 250L);
  }

  /** A fetch gives what the daemon answered, and its progress on the way. */
  @Test
  void answers() {
    try (ScriptedDaemon daemon =
            ScriptedDaemon.fetching(folder, play(started(), progressed(40), completed()));
        AssetdClient client = seams.client(daemon)) {
      List<FetchProgress> seen = new ArrayList<>();
      Asset asset =
          AssetdClient.await(
              client.fetch(
                  "nlp/ranker[a/b]",
                  new FetchOptions()
                      .include("*.json")
                      .freshness(Freshness.STORE_OR_CACHE)
                      .progressInterval(Duration.ofMillis(1500))
                      .onProgress(seen::add)));
      assertEquals(Path.of("/assets/nlp/ranker/1.2"), asset.path());
      assertEquals("nlp/ranker:1.2", asset.name() + ":" + asset.version());
      assertEquals(100, asset.assetVersion().sizeBytes().getAsLong());
      assertEquals(1, seen.size());
      assertEquals(40, seen.get(0).presentBytes());
      assertEquals(100, seen.get(0).totalBytes().getAsLong());
      FetchRequest request = daemon.fetches.get(0);
      assertEquals("tester", request.getCaller());
      assertEquals(List.of("*.json"), request.getIncludeList());
      assertEquals(500_000_000, request.getProgressInterval().getNanos());
      assertFalse(request.getHold());
      assertEquals(List.of("localhost"), daemon.authorities);
      daemon.quiet();
    }
  }

  /** A stream that is cut is joined again, for the version that it had begun with. */
  @Test
  void joinsAgain() {
    try (ScriptedDaemon daemon =
            ScriptedDaemon.fetching(
                folder,
                playThenFail(busy(), started(), progressed(40)),
                play(started(), progressed(60), completed()));
        AssetdClient client = seams.client(daemon)) {
      AssetdClient.await(client.fetch("nlp/ranker[a/b]"));
      assertEquals("nlp/ranker[a/b]", daemon.fetches.get(0).getSpec());
      assertEquals("nlp/ranker:1.2[a/b]", daemon.fetches.get(1).getSpec());
      // What the daemon asked for comes on top of our own pause.
      assertEquals(List.of(350L), seams.pausedMillis);
    }
  }

  /** A daemon that dies in the middle is waited for, also where gRPC only says CANCELLED. */
  @Test
  void waitsForADaemonThatDied() {
    try (ScriptedDaemon daemon = new ScriptedDaemon(folder);
        AssetdClient client = seams.client(daemon)) {
      daemon.fetchScripts.add(
          stage -> {
            play(started(), progressed(40)).play(stage);
            daemon.restart();
          });
      daemon.fetchScripts.add(
          playThenFail(new StatusRuntimeException(Status.CANCELLED), started()));
      daemon.fetchScripts.add(play(started(), completed()));
      assertEquals("1.2", AssetdClient.await(client.fetch("nlp/ranker")).version());
    }
  }

  /** The attempt rises where a figure falls with another stream, and never falls itself. */
  @Test
  void numbersAttempts() {
    try (ScriptedDaemon daemon =
            ScriptedDaemon.fetching(
                folder,
                playThenFail(busy(), started(), progressed(40, 1)),
                play(
                    started(), progressed(5, 1), progressed(9, 1), progressed(3, 2), completed()));
        AssetdClient client = seams.client(daemon)) {
      List<String> seen = new ArrayList<>();
      AssetdClient.await(
          client.fetch(
              "nlp/ranker",
              new FetchOptions().onProgress(p -> seen.add(p.attempt() + " " + p.presentBytes()))));
      assertEquals(List.of("1 40", "2 5", "2 9", "3 3"), seen);
    }
  }

  /** A total that is known stays known, also where another daemon has not resolved yet. */
  @Test
  void keepsTotals() {
    FetchResponse unresolved =
        FetchResponse.newBuilder()
            .setProgress(io.assetd.v1.FetchProgress.newBuilder().setAttempt(1))
            .build();
    try (ScriptedDaemon daemon =
            ScriptedDaemon.fetching(
                folder,
                playThenFail(busy(), unresolved, started(), progressed(40)),
                play(unresolved, unresolved, started(), completed()));
        AssetdClient client = seams.client(daemon)) {
      List<String> seen = new ArrayList<>();
      AssetdClient.await(
          client.fetch(
              "nlp/ranker",
              new FetchOptions()
                  .onProgress(p -> seen.add(p.presentBytes() + " of " + p.totalBytes().orElse(-1)))));
      assertEquals(List.of("0 of -1", "40 of 100", "0 of 100", "0 of 100"), seen);
    }
  }

  /** A daemon whose figures fall within one attempt has a defect, and is not believed. */
  @Test
  void refusesFiguresThatFall() {
    try (ScriptedDaemon daemon =
            ScriptedDaemon.fetching(
                folder, playAndWait(started(), progressed(40, 1), progressed(10, 1)));
        AssetdClient client = seams.client(daemon)) {
      AssetdException failure = failure(client.fetch("nlp/ranker"));
      assertEquals(Reason.INTERNAL, failure.reason());
      assertEquals("40", failure.metadata().get("earlier_present_bytes"));
      daemon.quiet();
    }
  }

  private static AssetdException failure(CompletableFuture<?> call) {
    return assertThrows(AssetdException.class, () -> AssetdClient.await(call));
  }

  /** Patience ends, and starts anew with every step further. */
  @Test
  void patienceEnds() {
    try (ScriptedDaemon daemon =
            ScriptedDaemon.fetching(
                folder,
                playThenFail(busy(), started(), progressed(10)),
                playThenFail(busy(), started(), progressed(20)),
                playThenFail(busy(), started(), progressed(20)));
        AssetdClient client =
            seams.client(
                daemon.address(), RetryPolicy.DEFAULT.withPatience(Duration.ofMillis(500)))) {
      AssetdException failure = failure(client.fetch("nlp/ranker"));
      assertTrue(failure.is(Reason.ASSET_NOT_FOUND, Reason.STORE_UNAVAILABLE));
      assertEquals(Duration.ofMillis(250), failure.retryAfter().orElseThrow());
      assertEquals(3, daemon.fetches.size());
    }
  }

  /** What the daemon decided is believed at once, with its reason and metadata. */
  @Test
  void believesTheDaemon() {
    StatusRuntimeException error =
        ScriptedDaemon.error(
            Status.Code.NOT_FOUND, Reason.VERSION_NOT_FOUND, Map.of("version", "9"), null);
    try (ScriptedDaemon daemon = ScriptedDaemon.fetching(folder, playThenFail(error));
        AssetdClient client = seams.client(daemon)) {
      AssetdException failure = failure(client.fetch("nlp/ranker:9"));
      assertEquals(Reason.VERSION_NOT_FOUND, failure.reason());
      assertEquals(Status.Code.NOT_FOUND, failure.code());
      assertEquals(Map.of("version", "9"), failure.metadata());
      assertEquals("said VERSION_NOT_FOUND", failure.getMessage());
      assertTrue(failure.retryAfter().isEmpty());
      assertEquals(List.of(), seams.pausedMillis);
    }
  }

  /** A stream that falls silent is given up and joined again; silence that lasts is told. */
  @Test
  void givesUpSilence() {
    RetryPolicy policy = RetryPolicy.DEFAULT.withStallTimeout(Duration.ofMillis(1));
    FetchOptions options = new FetchOptions().progressInterval(Duration.ofMillis(50));
    try (ScriptedDaemon daemon = ScriptedDaemon.fetching(folder, playAndWait(started()));
        AssetdClient client = seams.client(daemon.address(), policy);
        AssetdClient impatient =
            seams.client(daemon.address(), policy.withPatience(Duration.ZERO))) {
      // On a machine that is busy, some of these may seem silent too.
      for (int count = 0; count < 50; count++) {
        daemon.fetchScripts.add(play(started(), completed()));
      }
      AssetdClient.await(client.fetch("nlp/ranker", options));
      assertTrue(daemon.fetches.size() > 1);
      daemon.quiet();
      daemon.fetchScripts.clear();
      daemon.fetchScripts.add(playAndWait(started()));
      AssetdException failure = failure(impatient.fetch("nlp/ranker", options));
      assertTrue(failure instanceof DaemonUnavailableException);
      assertTrue(failure.getMessage().contains("said nothing for 0.151 seconds"));
      daemon.quiet();
    }
  }

  /** A fetch whose future is cancelled, or completed in another way, leaves no call behind. */
  @Test
  void cancelling() throws InterruptedException {
    try (ScriptedDaemon daemon =
            ScriptedDaemon.fetching(
                folder,
                playAndWait(started(), progressed(1)),
                playAndWait(started(), progressed(1)));
        AssetdClient client = seams.client(daemon)) {
      CountDownLatch isBegun = new CountDownLatch(1);
      CompletableFuture<Asset> fetching =
          client.fetch(
              "nlp/ranker", new FetchOptions().onProgress(progress -> isBegun.countDown()));
      isBegun.await();
      fetching.cancel(true);
      assertThrows(CancellationException.class, () -> AssetdClient.await(fetching));
      daemon.quiet();
      CompletableFuture<Asset> late =
          client.fetch("nlp/ranker").orTimeout(100, TimeUnit.MILLISECONDS);
      Throwable thrown = assertThrows(Throwable.class, () -> AssetdClient.await(late));
      assertTrue(thrown.getCause() instanceof TimeoutException);
      daemon.quiet();
    }
  }

  /** An interrupted thread does not wait, and leaves no call behind. */
  @Test
  void interrupting() throws InterruptedException {
    try (ScriptedDaemon daemon =
            ScriptedDaemon.fetching(folder, playAndWait(started(), progressed(1)));
        AssetdClient client = seams.client(daemon)) {
      Thread waiting = Thread.currentThread();
      assertThrows(
          CancellationException.class,
          () ->
              client.hold(
                  "nlp/ranker",
                  new FetchOptions().onProgress(progress -> waiting.interrupt())));
      assertTrue(Thread.interrupted());
      daemon.quiet();
    }
  }

  /** What the caller's function throws ends the fetch, and is what it fails with. */
  @Test
  void throwingOnProgress() {
    try (ScriptedDaemon daemon =
            ScriptedDaemon.fetching(folder, playAndWait(started(), progressed(1)));
        AssetdClient client = seams.client(daemon)) {
      RuntimeException mine = new RuntimeException("mine");
      CompletableFuture<Asset> fetching =
          client.fetch(
              "nlp/ranker",
              new FetchOptions()
                  .onProgress(
                      progress -> {
                        throw mine;
                      }));
      assertSame(
          mine, assertThrows(RuntimeException.class, () -> AssetdClient.await(fetching)));
      daemon.quiet();
    }
  }

  /** The timeout ends a fetch that goes on, and one that has not begun. */
  @Test
  void timeout() {
    try (ScriptedDaemon daemon = ScriptedDaemon.fetching(folder, playAndWait(started()));
        AssetdClient client = AssetdClient.builder().address(daemon.address()).build()) {
      FetchOptions options = new FetchOptions().timeout(Duration.ofMillis(50));
      AssetdException failure = failure(client.fetch("nlp/ranker", options));
      assertTrue(failure instanceof CallTimeoutException);
      assertEquals(Status.Code.DEADLINE_EXCEEDED, failure.code());
      assertEquals(Map.of("timeout_seconds", "0.05"), failure.metadata());
      daemon.quiet();
      failure(client.fetch("nlp/ranker", new FetchOptions().timeout(Duration.ZERO)));
      assertTrue(daemon.fetches.size() <= 1);
      assertThrows(
          IllegalArgumentException.class,
          () -> client.fetch("nlp/ranker", new FetchOptions().timeout(Duration.ofNanos(-1))));
    }
  }

  /** Closing the client ends its calls, and later ones are refused. */
  @Test
  void closing() {
    try (ScriptedDaemon daemon =
        ScriptedDaemon.fetching(folder, playAndWait(started(), progressed(1)))) {
      AssetdClient client = seams.client(daemon);
      CompletableFuture<Asset> fetching =
          client.fetch("nlp/ranker", new FetchOptions().onProgress(progress -> client.close()));
      CancellationException cancelled =
          assertThrows(CancellationException.class, () -> AssetdClient.await(fetching));
      assertEquals("this client was closed while it called", cancelled.getMessage());
      daemon.quiet();
      client.close();
      assertThrows(IllegalStateException.class, () -> client.resolve("nlp/ranker"));
    }
  }

  /** A stream that ends well without an answer is a defect. */
  @Test
  void endsWithoutAnAnswer() {
    try (ScriptedDaemon daemon = ScriptedDaemon.fetching(folder, play(started()), play(completed()));
        AssetdClient client = seams.client(daemon)) {
      assertEquals(Reason.INTERNAL, failure(client.fetch("nlp/ranker")).reason());
      assertEquals(Reason.INTERNAL, failure(client.fetch("nlp/ranker")).reason());
    }
  }

  /** Without a daemon the address and the cause are told, after a short patience. */
  @Test
  void withoutADaemon() {
    String address = "unix://" + folder.resolve("none.sock");
    RetryPolicy policy = RetryPolicy.DEFAULT.withConnectPatience(Duration.ofMillis(350));
    try (AssetdClient client = seams.client(address, policy)) {
      AssetdException failure = failure(client.fetch("nlp/ranker"));
      assertTrue(failure instanceof DaemonUnavailableException);
      assertTrue(failure.getMessage().startsWith("no assetd daemon answers at " + address));
      assertTrue(failure.metadata().get("cause").contains("No such file"), failure.getMessage());
      assertEquals(List.of(100L, 200L), seams.pausedMillis);
      assertNull(failure.retryAfter().orElse(null));
    }
  }
}
