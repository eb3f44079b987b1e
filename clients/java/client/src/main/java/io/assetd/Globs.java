package io.assetd;

import java.util.ArrayList;
import java.util.BitSet;
import java.util.List;
import java.util.Map;

/**
 * Globs over the paths of files, as the contract has them: {@code *} and {@code ?} stop at {@code /},
 * {@code **} does not. Never slow: segment by segment, since one expression for all could backtrack
 * for ever.
 */
final class Globs {
  private static final String ANY_FOLDERS = "**";

  private final List<List<String>> globs = new ArrayList<>();

  /**
   * Takes the globs; without any, nothing matches.
   *
   * @throws AssetdException {@code INVALID_FIELD} if one can match nothing
   */
  Globs(List<String> texts) {
    for (String text : texts) {
      List<String> segments = segments(text);
      // A shell completes `cache` to `cache/`; what was to be left out would be pushed.
      if (segments.contains("")) {
        throw AssetdException.invalidField(
            "\"" + text + "\" matches no path: write FOLDER/** for what is in it",
            Map.of("field", "exclude"));
      }
      globs.add(segments);
    }
  }

  boolean isEmpty() {
    return globs.isEmpty();
  }

  /** Tells whether one of them matches the file at this path. */
  boolean match(String path) {
    List<String> segments = segments(path);
    return globs.stream().anyMatch(glob -> matches(glob, segments));
  }

  /** Tells whether one of them matches whatever the folder at this path may hold. */
  boolean matchAllBelow(String path) {
    List<String> segments = segments(path);
    return globs.stream()
        .filter(glob -> glob.get(glob.size() - 1).equals(ANY_FOLDERS))
        .anyMatch(
            glob ->
                matches(glob, segments) || matches(glob.subList(0, glob.size() - 1), segments));
  }

  private static List<String> segments(String path) {
    return List.of(path.split("/", -1));
  }

  /** Tells whether the whole path matches; a segment {@code **} stands for any folders. */
  private static boolean matches(List<String> glob, List<String> path) {
    // How many segments of the path the part of the glob so far may stand for.
    BitSet taken = new BitSet();
    taken.set(0);
    for (int position = 0; position < glob.size(); position++) {
      BitSet next = new BitSet();
      String pattern = glob.get(position);
      if (!pattern.equals(ANY_FOLDERS)) {
        for (int count = taken.nextSetBit(0);
            count >= 0 && count < path.size();
            count = taken.nextSetBit(count + 1)) {
          next.set(count + 1, matchesSegment(codePoints(pattern), codePoints(path.get(count))));
        }
      } else if (!taken.isEmpty()) {
        // At the end it stands for files, and so for one segment at least.
        int least = taken.nextSetBit(0) + (position == glob.size() - 1 ? 1 : 0);
        if (least <= path.size()) {
          next.set(least, path.size() + 1);
        }
      }
      taken = next;
    }
    return taken.get(path.size());
  }

  private static int[] codePoints(String text) {
    return text.codePoints().toArray();
  }

  /** Matches in the product of both lengths at most, by going back to the last {@code *} only. */
  private static boolean matchesSegment(int[] glob, int[] text) {
    int atGlob = 0;
    int atText = 0;
    int star = -1;
    int starText = 0;
    while (atText < text.length) {
      if (atGlob < glob.length && glob[atGlob] == '*') {
        star = atGlob++;
        starText = atText;
      } else if (atGlob < glob.length && (glob[atGlob] == '?' || glob[atGlob] == text[atText])) {
        atGlob++;
        atText++;
      } else if (star >= 0) {
        atGlob = star + 1;
        atText = ++starText;
      } else {
        return false;
      }
    }
    while (atGlob < glob.length && glob[atGlob] == '*') {
      atGlob++;
    }
    return atGlob == glob.length;
  }
}
