"""What is about to be pushed: listed, and read as it was listed, without following a link.

Knows nothing of gRPC. Every folder and file is opened beneath the descriptor of the one above,
and what is no plain file is refused before it is opened: opening a FIFO or a device does things.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from assetd._globs import Globs
from assetd.errors import (
    InvalidFieldError,
    InvalidPartError,
    SourceChangedError,
    UnsupportedFileError,
)

READ_BYTES = 1 << 20
# The store's limit for a key: a path beyond it is refused anyway, and it bounds the recursion.
MAX_PATH_BYTES = 1024

# O_NONBLOCK: should a FIFO take the file's place between look and open, the open does not hang.
OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
OPEN_FOLDER = os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC

State = tuple[int, int, int, int, int]


@dataclass(frozen=True)
class SourceFile:
    """One file to push. `path` is inside the asset, and empty for a file asset."""

    path: str
    size_bytes: int
    state: State


@dataclass(frozen=True)
class Source:
    """A file or a folder as it was when it was listed, in bytewise order of the paths."""

    root: Path
    is_directory: bool
    files: tuple[SourceFile, ...]
    exclude: Globs = field(default_factory=Globs, compare=False)

    @property
    def total_bytes(self) -> int:
        """The sizes of all files added up."""
        return sum(file.size_bytes for file in self.files)

    def check_unchanged(self) -> None:
        """List again and compare: names, inodes, sizes and times.

        Raises:
            SourceChangedError: something is not as it was.
        """
        try:
            now = list_source(self.root, self.exclude)
        except (OSError, InvalidPartError, UnsupportedFileError):
            raise _changed(self.root, "") from None
        if now != self:
            differing = sorted({file.path for file in set(now.files) ^ set(self.files)})
            raise _changed(self.root, differing[0] if differing else "")

    @contextmanager
    def open(self, file: SourceFile) -> Iterator[int]:
        """Open one file for reading, and give its descriptor.

        Raises:
            SourceChangedError: what stands there is not what was listed, when the block begins
                or when it ends.
        """
        try:
            descriptor = _open_beneath(self.root, file.path)
        except OSError:
            raise _changed(self.root, file.path) from None
        try:
            self._compare(descriptor, file)
            # The disk is asked for more at a time: twice as fast where nothing is in memory.
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_SEQUENTIAL)
            yield descriptor
            self._compare(descriptor, file)
        finally:
            os.close(descriptor)

    def _compare(self, descriptor: int, file: SourceFile) -> None:
        if _state(os.fstat(descriptor)) != file.state:
            raise _changed(self.root, file.path)

    def read(self, file: SourceFile, offset: int = 0) -> Iterator[bytes]:
        """Give the file's bytes from `offset` on, at most 1 MiB at a time.

        Raises:
            SourceChangedError: the file is not, or while it was read did not stay, what was listed.
        """
        with self.open(file) as descriptor:
            while offset < file.size_bytes:
                data = os.pread(descriptor, min(READ_BYTES, file.size_bytes - offset), offset)
                if not data:
                    raise _changed(self.root, file.path)
                offset += len(data)
                yield data

    def read_into(self, buffer: memoryview, file: SourceFile) -> Iterator[memoryview]:
        """Give all of the file's bytes, each time as many as `buffer` takes, where they lie in it.

        Raises:
            SourceChangedError: as `read`.
        """
        offset = 0
        with self.open(file) as descriptor:
            while offset < file.size_bytes:
                count = os.preadv(descriptor, [buffer], offset)
                if not count:
                    raise _changed(self.root, file.path)
                offset += count
                yield buffer[:count]


def list_source(root: Path, exclude: Globs | None = None) -> Source:
    """Look at every file of a file or folder, opening none, and at nothing that is excluded.

    Raises:
        UnsupportedFileError: there is a symlink, hard link, device, FIFO or socket.
        InvalidPartError: there is an empty folder, or a name that is not UTF-8 or too long; or
            nothing is left.
        InvalidFieldError: globs, and `root` is a file.
        OSError: `root` does not exist or cannot be read.
    """
    exclude = exclude or Globs()
    status = root.lstat()
    if not stat.S_ISDIR(status.st_mode):
        if exclude:
            raise _not_a_folder(root)
        return Source(root, is_directory=False, files=(_plain_file(root, "", status),))
    descriptor = os.open(root, OPEN_FOLDER)
    try:
        files = list(_walk(root, exclude, descriptor, ""))
    finally:
        os.close(descriptor)
    if not files:
        raise _invalid(root, "", "has no file that is not excluded")
    files.sort(key=lambda file: file.path.encode())
    return Source(root, is_directory=True, files=tuple(files), exclude=exclude)


def _walk(root: Path, exclude: Globs, folder: int, prefix: str) -> Iterator[SourceFile]:
    for name in _names(root, exclude, folder, prefix):
        path = prefix + name
        _check_path(root, path)
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if not stat.S_ISDIR(status.st_mode):
            yield _plain_file(root, path, status)
            continue
        below = os.open(name, OPEN_FOLDER, dir_fd=folder)
        try:
            yield from _walk(root, exclude, below, f"{path}/")
        finally:
            os.close(below)


def _names(root: Path, exclude: Globs, folder: int, prefix: str) -> list[str]:
    """Return what is in a folder and not excluded; its kind is known without a look at it."""
    with os.scandir(folder) as found:
        entries = list(found)
        if not entries:
            # The store keeps files only: the folder would silently be missing in the version.
            raise _invalid(root, prefix, "is an empty folder")
        return [entry.name for entry in entries if not _is_excluded(exclude, prefix, entry)]


def _is_excluded(exclude: Globs, prefix: str, entry: "os.DirEntry[str]") -> bool:
    if not exclude:
        return False
    path = prefix + entry.name
    is_folder = entry.is_dir(follow_symlinks=False)
    return exclude.match_all_below(path) if is_folder else exclude.match(path)


def _check_path(root: Path, path: str) -> None:
    try:
        size_bytes = len(path.encode())
    except UnicodeEncodeError:
        raise _invalid(root, path, "has a name that is not UTF-8") from None
    if size_bytes > MAX_PATH_BYTES:
        raise _invalid(root, path, f"has a path of more than {MAX_PATH_BYTES} bytes")


def _plain_file(root: Path, path: str, status: os.stat_result) -> SourceFile:
    if not stat.S_ISREG(status.st_mode):
        raise _unsupported(root, path, KINDS.get(stat.S_IFMT(status.st_mode), "no plain file"))
    if status.st_nlink > 1:
        raise _unsupported(root, path, "a hard link")
    return SourceFile(path, status.st_size, _state(status))


KINDS = {
    stat.S_IFLNK: "a symlink",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFBLK: "a device",
    stat.S_IFCHR: "a device",
}


def _state(status: os.stat_result) -> State:
    return (
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        # Not even somebody who sets the file's times can set this one.
        status.st_ctime_ns,
    )


def _open_beneath(root: Path, path: str) -> int:
    """Open a file asset, or one file of a folder, each folder beneath the one above."""
    if not path:
        return os.open(root, OPEN_FILE)
    *folders, name = path.split("/")
    folder = os.open(root, OPEN_FOLDER)
    try:
        for below in folders:
            above, folder = folder, os.open(below, OPEN_FOLDER, dir_fd=folder)
            os.close(above)
        return os.open(name, OPEN_FILE, dir_fd=folder)
    finally:
        os.close(folder)


def _shown(root: Path, path: str) -> str:
    """Return the path for a message, where a name that is not UTF-8 must not break the line."""
    return os.fsencode(root / path).decode(errors="backslashreplace")


def _changed(root: Path, path: str) -> SourceChangedError:
    shown = _shown(root, path)
    return SourceChangedError(
        f"{shown} changed while it was being pushed: push again once nobody writes to it",
        metadata={"path": shown},
    )


def _invalid(root: Path, path: str, why: str) -> InvalidPartError:
    shown = _shown(root, path)
    return InvalidPartError(f"{shown} {why}, which no asset can hold", metadata={"path": shown})


def _not_a_folder(root: Path) -> InvalidFieldError:
    return InvalidFieldError(
        f"{_shown(root, '')} is a file: exclude is for folders", metadata={"field": "exclude"}
    )


def _unsupported(root: Path, path: str, kind: str) -> UnsupportedFileError:
    shown = _shown(root, path)
    return UnsupportedFileError(
        f"{shown} is {kind}: a push takes plain files and folders; put a copy in its place",
        metadata={"path": shown, "kind": kind},
    )
