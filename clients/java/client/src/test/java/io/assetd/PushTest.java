package io.assetd;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.protobuf.ByteString;
import io.assetd.ScriptedDaemon.Script;
import io.assetd.v1.AssetVersion;
import io.assetd.v1.PushAccepted;
import io.assetd.v1.PushChunk;
import io.assetd.v1.PushCompleted;
import io.assetd.v1.PushHeader;
import io.assetd.v1.PushRequest;
import io.assetd.v1.PushResponse;
import io.assetd.v1.PushWanted;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.atomic.AtomicReference;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

@Timeout(60)
class PushTest {
  @TempDir Path folder;
  private final Impatient seams = new Impatient();
  private final List<PushHeader> headers = new CopyOnWriteArrayList<>();
  private Path model;
  private ScriptedDaemon daemon;
  private AssetdClient client;

  @BeforeEach
  void start() throws IOException {
    daemon = new ScriptedDaemon(folder);
    client = seams.client(daemon);
    model = Files.createDirectory(folder.resolve("model"));
  }

  @AfterEach
  void stop() {
    client.close();
    daemon.close();
  }

  private void play(Script<PushRequest, PushResponse> script) {
    daemon.pushScripts.add(
        stage -> {
          headers.add(stage.take().getHeader());
          script.play(stage);
        });
  }

  private static PushResponse accepted() {
    PushAccepted accepted = PushAccepted.newBuilder().setVersion("1.3").setVersionFinal(true).build();
    return PushResponse.newBuilder().setAccepted(accepted).build();
  }

  private static PushResponse wanted(PushWanted.Part... parts) {
    PushWanted wanted = PushWanted.newBuilder().addAllParts(List.of(parts)).build();
    return PushResponse.newBuilder().setWanted(wanted).build();
  }

  private static PushWanted.Part part(String path, long offset) {
    return PushWanted.Part.newBuilder().setPath(path).setOffset(offset).build();
  }

  private static PushResponse completed() {
    AssetVersion version = AssetVersion.newBuilder().setName("nlp/ranker").setVersion("1.3").build();
    PushCompleted completed = PushCompleted.newBuilder().setAssetVersion(version).build();
    return PushResponse.newBuilder().setCompleted(completed).build();
  }

  private static Script<PushRequest, PushResponse> wholePush() {
    return stage -> {
      stage.say(accepted());
      int count = 0;
      List<PushWanted.Part> parts = new ArrayList<>();
      for (var file : stage.take().getFiles().getFilesList()) {
        parts.add(part(file.getPath(), 0));
        count++;
      }
      stage.say(wanted(parts.toArray(PushWanted.Part[]::new)));
      for (int chunk = 0; chunk < count; chunk++) {
        assertTrue(stage.take().hasChunk());
      }
      assertTrue(stage.take().hasCommit());
      stage.say(completed());
    };
  }

  private static StatusRuntimeException error(Status.Code code, String reason) {
    return ScriptedDaemon.error(code, reason);
  }

  private void write(String path, String text) throws IOException {
    Files.createDirectories(model.resolve(path).getParent());
    Files.writeString(model.resolve(path), text);
  }

  private static String sha256(String text) throws Exception {
    byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
    return HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(bytes));
  }

  private AssetdException failure(CompletableFuture<?> push) {
    return assertThrows(AssetdException.class, () -> AssetdClient.await(push));
  }

  /** Returns how many files of the model this process has open. */
  private long openFiles() {
    try (Stream<Path> descriptors = Files.list(Path.of("/proc/self/fd"))) {
      return descriptors.filter(descriptor -> target(descriptor).startsWith(model)).count();
    } catch (IOException failed) {
      throw new UncheckedIOException(failed);
    }
  }

  private static Path target(Path descriptor) {
    try {
      return Files.readSymbolicLink(descriptor);
    } catch (IOException closedMeanwhile) {
      return descriptor;
    }
  }

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
    assertEquals(0, openFiles());
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
    Waiting.until(() -> openFiles() == 0);
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
