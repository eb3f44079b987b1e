package io.assetd;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.charset.CharacterCodingException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.attribute.FileTime;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

@Timeout(60)
class LocalSourceTest {
  @TempDir Path root;

  private Path write(String path, String text) throws IOException {
    Files.createDirectories(root.resolve(path).getParent());
    return Files.writeString(root.resolve(path), text);
  }

  /** Runs a program in the folder: names that are not UTF-8 cannot be written in Java. */
  private void run(String script) throws Exception {
    assertEquals(
        0, new ProcessBuilder("sh", "-c", script).directory(root.toFile()).start().waitFor());
  }

  private LocalSource list(String... exclude) throws IOException {
    return LocalSource.list(root, new Globs(List.of(exclude)));
  }

  private AssetdException refused(String... exclude) {
    return assertThrows(AssetdException.class, () -> list(exclude));
  }

  private static List<String> paths(LocalSource source) {
    return source.files().stream().map(SourceFile::path).toList();
  }

  /** Files come in bytewise order of their paths, which is not that of Java's strings. */
  @Test
  void order() throws Exception {
    write("a", "1");
    write("B/c", "22");
    write("a.b", "");
    // In UTF-16 the second comes first.
    run("touch \"$(printf '\\357\\277\\275')\" \"$(printf '\\360\\237\\230\\200')\"");
    LocalSource source = list();
    assertEquals(List.of("B/c", "a", "a.b", "\uFFFD", "\uD83D\uDE00"), paths(source));
    assertEquals(3, source.totalBytes());
    assertTrue(source.isFolder());
  }

  /** Names are what their bytes say, whatever the locale of the process is. */
  @Test
  void names() throws Exception {
    Path file = Files.writeString(Names.path(root + "/\u00e4"), "1");
    assertEquals(file, Names.path(Names.shown(file)));
    assertEquals("\u00e4", Names.utf8(file));
    assertEquals("\u00e4", Names.shown(root.relativize(file)));
    run("touch \"$(printf 'b\\351')\"");
    try (Stream<Path> entries = Files.list(root)) {
      Path broken = entries.filter(path -> !path.equals(file)).findFirst().orElseThrow();
      assertEquals(root + "/b\uFFFD", Names.shown(broken));
      assertThrows(CharacterCodingException.class, () -> Names.utf8(broken));
    }
  }

  /** A file is an asset whose only part has the empty path; it takes no globs. */
  @Test
  void file() throws IOException {
    Path file = write("a", "1");
    LocalSource source = LocalSource.list(file, new Globs(List.of()));
    assertFalse(source.isFolder());
    assertEquals(List.of(""), paths(source));
    AssetdException failure =
        assertThrows(
            AssetdException.class, () -> LocalSource.list(file, new Globs(List.of("b"))));
    assertEquals(Reason.INVALID_FIELD, failure.reason());
    assertThrows(
        NoSuchFileException.class,
        () -> LocalSource.list(root.resolve("none"), new Globs(List.of())));
  }

  /** What is no plain file is refused by its kind, without being opened; excluded, it is not. */
  @Test
  void kinds() throws Exception {
    for (String[] made :
        new String[][] {
          {"ln -s nowhere it", "a symlink"},
          {"mkfifo it", "a FIFO"},
          {"ln a it", "a hard link"}
        }) {
      Files.deleteIfExists(root.resolve("it"));
      write("a", "1");
      run(made[0]);
      AssetdException failure = refused();
      assertEquals(Reason.UNSUPPORTED_FILE, failure.reason());
      assertEquals(made[1], failure.metadata().get("kind"));
    }
    Files.delete(root.resolve("it"));
    run("mkfifo it");
    assertEquals(List.of("a"), paths(list("it")));
  }

  /** A link is not followed, also where it is the source itself. */
  @Test
  void linkAsRoot() throws IOException {
    write("a", "1");
    Path link = Files.createSymbolicLink(root.resolve("link"), root);
    AssetdException failure =
        assertThrows(
            AssetdException.class, () -> LocalSource.list(link, new Globs(List.of())));
    assertEquals("a symlink", failure.metadata().get("kind"));
    // A slash at the end has the system follow it.
    Path withSlash = Path.of(link + "/");
    assertThrows(
        AssetdException.class, () -> LocalSource.list(withSlash, new Globs(List.of())));
  }

