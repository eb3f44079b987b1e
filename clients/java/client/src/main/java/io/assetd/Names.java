package io.assetd;

import java.io.ByteArrayOutputStream;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;

/** The names of files as the bytes that they are, whatever the locale of this process says. */
final class Names {
  private Names() {}

  /**
   * Returns the last name of a path, read as UTF-8.
   *
   * @throws CharacterCodingException if it is not UTF-8
   */
  static String utf8(Path path) throws CharacterCodingException {
    String name = path.getFileName().toString();
    if (name.chars().allMatch(character -> character < 0x80)) {
      return name;
    }
    // Java reads names by the locale, and what the locale lacks becomes U+FFFD. A URI has the bytes.
    String uri = path.toUri().getRawPath();
    String raw = uri.endsWith("/") ? uri.substring(0, uri.length() - 1) : uri;
    byte[] bytes = unescaped(raw.substring(raw.lastIndexOf('/') + 1));
    return StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(bytes)).toString();
  }

  private static byte[] unescaped(String text) {
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
