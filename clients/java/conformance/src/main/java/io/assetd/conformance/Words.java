package io.assetd.conformance;

import io.assetd.Asset;
import io.assetd.AssetFile;
import io.assetd.AssetVersion;
import io.assetd.AssetdException;
import io.assetd.FetchProgress;
import io.assetd.ListEntry;
import io.assetd.PushProgress;
import io.assetd.PushedVersion;
import io.assetd.ResolvedVersion;
import io.grpc.Status;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.OptionalInt;
import java.util.OptionalLong;
import java.util.concurrent.CancellationException;

/** What the client hands out, in the words of the suite: null where something is not known. */
final class Words {
  private Words() {}

  /** Returns an object of names and values, given in turn. */
  static Map<String, Object> fields(Object... namesAndValues) {
    Map<String, Object> fields = new LinkedHashMap<>();
    for (int position = 0; position < namesAndValues.length; position += 2) {
      fields.put((String) namesAndValues[position], namesAndValues[position + 1]);
    }
    return fields;
  }

  private static Long known(OptionalLong value) {
    return value.isPresent() ? value.getAsLong() : null;
  }

  private static Integer known(OptionalInt value) {
    return value.isPresent() ? value.getAsInt() : null;
  }

  static Map<String, Object> resolved(ResolvedVersion resolved) {
    AssetVersion version = resolved.assetVersion();
    return fields(
        "name", version.name(),
        "version", version.version(),
        "kind", version.kind(),
        "size_bytes", known(version.sizeBytes()),
        "digest", version.digest(),
        "resolution", resolved.resolution(),
        "presence", resolved.cacheState().presence(),
        "path", resolved.cacheState().path(),
        "relative_path", resolved.cacheState().relativePath());
  }

  static Map<String, Object> asset(Asset asset) {
    AssetVersion version = asset.assetVersion();
    return fields(
        "name", version.name(),
        "version", version.version(),
        "kind", version.kind(),
        "path", asset.path().toString(),
        "relative_path", asset.relativePath(),
        "source", asset.source(),
        "resolution", asset.resolution(),
        "verification", asset.verification(),
        "size_bytes", known(version.sizeBytes()),
        "file_count", known(version.fileCount()),
        "transferred_bytes", asset.transferredBytes(),
        "joined", asset.joined(),
        "reused_bytes", asset.reusedBytes(),
        "digest", version.digest());
  }

  static Map<String, Object> progress(FetchProgress progress) {
    return fields(
        "phase", progress.phase(),
        "present_bytes", progress.presentBytes(),
        "total_bytes", known(progress.totalBytes()),
        "attempt", progress.attempt());
  }

  static Map<String, Object> progress(PushProgress progress) {
    // What the client sends, the daemon receives: the name on the wire.
    boolean isSending = progress.phase() == PushProgress.Phase.SENDING;
    return fields(
        "phase", isSending ? "RECEIVING" : progress.phase(),
        "received_bytes", progress.receivedBytes(),
        "stored_bytes", progress.storedBytes(),
        "total_bytes", known(progress.totalBytes()));
  }

  static Map<String, Object> pushed(PushedVersion pushed) {
    AssetVersion version = pushed.assetVersion();
    return fields(
        "name", version.name(),
        "version", version.version(),
        "digest", version.digest(),
        "already_existed", pushed.alreadyExisted(),
        "size_bytes", known(version.sizeBytes()),
        "file_count", known(version.fileCount()),
        "labels", version.labels(),
        "push_id", pushed.pushId());
  }

  static Map<String, Object> entry(ListEntry entry) {
    return fields(
        "spec", entry.name() + ":" + entry.version(),
        "presence", entry.cacheState().presence(),
        "size_bytes", known(entry.assetVersion().sizeBytes()),
        "digest", entry.assetVersion().digest(),
        "in_store", entry.inStore().orElse(null));
  }

  static Map<String, Object> file(AssetFile file) {
    return fields(
        "path", file.path(),
        "size_bytes", known(file.sizeBytes()),
        "digest", file.digest(),
        "cached", file.isCached());
  }

  static Map<String, Object> error(RuntimeException thrown) {
    if (thrown instanceof AssetdException failure) {
      boolean isTimeout = failure.code() == Status.Code.DEADLINE_EXCEEDED;
      return fields(
          "reason", isTimeout ? "DEADLINE_EXCEEDED" : failure.reason(),
          "code", failure.code(),
          "message", failure.getMessage(),
          "metadata", failure.metadata());
    }
    boolean isCancelled = thrown instanceof CancellationException;
    return fields(
        "reason", isCancelled ? "CANCELLED" : "",
        "code", isCancelled ? "CANCELLED" : "UNKNOWN",
        "message", String.valueOf(thrown.getMessage()),
        "metadata", Map.of());
  }
}
