package io.assetd;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.nio.file.attribute.FileTime;
import java.util.Map;

/**
 * One file to push.
 *
 * @param path inside the asset; empty for a file asset
 * @param where it stands
 * @param state by what it is known to be the same and unchanged
 */
record SourceFile(String path, Path where, State state) {
  private static final int TYPE = 0170000;

  long sizeBytes() {
    return state.sizeBytes;
  }

  /** What the system knows of a file: its mode and links, and by what a change is noticed. */
  record State(
      int mode,
      int links,
      Object key,
      long sizeBytes,
      FileTime modified,
      FileTime changed) {
    /**
     * Looks at a file without following a link.
     *
     * @throws IOException if there is none, or nobody may look
     */
    static State of(Path path) throws IOException {
      Map<String, Object> found =
          Files.readAttributes(
              path,
              "unix:mode,nlink,fileKey,size,lastModifiedTime,ctime",
              LinkOption.NOFOLLOW_LINKS);
      return new State(
          (Integer) found.get("mode"),
          (Integer) found.get("nlink"),
          // Device and inode.
          found.get("fileKey"),
          (Long) found.get("size"),
          (FileTime) found.get("lastModifiedTime"),
          // Not even somebody who sets the file's times can set this one.
          (FileTime) found.get("ctime"));
    }

    boolean isFolder() {
      return (mode & TYPE) == 0040000;
    }

    /** Returns what it is instead of a plain file; null for a plain file. */
    String otherKind() {
      return switch (mode & TYPE) {
        case 0100000 -> links > 1 ? "a hard link" : null;
        case 0120000 -> "a symlink";
        case 0010000 -> "a FIFO";
        case 0140000 -> "a socket";
        case 0020000, 0060000 -> "a device";
        default -> "no plain file";
      };
    }
  }
}
