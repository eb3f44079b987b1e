package io.assetd;

import io.assetd.v1.AssetKind;
import io.assetd.v1.CacheServiceGrpc;
import io.assetd.v1.GetCacheStatusRequest;
import io.assetd.v1.PushCompleted;
import io.assetd.v1.PushHeader;
import java.io.IOException;
import java.nio.file.Path;
import java.util.Map;
import java.util.OptionalLong;
import java.util.concurrent.Executor;
import java.util.function.Consumer;

/** One push, of files that this process reads or of what the daemon finds by itself. */
final class PushCall {
  /** Where the daemon looks for what is staged, below ASSETS_DIR. */
  private static final String STAGED_FOLDER = ".assetd/push";

  private final Connection connection;
  private final Executor executor;
  private final PushHeader.Builder header;
  private final Globs exclude;
  private final Consumer<? super PushProgress> onProgress;

  /**
   * Reads nothing yet.
   *
   * @throws AssetdException {@code INVALID_FIELD} if the push id is none, or a glob matches nothing
   */
  PushCall(Connection connection, Executor executor, String spec, PushOptions options) {
    this.connection = connection;
    this.executor = executor;
    header = options.header();
    Requests.name(header, spec);
    exclude = new Globs(options.exclude());
    onProgress = options.onProgress();
  }

  /**
   * Returns the same, of what the daemon finds.
   *
   * @throws AssetdException {@code INVALID_FIELD} if something should be left out
   */
  PushCall ofTheDaemon() {
    if (!exclude.isEmpty()) {
      throw AssetdException.invalidField(
          "exclude is for what this process reads: the daemon takes all that it finds",
          Map.of("field", "exclude"));
    }
    return this;
  }

  /** Pushes a file or folder of this process: listed, hashed, and then sent. */
  PushedVersion local(Path path, Call call) throws IOException {
    LocalSource source = LocalSource.list(path, exclude);
    PushMeter meter = new PushMeter(OptionalLong.of(source.totalBytes()), onProgress);
    Hashing.Digests digests = Hashing.hash(source, executor, call, meter::hashed);
    header.setKind(source.isFolder() ? AssetKind.ASSET_KIND_DIRECTORY : AssetKind.ASSET_KIND_FILE);
    header.setDigest(digests.digest());
    return run(new LocalContent(source, digests, !header.getValidateOnly()), meter, call);
  }

  /** Pushes what lies in the daemon's folder for that. */
  PushedVersion staged(Path path, Path assetsDir, Call call) throws IOException {
    header.setStagedPath(belowStaged(path, assetsDir, call));
    return found(call);
  }

  /** Pushes what the daemon finds at a URI. */
  PushedVersion from(String uri, Call call) throws IOException {
    header.setSourceUri(uri);
    return found(call);
  }

  private PushedVersion found(Call call) throws IOException {
    return run(Content.FOUND, new PushMeter(OptionalLong.empty(), onProgress), call);
  }

  private PushedVersion run(Content content, PushMeter meter, Call call) throws IOException {
    PushCompleted completed = new Pusher(connection, header.build(), content, meter, call).run();
    return new PushedVersion(
        Convert.assetVersion(completed.getAssetVersion()),
        completed.getAlreadyExisted(),
        header.getPushId());
  }

  private String belowStaged(Path given, Path assetsDir, Call call) {
    Path path = given.normalize();
    if (!path.isAbsolute()) {
      return Names.shown(path);
    }
    if (assetsDir != null && path.startsWith(assetsDir.resolve(STAGED_FOLDER))) {
      return Names.shown(assetsDir.resolve(STAGED_FOLDER).relativize(path));
    }
    GetCacheStatusRequest request = GetCacheStatusRequest.getDefaultInstance();
    String daemonsDir =
        connection.ask(CacheServiceGrpc.getGetCacheStatusMethod(), request, call).getAssetsDir();
    Path folder = Names.path(daemonsDir).resolve(STAGED_FOLDER);
    if (path.startsWith(folder)) {
      return Names.shown(folder.relativize(path));
    }
    String shown = Names.shown(path);
    throw AssetdException.invalidField(
        shown + " is not below " + Names.shown(folder) + ", where the daemon looks for it",
        Map.of("field", "header.staged_path", "staged_path", shown));
  }
}
