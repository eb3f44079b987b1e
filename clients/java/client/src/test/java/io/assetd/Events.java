package io.assetd;

import io.assetd.ScriptedDaemon.Script;
import io.assetd.v1.FetchCompleted;
import io.assetd.v1.FetchProgress;
import io.assetd.v1.FetchRequest;
import io.assetd.v1.FetchResponse;
import io.assetd.v1.FetchStarted;
import io.grpc.StatusRuntimeException;

/** What a scripted daemon says of a fetch. */
final class Events {
  private Events() {}

  static FetchResponse started() {
    return FetchResponse.newBuilder()
        .setStarted(
            FetchStarted.newBuilder()
                .setAssetVersion(ScriptedDaemon.RANKER)
                .setTotalBytes(100)
                .setTotalFiles(1))
        .build();
  }

  static FetchResponse progressed(long presentBytes) {
    return progressed(presentBytes, 1);
  }

  static FetchResponse progressed(long presentBytes, int attempt) {
    return FetchResponse.newBuilder()
        .setProgress(
            FetchProgress.newBuilder()
                .setPresentBytes(presentBytes)
                .setTotalBytes(100)
                .setAttempt(attempt))
        .build();
  }

  static FetchResponse completed() {
    return FetchResponse.newBuilder()
        .setCompleted(
            FetchCompleted.newBuilder()
                .setPath("/assets/nlp/ranker/1.2")
                .setRelativePath("nlp/ranker/1.2")
                .setAssetVersion(ScriptedDaemon.RANKER)
                .setTransferredBytes(100))
        .build();
  }

  /** A script of these events, and then a good end. */
  static Script<FetchRequest, FetchResponse> play(FetchResponse... events) {
    return stage -> {
      for (FetchResponse event : events) {
        stage.say(event);
      }
    };
  }

  /** A script of these events, and then the error. */
  static Script<FetchRequest, FetchResponse> playThenFail(
      StatusRuntimeException error, FetchResponse... events) {
    return stage -> {
      play(events).play(stage);
      throw error;
    };
  }

  /** A script of these events, and then silence until the caller leaves. */
  static Script<FetchRequest, FetchResponse> playAndWait(FetchResponse... events) {
    return stage -> {
      play(events).play(stage);
      stage.awaitCancel();
    };
  }
}
