"""Bytes on their way in: staged below `.assetd/staging`, hashed as they are written, made durable.

Nothing here is visible at a final path; `cache.publish` shows it. A staged version lives in
`staging/<key>/`: `data` is the file or the folder, `receipt` waits beside a file. All methods
block, and may run in several threads at once for different parts.
"""

import errno
import os
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass

from awscrt import checksums

from assetd_server.cache.layout import STAGING, AssetsDir, VersionPaths, os_errors
from assetd_server.cache.linux import Buffer, write_at
from assetd_server.cache.receipt import Receipt
from assetd_server.errors import DiskFullError
from assetd_server.manifest import Part
from assetd_server.model import MARKER_NAME, AssetKind, PartPath

DATA = "data"
RECEIPT = "receipt"

# Above this many files one syncfs costs less than an fsync for each.
SYNCFS_ABOVE_FILES = 16
_NEW_FILE = os.O_RDWR | os.O_CREAT | os.O_EXCL
# Not every file system knows sync_file_range; it is a hint, and fsync follows.
_NO_WRITEBACK_HINT = {errno.ENOSYS, errno.EINVAL, errno.ESPIPE, errno.EOPNOTSUPP}


@dataclass(frozen=True)
class SmallPart:
    """A part that came in one piece, ready to be written."""

    part: Part
    data: Sequence[Buffer]


