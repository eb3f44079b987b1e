package io.assetd.conformance;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import io.assetd.AssetdClient;
import java.io.File;
import java.io.Writer;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** The line protocol, without a daemon: the conformance suite holds the rest. */
@Timeout(60)
class RunnerTest {
  private final BlockingQueue<String> lines = new LinkedBlockingQueue<>();
  private final AssetdClient client =
      AssetdClient.builder().address("unix:///nowhere/assetd.sock").build();
  private final Runner runner = new Runner(client, lines::add);

  @AfterEach
  void close() {
    runner.close();
    client.close();
  }

  private JsonObject hear() throws InterruptedException {
    return JsonParser.parseString(lines.take()).getAsJsonObject();
  }

  private void ready() throws InterruptedException {
    assertEquals("{\"ready\":{\"language\":\"java\",\"fast_path\":false}}", lines.take());
  }

  private JsonObject error(String id) throws InterruptedException {
    JsonObject line = hear();
    assertEquals(id, line.get("id").getAsString());
    return line.getAsJsonObject("error");
  }

  /** An action that fails says why, in the words of the suite. */
  @Test
  void failures() throws InterruptedException {
    ready();
    assertTrue(runner.take("{\"id\":\"x\",\"do\":\"dance\"}"));
    JsonObject unknown = error("x");
    assertEquals("UNKNOWN", unknown.get("code").getAsString());
    assertEquals("there is no action dance", unknown.get("message").getAsString());
    runner.take("{\"id\":\"d\",\"do\":\"resolve\",\"spec\":\"a\",\"timeout\":0}");
    JsonObject late = error("d");
    assertEquals("DEADLINE_EXCEEDED", late.get("reason").getAsString());
    runner.take("{\"id\":\"u\",\"do\":\"fetch\",\"spec\":\"a\"}");
    JsonObject away = error("u");
    assertEquals("", away.get("reason").getAsString());
    assertEquals("UNAVAILABLE", away.get("code").getAsString());
  }

  /** Cancelling and releasing are answered only if they ask for it, and cancelling ends an action. */
  @Test
  void cancelling() throws InterruptedException {
    ready();
    runner.take("{\"id\":\"h\",\"do\":\"hold\",\"spec\":\"a\"}");
    runner.take("{\"do\":\"release\",\"of\":\"none\"}");
    runner.take("{\"do\":\"cancel\",\"of\":\"h\"}");
    JsonObject cancelled = error("h");
    assertEquals("CANCELLED", cancelled.get("reason").getAsString());
    assertEquals("CANCELLED", cancelled.get("code").getAsString());
    runner.take("{\"id\":\"z\",\"do\":\"release\",\"of\":\"h\"}");
    assertEquals("{\"id\":\"z\",\"answer\":{}}", lines.take());
  }

  /** The end cancels what goes on, and returns when it is over. */
  @Test
  void closing() throws InterruptedException {
    ready();
    for (String action : new String[] {"fetch", "resolve", "list_files"}) {
      runner.take("{\"id\":\"" + action + "\",\"do\":\"" + action + "\",\"spec\":\"a\"}");
    }
    assertTrue(runner.take(" "));
    assertFalse(runner.take("{\"do\":\"close\"}"));
    runner.close();
    assertEquals(3, lines.size());
    for (String line : lines) {
      assertTrue(line.contains("\"reason\":\"CANCELLED\""), line);
    }
  }

  private static int status(String requests, String answers) throws Exception {
    ProcessBuilder program =
        new ProcessBuilder(
            System.getProperty("java.home") + "/bin/java",
            "-cp",
            System.getProperty("java.class.path"),
            Main.class.getName());
    program.environment().put("ASSETD_ADDRESS", "unix:///nowhere/assetd.sock");
    program.redirectOutput(new File(answers)).redirectError(ProcessBuilder.Redirect.DISCARD);
    Process started = program.start();
    try (Writer input = started.outputWriter()) {
      input.write(requests);
    }
    return started.waitFor();
  }

  /** The status is 0 only if all was well: a suite that hears nothing must be told by it. */
  @Test
  void status() throws Exception {
    assertEquals(0, status("", "/dev/null"));
    assertEquals(1, status("moths\n", "/dev/null"));
    assertEquals(1, status("", "/dev/full"));
  }

  /** What is no request ends the program, and is shown. */
  @Test
  void malformed() {
    IllegalArgumentException refused =
        assertThrows(IllegalArgumentException.class, () -> runner.take("moths"));
    assertTrue(refused.getMessage().contains("moths"));
  }
}
