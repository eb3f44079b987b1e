package io.assetd;

import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.assetd.ScriptedDaemon.Script;
import io.assetd.v1.AssetVersion;
import io.assetd.v1.PushAccepted;
import io.assetd.v1.PushCompleted;
import io.assetd.v1.PushHeader;
import io.assetd.v1.PushRequest;
import io.assetd.v1.PushResponse;
import io.assetd.v1.PushWanted;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CopyOnWriteArrayList;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.io.TempDir;

/** A scripted daemon, a client of it, and what is pushed. */
abstract class Pushing {
  @TempDir Path folder;
  final Impatient seams = new Impatient();
  final List<PushHeader> headers = new CopyOnWriteArrayList<>();
  Path model;
  ScriptedDaemon daemon;
  AssetdClient client;

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

  void play(Script<PushRequest, PushResponse> script) {
    daemon.pushScripts.add(
        stage -> {
          headers.add(stage.take().getHeader());
          script.play(stage);
        });
  }

  static PushResponse accepted() {
    PushAccepted accepted = PushAccepted.newBuilder().setVersion("1.3").setVersionFinal(true).build();
    return PushResponse.newBuilder().setAccepted(accepted).build();
  }

  static PushResponse wanted(PushWanted.Part... parts) {
    PushWanted wanted = PushWanted.newBuilder().addAllParts(List.of(parts)).build();
    return PushResponse.newBuilder().setWanted(wanted).build();
  }

  static PushWanted.Part part(String path, long offset) {
    return PushWanted.Part.newBuilder().setPath(path).setOffset(offset).build();
  }

  static PushResponse completed() {
    AssetVersion version = AssetVersion.newBuilder().setName("nlp/ranker").setVersion("1.3").build();
    PushCompleted completed = PushCompleted.newBuilder().setAssetVersion(version).build();
    return PushResponse.newBuilder().setCompleted(completed).build();
  }

  static Script<PushRequest, PushResponse> wholePush() {
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

  static StatusRuntimeException error(Status.Code code, String reason) {
    return ScriptedDaemon.error(code, reason);
  }

  void write(String path, String text) throws IOException {
    Files.createDirectories(model.resolve(path).getParent());
    Files.writeString(model.resolve(path), text);
  }

  static String sha256(String text) throws Exception {
    byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
    return HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(bytes));
  }

  AssetdException failure(CompletableFuture<?> push) {
    return assertThrows(AssetdException.class, () -> AssetdClient.await(push));
  }
}
