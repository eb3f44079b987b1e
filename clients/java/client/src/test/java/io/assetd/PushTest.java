package io.assetd;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.protobuf.ByteString;
import io.assetd.v1.PushChunk;
import io.assetd.v1.PushHeader;
import io.assetd.v1.PushResponse;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(60)
class PushTest extends Pushing {
  /** A push takes turns: hash, header, files, what is wanted from where, commit. */
  @Test
  void turns() throws Exception {
    write("a", "aaaa");
    write("B/c", "ccc");
    write("x.log", "no");
    List<String> files = new CopyOnWriteArrayList<>();
    AtomicReference<PushChunk> chunk = new AtomicReference<>();
    AtomicReference<String> commit = new AtomicReference<>();
    play(
        stage -> {
          stage.say(accepted());
          stage.take().getFiles().getFilesList().forEach(
              file ->
                  files.add(file.getPath() + " " + file.getSizeBytes() + " " + file.getDigest()));
          stage.say(wanted(part("a", 1)));
          chunk.set(stage.take().getChunk());
          stage.say(
              PushResponse.newBuilder()
                  .setProgress(
                      io.assetd.v1.PushProgress.newBuilder()
                          .setPhase(io.assetd.v1.PushProgress.Phase.PHASE_RECEIVING)
                          .setReceivedBytes(3)
                          .setStoredBytes(2))
                  .build());
          commit.set(stage.take().getCommit().getDigest());
          stage.say(completed());
        });
    List<PushProgress> seen = new ArrayList<>();
    PushedVersion pushed =
        AssetdClient.await(
            client.push(
                model,
                "nlp/ranker",
                new PushOptions()
                    .exclude("*.log")
                    .labels(Map.of("git", "a1"))
                    .bump(PushOptions.Bump.MAJOR)
                    .mode(PushOptions.Mode.UPDATE)
                    .onProgress(seen::add)));
    String digest =
        "sha256:" + sha256(sha256("ccc") + "  B/c\n" + sha256("aaaa") + "  a\n");
    PushHeader header = headers.get(0);
    assertEquals(digest, header.getDigest());
    assertEquals(digest, commit.get());
    assertEquals(PushHeader.Bump.BUMP_MAJOR, header.getBump());
    assertEquals(PushHeader.Mode.MODE_UPDATE, header.getMode());
    assertEquals(Map.of("git", "a1"), header.getLabelsMap());
    assertEquals(pushed.pushId(), header.getPushId());
    assertEquals("1.3", pushed.version());
    assertEquals(
        List.of("B/c 3 sha256:" + sha256("ccc"), "a 4 sha256:" + sha256("aaaa")), files);
    assertEquals(1, chunk.get().getOffset());
    assertEquals(ByteString.copyFromUtf8("aaa"), chunk.get().getData());
    PushProgress last =
        seen.stream()
            .filter(progress -> progress.phase() == PushProgress.Phase.SENDING)
            .reduce((before, after) -> after)
            .orElseThrow();
    assertEquals(7, last.doneBytes());
    assertEquals(7, last.totalBytes().getAsLong());
  }

  /** Files are announced a thousand at a time, and all before the first chunk. */
  @Test
  void announcesAThousandAtATime() throws Exception {
    for (int index = 0; index <= 1000; index++) {
      write("f" + index, "");
    }
    List<Integer> counts = new CopyOnWriteArrayList<>();
    play(
        stage -> {
          stage.say(accepted());
          for (int batch = 0; batch < 2; batch++) {
            counts.add(stage.take().getFiles().getFilesCount());
            stage.say(wanted());
          }
          assertTrue(stage.take().hasCommit());
          stage.say(completed());
        });
    AssetdClient.await(client.push(model, "nlp/ranker"));
    assertEquals(List.of(1000, 1), counts);
  }

  /** What was not announced cannot be wanted, and what validates sends no byte. */
  @Test
  void wantsTooMuch() throws Exception {
    write("a", "a");
    play(
        stage -> {
          stage.say(accepted());
          stage.take();
          stage.say(wanted(part("other", 0)));
          stage.awaitCancel();
        });
    play(
        stage -> {
          stage.say(accepted());
          stage.take();
          stage.say(wanted(part("a", 0)));
          assertTrue(stage.take().hasCommit());
          stage.say(completed());
        });
    assertTrue(failure(client.push(model, "x")).is(Reason.INTERNAL));
    assertFalse(headers.get(0).getValidateOnly());
    AssetdClient.await(client.push(model, "x", new PushOptions().validateOnly()));
    assertTrue(headers.get(1).getValidateOnly());
  }

  /** An id that no push has, and a glob that matches nothing, are refused before anything is read. */
  @Test
  void refusedArguments() {
    Path nowhere = folder.resolve("nowhere");
    for (String id : List.of("1", "AE518EAF-3699-40AD-BCE6-E34E87C5DD31")) {
      PushOptions options = new PushOptions().pushId(id);
      AssetdException failure =
          assertThrows(AssetdException.class, () -> client.push(nowhere, "x", options));
      assertEquals(id, failure.metadata().get("push_id"));
    }
    AssetdException failure =
        assertThrows(
            AssetdException.class,
            () -> client.push(nowhere, "x", new PushOptions().exclude("cache/")));
    assertEquals(Reason.INVALID_FIELD, failure.reason());
    assertEquals(List.of(), headers);
  }
}
