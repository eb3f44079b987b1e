package io.assetd;

import com.google.protobuf.Duration;
import com.google.protobuf.ProtocolMessageEnum;
import com.google.protobuf.Timestamp;
import io.assetd.v1.FetchCompleted;
import io.assetd.v1.FetchStarted;
import io.assetd.v1.ListFilesResponse;
import io.assetd.v1.ListResponse;
import io.assetd.v1.ResolveVersionResponse;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.OptionalLong;

/** Messages of the contract to what the client hands out, and back. Knows no call. */
final class Convert {
  private Convert() {}

  static AssetVersion assetVersion(io.assetd.v1.AssetVersion message) {
    return new AssetVersion(
        message.getName(),
        message.getVersion(),
        named(AssetKind.class, "ASSET_KIND_", message.getKind()),
        message.hasSizeBytes() ? OptionalLong.of(message.getSizeBytes()) : OptionalLong.empty(),
        message.hasFileCount() ? OptionalInt.of(message.getFileCount()) : OptionalInt.empty(),
        message.getDigest(),
        message.hasPushTime() ? Optional.of(instant(message.getPushTime())) : Optional.empty(),
        message.getLabelsMap(),
        message.getPushedBy());
  }

  static CacheState cacheState(io.assetd.v1.CacheState message) {
    return new CacheState(
        named(CacheState.Presence.class, "PRESENCE_", message.getPresence()),
        message.getRelativePath(),
        message.getPath(),
        message.getDiskBytes(),
        message.hasLastUsedTime()
            ? Optional.of(instant(message.getLastUsedTime()))
            : Optional.empty(),
        message.getPinned(),
        message.getLeased(),
        message.getHoldCount());
  }

  static ResolvedVersion resolvedVersion(ResolveVersionResponse message) {
    return new ResolvedVersion(
        assetVersion(message.getAssetVersion()),
        resolution(message.getResolution()),
        cacheState(message.getCacheState()));
  }

  /** Returns what a fetch brought; its path is as this process sees it. */
  static Asset asset(FetchStarted started, FetchCompleted completed, Path assetsDir) {
    return new Asset(
        visible(completed, assetsDir),
        completed.getRelativePath(),
        assetVersion(completed.getAssetVersion()),
        resolution(started.getResolution()),
        source(completed.getSource()),
        named(Verification.class, "VERIFICATION_", completed.getVerification()),
        completed.getTransferredBytes(),
        started.getJoined(),
        completed.getReusedBytes(),
        duration(completed.getElapsed()));
  }

  /** Returns how far a fetch is, with the attempt that this is of the whole fetch. */
  static FetchProgress fetchProgress(io.assetd.v1.FetchProgress message, int attempt) {
    return new FetchProgress(
        named(FetchProgress.Phase.class, "FETCH_PHASE_", message.getPhase()),
        message.getPresentBytes(),
        message.hasTotalBytes() ? OptionalLong.of(message.getTotalBytes()) : OptionalLong.empty(),
        message.getPresentFiles(),
        message.hasTotalFiles() ? OptionalInt.of(message.getTotalFiles()) : OptionalInt.empty(),
        message.getBytesPerSecond(),
        message.hasEta() ? Optional.of(duration(message.getEta())) : Optional.empty(),
        message.hasSinceLastByte()
            ? Optional.of(duration(message.getSinceLastByte()))
            : Optional.empty(),
        attempt);
  }

  private static ListEntry listEntry(ListResponse.Entry message) {
    return new ListEntry(
        assetVersion(message.getAssetVersion()),
        cacheState(message.getCacheState()),
        message.hasInStore() ? Optional.of(message.getInStore()) : Optional.empty());
  }

  private static AssetFile assetFile(ListFilesResponse.Entry message) {
    io.assetd.v1.AssetFile file = message.getFile();
    return new AssetFile(
        file.getPath(),
        file.hasSizeBytes() ? OptionalLong.of(file.getSizeBytes()) : OptionalLong.empty(),
        file.getDigest(),
        message.getCached());
  }

  static Listing.Page<ListEntry> page(ListResponse page) {
    return new Listing.Page<>(
        page.getEntriesList().stream().map(Convert::listEntry).toList(),
        page.getNextPageToken(),
        page.getUnreachableList().stream().map(Convert::source).toList());
  }

  static Listing.Page<AssetFile> page(ListFilesResponse page) {
    return new Listing.Page<>(
        page.getFilesList().stream().map(Convert::assetFile).toList(),
        page.getNextPageToken(),
        List.of());
  }

  private static Source source(io.assetd.v1.Source message) {
    return named(Source.class, "SOURCE_", message);
  }

  static java.time.Duration duration(Duration message) {
    return java.time.Duration.ofSeconds(message.getSeconds(), message.getNanos());
  }

  static Duration duration(java.time.Duration value) {
    return Duration.newBuilder().setSeconds(value.getSeconds()).setNanos(value.getNano()).build();
  }

  private static Resolution resolution(io.assetd.v1.Resolution message) {
    return named(Resolution.class, "RESOLUTION_", message);
  }

  private static Instant instant(Timestamp message) {
    return Instant.ofEpochSecond(message.getSeconds(), message.getNanos());
  }

  /** Returns our value of that name; the first one if a newer daemon has values beyond ours. */
  private static <E extends Enum<E>> E named(
      Class<E> type, String prefix, ProtocolMessageEnum message) {
    String name = ((Enum<?>) message).name();
    for (E value : type.getEnumConstants()) {
      if (name.equals(prefix + value.name())) {
        return value;
      }
    }
    return type.getEnumConstants()[0];
  }

  /** Returns the daemon's path, or that below our own ASSETS_DIR, where only that one exists. */
  private static Path visible(FetchCompleted completed, Path assetsDir) {
    Path path = Names.path(completed.getPath());
    if (assetsDir == null || Files.exists(path)) {
      return path;
    }
    Path here = Names.path(Names.shown(assetsDir) + "/" + completed.getRelativePath());
    return Files.exists(here) ? here : path;
  }
}
