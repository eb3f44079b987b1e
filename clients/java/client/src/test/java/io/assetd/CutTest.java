package io.assetd;

import static io.assetd.Events.completed;
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
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
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
