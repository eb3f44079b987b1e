package io.assetd;

import io.assetd.PushProgress.Phase;
import io.assetd.v1.PushResponse;
import java.util.EnumMap;
import java.util.Map;
import java.util.OptionalLong;
import java.util.function.Consumer;

/** Hashing and the daemon's events, turned into one progress that never falls. Knows no calls. */
final class PushMeter {
  // What this process reads, it knows; the rest the daemon tells while it looks.
  private final boolean isTotalKnown;
  private OptionalLong totalBytes;
  private final Consumer<? super PushProgress> onProgress;
  private final Map<Phase, Long> done = new EnumMap<>(Phase.class);
  private long keptBytes;
  private long hashedHereBytes;

  PushMeter(OptionalLong totalBytes, Consumer<? super PushProgress> onProgress) {
    this.isTotalKnown = totalBytes.isPresent();
    this.totalBytes = totalBytes;
    this.onProgress = onProgress;
    for (Phase phase : Phase.values()) {
      done.put(phase, 0L);
    }
  }

  /**
   * A figure that rises whenever the daemon comes further in a phase than ever before.
   *
   * <p>Each phase by itself: what arrives again has not come further, but what is stored then has,
   * long before it makes up for all that had arrived in vain.
   */
  long furthest() {
    return done.values().stream().mapToLong(Long::longValue).sum() - hashedHereBytes;
  }

  /** Notes that so many bytes of the source are hashed. */
  void hashed(long bytes) {
    hashedHereBytes = bytes;
    note(Phase.HASHING, bytes);
  }

  /** Notes how much is about to be sent: the rest is done. */
  void lacks(long bytes) {
    keptBytes = totalBytes.orElse(bytes) - bytes;
    note(Phase.SENDING, keptBytes);
    note(Phase.STORING, keptBytes);
  }

  /** Notes what the daemon said. */
  void observe(PushResponse response) {
    if (response.hasAccepted()) {
      // A new stream: what it keeps of the files is yet to be said.
      keptBytes = 0;
    }
    if (!response.hasProgress()) {
      return;
    }
    io.assetd.v1.PushProgress progress = response.getProgress();
    if (!isTotalKnown && progress.hasTotalBytes()) {
      totalBytes = OptionalLong.of(Math.max(totalBytes.orElse(0), progress.getTotalBytes()));
    }
    switch (progress.getPhase()) {
      case PHASE_RECEIVING -> {
        note(Phase.SENDING, keptBytes + progress.getReceivedBytes());
        // Both go on at once, and the phase names but one.
        note(Phase.STORING, progress.getStoredBytes());
      }
      case PHASE_HASHING -> note(Phase.HASHING, progress.getReceivedBytes());
      case PHASE_COMMITTING ->
          note(Phase.COMMITTING, totalBytes.orElse(progress.getStoredBytes()));
      default -> note(Phase.STORING, progress.getStoredBytes());
    }
  }

  private void note(Phase phase, long bytes) {
    // After a cut the daemon counts from what it finds, which may be less.
    done.merge(phase, bytes, Math::max);
    onProgress.accept(
        new PushProgress(
            phase,
            done.get(phase),
            done.get(Phase.SENDING),
            done.get(Phase.STORING),
            totalBytes));
  }
}
