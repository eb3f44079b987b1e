package io.assetd;

import io.assetd.v1.FetchCompleted;
import io.assetd.v1.FetchProgress;
import io.assetd.v1.FetchRequest;
import io.assetd.v1.FetchResponse;
import io.assetd.v1.FetchStarted;
import java.util.Map;
import java.util.function.Consumer;

/**
 * A fetch as its caller sees it, however often its stream was cut: the rules without the calls.
 *
 * <p>A daemon promises figures that never fall within one attempt. After a cut there may be another
 * daemon, which counts from what it finds: only the client can put the two together, by an attempt
 * that rises whenever a figure falls.
 */
final class Course {
  private final Consumer<? super io.assetd.FetchProgress> onProgress;
  private FetchRequest request;
  private FetchStarted started;
  private FetchCompleted completed;
  // The last one of this stream; null when it has told nothing yet.
  private FetchProgress last;
  // The last one of all streams, and the attempt that it had in the whole fetch.
  private FetchProgress before = FetchProgress.getDefaultInstance();
  private int attempt;
  private int earlierAttempts;

  Course(FetchRequest request, Consumer<? super io.assetd.FetchProgress> onProgress) {
    this.request = request;
    this.onProgress = onProgress;
  }

  /** Notes that a new stream begins, and returns what it has to ask for. */
  FetchRequest begin() {
    last = null;
    return request;
  }

  /** Whether the version is here: after that nothing can fail any more. */
  boolean isCompleted() {
    return completed != null;
  }

  /**
   * Takes the stream's next event.
   *
   * @throws AssetdException {@code INTERNAL} if figures fell that may not
   */
  void note(FetchResponse response) {
    switch (response.getEventCase()) {
      case PROGRESS -> noteProgress(response.getProgress());
      case STARTED -> {
        // Joining again must not begin another version, should one be pushed meanwhile.
        if (started == null) {
          started = response.getStarted();
          request = Requests.pinned(request, started.getAssetVersion());
        }
      }
      case COMPLETED -> completed = response.getCompleted();
      default -> {
        // An event of a newer daemon.
      }
    }
  }

  private void noteProgress(FetchProgress progress) {
    if (last != null
        && progress.getAttempt() <= last.getAttempt()
        && hasFallen(last, progress)) {
      throw fallen(last, progress);
    }
    int numbered = progress.getAttempt() + earlierAttempts;
    if (numbered <= attempt) {
      numbered = attempt + (hasFallen(before, progress) ? 1 : 0);
      earlierAttempts = numbered - progress.getAttempt();
    }
    FetchProgress told = withTotals(progress);
    last = progress;
    before = told;
    attempt = numbered;
    onProgress.accept(Convert.fetchProgress(told, attempt));
  }

  /** Returns the same with the totals that were known before, where it has none. */
  private FetchProgress withTotals(FetchProgress progress) {
    FetchProgress.Builder told = progress.toBuilder();
    if (!told.hasTotalBytes() && before.hasTotalBytes()) {
      told.setTotalBytes(before.getTotalBytes());
    }
    if (!told.hasTotalFiles() && before.hasTotalFiles()) {
      told.setTotalFiles(before.getTotalFiles());
    }
    return told.build();
  }

  private static boolean hasFallen(FetchProgress before, FetchProgress now) {
    return now.getPresentBytes() < before.getPresentBytes()
        || now.getPresentFiles() < before.getPresentFiles();
  }

  private static AssetdException fallen(FetchProgress before, FetchProgress now) {
    return AssetdException.internal(
        "the daemon's progress fell from " + before.getPresentBytes() + " to "
            + now.getPresentBytes() + " bytes, and from " + before.getPresentFiles() + " to "
            + now.getPresentFiles() + " files, within one attempt",
        Map.of(
            "present_bytes", Long.toString(now.getPresentBytes()),
            "earlier_present_bytes", Long.toString(before.getPresentBytes()),
            "present_files", Integer.toString(now.getPresentFiles()),
            "earlier_present_files", Integer.toString(before.getPresentFiles())));
  }

  /** How a fetch went; {@code request} asks for the same again, for exactly this version. */
  record Fetched(FetchRequest request, FetchStarted started, FetchCompleted completed) {}

  /**
   * Returns what came of it, once the stream has no more to say.
   *
   * @throws AssetdException {@code INTERNAL} if it ended without an answer
   */
  Fetched fetched() {
    if (started == null || completed == null) {
      throw AssetdException.internal("the daemon ended the fetch without an answer", Map.of());
    }
    FetchRequest again = Requests.pinned(request, completed.getAssetVersion());
    return new Fetched(again, started, completed);
  }
}