class StagedPart:
    """One file that grows in staging, range by range, in any order and from any thread."""

    def __init__(self, staged: "StagedVersion", part: Part, fd: int) -> None:
        self._staged = staged
        self._fd = fd
        self.part = part

    def write(self, offset: int, data: Sequence[Buffer]) -> None:
        """Write one range, and let the kernel begin to write it out.

        Raises:
            DiskFullError, IoError: the range may be written in part; discard the staged version.
        """
        with os_errors(self._staged.paths.data):
            self._hint_writeback(offset, write_at(self._staged.fs, self._fd, data, offset))

    def _hint_writeback(self, offset: int, length: int) -> None:
        try:
            self._staged.fs.start_writeback(self._fd, offset, length)
        except OSError as error:
            if error.errno not in _NO_WRITEBACK_HINT:
                raise

    def fsync(self) -> None:
        """Return when the file's bytes are on stable storage. After a failure never repeat it."""
        self._staged.fs.fsync(self._fd)

    def close(self) -> None:
        """Close the file. Idempotent."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            self._staged.fs.close(fd)


class StagedVersion:
    """One version in staging. The flight of the version is its only writer."""

    def __init__(self, assets_dir: AssetsDir, paths: VersionPaths, kind: AssetKind) -> None:
        """Start anew, dropping whatever an earlier run left of this version in staging.

        Raises:
            ReadOnlyError, DiskFullError, IoError: ASSETS_DIR cannot take it.
        """
        self.fs = assets_dir.fs
        self.paths = paths
        self.kind = kind
        self._dir = assets_dir
        self._open_parts: set[StagedPart] = set()
        self._file_count = 0
        self._needs_syncfs = False
        with os_errors(paths.data):
            assets_dir.remove_tree(self.folder)
            folder = self.data if kind is AssetKind.DIRECTORY else self.folder
            self._folders_made = {folder}
            try:
                self._sync_fd = self._begin(folder)
            except OSError:
                # Nobody gets a version to discard, where this fails half-way.
                assets_dir.remove_tree(self.folder)
                raise

    def _begin(self, folder: str) -> int:
        with self._dir.ensured_folder(folder):
            pass
        # syncfs tells of write errors since its descriptor was opened: before the first write.
        return self.fs.open(self._dir.fd, self.folder, os.O_RDONLY | os.O_DIRECTORY)

    @property
    def folder(self) -> str:
        """Where this version is staged, relative to ASSETS_DIR."""
        return f"{STAGING}/{self.paths.key}"

    @property
    def data(self) -> str:
        """The staged file or folder, relative to ASSETS_DIR."""
        return f"{self.folder}/{DATA}"

    def require_room(self, total_bytes: int) -> None:
        """Check, before the first byte, that the disk can take the version.

        Raises:
            DiskFullError: it cannot; the message says how much is needed and free.
        """
        with os_errors(self.paths.data):
            free = self._dir.free_bytes()
        if total_bytes > free:
            raise DiskFullError(
                "{name}:{version} needs {needed_bytes} bytes, and the disk of ASSETS_DIR has"
                " {free_bytes} left: free some, or point ASSETS_DIR at a larger disk",
                name=self.paths.name,
                version=self.paths.version,
                needed_bytes=total_bytes,
                free_bytes=free,
            )

    def add_part(self, part: Part) -> StagedPart:
        """Create a part that will be written range by range."""
        with os_errors(self.paths.data):
            fd = self.fs.open(self._dir.fd, self._part(part.path, make_folders=True), _NEW_FILE)
            staged = StagedPart(self, part, fd)
            self._open_parts.add(staged)
            self._file_count += 1
            return staged

    def end_part(self, part: StagedPart) -> None:
        """Take note that a part has all its bytes."""
        # A descriptor that stays open hears of every write error at its fsync. Many files are
        # synced by syncfs, whose own descriptor hears of them.
        if self._file_count > SYNCFS_ABOVE_FILES:
            self._needs_syncfs = True
            with os_errors(self.paths.data):
                self._open_parts.discard(part)
                part.close()

    def drop_part(self, part: StagedPart) -> None:
        """Delete a part of which a second try is due."""
        with os_errors(self.paths.data):
            self._open_parts.discard(part)
            part.close()
            self._dir.remove_tree(self._part(part.part.path))

    def write_small(self, batch: Iterable[SmallPart]) -> list[int]:
        """Write parts that came in one piece; return the crc64nvme of each, in order.

        A part whose checksum is not the one that it should have is not written. One call a batch:
        the hop into a thread costs more than a small file does.
        """
        return [self._write_one(small) for small in batch]

    def _write_one(self, small: SmallPart) -> int:
        checksum = checksum_of(small.data)
        if small.part.crc64nvme in (None, checksum):
            staged = self.add_part(small.part)
            staged.write(0, small.data)
            self.end_part(staged)
        return checksum

    def seal(self, receipt: Receipt) -> None:
        """Put the receipt in place and return when all of it is on stable storage.

        A failure condemns the staged version: discard it, never seal it again.

        Raises:
            DiskFullError, IoError: it is not durable.
        """
        with os_errors(self.paths.data):
            in_folder = self.kind is AssetKind.DIRECTORY
            marker = f"{self.data}/{MARKER_NAME}" if in_folder else f"{self.folder}/{RECEIPT}"
            write_new(self._dir, marker, receipt.encode())
            if self._needs_syncfs:
                self.fs.syncfs(self._sync_fd)
                return
            for part in self._open_parts:
                part.fsync()
            for folder in self._folders(receipt):
                self._dir.fsync(folder)

    def _folders(self, receipt: Receipt) -> list[str]:
        """The staged folders, deepest first."""
        if self.kind is AssetKind.FILE:
            return [self.folder]
        folders = {self.data}
        for part in receipt.manifest.parts:
            path = f"{self.data}/{part.path}"
            while (path := path.rpartition("/")[0]) != self.data:
                folders.add(path)
        return sorted(folders, key=len, reverse=True)

    def discard(self) -> None:
        """Close and delete what is staged. Idempotent; the last word of every failure."""
        try:
            self.close()
        finally:
            with os_errors(self.paths.data):
                self._dir.remove_tree(self.folder)

    def close(self) -> None:
        """Close all descriptors, whatever closing one of them says. Idempotent."""
        parts, self._open_parts = self._open_parts, set()
        fd, self._sync_fd = self._sync_fd, -1
        with os_errors(self.paths.data), ExitStack() as stack:
            if fd >= 0:
                stack.callback(self.fs.close, fd)
            for part in parts:
                stack.callback(part.close)

    def _part(self, part: PartPath, *, make_folders: bool = False) -> str:
        path = f"{self.data}/{part}" if part else self.data
        if make_folders and "/" in part:
            self._make_folders(path.rpartition("/")[0])
        return path

    def _make_folders(self, folder: str) -> None:
        """Make staged folders without syncing each: `seal` syncs them all."""
        if folder in self._folders_made:
            return
        above, _, leaf = folder.rpartition("/")
        self._make_folders(above)
        with self._dir.folder(above) as fd, suppress(FileExistsError):
            self.fs.mkdir(fd, leaf)
        self._folders_made.add(folder)


def checksum_of(data: Sequence[Buffer], checksum: int = 0) -> int:
    """Return the crc64nvme of bytes that lie in several buffers, continuing `checksum`."""
    for buffer in data:
        checksum = checksums.crc64nvme(buffer, checksum)
    return checksum


def write_range(part: StagedPart, offset: int, data: Sequence[Buffer]) -> int:
    """Write one range and return its crc64nvme, in one hop into a thread."""
    part.write(offset, data)
    return checksum_of(data)


def write_new(assets_dir: AssetsDir, path: str, content: bytes) -> None:
    """Write a small file of our own aside and fsync it; whatever stood there is replaced."""
    with assets_dir.opened(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC) as fd:
        write_at(assets_dir.fs, fd, [content], 0)
        assets_dir.fs.fsync(fd)


def combine(first: int, second: int, second_length: int) -> int:
    """Return the crc64nvme of two neighbouring ranges from that of each."""
    combined: int = checksums.combine_crc64nvme(first, second, second_length)
    return combined
