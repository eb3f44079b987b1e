package io.assetd.conformance;

import com.google.gson.Gson;
import com.google.gson.GsonBuilder;
import com.google.gson.JsonSyntaxException;
import io.assetd.AssetdClient;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.function.Consumer;

/** The actions that go on, each in a thread of its own, which its cancelling interrupts. */
final class Runner implements AutoCloseable {
  private static final Gson JSON = new GsonBuilder().serializeNulls().disableHtmlEscaping().create();

  private final AssetdClient client;
  private final Consumer<String> answers;
  private final Map<String, Action> running = new ConcurrentHashMap<>();

  /** Says that it is ready. The answers are whole lines, one at a time. */
  Runner(AssetdClient client, Consumer<String> answers) {
    this.client = client;
    this.answers = answers;
    write(Words.fields("ready", Words.fields("language", "java", "fast_path", false)));
  }

  /**
   * Does what a line asks; false if it asks to end.
   *
   * @throws IllegalArgumentException if the line is no request
   */
  boolean take(String line) {
    if (line.isBlank()) {
      return true;
    }
    Request request;
    try {
      request = Request.of(line);
    } catch (JsonSyntaxException malformed) {
      throw new IllegalArgumentException("\"" + line + "\" is no request", malformed);
    }
    Action of = request.of == null ? null : running.get(request.of);
    switch (String.valueOf(request.what)) {
      case "close" -> {
        return false;
      }
      case "cancel" -> {
        if (of != null) {
          of.interrupt();
        }
        acknowledge(request);
      }
      case "release" -> {
        if (of != null) {
          of.release();
        }
        acknowledge(request);
      }
      default -> start(request);
    }
    return true;
  }

  private void acknowledge(Request request) {
    if (request.id != null) {
      write(Words.fields("id", request.id, "answer", Map.of()));
    }
  }

  private void start(Request request) {
    Action action = new Action(this, client, request);
    running.put(request.id, action);
    action.start();
  }

  void ended(Request request) {
    running.remove(request.id);
  }

  synchronized void write(Map<String, Object> line) {
    answers.accept(JSON.toJson(line));
  }

  /** Cancels all actions, and returns when none goes on any more. */
  @Override
  public void close() {
    for (Action action : List.copyOf(running.values())) {
      action.interrupt();
      try {
        action.join();
      } catch (InterruptedException hurry) {
        Thread.currentThread().interrupt();
      }
    }
  }
}
