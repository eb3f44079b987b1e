"""Leases: who uses a version, and what waits for nobody."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from assetd_server.cache.layout import AssetsDir
from assetd_server.cache.leases import exclusive, is_leased, same_inode, take_lease
from assetd_server.errors import AssetInUseError, IoError, UnsafePathError

from tests.support.file_systems import FaultyFileSystem
from tests.support.versions import PATHS, Content, marker_path, put, put_ours

FILE = b"content"
TREE = {"a": b"one"}
both_kinds = pytest.mark.parametrize("content", [FILE, TREE], ids=["file", "directory"])


@contextmanager
def locked(path: Path, operation: int) -> Iterator[None]:
    """Hold a lock as another process would: through an open file of its own."""
    fd = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(fd, operation)
        yield
    finally:
        os.close(fd)


def can_lock(path: Path) -> bool:
    """Whether nobody at all has a lock on it."""
    try:
        with locked(path, fcntl.LOCK_EX | fcntl.LOCK_NB):
            return True
    except BlockingIOError:
        return False


@both_kinds
def test_a_lease_is_a_shared_lock_on_the_version(
    assets_dir: AssetsDir, root: Path, content: Content
) -> None:
    """Any number may share it; nobody gets the version alone until the last one is over."""
    put_ours(root, content)
    first, second = take_lease(assets_dir, PATHS), take_lease(assets_dir, PATHS)
    assert first is not None
    assert second is not None
    first.release()
    first.release()
    assert is_leased(assets_dir, PATHS)
    with pytest.raises(AssetInUseError), exclusive(assets_dir, PATHS):
        pytest.fail("the lease did not hold")
    second.release()
    assert not is_leased(assets_dir, PATHS)
    assert can_lock(root / PATHS.data)


@both_kinds
@pytest.mark.parametrize("marker", [b"", None], ids=["modelkit", "unmarked"])
def test_a_lease_needs_a_marker_where_there_is_a_store(
    assets_dir: AssetsDir, root: Path, content: Content, marker: bytes | None
) -> None:
    """Anybody's marker; data alone only where no store is configured."""
    put(root, content, marker=marker)
    lease = take_lease(assets_dir, PATHS)
    assert (lease is not None) is (marker is not None)
    unmarked = take_lease(assets_dir, PATHS, unmarked=True)
    assert unmarked is not None
    for taken in (lease, unmarked):
        if taken:
            taken.release()


def test_nothing_to_lease(assets_dir: AssetsDir, root: Path) -> None:
    """Absent, or only a marker: none, and nobody uses it."""
    assert take_lease(assets_dir, PATHS) is None
    put_ours(root, FILE)
    (root / PATHS.data).unlink()
    assert take_lease(assets_dir, PATHS) is None
    assert not is_leased(assets_dir, PATHS)


def test_no_lease_while_the_version_is_being_replaced(assets_dir: AssetsDir, root: Path) -> None:
    """Who finds it locked exclusively looks again; there is no waiting."""
    put_ours(root, FILE)
    with exclusive(assets_dir, PATHS):
        assert take_lease(assets_dir, PATHS) is None
    lease = take_lease(assets_dir, PATHS)
    assert lease is not None
    lease.release()


@both_kinds
def test_a_lease_on_what_is_gone_is_none(
    assets_dir: AssetsDir, root: Path, fs: FaultyFileSystem, content: Content
) -> None:
    """The inode is compared last: data moved away after the marker was seen is not leased."""
    put_ours(root, content)
    marker = str(marker_path(root, content).relative_to(root))

    def evict() -> None:
        (root / PATHS.data).rename(root / "trash")

    # Right after the look at the marker, which is the first entry that is looked at.
    fs.before("lstat", evict, number=2)
    assert take_lease(assets_dir, PATHS) is None
    looked_at = [call.paths[0] for call in fs.named("flock", "lstat")]
    assert looked_at == [PATHS.data, marker, PATHS.data]
    assert can_lock(root / "trash")


def test_a_lease_begins_before_the_version_can_be_replaced(
    assets_dir: AssetsDir, root: Path, fs: FaultyFileSystem
) -> None:
    """The lock comes before the looks: whoever would replace it then is refused."""
    put_ours(root, FILE)
    found: list[bool] = []
    fs.before("lstat", lambda: found.append(can_lock(root / PATHS.data)))
    lease = take_lease(assets_dir, PATHS)
    assert found == [False]
    assert lease is not None
    lease.release()


def test_exclusive_takes_what_stands_at_the_end(
    assets_dir: AssetsDir, root: Path, fs: FaultyFileSystem
) -> None:
    """Data that was replaced between opening and locking is not what has to be kept away."""
    put_ours(root, FILE)

    def replace() -> None:
        (root / "new").write_bytes(b"other")
        (root / "new").rename(root / PATHS.data)

    fs.before("flock", replace)
    with exclusive(assets_dir, PATHS):
        assert not can_lock(root / PATHS.data)
    assert can_lock(root / PATHS.data)


def test_exclusive_where_nothing_stands(assets_dir: AssetsDir) -> None:
    """There is nothing to lock."""
    with exclusive(assets_dir, PATHS):
        assert same_inode(assets_dir, assets_dir.fd, PATHS.data) is False


def test_a_reader_of_another_process_counts(assets_dir: AssetsDir, root: Path) -> None:
    """The kernel knows of everybody who mounts the folder; the error names the version."""
    put_ours(root, FILE)
    with locked(root / PATHS.data, fcntl.LOCK_SH):
        assert is_leased(assets_dir, PATHS)
        with pytest.raises(AssetInUseError, match=r"some/asset:0\.1"):
            exclusive(assets_dir, PATHS).__enter__()
    assert not is_leased(assets_dir, PATHS)


def test_a_failure_leaves_no_lease_behind(
    assets_dir: AssetsDir, root: Path, fs: FaultyFileSystem
) -> None:
    """A lock that cannot be checked is dropped: it would keep the version for ever."""
    put_ours(root, FILE)
    fs.fail(1, 5, "lstat")
    with pytest.raises(IoError):
        take_lease(assets_dir, PATHS)
    fs.fail(1, 5, "lstat")
    with pytest.raises(OSError, match="Input/output"):
        exclusive(assets_dir, PATHS).__enter__()
    assert can_lock(root / PATHS.data)


def test_closing_badly_ends_a_lease_all_the_same(
    assets_dir: AssetsDir, root: Path, fs: FaultyFileSystem
) -> None:
    """Linux drops the descriptor in any case; nothing was written, so nothing is lost."""
    put_ours(root, FILE)
    lease = take_lease(assets_dir, PATHS)
    assert lease is not None
    fs.fail(1, 5, "close")
    lease.release()
    assert can_lock(root / PATHS.data)


def test_a_link_is_not_leased(assets_dir: AssetsDir, root: Path) -> None:
    """What it leads to is not ours to lock."""
    (root / PATHS.folder).mkdir(parents=True)
    (root / PATHS.data).symlink_to(root.parent)
    with pytest.raises(UnsafePathError):
        take_lease(assets_dir, PATHS)