  /** A folder that became a link between look and open does not lead elsewhere, not even back. */
  @Test
  void folderSwappedForALink() throws IOException {
    write("model/sub/deep/a", "1");
    Path model = root.resolve("model");
    LocalSource source = LocalSource.list(model, new Globs(List.of()));
    SourceFile file = source.files().get(0);
    new FileChunks(source, file, 0).close();
    for (Path folder : List.of(model.resolve("sub/deep"), model.resolve("sub"))) {
      Path moved = Files.move(folder, root.resolve("moved"));
      Files.createSymbolicLink(folder, moved);
      LocalSource.compare(file);
      AssetdException failure =
          assertThrows(AssetdException.class, () -> new FileChunks(source, file, 0).close());
      assertEquals(Reason.SOURCE_CHANGED, failure.reason());
      Files.delete(folder);
      Files.move(moved, folder);
    }
    new FileChunks(source, file, 0).close();
  }

  /** Nor does one that becomes a link while its folder is listed, the source itself included. */
  @Test
  void folderSwappedWhileListing() throws IOException {
    write("model/sub/a", "1");
    Path model = root.resolve("model");
    Path name = Path.of("sub");
    SourceFile.State seen = SourceFile.State.of(model);
    try (OpenFolder folder = OpenFolder.of(model, seen)) {
      SourceFile.State sub = folder.state(name);
      Path moved = Files.move(model.resolve("sub"), root.resolve("moved"));
      Files.createSymbolicLink(model.resolve("sub"), moved);
      assertThrows(IOException.class, () -> folder.folder(name, sub));
      Files.move(model, root.resolve("before"));
      Files.createSymbolicLink(model, moved);
      assertThrows(AssetdException.class, () -> OpenFolder.of(model, seen));
    }
    assertEquals(0, OpenFiles.below(root));
  }

  /** A FIFO in a file's place is not opened: that would wait for ever. */
  @Test
  void fileSwappedForAFifo() throws Exception {
    Path file = write("a", "1");
    LocalSource source = list();
    Files.delete(file);
    run("mkfifo a");
    assertThrows(
        AssetdException.class, () -> new FileChunks(source, source.files().get(0), 0).close());
  }

  /** Folders without a file, and names that no asset can have, are refused. */
  @Test
  void invalid() throws Exception {
    write("a", "1");
    Path empty = Files.createDirectory(root.resolve("empty"));
    assertEquals(Reason.INVALID_PART, refused().reason());
    assertEquals(List.of("a"), paths(list("empty/**")));
    Files.delete(empty);
    assertEquals(Reason.INVALID_PART, refused("*").reason());
    String deep = ("d".repeat(250) + "/").repeat(4) + "e".repeat(50);
    write(deep, "");
    assertTrue(refused().getMessage().contains("1024 bytes"));
    run("rm -r d*");
    run("touch \"$(printf 'b\\351')\"");
    assertTrue(refused().getMessage().contains("not UTF-8"));
    assertEquals(List.of("a"), paths(list("b*")));
  }

  /** Whatever changes is noticed, also by somebody who sets the file's times. */
  @Test
  void changes() throws IOException {
    Path file = write("a", "1");
    LocalSource source = list();
    source.checkUnchanged();
    FileTime before = Files.getLastModifiedTime(file);
    Files.writeString(file, "2");
    Files.setLastModifiedTime(file, before);
    AssetdException failure = assertThrows(AssetdException.class, source::checkUnchanged);
    assertEquals(Reason.SOURCE_CHANGED, failure.reason());
    assertEquals(file.toString(), failure.metadata().get("path"));
    assertThrows(AssetdException.class, () -> new FileChunks(source, source.files().get(0), 0).close());

    LocalSource now = list();
    Path more = write("b", "");
    assertThrows(AssetdException.class, now::checkUnchanged);
    Files.delete(more);
    now.checkUnchanged();
    Files.delete(file);
    assertThrows(AssetdException.class, now::checkUnchanged);
  }
}
