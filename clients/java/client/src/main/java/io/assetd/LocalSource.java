package io.assetd;

import io.grpc.Status;
import java.io.IOException;
import java.nio.channels.FileChannel;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.nio.file.DirectoryIteratorException;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;

/**
 * A file or a folder that is about to be pushed, as it was when it was listed, in bytewise order of
 * the paths; read without following a link. Knows nothing of gRPC.
 *
 * <p>What is no plain file is refused before it is opened, since opening a FIFO or a device does
 * things. Java cannot open beneath a folder's descriptor, nor ask an open file what it is: should
 * something be replaced meanwhile, inodes and times tell, and at last the digest.
 */
final class LocalSource {
  // The store's limit for a key: a path beyond it is refused anyway, and it bounds the recursion.
  private static final int MAX_PATH_BYTES = 1024;

  private final Path root;
  private final boolean isFolder;
  private final List<SourceFile> files;
  private final Globs exclude;

  private LocalSource(Path root, boolean isFolder, List<SourceFile> files, Globs exclude) {
    this.root = root;
    this.isFolder = isFolder;
    this.files = files;
    this.exclude = exclude;
  }

  /**
   * Looks at every file of a file or folder, opening none.
   *
   * @throws AssetdException {@code UNSUPPORTED_FILE} for a symlink, hard link, device, FIFO or
   *     socket; {@code INVALID_PART} for an empty folder, a name that is not UTF-8 or too long, or
   *     if nothing is left; {@code INVALID_FIELD} for globs and a file
   * @throws IOException if there is nothing, or it cannot be read
   */
  static LocalSource list(Path root, Globs exclude) throws IOException {
    SourceFile.State state = stateOf(root);
    if (!state.isFolder()) {
      if (!exclude.isEmpty()) {
        throw AssetdException.invalidField(
            Names.shown(root) + " is a file: exclude is for folders", Map.of("field", "exclude"));
      }
      return new LocalSource(root, false, List.of(plain(root, "", state)), exclude);
    }
    LocalSource listed = new LocalSource(root, true, new ArrayList<>(), exclude);
    listed.walk(root, "");
    if (listed.files.isEmpty()) {
      throw invalid(root, "has no file that is not excluded");
    }
    Map<SourceFile, byte[]> keys = new HashMap<>();
    listed.files.forEach(file -> keys.put(file, file.path().getBytes(StandardCharsets.UTF_8)));
    listed.files.sort(Comparator.comparing(keys::get, Arrays::compareUnsigned));
    return listed;
  }

  private static SourceFile.State stateOf(Path path) throws IOException {
    try {
      return SourceFile.State.of(path);
    } catch (UnsupportedOperationException notUnix) {
      throw AssetdException.own(
          "files are not pushed from this system, which has no inodes",
          Reason.NOT_BUILT,
          Status.Code.UNIMPLEMENTED,
          Map.of("system", System.getProperty("os.name")));
    }
  }

  private void walk(Path folder, String prefix) throws IOException {
    boolean isEmpty = true;
    try (DirectoryStream<Path> entries = Files.newDirectoryStream(folder)) {
      for (Path entry : entries) {
        isEmpty = false;
        add(entry, prefix);
      }
    } catch (DirectoryIteratorException unreadable) {
      throw unreadable.getCause();
    }
    if (isEmpty) {
      // The store keeps files only: the folder would silently be missing in the version.
      throw invalid(folder, "is an empty folder");
    }
  }

  private void add(Path entry, String prefix) throws IOException {
    String name;
    try {
      name = Names.utf8(entry);
    } catch (CharacterCodingException notUtf8) {
      // Of globs it can match those that say nothing of it, such as `*`.
      name = null;
    }
    String path = prefix + (name == null ? entry.getFileName() : name);
    SourceFile.State state = stateOf(entry);
    if (state.isFolder() ? exclude.matchAllBelow(path) : exclude.match(path)) {
      return;
    }
    if (name == null) {
      throw invalid(entry, "has a name that is not UTF-8");
    }
    if (path.getBytes(StandardCharsets.UTF_8).length > MAX_PATH_BYTES) {
      throw invalid(entry, "has a path of more than " + MAX_PATH_BYTES + " bytes");
    }
    if (state.isFolder()) {
      walk(entry, path + "/");
    } else {
      files.add(plain(entry, path, state));
    }
  }

  private static SourceFile plain(Path where, String path, SourceFile.State state) {
    String kind = state.otherKind();
    if (kind == null) {
      return new SourceFile(path, where, state);
    }
    throw AssetdException.own(
        Names.shown(where) + " is " + kind
            + ": a push takes plain files and folders; put a copy in its place",
        Reason.UNSUPPORTED_FILE,
        Status.Code.FAILED_PRECONDITION,
        Map.of("path", Names.shown(where), "kind", kind));
  }

  boolean isFolder() {
    return isFolder;
  }

  List<SourceFile> files() {
    return files;
  }

  long totalBytes() {
    return files.stream().mapToLong(SourceFile::sizeBytes).sum();
  }

  /**
   * Lists again and compares: names, inodes, sizes and times.
   *
   * @throws AssetdException {@code SOURCE_CHANGED} if something is not as it was
   */
  void checkUnchanged() {
    List<SourceFile> now;
    try {
      now = list(root, exclude).files;
    } catch (IOException | AssetdException gone) {
      throw changed(root);
    }
    Set<SourceFile> before = Set.copyOf(files);
    for (SourceFile file : now) {
      if (!before.contains(file)) {
        throw changed(file.where());
      }
    }
    if (now.size() != files.size()) {
      throw changed(root);
    }
  }

  /**
   * Opens a file as it was listed. Whoever reads it compares once more behind the last byte.
   *
   * @throws AssetdException {@code SOURCE_CHANGED} if another one stands there now
   */
  static FileChannel open(SourceFile file) {
    compare(file);
    FileChannel channel;
    try {
      channel =
          FileChannel.open(file.where(), Set.of(StandardOpenOption.READ, LinkOption.NOFOLLOW_LINKS));
    } catch (IOException gone) {
      throw changed(file.where());
    }
    return channel;
  }

  /**
   * Looks whether a file is still what was listed.
   *
   * @throws AssetdException {@code SOURCE_CHANGED} if it is not
   */
  static void compare(SourceFile file) {
    try {
      if (SourceFile.State.of(file.where()).equals(file.state())) {
        return;
      }
    } catch (IOException gone) {
      throw changed(file.where());
    }
    throw changed(file.where());
  }

  static AssetdException changed(Path path) {
    return AssetdException.own(
        Names.shown(path)
            + " changed while it was being pushed: push again once nobody writes to it",
        Reason.SOURCE_CHANGED,
        Status.Code.ABORTED,
        Map.of("path", Names.shown(path)));
  }

  private static AssetdException invalid(Path path, String why) {
    return AssetdException.own(
        Names.shown(path) + " " + why + ", which no asset can hold",
        Reason.INVALID_PART,
        Status.Code.INVALID_ARGUMENT,
        Map.of("path", Names.shown(path)));
  }
}
