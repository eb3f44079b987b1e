package io.assetd;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.assetd.v1.CacheSelector;
import io.assetd.v1.CacheServiceGrpc;
import io.assetd.v1.EvictRequest;
import io.assetd.v1.GetCacheStatusRequest;
import io.assetd.v1.PinRequest;
import io.grpc.StatusRuntimeException;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.EnumSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestInstance;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** The client and the real daemon. Each test has an asset of its own. */
@Timeout(120)
@TestInstance(TestInstance.Lifecycle.PER_CLASS)
class WithDaemonTest {
  private RealDaemon daemon;
  private AssetdClient client;
  private Path model;

  @BeforeAll
  void start(@TempDir Path folder) throws IOException {
    daemon = new RealDaemon(folder);
    client = AssetdClient.builder().address(daemon.address()).caller("tester").build();
    model = Files.createDirectories(folder.resolve("model"));
    Files.createDirectory(model.resolve("vocab"));
    Files.write(model.resolve("weights.bin"), new byte[3 << 20]);
    Files.writeString(model.resolve("vocab/en.txt"), "a b c");
    Files.writeString(model.resolve("config.json"), "{}");
  }

  @AfterAll
  void stop() throws InterruptedException {
    if (client != null) {
      client.close();
      daemon.close();
    }
  }

  private CacheServiceGrpc.CacheServiceBlockingStub cache() {
    return CacheServiceGrpc.newBlockingStub(client.channel());
  }

  private static <T> T await(CompletableFuture<T> call) {
    return AssetdClient.await(call);
  }

  private PushedVersion push(String spec) {
    return await(client.push(model, spec));
  }

  /** What is pushed is fetched, byte by byte, and a repeated push changes nothing. */
  @Test
  void pushAndFetch() throws IOException {
    Set<PushProgress.Phase> phases = EnumSet.noneOf(PushProgress.Phase.class);
    PushOptions options =
        new PushOptions()
            .label("git", "a1")
            .mode(PushOptions.Mode.NEW)
            .pushId("ae518eaf-3699-4ad0-bce6-e34e87c5dd31")
            .onProgress(progress -> phases.add(progress.phase()));
    PushedVersion pushed = await(client.push(model, "nlp/ranker", options));
    assertEquals("nlp/ranker:0.0", pushed.name() + ":" + pushed.version());
    assertFalse(pushed.alreadyExisted());
    assertEquals(AssetKind.DIRECTORY, pushed.assetVersion().kind());
    assertEquals(Map.of("git", "a1"), pushed.assetVersion().labels());
    assertEquals(3, pushed.assetVersion().fileCount().getAsInt());
    assertTrue(phases.contains(PushProgress.Phase.HASHING));
    assertTrue(phases.contains(PushProgress.Phase.SENDING));
    assertEquals("0.0", await(client.push(model, "nlp/ranker", options)).version());
    assertTrue(push("nlp/ranker:0.0").alreadyExisted());

    assertEquals(
        CacheState.Presence.ABSENT, await(client.resolve("nlp/ranker")).cacheState().presence());
    FetchOptions checked = new FetchOptions().expectedDigest(pushed.digest()).verify();
    Asset asset = await(client.fetch("nlp/ranker", checked));
    assertEquals(Source.STORE, asset.source());
    assertEquals(Resolution.STORE, asset.resolution());
    assertEquals(pushed.digest(), asset.digest());
    assertEquals(asset.assetVersion().sizeBytes().getAsLong(), asset.transferredBytes());
    assertEquals(daemon.assetsDir.resolve(asset.relativePath()), asset.path());
    for (String file : List.of("weights.bin", "vocab/en.txt", "config.json")) {
      assertArrayEquals(
          Files.readAllBytes(model.resolve(file)),
          Files.readAllBytes(asset.path().resolve(file)));
    }
    assertEquals(Source.CACHE, await(client.fetch("nlp/ranker:0.0")).source());
    Asset part = await(client.fetch("nlp/ranker:0.0[vocab/en.txt]"));
    assertEquals("a b c", Files.readString(part.path()));
    assertEquals(
        CacheState.Presence.PRESENT,
        await(client.resolve("nlp/ranker:0")).cacheState().presence());
  }

