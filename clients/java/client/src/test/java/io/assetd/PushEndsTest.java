package io.assetd;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.assetd.v1.PushHeader;
import io.assetd.v1.PushRequest;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import java.io.RandomAccessFile;
import java.nio.file.Files;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** How a push goes on, or ends, when something comes between. */
@Timeout(60)
class PushEndsTest extends Pushing {
  /** A push that is cut is continued under its id, also while the daemon takes it for alive. */
  @Test
  void continues() throws Exception {
    write("a", "a");
    play(
        stage -> {
          stage.say(accepted());
          stage.take();
          daemon.restart();
        });
    play(
        stage -> {
          throw error(Status.Code.ABORTED, Reason.PUSH_IN_PROGRESS);
        });
    // What something on the way says, and not the daemon.
    play(
        stage -> {
          throw new StatusRuntimeException(Status.INTERNAL);
        });
    play(wholePush());
    assertEquals("1.3", AssetdClient.await(client.push(model, "nlp/ranker")).version());
    Set<String> ids = headers.stream().map(PushHeader::getPushId).collect(Collectors.toSet());
    assertEquals(1, ids.size());
    assertEquals(4, headers.size());
  }

  /** Somebody else's push is not waited for, nor one that never began. */
  @Test
  void doesNotWaitForOthers() throws Exception {
    write("a", "a");
    play(
        stage -> {
          throw ScriptedDaemon.error(
              Status.Code.ABORTED, Reason.PUSH_IN_PROGRESS, Map.of("push_id", "other"), null);
        });
    play(
        stage -> {
          throw error(Status.Code.ABORTED, Reason.PUSH_IN_PROGRESS);
        });
    assertTrue(failure(client.push(model, "nlp/ranker")).is(Reason.PUSH_IN_PROGRESS));
    assertTrue(failure(client.push(model, "nlp/ranker")).is(Reason.PUSH_IN_PROGRESS));
    assertEquals(List.of(), seams.pausedMillis);
  }

  /** A status that comes while chunks are on their way is told, and no file stays open. */
  @Test
  void refusedMeanwhile() throws Exception {
    Files.write(model.resolve("big"), new byte[40 << 20]);
    play(
        stage -> {
          stage.say(accepted());
          stage.take();
          stage.say(wanted(part("big", 0)));
          stage.take();
          throw error(Status.Code.RESOURCE_EXHAUSTED, Reason.DISK_FULL);
        });
    assertTrue(failure(client.push(model, "nlp/ranker")).is(Reason.DISK_FULL));
    assertEquals(0, OpenFiles.below(model));
    daemon.quiet();
  }

  /** A source that changes after it was hashed ends the push without a commit. */
  @Test
  void sourceChanges() throws Exception {
    write("a", "a");
    write("b", "b");
    List<PushRequest> rest = new CopyOnWriteArrayList<>();
    play(
        stage -> {
          stage.say(accepted());
          stage.take();
          write("b", "c");
          stage.say(wanted(part("a", 0)));
          stage.awaitCancel();
          rest.addAll(stage.requests);
        });
    AssetdException failure = failure(client.push(model, "nlp/ranker"));
    assertEquals(Reason.SOURCE_CHANGED, failure.reason());
    assertEquals(model.resolve("b").toString(), failure.metadata().get("path"));
    daemon.quiet();
    assertTrue(rest.stream().allMatch(PushRequest::hasChunk));
  }

  /** A push whose future is cancelled leaves no call and no open file behind. */
  @Test
  void cancelled() throws Exception {
    Files.write(model.resolve("big"), new byte[40 << 20]);
    CompletableFuture<Void> isSending = new CompletableFuture<>();
    play(
        stage -> {
          stage.say(accepted());
          stage.take();
          stage.say(wanted(part("big", 0)));
          stage.take();
          isSending.complete(null);
          stage.awaitCancel();
        });
    CompletableFuture<PushedVersion> push = client.push(model, "nlp/ranker");
    isSending.join();
    push.cancel(true);
    assertThrows(CancellationException.class, () -> AssetdClient.await(push));
    daemon.quiet();
    Waiting.until(() -> OpenFiles.below(model) == 0);
  }

  /** Neither its timeout nor the end of its client waits for a push that hashes for minutes. */
  @Test
  void endsWhileItHashes() throws Exception {
    try (RandomAccessFile file = new RandomAccessFile(model.resolve("big").toFile(), "rw")) {
      file.setLength(1L << 40);
    }
    AssetdClient real = AssetdClient.builder().address(daemon.address()).build();
    PushOptions options = new PushOptions().timeout(Duration.ofMillis(50));
    AssetdException late = failure(real.push(model, "x", options));
    assertTrue(late instanceof CallTimeoutException);
    assertEquals("0.05", late.metadata().get("timeout_seconds"));
    PushOptions closing = new PushOptions().onProgress(progress -> real.close());
    CancellationException closed =
        assertThrows(
            CancellationException.class,
            () -> AssetdClient.await(real.push(model, "x", closing)));
    assertEquals("this client was closed while it called", closed.getMessage());
    Waiting.until(() -> OpenFiles.below(model) == 0);
    assertEquals(List.of(), headers);
  }

  /** Bytes that differ from what was announced are somebody's doing. */
  @Test
  void mismatch() throws Exception {
    write("a", "a");
    play(
        stage -> {
          stage.say(accepted());
          throw error(Status.Code.INVALID_ARGUMENT, Reason.PUSH_MISMATCH);
        });
    play(
        stage -> {
          write("a", "b");
          throw error(Status.Code.INVALID_ARGUMENT, Reason.PUSH_MISMATCH);
        });
    assertTrue(failure(client.push(model, "x")).is(Reason.PUSH_MISMATCH));
    assertTrue(failure(client.push(model, "x")).is(Reason.SOURCE_CHANGED));
  }

  /** What the caller's function throws ends the push. */
  @Test
  void throwingOnProgress() throws Exception {
    write("a", "a");
    PushOptions options =
        new PushOptions()
            .onProgress(
                progress -> {
                  throw new IllegalArgumentException("mine");
                });
    CompletableFuture<PushedVersion> push = client.push(model, "x", options);
    assertThrows(IllegalArgumentException.class, () -> AssetdClient.await(push));
    daemon.quiet();
  }
}
