package io.assetd.conformance;

import io.assetd.AssetdClient;
import io.assetd.AssetdException;
import io.assetd.Hold;
import io.assetd.Listing;
import io.assetd.PushOptions;
import io.assetd.PushedVersion;
import java.nio.file.Path;
import java.util.Map;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletableFuture;
import java.util.function.Function;

/** One request that goes on, or what it holds. */
final class Action extends Thread {
  private final Runner runner;
  private final AssetdClient client;
  private final Request request;
  private final CompletableFuture<Void> released = new CompletableFuture<>();

  Action(Runner runner, AssetdClient client, Request request) {
    super("action-" + request.id);
    this.runner = runner;
    this.client = client;
    this.request = request;
  }

  /** Ends the hold, if it is one. */
  void release() {
    released.complete(null);
  }

  @Override
  public void run() {
    try {
      Map<String, Object> answer = perform();
      if (answer != null) {
        write("answer", answer);
      }
    } catch (RuntimeException failed) {
      write("error", Words.error(failed));
    } finally {
      runner.ended(request);
    }
  }

  private void write(String kind, Map<String, Object> shown) {
    runner.write(Words.fields("id", request.id, kind, shown));
  }

  /** Returns the answer; null if it was given already. */
  private Map<String, Object> perform() {
    return switch (String.valueOf(request.what)) {
      case "resolve" ->
          Words.resolved(
              AssetdClient.await(client.resolve(request.spec, request.resolveOptions())));
      case "fetch" ->
          Words.asset(
              AssetdClient.await(
                  client.fetch(
                      request.spec,
                      request
                          .fetchOptions()
                          .onProgress(progress -> write("progress", Words.progress(progress))))));
      case "hold" -> hold();
      case "push" -> Words.pushed(AssetdClient.await(push()));
      case "list" ->
          each(
              client.list(request.prefix == null ? "" : request.prefix, request.listOptions()),
              Words::entry);
      case "list_files" ->
          each(client.listFiles(request.spec, request.listFilesOptions()), Words::file);
      default -> throw new IllegalArgumentException("there is no action " + request.what);
    };
  }

  private CompletableFuture<PushedVersion> push() {
    PushOptions options =
        request.pushOptions().onProgress(progress -> write("progress", Words.progress(progress)));
    if (request.staged != null) {
      return client.pushStaged(Path.of(request.staged), request.spec, options);
    }
    if (request.uri != null) {
      return client.pushFrom(request.uri, request.spec, options);
    }
    return client.push(Path.of(request.source), request.spec, options);
  }

  /** Answers once the version is held, and goes on until it is released, cancelled or lost. */
  private Map<String, Object> hold() {
    try (Hold held =
        client.hold(
            request.spec,
            request
                .fetchOptions()
                .onProgress(progress -> write("progress", Words.progress(progress))))) {
      write("answer", Words.asset(held.asset()));
      try {
        AssetdClient.await(
            CompletableFuture.anyOf(released, held.ended()).thenApply(ended -> null));
      } catch (AssetdException lost) {
        write("lost", Words.error(lost));
      }
    }
    return null;
  }

  /** Writes the entries, as many as the request wants, and answers how many they were. */
  private <T> Map<String, Object> each(
      Listing<T> listing, Function<T, Map<String, Object>> shown) {
    long limit = request.limit == null ? Long.MAX_VALUE : request.limit;
    long count = 0;
    if (limit > 0) {
      for (T entry : listing) {
        if (isInterrupted()) {
          throw new CancellationException("cancelled");
        }
        write("entry", shown.apply(entry));
        count++;
        if (count >= limit) {
          break;
        }
      }
    }
    return Words.fields("count", count);
  }
}