  /** A file is an asset too, and some files of a version can be had. */
  @Test
  void filesAndParts() throws IOException {
    PushedVersion file = await(client.push(model.resolve("config.json"), "files/config:2.5"));
    assertEquals("2.5", file.version());
    assertEquals(AssetKind.FILE, file.assetVersion().kind());
    assertEquals("{}", Files.readString(await(client.fetch("files/config")).path()));
    push("files/some");
    Asset some = await(client.fetch("files/some", new FetchOptions().include("**/*.txt")));
    assertTrue(Files.exists(some.path().resolve("vocab/en.txt")));
    assertFalse(Files.exists(some.path().resolve("config.json")));
  }

  private static void fails(CompletableFuture<?> call, String... reasons) {
    AssetdException failure = assertThrows(AssetdException.class, () -> await(call));
    assertTrue(failure.is(reasons), failure.reason());
  }

  /** Failures are those of the contract. */
  @Test
  void failures() {
    push("failing/ranker:1.0");
    ResolveOptions cached = new ResolveOptions().freshness(Freshness.CACHE);
    PushOptions anew = new PushOptions().mode(PushOptions.Mode.NEW);
    PushOptions update = new PushOptions().mode(PushOptions.Mode.UPDATE);
    Path other = model.resolve("config.json");
    fails(client.resolve("no/such"), Reason.ASSET_NOT_FOUND);
    fails(client.fetch("failing/ranker:9.9"), Reason.VERSION_NOT_FOUND);
    fails(client.fetch("failing/ranker[no]"), Reason.PART_NOT_FOUND);
    fails(client.resolve("no/such", cached), Reason.NOT_CACHED);
    fails(client.push(other, "failing/ranker:1.0"), Reason.VERSION_EXISTS);
    fails(client.push(model, "failing/ranker", anew), Reason.ASSET_EXISTS);
    fails(client.push(model, "no/such", update), Reason.ASSET_NOT_FOUND);
    fails(client.push(model, "Bad Name"), Reason.INVALID_NAME, Reason.INVALID_SPEC);
    assertThrows(
        CallTimeoutException.class,
        () -> await(client.push(model, "failing/late", new PushOptions().timeout(Duration.ZERO))));
    UncheckedIOException unread =
        assertThrows(
            UncheckedIOException.class, () -> await(client.push(model.resolve("no"), "no/such")));
    assertTrue(unread.getCause() instanceof NoSuchFileException);
    StatusRuntimeException thrown =
        assertThrows(
            StatusRuntimeException.class,
            () -> cache().pin(PinRequest.newBuilder().setSpec("no/such:1.0").build()));
    assertEquals(Reason.NOT_CACHED, AssetdException.from(thrown).reason());
  }

  /** Listings go through pages. */
  @Test
  void listings() {
    for (String spec : List.of("list/a:1.0", "list/a:1.1", "list/a:1.2", "list/b:1.0")) {
      push(spec);
    }
    List<String> specs = new ArrayList<>();
    Listing<ListEntry> listing = client.list("list/", new ListOptions().pageSize(1).full());
    for (ListEntry entry : listing) {
      assertEquals(true, entry.inStore().orElseThrow());
      assertEquals(CacheState.Presence.ABSENT, entry.cacheState().presence());
      assertTrue(entry.assetVersion().pushTime().isPresent());
      specs.add(entry.name() + ":" + entry.version());
    }
    assertEquals(List.of("list/a:1.2", "list/a:1.1", "list/a:1.0", "list/b:1.0"), specs);
    assertEquals(List.of(), listing.unreachable());
    assertEquals(
        List.of("1.2", "1.0"),
        client.list("list/", new ListOptions().latestOnly()).stream()
            .map(ListEntry::version)
            .toList());
    assertEquals(
        List.of("config.json 2", "vocab/en.txt 5", "weights.bin " + (3 << 20)),
        client.listFiles("list/b", new ListFilesOptions().pageSize(2)).stream()
            .map(file -> file.path() + " " + file.sizeBytes().getAsLong())
            .toList());
    AssetdException unknown =
        assertThrows(
            AssetdException.class, () -> client.listFiles("no/such").iterator().hasNext());
    assertTrue(unknown.is(Reason.ASSET_NOT_FOUND));
  }

  private List<String> holders() {
    try {
      return cache().getCacheStatus(GetCacheStatusRequest.getDefaultInstance()).getHoldsList()
          .stream()
          .map(hold -> hold.getCaller() + " " + hold.getAssetVersion().getName())
          .toList();
    } catch (StatusRuntimeException isAway) {
      return List.of();
    }
  }

