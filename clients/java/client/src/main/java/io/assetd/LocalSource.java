package io.assetd;

import io.grpc.Status;
import java.io.IOException;
import java.nio.channels.SeekableByteChannel;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.nio.file.DirectoryIteratorException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;

/**
 * A file or a folder that is about to be pushed, as it was when it was listed, in bytewise order of
 * the paths. Knows nothing of gRPC.
 *
 * <p>Every folder and file is opened beneath the one above, where the file system can (on Linux it
 * can), so that none that is swapped for a link leads elsewhere. What is no plain file is refused
 * before it is opened, since opening a FIFO or a device does things. What remains: Java has neither
 * an opening that does not wait nor a look at an open file. A FIFO that takes a file's place between
 * the look and the opening keeps that waiting until somebody writes to it, and another file is
 * noticed by its inode and times once it is read, or if it was put back by then by the digest.
 */
final class LocalSource {
  // The store's limit for a key: a path beyond it is refused anyway, and it bounds the recursion.
  private static final int MAX_PATH_BYTES = 1024;

  private final Path root;
  private final SourceFile.State rootState;
  private final List<SourceFile> files;
  private final Globs exclude;

  private LocalSource(
      Path root, SourceFile.State rootState, List<SourceFile> files, Globs exclude) {
    this.root = root;
    this.rootState = rootState;
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
      return new LocalSource(root, state, List.of(plain(root, "", state)), exclude);
    }
    LocalSource listed = new LocalSource(root, state, new ArrayList<>(), exclude);
    try (OpenFolder folder = OpenFolder.of(root, state)) {
      listed.walk(folder, "");
    }
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

  private void walk(OpenFolder folder, String prefix) throws IOException {
    boolean isEmpty = true;
    try {
      for (Path name : folder) {
        isEmpty = false;
        add(folder, name, prefix);
      }
    } catch (DirectoryIteratorException unreadable) {
      throw unreadable.getCause();
    }
    if (isEmpty) {
      // The store keeps files only: the folder would silently be missing in the version.
      throw invalid(folder.where(), "is an empty folder");
    }
  }

  private void add(OpenFolder folder, Path fileName, String prefix) throws IOException {
    Path entry = folder.where().resolve(fileName);
    String name;
    try {
      name = Names.utf8(entry);
    } catch (CharacterCodingException notUtf8) {
      // Of globs it can match those that say nothing of it, such as `*`.
      name = null;
    }
    String path = prefix + (name == null ? fileName : name);
    SourceFile.State state = folder.state(fileName);
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
      try (OpenFolder below = folder.folder(fileName, state)) {
        walk(below, path + "/");
      }
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
    return rootState.isFolder();
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
  SeekableByteChannel open(SourceFile file) {
    try {
      if (isFolder()) {
        return openBeneath(file);
      }
      compare(file);
      return OpenFolder.file(root);
    } catch (IOException gone) {
      throw changed(file.where());
    }
  }

  private SeekableByteChannel openBeneath(SourceFile file) throws IOException {
    int count = file.where().getNameCount();
    int depth = 1 + (int) file.path().chars().filter(character -> character == '/').count();
    OpenFolder folder = OpenFolder.of(root, rootState);
    try {
      for (int index = count - depth; index < count - 1; index++) {
        Path name = file.where().getName(index);
        OpenFolder below = folder.folder(name, folder.state(name));
        folder.close();
        folder = below;
      }
      return folder.file(file.where().getFileName(), file.state());
    } finally {
      folder.close();
    }
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
