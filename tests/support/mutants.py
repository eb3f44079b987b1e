"""Seeded bugs: a harness is believed because it catches these.

Each is a file system that does something else than it is told, so that no module of ours is
touched. They stand below the recording: what they do beside their orders is numbered as well.
"""

import fcntl
import os
import stat
from contextlib import suppress

from assetd_server.cache.ingest import DATA, RECEIPT
from assetd_server.cache.linux import FileSystem, write_at
from assetd_server.model import MARKER_NAME

from tests.support.versions import PATHS

_CHUNK_BYTES = 1000


class _NoHint(FileSystem):
    """Nothing is written before it has to be: on an idle disk that hint alone hides many a bug."""

    def start_writeback(self, fd: int, offset: int, length: int) -> None:
        pass


class NoFileSync(_NoHint):
    """Files are never synced: after a power cut the name is there and the bytes are not."""

    def fsync(self, fd: int) -> None:
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            super().fsync(fd)


class NoFolderSync(FileSystem):
    """Folders are never synced: a power cut undoes the rename that a caller was told of."""

    def fsync(self, fd: int) -> None:
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            super().fsync(fd)


class NoFileSystemSync(_NoHint):
    """syncfs does nothing: many files, and what modelkit wrote, are not durable."""

    def syncfs(self, fd: int) -> None:
        os.fstat(fd)


class NoSync(NoFileSystemSync):
    """Nothing is ever synced, as under eatmydata."""

    def fsync(self, fd: int) -> None:
        os.fstat(fd)


class MarkerFirst(FileSystem):
    """A file's receipt is shown before its data: it vouches for what stood there before."""

    def rename(self, from_fd: int, name: str, to_fd: int, new_name: str) -> None:
        if name == DATA:
            self._rename_receipt(from_fd, to_fd, f".{new_name}{MARKER_NAME}")
        with suppress(FileNotFoundError):
            super().rename(from_fd, name, to_fd, new_name)

    def _rename_receipt(self, from_fd: int, to_fd: int, new_name: str) -> None:
        self.rename(from_fd, RECEIPT, to_fd, new_name)
        self.fsync(to_fd)


class InPlace(FileSystem):
    """A file that stands is truncated and written again, instead of being renamed over."""

    def rename(self, from_fd: int, name: str, to_fd: int, new_name: str) -> None:
        if name != DATA or stat.S_ISDIR(self.lstat(from_fd, name).st_mode):
            super().rename(from_fd, name, to_fd, new_name)
            return
        source = self.open(from_fd, name, os.O_RDONLY)
        target = self.open(to_fd, new_name, os.O_RDWR | os.O_CREAT)
        self.truncate(target, 0)
        offset = 0
        while chunk := self.pread(source, _CHUNK_BYTES, offset):
            offset += write_at(self, target, [chunk], offset)
        self.fsync(target)
        self.close(target)
        self.close(source)
        self.unlink(from_fd, name)


class TwoRenames(FileSystem):
    """What stands is moved away before the new tree is moved in: for a moment nothing stands."""

    def rename_exchange(self, from_fd: int, name: str, to_fd: int, new_name: str) -> None:
        self.rename(to_fd, new_name, from_fd, f"{name}.old")
        self.rename(from_fd, name, to_fd, new_name)
        self.rename(from_fd, f"{name}.old", from_fd, name)


class NoRecheck(FileSystem):
    """What is open is taken for what stands at its path: a lease may be on what is gone."""

    _open: os.stat_result | None = None

    def fstat(self, fd: int) -> os.stat_result:
        self._open = super().fstat(fd)
        return self._open

    def lstat(self, dir_fd: int, name: str) -> os.stat_result:
        facts = super().lstat(dir_fd, name)
        return facts if self._open is None or name != PATHS.leaf else self._open


class NoExclusion(FileSystem):
    """Whoever moves a version has its lock without asking: leases keep nobody away."""

    def flock(self, fd: int, operation: int) -> None:
        if not operation & fcntl.LOCK_EX:
            super().flock(fd, operation)


# By the name that a driver is told; "" is the real file system.
MUTANTS: dict[str, type[FileSystem]] = {
    "": FileSystem,
    "no-file-sync": NoFileSync,
    "no-folder-sync": NoFolderSync,
    "no-syncfs": NoFileSystemSync,
    "no-sync": NoSync,
    "marker-first": MarkerFirst,
    "in-place": InPlace,
    "two-renames": TwoRenames,
    "no-recheck": NoRecheck,
    "no-exclusion": NoExclusion,
}
