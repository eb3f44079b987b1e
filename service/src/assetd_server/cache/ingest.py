"""Bytes on their way in: staged below `.assetd/staging`, hashed as they are written, made durable.

Nothing here is visible at a final path; `cache.publish` shows it. A staged version lives in
`staging/<key>/`: `data` is the file or the folder, `receipt` waits beside a file, `journal` says
what is written, for whoever goes on after us. All methods block, and may run in several threads at
once for different parts.
"""

import errno
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

from awscrt import checksums

from assetd_server.cache.journal import Journal, Written
from assetd_server.cache.kept import KeptPart, keep_proven
from assetd_server.cache.layout import STAGING, AssetsDir, VersionPaths, os_errors
from assetd_server.cache.linux import Buffer, write_at
from assetd_server.cache.receipt import Receipt
from assetd_server.errors import AssetError
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
    """A part that came in one piece, of the object that `etag` names, ready to be written."""

    part: Part
    data: Sequence[Buffer]
    etag: str = ""


class StagedPart:
    """One file that grows in staging, range by range, in any order and from any thread."""

    def __init__(self, staged: "StagedVersion", part: Part, fd: int) -> None:
        self.staged = staged
        self._fs = staged.fs
        self.fd = fd
        self.part = part

    def write(self, offset: int, data: Sequence[Buffer]) -> None:
        """Write one range, and let the kernel begin to write it out.

        Raises:
            DiskFullError, IoError: the range may be written in part; discard the staged version.
        """
        with self.staged.condemning():
            self.start_writeback(offset, write_at(self._fs, self.fd, data, offset))

    def start_writeback(self, offset: int, length: int) -> None:
        """Let the kernel begin to write a range out.

        Raises:
            OSError: the file is not to be trusted.
        """
        try:
            self._fs.start_writeback(self.fd, offset, length)
        except OSError as error:
            if error.errno not in _NO_WRITEBACK_HINT:
                raise

    def fsync(self) -> None:
        """Return when the file's bytes are on stable storage. After a failure never repeat it."""
        self._fs.fsync(self.fd)

    def close(self) -> None:
        """Close the file. Idempotent."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            self._fs.close(fd)


class StagedVersion:
    """One version in staging. The flight of the version is its only writer.

    `kept` holds what an earlier flight left of it; `discard` or `suspend` has the last word.
    """

    def __init__(
        self,
        assets_dir: AssetsDir,
        paths: VersionPaths,
        kind: AssetKind,
        parts: Sequence[Part] | None = None,
    ) -> None:
        """Go on with what an earlier flight, or run, left in staging of these very `parts`.

        Of that is kept what its bytes prove, which are read; all else is deleted. What comes in
        from now on is journalled. Without `parts` nothing is kept, now or later.

        Raises:
            ReadOnlyError, DiskFullError, IoError: ASSETS_DIR cannot take it.
        """
        self.fs = assets_dir.fs
        self.paths = paths
        self.kind = kind
        self.kept: dict[PartPath, KeptPart] = {}
        self._dir = assets_dir
        self._open_parts: set[StagedPart] = set()
        self._file_count = 0
        self._needs_syncfs = False
        self._condemned = False
        self._sync_fd = -1
        self._journal: Journal | None = None
        self._folders_made = {self.data if kind is AssetKind.DIRECTORY else self.folder}
        assets_dir.staging_keys.begin(paths.key)
        self._is_in_use = True
        try:
            with os_errors(paths.data):
                self._begin(parts)
        except AssetError:
            # Nobody gets a version to discard, where this fails half-way.
            self.discard()
            raise

    def _begin(self, parts: Sequence[Part] | None) -> None:
        if parts is not None:
            # What cannot be read or synced is no failure of this flight: it begins with new files.
            with suppress(OSError):
                self.kept = keep_proven(self._dir, self.folder, self.data, self.kind, parts)
        if not self.kept:
            self._dir.remove_tree(self.folder)
        (folder,) = self._folders_made
        with self._dir.ensured_folder(folder):
            pass
        # syncfs tells of write errors since its descriptor was opened: before the first write.
        self._sync_fd = self.fs.open(self._dir.fd, self.folder, os.O_RDONLY | os.O_DIRECTORY)
        if parts is not None:
            kept = [written for part in self.kept.values() for written in part.ranges]
            self._journal = Journal(self._dir, self.folder, self.kind, parts, kept)

    @contextmanager
    def condemning(self) -> Iterator[None]:
        """Give the system's errors their meaning; after one nothing staged is ever kept."""
        try:
            with os_errors(self.paths.data):
                yield
        except AssetError:
            self._condemned = True
            raise

    @property
    def folder(self) -> str:
        """Where this version is staged, relative to ASSETS_DIR."""
        return f"{STAGING}/{self.paths.key}"

    @property
    def data(self) -> str:
        """The staged file or folder, relative to ASSETS_DIR."""
        return f"{self.folder}/{DATA}"

    @property
    def kept_bytes(self) -> int:
        """How many bytes need not come again."""
        return sum(part.byte_count for part in self.kept.values())

    def add_part(self, part: Part) -> StagedPart:
        """Create a part that will be written range by range."""
        with self.condemning():
            return self._open_part(part, _NEW_FILE)

    def resume_part(self, kept: KeptPart) -> StagedPart:
        """Open a part of which some ranges were kept."""
        with self.condemning():
            return self._open_part(kept.part, os.O_RDWR)

    def _open_part(self, part: Part, flags: int) -> StagedPart:
        fd = self.fs.open(self._dir.fd, self._part(part.path, make_folders=True), flags)
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
            with self.condemning():
                self._open_parts.discard(part)
                part.close()

    def drop_part(self, part: StagedPart) -> None:
        """Delete a part of which a second try is due."""
        with self.condemning():
            self._open_parts.discard(part)
            part.close()
            self._delete_part(part.part)

    def keep(self, kept: KeptPart) -> None:
        """Take note that a part is staged and proven, whatever it came from."""
        self.record(kept.ranges)
        self.kept[kept.part.path] = kept

    def drop_kept(self, kept: KeptPart) -> None:
        """Delete a part that was kept and is another one in the store by now."""
        with self.condemning():
            self._delete_part(kept.part)

    def _delete_part(self, part: Part) -> None:
        self._dir.remove_tree(self._part(part.path))
        if self._journal is not None:
            self._journal.drop(part.path)

    def record(self, written: Sequence[Written]) -> None:
        """Journal what has been written, so that a later flight may keep it."""
        if self._journal is not None and written:
            with self.condemning():
                self._journal.add(written)

    def write_small(self, batch: Iterable[SmallPart]) -> list[int]:
        """Write parts that came in one piece; return the crc64nvme of each, in order.

        A part whose checksum is not the one that it should have is not written. One call a batch:
        the hop into a thread costs more than a small file does.
        """
        found, written = [], []
        for small in batch:
            part, checksum = small.part, checksum_of(small.data)
            found.append(checksum)
            if part.crc64nvme in (None, checksum):
                staged = self.add_part(part)
                staged.write(0, small.data)
                self.end_part(staged)
                length = sum(map(len, small.data))
                written.append(Written(part.path, 0, length, checksum, small.etag))
        self.record(written)
        return found

    def seal(self, receipt: Receipt) -> None:
        """Put the receipt in place and return when all of it is on stable storage.

        A failure condemns the staged version: discard it, never seal it again.

        Raises:
            DiskFullError, IoError: it is not durable.
        """
        with self.condemning():
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

    def suspend(self) -> None:
        """Close, and leave what is journalled to the next flight of the version. Idempotent.

        What was condemned, or is worth nothing, is discarded.
        """
        try:
            self.close()
        finally:
            if self._condemned or self._journal is None or self._journal.is_empty:
                self.discard()
            else:
                self._end_use()

    def discard(self) -> None:
        """Close and delete what is staged. Idempotent; the last word of every other end."""
        try:
            self.close()
        finally:
            try:
                with os_errors(self.paths.data):
                    self._dir.remove_tree(self.folder)
            finally:
                self._end_use()

    def _end_use(self) -> None:
        was_in_use, self._is_in_use = self._is_in_use, False
        if was_in_use:
            self._dir.staging_keys.end(self.paths.key)

    def close(self) -> None:
        """Close all descriptors, whatever closing one of them says. Idempotent."""
        parts, self._open_parts = self._open_parts, set()
        fd, self._sync_fd = self._sync_fd, -1
        with self.condemning(), ExitStack() as stack:
            if fd >= 0:
                stack.callback(self.fs.close, fd)
            if self._journal is not None:
                stack.callback(self._journal.close)
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


def write_range(part: StagedPart, offset: int, data: Sequence[Buffer], etag: str = "") -> Written:
    """Write one range of the object that `etag` names, and journal it, in one hop into a thread."""
    part.write(offset, data)
    length = sum(map(len, data))
    written = Written(part.part.path, offset, length, checksum_of(data), etag)
    part.staged.record([written])
    return written


def write_new(assets_dir: AssetsDir, path: str, content: bytes) -> None:
    """Write a small file of our own aside and fsync it; whatever stood there is replaced."""
    with assets_dir.opened(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC) as fd:
        write_at(assets_dir.fs, fd, [content], 0)
        assets_dir.fs.fsync(fd)
