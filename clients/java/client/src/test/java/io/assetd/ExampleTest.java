package io.assetd;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.File;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** The first example of the README, as a program of its own that has no OpenTelemetry. */
@Timeout(120)
class ExampleTest {
  @TempDir Path folder;

  private Path example() throws IOException {
    String readme = Files.readString(RealDaemon.ROOT.resolve("clients/java/README.md"));
    Matcher code = Pattern.compile("```java\n(.*?)```", Pattern.DOTALL).matcher(readme);
    assertTrue(code.find(), "the README has no example");
    assertTrue(code.group(1).lines().count() <= 15, "fifteen lines are enough");
    return Files.writeString(folder.resolve("Serve.java"), code.group(1));
  }

  private static String classPath() {
    String all = System.getProperty("surefire.test.class.path", System.getProperty("java.class.path"));
    return Arrays.stream(all.split(File.pathSeparator))
        .filter(entry -> !entry.contains("opentelemetry"))
        .collect(Collectors.joining(File.pathSeparator));
  }

  private String run(Path program, String address) throws Exception {
    Path java = Path.of(System.getProperty("java.home"), "bin", "java");
    ProcessBuilder command =
        new ProcessBuilder(java.toString(), "-cp", classPath(), program.toString());
    command.environment().put("ASSETD_ADDRESS", address);
    command.redirectErrorStream(true);
    Process process = command.start();
    String output = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    assertEquals(0, process.waitFor(), output);
    return output;
  }

  /** All clients of a release have one version. */
  @Test
  void version() throws IOException {
    String python = Files.readString(RealDaemon.ROOT.resolve("clients/python/pyproject.toml"));
    Matcher version = Pattern.compile("(?m)^version = \"(.*)\"$").matcher(python);
    assertTrue(version.find());
    for (String module : new String[] {"", "client", "conformance"}) {
      String pom =
          Files.readString(RealDaemon.ROOT.resolve("clients/java").resolve(module).resolve("pom.xml"));
      assertTrue(pom.contains("<version>" + version.group(1) + "</version>"), module);
    }
  }

  @Test
  void runs() throws Exception {
    Path program = example();
    try (RealDaemon daemon = new RealDaemon(folder)) {
      String missing = run(program, daemon.address());
      assertTrue(missing.startsWith("there is no such version: {"), missing);
      assertTrue(missing.contains("name=nlp/ranker"), missing);
      Path weights = Files.writeString(folder.resolve("weights"), "the weights");
      try (AssetdClient client = AssetdClient.builder().address(daemon.address()).build()) {
        AssetdClient.await(client.push(weights, "nlp/ranker:1.0"));
      }
      // One line, and no warning of anybody's.
      assertEquals("1.0 the weights\n", run(program, daemon.address()));
    }
  }
}
