package io.assetd;

import io.assetd.v1.AssetKind;
import io.assetd.v1.PushCompleted;
import io.assetd.v1.PushHeader;
import java.io.IOException;
import java.nio.file.Path;
import java.util.concurrent.Executor;
import java.util.function.Consumer;

/** One push from a file or folder of this process: listed, hashed, and then pushed. */
final class PushCall {
  private final Connection connection;
  private final Executor executor;
  private final PushHeader.Builder header;
  private final Path path;
  private final Globs exclude;
  private final Consumer<? super PushProgress> onProgress;

  PushCall(
      Connection connection,
      Executor executor,
      PushHeader.Builder header,
      Path path,
      Globs exclude,
      Consumer<? super PushProgress> onProgress) {
    this.connection = connection;
    this.executor = executor;
    this.header = header;
    this.path = path;
    this.exclude = exclude;
    this.onProgress = onProgress;
  }

  PushedVersion run(Call call) throws IOException {
    LocalSource source = LocalSource.list(path, exclude);
    PushMeter meter = new PushMeter(source.totalBytes(), onProgress);
    Hashing.Digests digests = Hashing.hash(source, executor, call, meter::hashed);
    header.setKind(source.isFolder() ? AssetKind.ASSET_KIND_DIRECTORY : AssetKind.ASSET_KIND_FILE);
    header.setDigest(digests.digest());
    Content content = new Content(source, digests, !header.getValidateOnly());
    PushCompleted completed =
        new Pusher(connection, header.build(), content, meter, call).run();
    return new PushedVersion(
        Convert.assetVersion(completed.getAssetVersion()),
        completed.getAlreadyExisted(),
        header.getPushId());
  }
}