  /** A hold outlives a daemon that drains and one that is killed, and ends with its scope. */
  @Test
  void holds() throws IOException {
    push("holding/ranker:1.0");
    try (Hold held = client.hold("holding/ranker")) {
      assertEquals(List.of("tester holding/ranker"), holders());
      for (boolean kill : new boolean[] {false, true}) {
        daemon.stop(kill);
        assertTrue(held.isHeld());
        daemon.start();
        Waiting.until(() -> holders().equals(List.of("tester holding/ranker")));
      }
      CacheSelector selector = CacheSelector.newBuilder().setSpec("holding/ranker:1.0").build();
      long freedBytes =
          cache().evict(EvictRequest.newBuilder().setSelector(selector).build()).getFreedBytes();
      assertEquals(0, freedBytes);
      assertTrue(Files.exists(held.path().resolve("config.json")));
    }
    Waiting.until(() -> holders().isEmpty());
  }

  /** A path is the daemon's where that is visible; else that below this client's ASSETS_DIR. */
  @Test
  void assetsDirElsewhere(@TempDir Path here) throws IOException {
    push("elsewhere/ranker:1.0");
    Asset asset = await(client.fetch("elsewhere/ranker:1.0"));
    try (AssetdClient elsewhere =
        AssetdClient.builder().address(daemon.address()).assetsDir(here).build()) {
      assertEquals(asset.path(), await(elsewhere.fetch("elsewhere/ranker:1.0")).path());
    }
  }

  /** A client that was made before its daemon finds it, without waiting for gRPC to dial again. */
  @Test
  void madeBeforeItsDaemon() throws IOException {
    push("early/ranker:1.0");
    daemon.stop(false);
    RetryPolicy patient = RetryPolicy.DEFAULT.withConnectPatience(RetryPolicy.FOREVER);
    try (AssetdClient early =
        AssetdClient.builder().address(daemon.address()).retry(patient).build()) {
      CompletableFuture<ResolvedVersion> found = early.resolve("early/ranker");
      daemon.start();
      assertEquals("1.0", await(found).version());
    }
  }

  /** What the daemon finds by itself is pushed without a byte from here. */
  @Test
  void found(@TempDir Path elsewhere) throws IOException {
    PushOptions options = new PushOptions();
    Path staged = Files.createDirectories(daemon.assetsDir.resolve(".assetd/push"));
    Path file = Files.writeString(staged.resolve("weights"), "staged");
    List<PushProgress> seen = new ArrayList<>();
    PushOptions telling = new PushOptions().onProgress(seen::add);
    assertEquals("0.0", await(client.pushStaged(Path.of("weights"), "found/a", telling)).version());
    assertFalse(seen.stream().anyMatch(one -> one.phase() == PushProgress.Phase.SENDING));
    assertEquals("0.1", await(client.pushStaged(file, "found/a", options)).version());
    assertEquals("staged", Files.readString(await(client.fetch("found/a")).path()));
    fails(client.pushStaged(Path.of("none"), "found/a", options), Reason.INVALID_FIELD);
    fails(client.pushStaged(Path.of("../a"), "found/a", options), Reason.SOURCE_NOT_ALLOWED);
    fails(client.pushStaged(elsewhere, "found/a", options), Reason.INVALID_FIELD);
    PushOptions excluding = new PushOptions().exclude("*");
    assertThrows(AssetdException.class, () -> client.pushStaged(file, "found/a", excluding));

    String uri = "file://" + Files.writeString(daemon.allowed.resolve("model"), "allowed");
    assertEquals("0.0", await(client.pushFrom(uri, "found/b", options)).version());
    assertEquals("allowed", Files.readString(await(client.fetch("found/b")).path()));
    fails(
        client.pushFrom("file://" + elsewhere, "found/b", options), Reason.SOURCE_NOT_ALLOWED);
  }

  /** What is only checked creates nothing. */
  @Test
  void validateOnly() {
    PushedVersion would = await(client.push(model, "dry/ranker", new PushOptions().validateOnly()));
    assertEquals("0.0", would.version());
    fails(client.resolve("dry/ranker"), Reason.ASSET_NOT_FOUND);
  }
}
