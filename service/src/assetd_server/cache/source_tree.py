"""A file or folder that somebody put on this machine to be pushed: listed, hashed, and read again.

Others write there while we look. So every open goes beneath one open folder, on its mount, without
following a link, and never waits for a FIFO; what is no plain file is refused before it is opened;
and what is opened is compared with what was listed, before it is read and after. Content is all
that is taken: no mode (a setuid file is its bytes), no owner, no extended attributes. All methods
block, for one folder, or as many bytes as they are told; no descriptor but that of the folder above
stays open between them.
"""

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from assetd_server.cache.hashing import RunningHashes
from assetd_server.cache.linux import FileSystem
from assetd_server.cache.source_faults import MAX_FILES, SourceFaults
from assetd_server.manifest import Part
from assetd_server.model import AssetKind, PartPath

READ_BYTES = 2**20

_FOLDER = os.O_RDONLY | os.O_DIRECTORY

State = tuple[int, int, int, int, int]


@dataclass(frozen=True)
class SourceFile:
    """One plain file as it was when it was listed; `path` is empty for a file asset."""

    path: PartPath
    state: State

    @property
    def size_bytes(self) -> int:
        """Its length."""
        return self.state[2]


class SourceTree:
    """What stands at `top` beneath an open folder; at "" it is the folder itself.

    `base_fd` is the tree's from here on; `faults` has the words for what is wrong with it.
    """

    def __init__(self, fs: FileSystem, base_fd: int, top: str, faults: SourceFaults) -> None:
        self._fs = fs
        self._base_fd = base_fd
        self._top = top
        self.faults = faults

    def close(self) -> None:
        """Close the folder above."""
        self._fs.close(self._base_fd)

    def find(self) -> AssetKind:
        """Return whether a file or a folder stands there.

        Raises:
            InvalidFieldError: nothing does.
            UnsupportedFileError: something else does, or a link or a mount is on the way.
            SourceNotAllowedError: the daemon may not look.
        """
        if not self._top:
            return AssetKind.DIRECTORY
        try:
            facts = self._top_facts()
        except OSError as error:
            raise self.faults.on_looking(error) from error
        if stat.S_ISDIR(facts.st_mode):
            return AssetKind.DIRECTORY
        self._plain_file(PartPath.of_file(), facts)
        return AssetKind.FILE

    def _top_facts(self) -> os.stat_result:
        above, _, leaf = self._top.rpartition("/")
        fd = self._fs.open_inside(self._base_fd, above or ".", _FOLDER)
        try:
            return self._fs.lstat(fd, leaf)
        finally:
            self._fs.close(fd)

    def list(self, kind: AssetKind) -> Iterator[Sequence[SourceFile]]:
        """Yield all files, those of one folder at a time, in no order; opens none of them.

        Raises:
            UnsupportedFileError: a symlink, hard link, device, FIFO, socket or mount is among them.
            InvalidPartError: an empty folder, or a name that no part may have.
            InvalidFieldError: there are too many.
            SourceChangedError: somebody changes it meanwhile.
            SourceNotAllowedError: the daemon may not read a folder.
        """
        if kind is AssetKind.FILE:
            try:
                yield [self._plain_file(PartPath.of_file(), self._top_facts())]
            except OSError as error:
                raise self.faults.on_reading("", error) from error
            return
        left = MAX_FILES
        folders = [""]
        while folders:
            folder = folders.pop()
            entries = self._look_into(folder, left)
            left -= len(entries)
            files = []
            for path, facts in entries:
                if stat.S_ISDIR(facts.st_mode):
                    folders.append(path)
                else:
                    files.append(self._plain_file(path, facts))
            yield files

    def _look_into(self, folder: str, limit: int) -> Sequence[tuple[PartPath, os.stat_result]]:
        """Return path and facts of each entry, at least one."""
        try:
            fd = self._fs.open_inside(self._base_fd, self._path(folder) or ".", _FOLDER)
        except OSError as error:
            raise self.faults.on_reading(folder, error) from error
        try:
            names = self._fs.first_names(fd, limit + 1)
            if not names:
                raise self.faults.empty_folder(folder)
            if len(names) > limit:
                raise self.faults.too_many()
            return [self._entry(fd, f"{folder}/{name}" if folder else name) for name in names]
        except OSError as error:
            raise self.faults.on_reading(folder, error) from error
        finally:
            self._fs.close(fd)

    def _entry(self, folder_fd: int, path: str) -> tuple[PartPath, os.stat_result]:
        part = self.faults.part(path)
        return part, self._fs.lstat(folder_fd, part.segments[-1])

    def _plain_file(self, path: PartPath, facts: os.stat_result) -> SourceFile:
        if not stat.S_ISREG(facts.st_mode):
            raise self.faults.no_plain_file(path, facts.st_mode)
        if facts.st_nlink > 1:
            # It may be a name for somebody else's file, that its owner could not have pushed.
            raise self.faults.unsupported(path, "a hard link")
        return SourceFile(path, _state(facts))

    @contextmanager
    def _opened(self, file: SourceFile) -> Iterator[int]:
        """Open a file for the length of the block; it is what was listed, before and after."""
        try:
            fd = self._fs.open_inside(self._base_fd, self._path(file.path), os.O_RDONLY)
        except OSError as error:
            raise self.faults.on_reading(file.path, error) from error
        try:
            self._compare(fd, file)
            yield fd
            self._compare(fd, file)
        except OSError as error:
            raise self.faults.on_reading(file.path, error) from error
        finally:
            self._fs.close(fd)

    def _compare(self, fd: int, file: SourceFile) -> None:
        if _state(self._fs.fstat(fd)) != file.state:
            raise self.faults.changed(file.path)

    def read(self, file: SourceFile, offset: int, length: int) -> bytes:
        """Return a range, cut at the file's end.

        Raises:
            SourceChangedError: the file is not what was listed.
            SourceNotAllowedError: the daemon may not read it.
        """
        end = min(offset + length, file.size_bytes)
        pieces = []
        with self._opened(file) as fd:
            while offset < end:
                pieces.append(self._read_some(fd, file, offset, end - offset))
                offset += len(pieces[-1])
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def hash_on(self, file: SourceFile, hashes: RunningHashes, max_bytes: int) -> int:
        """Hash the next bytes of a file, after those that `hashes` has; return how many.

        Raises:
            SourceChangedError: the file is not what was listed.
            SourceNotAllowedError: the daemon may not read it.
        """
        begin = hashes.size_bytes
        end = min(begin + max_bytes, file.size_bytes)
        with self._opened(file) as fd:
            while hashes.size_bytes < end:
                length = min(READ_BYTES, end - hashes.size_bytes)
                hashes.update(self._read_some(fd, file, hashes.size_bytes, length))
        return end - begin

    def hash_all(self, files: Iterable[SourceFile]) -> Sequence[Part]:
        """Return the parts that some small files are."""
        return [self._hash_one(file) for file in files]

    def _hash_one(self, file: SourceFile) -> Part:
        hashes = RunningHashes()
        self.hash_on(file, hashes, file.size_bytes)
        return hashes.part(file.path)

    def _read_some(self, fd: int, file: SourceFile, offset: int, length: int) -> bytes:
        data = self._fs.pread(fd, length, offset)
        if not data:
            raise self.faults.changed(file.path)
        return data

    def _path(self, path: str) -> str:
        return f"{self._top}/{path}" if self._top and path else self._top or path


def check_same(
    before: Iterable[SourceFile], now: Iterable[SourceFile], faults: SourceFaults
) -> None:
    """Compare two listings: names, inodes, sizes and times.

    Raises:
        SourceChangedError: they differ; it names the first file that does.
    """
    differing = set(before) ^ set(now)
    if differing:
        raise faults.changed(min((file.path for file in differing), key=str.encode))


def _state(facts: os.stat_result) -> State:
    return (
        facts.st_dev,
        facts.st_ino,
        facts.st_size,
        facts.st_mtime_ns,
        # Not even somebody who sets the file's times can set this one.
        facts.st_ctime_ns,
    )
