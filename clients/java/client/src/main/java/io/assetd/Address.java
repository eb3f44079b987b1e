package io.assetd;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Where the daemon listens. Knows nothing of gRPC.
 *
 * @param target as it is shown, and as another program would be told it
 * @param socketPath the path of the unix socket; null for TCP
 */
record Address(String target, String socketPath) {
  static final String VARIABLE = "ASSETD_ADDRESS";

  // What fits in sockaddr_un with its final NUL: longer ones are cut silently by some systems.
  private static final int MAX_SOCKET_PATH_BYTES = 107;
  private static final Pattern HOST_AND_PORT =
      Pattern.compile("(?:\\[([\\da-fA-F:.]+)]|([\\w.-]+)):(\\d{1,5})");
  private static final Pattern LOOPBACK =
      Pattern.compile("localhost|127\\.\\d{1,3}\\.\\d{1,3}\\.\\d{1,3}|::1|(?:0+:){7}0*1");

  /**
   * Returns the address to dial: {@code given}, else {@code ASSETD_ADDRESS}, else the default of a
   * daemon of this user. No other variable that begins like that is read: Kubernetes injects some.
   *
   * @throws IllegalArgumentException if it is no address, or there is no default
   */
  static Address find(String given, boolean isEncrypted, Map<String, String> environment) {
    String text = given;
    if (text == null || text.isEmpty()) {
      text = environment.getOrDefault(VARIABLE, "");
    }
    return parse(text.isEmpty() ? standard(environment, isRoot()) : text, isEncrypted);
  }

  /**
   * Reads {@code unix:///path}, or {@code host:port} or {@code tcp://host:port}; a host beyond
   * loopback needs TLS.
   *
   * @throws IllegalArgumentException if it is something else
   */
  static Address parse(String text, boolean isEncrypted) {
    if (text.startsWith("unix:")) {
      String path = socketPathOf(text);
      return new Address("unix://" + path, path);
    }
    String authority = text.startsWith("tcp://") ? text.substring(6) : text;
    Matcher parts = HOST_AND_PORT.matcher(authority);
    if (parts.matches() && Integer.parseInt(parts.group(3)) <= 65_535) {
      String host = parts.group(1) != null ? parts.group(1) : parts.group(2);
      // Better to say so than to send anything beyond this node in the clear.
      if (isEncrypted || LOOPBACK.matcher(host).matches()) {
        return new Address(authority, null);
      }
    }
    throw new IllegalArgumentException(
        "cannot dial \"" + text + "\": an address is unix:///path or a loopback host:port, such as "
            + "127.0.0.1:7070; with channel credentials, any host:port");
  }

  private static String socketPathOf(String text) {
    String path = text.substring(text.startsWith("unix://") ? 7 : 5);
    if (!path.startsWith("/") || path.endsWith("/")) {
      throw new IllegalArgumentException(
          "\"" + text + "\" names no socket: write unix:///path/assetd.sock");
    }
    if (path.getBytes(StandardCharsets.UTF_8).length > MAX_SOCKET_PATH_BYTES) {
      throw new IllegalArgumentException(
          "\"" + text + "\" is too long: the path of a socket has at most "
              + MAX_SOCKET_PATH_BYTES + " bytes");
    }
    return path;
  }

  /** Returns the socket that a daemon of this user listens on. */
  static String standard(Map<String, String> environment, boolean isRoot) {
    if (isRoot) {
      return "unix:///run/assetd/assetd.sock";
    }
    String folder = environment.getOrDefault("XDG_RUNTIME_DIR", "");
    if (folder.isEmpty()) {
      throw new IllegalArgumentException(
          "there is no default address, since XDG_RUNTIME_DIR is not set: set " + VARIABLE
              + ", such as unix:///path/assetd.sock");
    }
    return "unix://" + folder + "/assetd/assetd.sock";
  }

  private static boolean isRoot() {
    try {
      return Integer.valueOf(0).equals(Files.getAttribute(Path.of("/proc/self"), "unix:uid"));
    } catch (IOException | UnsupportedOperationException notLinux) {
      return "root".equals(System.getProperty("user.name"));
    }
  }

  /** Returns where this process sees the daemon's ASSETS_DIR, by the daemon's variables, or null. */
  static Path findAssetsDir(Path given, Map<String, String> environment) {
    if (given != null) {
      return given.toString().isEmpty() ? null : given.toAbsolutePath();
    }
    for (String variable : new String[] {"ASSETS_DIR", "MODELKIT_ASSETS_DIR"}) {
      String folder = environment.getOrDefault(variable, "");
      if (!folder.isEmpty()) {
        return Path.of(folder).toAbsolutePath();
      }
    }
    return null;
  }
}
