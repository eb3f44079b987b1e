package io.assetd;

import java.io.ByteArrayOutputStream;
import java.net.URI;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.StringJoiner;

/**
 * The names of files as the bytes that they are, which on a node with assetd are UTF-8. Java itself
 * goes by the locale: what that lacks becomes U+FFFD, or is refused. A URI has the bytes.
 */
final class Names {
  private Names() {}

  /**
   * Returns the last name of a path, read as UTF-8.
   *
   * @throws CharacterCodingException if it is not UTF-8
   */
  static String utf8(Path path) throws CharacterCodingException {
    String name = path.getFileName().toString();
    if (isAscii(name)) {
      return name;
    }
    ByteBuffer bytes = ByteBuffer.wrap(bytes(path));
    return StandardCharsets.UTF_8.newDecoder().decode(bytes).toString();
  }

  /** Returns a path for a message, which a name that is not UTF-8 must not break. */
  static String shown(Path path) {
    String text = path.toString();
    if (isAscii(text)) {
      return text;
    }
    StringJoiner shown = new StringJoiner("/", path.isAbsolute() ? "/" : "", "");
    for (Path name : path) {
      shown.add(new String(bytes(name), StandardCharsets.UTF_8));
    }
    return shown.toString();
  }

  /** Returns the path of a text that the daemon sent, which is absolute. */
  static Path path(String text) {
    if (isAscii(text)) {
      return Path.of(text);
    }
    StringBuilder uri = new StringBuilder("file://");
    for (byte each : text.getBytes(StandardCharsets.UTF_8)) {
      uri.append(each == '/' ? "/" : String.format("%%%02X", each));
    }
    return Path.of(URI.create(uri.toString()));
  }

  private static boolean isAscii(String text) {
    return text.chars().allMatch(character -> character < 0x80);
  }

  /** Returns the bytes of the last name of a path. */
  private static byte[] bytes(Path path) {
    String uri = path.toUri().getRawPath();
    // So ends the URI of a folder.
    String ended = uri.endsWith("/") ? uri.substring(0, uri.length() - 1) : uri;
    String text = ended.substring(ended.lastIndexOf('/') + 1);
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    for (int position = 0; position < text.length(); position++) {
      if (text.charAt(position) == '%') {
        bytes.write(Integer.parseInt(text.substring(position + 1, position + 3), 16));
        position += 2;
      } else {
        bytes.write(text.charAt(position));
      }
    }
    return bytes.toByteArray();
  }
}
