package io.assetd;

import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.BufferedReader;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.concurrent.TimeUnit;

/** assetd itself, over a directory as its store; it can be stopped, and started again where it was. */
final class RealDaemon implements AutoCloseable {
  /** The root of the repository: the tests run in the folder of their module. */
  static final Path ROOT = Path.of("").toAbsolutePath().resolve("../../..").normalize();

  final Path assetsDir;

  /** Where pushes may name files. */
  final Path allowed;

  private final Path folder;
  private Process process;

  /**
   * Starts one. Where it is not set up the test is skipped; where tests may not be skipped, under
   * CI=true, it fails.
   */
  RealDaemon(Path folder) throws IOException {
    boolean isSetUp = Files.isExecutable(python());
    if ("true".equals(System.getenv("CI"))) {
      assertTrue(isSetUp, "the daemon is not set up");
    }
    assumeTrue(isSetUp, "the daemon is not set up, make setup does it");
    this.folder = folder;
    assetsDir = Files.createDirectory(folder.resolve("assets"));
    Files.createDirectory(folder.resolve("store"));
    allowed = Files.createDirectory(folder.resolve("allowed"));
    start();
  }

  private static Path python() {
    return ROOT.resolve(".venv/bin/python");
  }

  String address() {
    return "unix://" + folder.resolve("run.sock");
  }

  /** Starts it again where it was, and returns once it serves. */
  void start() throws IOException {
    ProcessBuilder command = new ProcessBuilder(python().toString(), "-m", "assetd_server");
    Map<String, String> environment = command.environment();
    environment.keySet().removeIf(name -> name.startsWith("ASSET") || name.startsWith("MODELKIT_"));
    environment.put("ASSETS_DIR", assetsDir.toString());
    environment.put("ASSETD_STORE", "file://" + folder.resolve("store"));
    environment.put("ASSETD_LISTEN", address());
    environment.put("ASSETD_PUSH_SOURCES", "file://" + allowed);
    Path log = folder.resolve("log");
    process = command.redirectError(ProcessBuilder.Redirect.appendTo(log.toFile())).start();
    // Its one line says that it listens.
    BufferedReader output = process.inputReader(StandardCharsets.UTF_8);
    if (output.readLine() == null) {
      throw new IOException("it does not serve: " + Files.readString(log));
    }
  }

  /** Ends it as an operator does, or as the kernel does, and waits until it is gone. */
  void stop(boolean kill) {
    if (kill) {
      process.destroyForcibly();
    } else {
      process.destroy();
    }
    Waiting.until(() -> !process.isAlive());
  }

  @Override
  public void close() throws InterruptedException {
    process.destroy();
    if (!process.waitFor(20, TimeUnit.SECONDS)) {
      stop(true);
    }
  }
}
