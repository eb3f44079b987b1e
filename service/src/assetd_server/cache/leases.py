"""Leases: the kernel's word that somebody uses a version (`layout.md`, "Lease").

A lease is a shared flock on the version itself, so it ends with the process that took it. The order
matters: lock, look at marker and data, and compare the inode *last*; with that comparison the lease
begins. Knows no gRPC and no store.
"""

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from assetd_server.cache.layout import (
    OWN_FOLDER,
    AssetsDir,
    VersionPaths,
    os_errors,
    try_flock,
)
from assetd_server.cache.linux import FileSystem
from assetd_server.errors import AssetInUseError
from assetd_server.model import AssetKind


class Lease:
    """A shared lock on a version that stands; as long as it is held nobody moves the version."""

    def __init__(self, assets_dir: AssetsDir, fd: int) -> None:
        self._dir = assets_dir
        self._fd: int | None = fd

    def release(self) -> None:
        """End the lease. Idempotent."""
        fd, self._fd = self._fd, None
        if fd is not None:
            close_lock(self._dir.fs, fd)


def close_lock(fs: FileSystem, fd: int) -> None:
    """Close a descriptor that only carried a lock; what the system says of it is no failure.

    Linux drops descriptor and lock in any case, and nothing was written through it.
    """
    with suppress(OSError):
        fs.close(fd)


def take_lease(
    assets_dir: AssetsDir, paths: VersionPaths, *, unmarked: bool = False
) -> Lease | None:
    """Return a lease on the version, or None where it does not stand complete or is being replaced.

    Whoever gets None looks again: there is no waiting for a lease. With `unmarked` (no store is
    configured) a version counts without its marker.

    Raises:
        UnsafePathError: a link stands in the way.
    """
    with os_errors(paths.data):
        try:
            fd = assets_dir.fs.open(assets_dir.fd, paths.data, os.O_RDONLY)
        except FileNotFoundError:
            return None
        try:
            if _begins(assets_dir, paths, fd, unmarked):
                return Lease(assets_dir, fd)
        except BaseException:
            assets_dir.fs.close(fd)
            raise
        assets_dir.fs.close(fd)
        return None


def try_lock(assets_dir: AssetsDir, fd: int, operation: int) -> bool:
    """Take a lock on an open version without waiting; False where somebody's lease is in the way.

    A probe of this process (`is_leased`), which takes a lock for a moment, never passes for one.
    """
    with assets_dir.lease_probe:
        return try_flock(assets_dir.fs, fd, operation)


def _begins(assets_dir: AssetsDir, paths: VersionPaths, fd: int, unmarked: bool) -> bool:
    if not try_lock(assets_dir, fd, fcntl.LOCK_SH):
        return False
    is_folder = stat.S_ISDIR(assets_dir.fs.fstat(fd).st_mode)
    kind = AssetKind.DIRECTORY if is_folder else AssetKind.FILE
    marked = unmarked or assets_dir.stat(paths.marker(kind)) is not None
    return marked and same_inode(assets_dir, fd, paths.data)


def same_inode(assets_dir: AssetsDir, fd: int, path: str) -> bool:
    """Tell whether the open file is still what stands at `path`."""
    facts, standing = assets_dir.fs.fstat(fd), assets_dir.stat(path)
    return standing is not None and (facts.st_dev, facts.st_ino) == (
        standing.st_dev,
        standing.st_ino,
    )


@contextmanager
def exclusive(assets_dir: AssetsDir, paths: VersionPaths) -> Iterator[None]:
    """Keep leases away from whatever stands at the final path, for the length of the block.

    Where nothing stands there is nothing to lock. Never waits: flock is not fair.

    Raises:
        AssetInUseError: somebody holds a lease on it.
    """
    fd = _lock_exclusively(assets_dir, paths)
    try:
        yield
    finally:
        if fd is not None:
            assets_dir.fs.close(fd)


def _lock_exclusively(assets_dir: AssetsDir, paths: VersionPaths) -> int | None:
    while True:
        try:
            fd = assets_dir.fs.open(assets_dir.fd, paths.data, os.O_RDONLY)
        except FileNotFoundError:
            return None
        try:
            if not try_lock(assets_dir, fd, fcntl.LOCK_EX):
                raise AssetInUseError(
                    "{name}:{version} is in use and has to be replaced: end the holds on it (see"
                    " `assetd status`) and fetch it again",
                    name=paths.name,
                    version=paths.version,
                )
            if same_inode(assets_dir, fd, paths.data):
                return fd
        except BaseException:
            assets_dir.fs.close(fd)
            raise
        assets_dir.fs.close(fd)


def is_leased(assets_dir: AssetsDir, paths: VersionPaths) -> bool:
    """Tell whether somebody, in this process or another, holds a lease on the version now."""
    with os_errors(paths.data):
        try:
            # The probe is itself a lock: no lease of this process may fail on it.
            with assets_dir.lease_probe, assets_dir.opened(paths.data) as fd:
                return not try_flock(assets_dir.fs, fd, fcntl.LOCK_EX)
        except FileNotFoundError:
            return False


# On these a lock may be one machine's, or one mount's, alone: whoever reads elsewhere is not seen.
_SHARED_FILE_SYSTEMS = {"9p", "afs", "ceph", "cifs", "glusterfs", "lustre", "nfs", "nfs4", "smb3"}


def leases_are_kept(assets_dir: AssetsDir) -> bool:
    """Tell whether the file system of ASSETS_DIR keeps an exclusive lock off a leased version.

    Tried once at the start of a run. Where it does not, nobody can know who uses what, and nothing
    is evicted.
    """
    return not _is_shared(assets_dir) and _locks_exclude(assets_dir)


def _locks_exclude(assets_dir: AssetsDir) -> bool:
    fs = assets_dir.fs
    try:
        with assets_dir.ensured_folder(OWN_FOLDER):
            pass
        # The folder stands in for a version: two descriptors of it are two holders.
        with assets_dir.folder(OWN_FOLDER) as reader, assets_dir.folder(OWN_FOLDER) as evictor:
            shares = try_flock(fs, reader, fcntl.LOCK_SH)
            return shares and not try_flock(fs, evictor, fcntl.LOCK_EX)
    except OSError:
        return False


def _is_shared(assets_dir: AssetsDir) -> bool:
    kind = assets_dir.fs.file_system_type(assets_dir.fd)
    return kind in _SHARED_FILE_SYSTEMS or kind.partition(".")[0] == "fuse"
