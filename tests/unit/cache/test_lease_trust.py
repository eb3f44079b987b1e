"""The self-test of leases: where a lock keeps nobody off, nothing may be evicted."""

import errno
from pathlib import Path

import pytest
from assetd_server.cache.layout import AssetsDir
from assetd_server.cache.leases import exclusive, is_leased, leases_are_kept, take_lease
from assetd_server.cache.recover import recover

from tests.support.file_systems import FaultyFileSystem
from tests.support.versions import PATHS, put_ours


class LocklessFileSystem(FaultyFileSystem):
    """Every lock is granted to everybody, as on some network file systems."""

    def flock(self, fd: int, operation: int) -> None:  # noqa: ARG002 - whatever it is
        self._begin("flock", self._of(fd))


class NamedFileSystem(FaultyFileSystem):
    """Says that it is of another type."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self._kind = kind

    def file_system_type(self, fd: int) -> str:  # noqa: ARG002 - of whatever
        return self._kind


def is_trusted(root: Path, fs: FaultyFileSystem) -> bool:
    """What a start finds out."""
    assets_dir = AssetsDir(str(root), fs)
    try:
        recovered = recover(assets_dir)
        assert recovered.writable, "hits and downloads need no locks"
        return recovered.leases_trusted
    finally:
        assets_dir.close()


def test_a_local_file_system_is_trusted(root: Path) -> None:
    """Its kernel knows all who hold a lock."""
    assert is_trusted(root, FaultyFileSystem())


def test_locks_that_everybody_gets_are_none(root: Path) -> None:
    """Two get what only one can have: nobody knows who uses what."""
    assert not is_trusted(root, LocklessFileSystem())


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK, errno.EBADF, errno.EOPNOTSUPP])
@pytest.mark.parametrize("number", [1, 2])
def test_locks_that_fail_are_none(root: Path, code: int, number: int) -> None:
    """Whatever the system says, and to whichever of the two: no reason not to start."""
    fs = FaultyFileSystem()
    fs.fail(number, code, "flock")
    assert not is_trusted(root, fs)
    assert fs.open_paths == []


def test_a_lock_that_nobody_gets_is_none(root: Path) -> None:
    """Where not even a shared one is to be had, no client can take a lease."""
    fs = FaultyFileSystem()
    fs.fail(1, errno.EWOULDBLOCK, "flock")
    assert not is_trusted(root, fs)


@pytest.mark.parametrize(
    ("kind", "trusted"),
    [
        ("ext4", True),
        ("xfs", True),
        ("overlay", True),
        ("", True),
        ("nfs4", False),
        ("9p", False),
        ("fuse", False),
        ("fuse.sshfs", False),
        ("fuseblk", True),
    ],
)
def test_what_others_mount_from_elsewhere_is_not_trusted(
    root: Path, kind: str, trusted: bool
) -> None:
    """Locks are not trusted on a file system that others mount from elsewhere.

    A lock there may be this machine's, or this mount's, alone.
    """
    assert is_trusted(root, NamedFileSystem(kind)) is trusted


def test_a_probe_is_nobodys_lease(assets_dir: AssetsDir, root: Path, fs: FaultyFileSystem) -> None:
    """Who looks for leases, and whom it meets in this daemon: neither takes the other for one."""
    put_ours(root, b"content")
    # In the middle of a probe the lock is taken: nobody of this daemon may try it then.
    fs.before("flock", lambda: taken.append(assets_dir.lease_probe.locked()), number=1)
    taken: list[bool] = []
    assert not is_leased(assets_dir, PATHS)
    fs.before("flock", lambda: taken.append(assets_dir.lease_probe.locked()), number=1)
    lease = take_lease(assets_dir, PATHS)
    assert lease is not None
    lease.release()
    fs.before("flock", lambda: taken.append(assets_dir.lease_probe.locked()), number=1)
    with exclusive(assets_dir, PATHS):
        pass
    assert taken == [True, True, True]


def test_the_self_test_leaves_no_lock(assets_dir: AssetsDir, fs: FaultyFileSystem) -> None:
    """A second look, as of the next start, finds the same."""
    for _ in range(2):
        assert leases_are_kept(assets_dir)
    assert len(fs.named("flock")) == 4
    assert fs.open_paths == [""]
