"""The root of a store in a directory: its paths, its locks, and what its failures mean.

Blocking; knows errno and flock, but not what an object or an upload is (`files.py`).
"""

import errno
import fcntl
import os
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from assetd_server.errors import (
    AssetError,
    DiskFullError,
    StoreAccessDeniedError,
    StoreUnavailableError,
)
from assetd_server.store.base import KeyNotFoundError

# Ours, and never listed. Beside it `.assetd/` holds keys like any other folder.
WORK_FOLDER = ".assetd/store"
LEFT_BEHIND_SECONDS = 24 * 3600
LOCK_COUNT = 256
# A key's lock is held for a few calls of the kernel, an upload's while a piece of it is written and
# synced: who has one for longer is stopped, or its disk is.
LOCK_PATIENCE_SECONDS = 10.0
_LONGEST_PAUSE_SECONDS = 0.01

_FULL = {errno.ENOSPC, errno.EDQUOT}
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}
# A name too long for the file system was never created, so it is as absent as any other.
_ABSENT = {errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG}


class LocalRoot:
    """The directory that holds a store. Never created: see `require`.

    `now_ns` is the wall clock in nanoseconds.
    """

    def __init__(self, root: Path, now_ns: Callable[[], int] = time.time_ns) -> None:
        self.url = root.as_uri()
        self.now_ns = now_ns
        self._path = root
        self._inode: int | None = None
        self._is_swept = False

    def path(self, key: str) -> Path:
        """Return the path of the file that holds `key`."""
        return self._path / key

    def work_path(self, folder: str, name: str) -> Path:
        """Return the path of a file of our own, in a folder that exists.

        `incoming` holds what is being written and is swept of what killed processes left there,
        once a run; `uploads` and `locks` are not.
        """
        self.require(name)
        path = self.path(f"{WORK_FOLDER}/{folder}")
        path.mkdir(parents=True, exist_ok=True)
        if not self._is_swept:
            self._is_swept = True
            self._sweep_incoming()
        return path / name

    def _sweep_incoming(self) -> None:
        oldest_ns = self.now_ns() - LEFT_BEHIND_SECONDS * 1_000_000_000
        for left in self.path(f"{WORK_FOLDER}/incoming").glob("*"):
            with suppress(FileNotFoundError):
                if left.lstat().st_mtime_ns < oldest_ns:
                    left.unlink()

    @contextmanager
    def key_lock(self, key: str) -> Iterator[None]:
        """Exclude whoever else replaces or removes `key`, in this process or another.

        Raises:
            StoreUnavailableError: somebody has the lock, and does not let it go.
        """
        # A fixed number of files, never removed: a lock file that is unlinked has two holders.
        name = f"{zlib.crc32(key.encode()) % LOCK_COUNT:02x}"
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        descriptor = os.open(self.work_path("locks", name), flags, 0o666)
        try:
            self.take_lock(key, descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def take_lock(self, key: str, descriptor: int, lock: int) -> None:
        """Lock an open file, once whoever has it has let it go.

        Raises:
            StoreUnavailableError: that takes too long. A process that was stopped must not stop
                all others.
        """
        pause_seconds = 0.0005
        deadline = time.monotonic() + LOCK_PATIENCE_SECONDS
        while True:
            with suppress(BlockingIOError):
                return fcntl.flock(descriptor, lock | fcntl.LOCK_NB)
            if time.monotonic() >= deadline:
                locked = Path(f"/proc/self/fd/{descriptor}").readlink()
                raise self.unavailable(
                    key, f"another process keeps {locked} locked; end it, or let it go on"
                )
            # The kernel tells nobody when a lock is let go, but who waits without end for it.
            time.sleep(pause_seconds)  # noqa: TID251
            pause_seconds = min(2 * pause_seconds, _LONGEST_PAUSE_SECONDS)

    def sync_folders(self, key: str) -> None:
        """Fsync every folder above the key: until then a power cut may undo what they hold.

        All of them, since another process may have made one and not have fsynced it yet; but those
        that are gone, as an empty folder is when a key needs its name, hold nothing any more.
        """
        folder = self.path(key)
        while folder != self._path:
            folder = folder.parent
            try:
                descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            except (FileNotFoundError, NotADirectoryError):
                continue
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def require(self, key: str) -> None:
        """Check that the root is there, and the one that was there at first.

        By its inode: a mount that is gone shows the empty folder beneath it, which is another one,
        and would pass for an empty store.

        Raises:
            StoreUnavailableError: it is not.
        """
        if not self._path.is_dir():
            raise self.unavailable(key, "the directory is missing; create or mount it")
        inode = self._path.stat().st_ino
        if self._inode is None:
            self._inode = inode
        if inode != self._inode:
            raise self.unavailable(
                key, "another directory has taken its place; mount the first again, or restart"
            )

    def absent(self, key: str) -> KeyNotFoundError:
        """Return the word that the key is absent, once it is sure that the store is there."""
        self.require(key)
        return KeyNotFoundError(key)

    @contextmanager
    def failures(self, key: str) -> Iterator[None]:
        """Turn what the operating system says into the failures of the contract."""
        try:
            yield
        except OSError as error:
            raise self._translated(key, error) from error

    def _translated(self, key: str, error: OSError) -> AssetError:
        cause = os.strerror(error.errno) if error.errno else type(error).__name__
        if error.errno in _FULL:
            return DiskFullError(
                "the disk of the store {store} has no room for {key!r}: {cause}; make room there",
                store=self.url,
                key=key,
                cause=cause,
            )
        if error.errno in _DENIED:
            return self.denied(key, cause)
        return self.unavailable(key, cause)

    def denied(self, key: str, cause: str) -> StoreAccessDeniedError:
        """Return the failure of a key that may not be touched."""
        return StoreAccessDeniedError(
            "the store {store} refuses access to {key!r}: {cause}",
            store=self.url,
            key=key,
            cause=cause,
        )

    def unavailable(self, key: str, cause: str) -> StoreUnavailableError:
        """Return the failure of a store that cannot be used now."""
        return StoreUnavailableError(
            "the store {store} cannot be used, at {key!r}: {cause}",
            store=self.url,
            key=key,
            cause=cause,
        )


def is_absence(error: OSError) -> bool:
    """Tell whether the error says that nothing stands at a path."""
    return error.errno in _ABSENT
