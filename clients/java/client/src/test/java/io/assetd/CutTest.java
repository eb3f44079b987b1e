package io.assetd;

import static io.assetd.Events.completed;
import static io.assetd.Events.play;
import static io.assetd.Events.playAndWait;
import static io.assetd.Events.playThenFail;
import static io.assetd.Events.progressed;
import static io.assetd.Events.started;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;

import com.google.protobuf.BytesValue;
import com.google.protobuf.ByteString;
import io.assetd.v1.FetchRequest;
import io.assetd.v1.FetchResponse;
import io.assetd.v1.ListResponse;
import io.grpc.ClientCall;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.locks.LockSupport;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** What something on the way does to a stream. */
@Timeout(60)
class CutTest {
  private static final StatusRuntimeException RESET =
      new StatusRuntimeException(Status.INTERNAL.withDescription("Rst Stream"));

  @TempDir Path folder;
  private final Impatient seams = new Impatient();

  /** A stream that is reset is met by a repeat in every call: no daemon said so. */
  @Test
  void resets() {
    try (ScriptedDaemon daemon =
            ScriptedDaemon.fetching(
                folder,
                playThenFail(RESET),
                playThenFail(RESET, started(), progressed(40)),
                playAndWait(started(), completed()));
        AssetdClient client = seams.client(daemon)) {
      client.hold("nlp/ranker").close();
      assertEquals(3, daemon.fetches.size());
      daemon.listScripts.add(
          stage -> {
            throw RESET;
          });
      daemon.listScripts.add(stage -> stage.say(ListResponse.getDefaultInstance()));
      assertFalse(client.list("").iterator().hasNext());
      assertEquals(List.of(100L, 100L, 100L), seams.pausedMillis);
    }
  }

  /** When patience ends, the failure is what it was. */
  @Test
  void patienceEnds() {
    RetryPolicy policy = RetryPolicy.DEFAULT.withPatience(Duration.ZERO);
    try (ScriptedDaemon daemon = ScriptedDaemon.fetching(folder, playThenFail(RESET));
        AssetdClient client = seams.client(daemon.address(), policy)) {
      AssetdException failure = failure(client);
      assertEquals(Status.Code.INTERNAL, failure.code());
      assertEquals("", failure.reason());
    }
  }

  private static AssetdException failure(AssetdClient client) {
    return assertThrows(
        AssetdException.class, () -> AssetdClient.await(client.fetch("nlp/ranker")));
  }

  /** What the caller's own function takes is no silence. */
  @Test
  void slowCaller() {
    RetryPolicy policy = RetryPolicy.DEFAULT.withStallTimeout(Duration.ZERO);
    CountDownLatch isTold = new CountDownLatch(1);
    try (ScriptedDaemon daemon =
            ScriptedDaemon.fetching(
                folder,
                stage -> {
                  play(started(), progressed(40)).play(stage);
                  isTold.await();
                  stage.say(completed());
                });
        AssetdClient client = seams.client(daemon.address(), policy)) {
      FetchOptions options =
          new FetchOptions()
              .progressInterval(Duration.ofMillis(50))
              .onProgress(
                  progress -> {
                    // Longer than a stream may be silent, with what it is given then.
                    LockSupport.parkNanos(600_000_000);
                    isTold.countDown();
                  });
      AssetdClient.await(client.fetch("nlp/ranker", options));
      assertEquals(1, daemon.fetches.size());
    }
  }

  /** A process that stood still for longer than the limit may first read what has arrived. */
  @Test
  void stoodStill() throws Exception {
    CountDownLatch stands = new CountDownLatch(1);
    Seams standing =
        new Seams() {
          private int looks;

          @Override
          public long now() {
            looks++;
            if (looks == 2) {
              // Between the begin of the silence and the first look at how long it is.
              stands.countDown();
              LockSupport.parkNanos(400_000_000);
            }
            return 0;
          }
        };
    Call owner = new Call(new Deadline(Duration.ofHours(1), standing), null, new Metadata());
    HandCall hand = new HandCall();
    MessageStream<String, String> stream =
        new MessageStream<>(hand, owner, Address.find("unix:///a", false, Map.of()));
    CompletableFuture<String> read =
        CompletableFuture.supplyAsync(
            () -> {
              try {
                return stream.next(1);
              } catch (CutException cut) {
                return "cut";
              }
            });
    stands.await();
    hand.listener.onMessage("read");
    assertEquals("read", read.get());
  }

  /** A call of gRPC that a test plays by hand. */
  private static final class HandCall extends ClientCall<String, String> {
    private Listener<String> listener;

    @Override
    public void start(Listener<String> told, Metadata headers) {
      listener = told;
    }

    @Override
    public void request(int count) {}

    @Override
    public void cancel(String message, Throwable cause) {}

    @Override
    public void halfClose() {}

    @Override
    public void sendMessage(String message) {}
  }

  /** What cannot be read would be no better a second time. */
  @Test
  void unreadable() {
    try (ScriptedDaemon daemon = ScriptedDaemon.fetching(folder, CutTest::sayNonsense);
        AssetdClient client = seams.client(daemon)) {
      assertEquals(Reason.INTERNAL, failure(client).reason());
      assertEquals(List.of(), seams.pausedMillis);
    }
  }

  @SuppressWarnings({"rawtypes", "unchecked"})
  private static void sayNonsense(ScriptedDaemon.Stage<FetchRequest, FetchResponse> stage) {
    ByteString nonsense = ByteString.copyFrom(new byte[] {-1});
    ((ScriptedDaemon.Stage) stage).say(BytesValue.of(nonsense));
    stage.awaitCancel();
  }
}
