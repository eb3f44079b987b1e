package io.assetd;

import java.io.IOException;
import java.nio.channels.SeekableByteChannel;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.OpenOption;
import java.nio.file.Path;
import java.nio.file.SecureDirectoryStream;
import java.nio.file.StandardOpenOption;
import java.nio.file.attribute.BasicFileAttributeView;
import java.util.Iterator;
import java.util.Set;

/**
 * A folder that is open. What is in it is looked at and opened beneath it, whatever stands at its
 * path meanwhile, and without following a link; where a file system cannot do that, by its path.
 *
 * <p>Whoever has it closes it.
 */
final class OpenFolder implements AutoCloseable, Iterable<Path> {
  private static final Set<OpenOption> READING =
      Set.of(StandardOpenOption.READ, LinkOption.NOFOLLOW_LINKS);

  private final Path where;
  private final DirectoryStream<Path> entries;
  // The same; null where the file system has none.
  private final SecureDirectoryStream<Path> beneath;

  private OpenFolder(Path where, DirectoryStream<Path> entries, Object key) throws IOException {
    this.where = where;
    this.entries = entries;
    this.beneath = entries instanceof SecureDirectoryStream<Path> secure ? secure : null;
    boolean isThis = false;
    try {
      isThis = beneath == null || key.equals(keyOf(view(beneath)));
    } finally {
      if (!isThis) {
        entries.close();
      }
    }
    if (!isThis) {
      throw LocalSource.changed(where);
    }
  }

  /**
   * Opens a folder that was looked at, and is no link.
   *
   * @throws AssetdException {@code SOURCE_CHANGED} if another one stands there now
   */
  static OpenFolder of(Path where, SourceFile.State seen) throws IOException {
    // This does follow a link, to what has another key.
    return new OpenFolder(where, Files.newDirectoryStream(where), seen.key());
  }

  /**
   * Opens a folder in this one.
   *
   * @throws AssetdException {@code SOURCE_CHANGED} if it is not what was seen
   */
  OpenFolder folder(Path name, SourceFile.State seen) throws IOException {
    Path path = where.resolve(name);
    return new OpenFolder(
        path,
        beneath == null
            ? Files.newDirectoryStream(path)
            : beneath.newDirectoryStream(name, LinkOption.NOFOLLOW_LINKS),
        seen.key());
  }

  /**
   * Opens a plain file in this folder for reading.
   *
   * @throws AssetdException {@code SOURCE_CHANGED} if it is not what was seen
   */
  SeekableByteChannel file(Path name, SourceFile.State seen) throws IOException {
    // Just before it is opened: opening a FIFO or a device does things.
    if (!state(name).equals(seen)) {
      throw LocalSource.changed(where.resolve(name));
    }
    return beneath == null
        ? Files.newByteChannel(where.resolve(name), READING)
        : beneath.newByteChannel(name, READING);
  }

  /** Opens what is no folder, and has none above that is of the source. */
  static SeekableByteChannel file(Path where) throws IOException {
    return Files.newByteChannel(where, READING);
  }

  /**
   * Looks at what is in this folder.
   *
   * @throws AssetdException {@code SOURCE_CHANGED} if this folder has been replaced
   */
  SourceFile.State state(Path name) throws IOException {
    // Only by a path can Java ask for all that it needs; beneath the folder it can ask what it is.
    SourceFile.State state = SourceFile.State.of(where.resolve(name));
    if (beneath != null && !state.key().equals(keyOf(view(name)))) {
      throw LocalSource.changed(where.resolve(name));
    }
    return state;
  }

  private BasicFileAttributeView view(Path name) {
    return beneath.getFileAttributeView(
        name, BasicFileAttributeView.class, LinkOption.NOFOLLOW_LINKS);
  }

  private static BasicFileAttributeView view(SecureDirectoryStream<Path> folder) {
    return folder.getFileAttributeView(BasicFileAttributeView.class);
  }

  private static Object keyOf(BasicFileAttributeView view) throws IOException {
    return view.readAttributes().fileKey();
  }

  /** Gives the names of what is in it, once. */
  @Override
  public Iterator<Path> iterator() {
    Iterator<Path> paths = entries.iterator();
    return new Iterator<>() {
      @Override
      public boolean hasNext() {
        return paths.hasNext();
      }

      @Override
      public Path next() {
        return paths.next().getFileName();
      }
    };
  }

  Path where() {
    return where;
  }

  @Override
  public void close() throws IOException {
    entries.close();
  }
}
