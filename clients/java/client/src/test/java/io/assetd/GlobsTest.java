package io.assetd;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class GlobsTest {
  @ParameterizedTest
  @CsvSource({
    "*, a, true", "*, a/b, false", "**, a, true", "**, a/b/c, true", "*.json, config.json, true",
    "*.json, sub/config.json, false", "**/*.json, config.json, true",
    "**/*.json, a/b/config.json, true", "a/**, a, false", "a/**, a/b, true", "a/**, a/b/c, true",
    "a/**, b/a, false", "a/**/b, a/b, true", "a/**/b, a/x/y/b, true", "a/**/b, a/x/y/c, false",
    "a?c, abc, true", "a?c, aéc, true", "a?c, a😀c, true", "a?c, a/c, false", "a?c, ac, false",
    "[a], [a], true", "[a], a, false", "a*b*c, a1b2b3c, true", "a*b*c, a1b2, false",
    "\\*, \\x, true", "\\*, *, false", "a**, abc, true", "**/**, a, true"
  })
  void matches(String glob, String path, boolean isMatch) {
    assertEquals(isMatch, new Globs(List.of(glob)).match(path));
  }

  /** Only what matches whatever a folder may hold leaves the folder out unseen. */
  @ParameterizedTest
  @CsvSource({
    "**, true", "a/**, true", "*/**, true", "**/a/**, true", "a, false", "a/*, false",
    "a/b/**, false", "**/*, false"
  })
  void matchesWholeFolders(String glob, boolean isMatch) {
    assertEquals(isMatch, new Globs(List.of(glob)).matchAllBelow("a"));
  }

  /** A glob that can match nothing is a mistake, and what it should leave out would be pushed. */
  @ParameterizedTest
  @ValueSource(strings = {"", "/a", "a/", "a//b"})
  void refused(String glob) {
    AssetdException failure =
        assertThrows(AssetdException.class, () -> new Globs(List.of("*", glob)));
    assertEquals(Reason.INVALID_FIELD, failure.reason());
  }

  /** Choices do not multiply: what would take years elsewhere takes none here. */
  @Test
  @Timeout(60)
  void hostile() {
    assertFalse(new Globs(List.of("*a".repeat(200) + "b")).match("a".repeat(1000)));
    assertFalse(new Globs(List.of("**/a/".repeat(100) + "b")).match("a/".repeat(500) + "c"));
  }
}
