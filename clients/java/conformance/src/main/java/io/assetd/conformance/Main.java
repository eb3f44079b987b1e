package io.assetd.conformance;

import io.assetd.AssetdClient;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;

/** The program: the daemon by ASSETD_ADDRESS, requests in, answers out. */
public final class Main {
  private Main() {}

  /**
   * Runs until the requests end, or one says {@code close}. The status is 0 only if all was well: all
   * requests could be read, and all answers written.
   *
   * @param arguments none
   * @throws IOException if the requests cannot be read, or the answers not be written
   */
  public static void main(String[] arguments) throws IOException {
    // What no answer can tell, such as a defect in an action, the status tells.
    Thread.setDefaultUncaughtExceptionHandler(
        (thread, thrown) -> {
          thrown.printStackTrace();
          Runtime.getRuntime().halt(1);
        });
    PrintStream answers = new PrintStream(System.out, true, StandardCharsets.UTF_8);
    BufferedReader requests =
        new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    try (AssetdClient client = AssetdClient.create();
        Runner runner = new Runner(client, answers::println)) {
      String line = requests.readLine();
      while (line != null && runner.take(line)) {
        line = requests.readLine();
      }
    }
    if (answers.checkError()) {
      throw new IOException("the answers could not be written");
    }
  }
}
