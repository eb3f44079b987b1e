"""ASSETS_DIR that is taken away, made immutable, or put together from several file systems.

Cases 32, 33, 34 and 57 of docs/faults.md.
"""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from assetd import CacheFullError, ReadOnlyError, UnsafePathError
from assetd.v1.cache_service_pb2 import EvictResponse

from tests.support.daemon import Daemon, Daemons
from tests.support.small_disk import SmallDisks, small_disks
from tests.support.trees import read_tree, write_tree

__all__ = ["small_disks"]

pytestmark = pytest.mark.xdist_group("disk")

TREE = {"config.json": b"{}", "sub/weights": b"weights"}
Entry = EvictResponse.Entry
NAMES = ("some/file", "some/folder")


@pytest.fixture
def store(daemons: Daemons, tmp_path: Path) -> Path:
    """A store with a file and a folder."""
    with daemons(assets_dir=tmp_path / "filler", store=tmp_path / "store").client() as client:
        write_tree(tmp_path / "sources", {"file": b"content"})
        client.push(tmp_path / "sources/file", "some/file")
        client.push(write_tree(tmp_path / "sources/folder", TREE), "some/folder")
    return tmp_path / "store"


@contextmanager
def immutable(path: Path) -> Iterator[None]:
    """Nobody, root included, may make, rename or remove an entry of the folder during the block."""
    _chattr("+i", path)
    try:
        yield
    finally:
        _chattr("-i", path)


def _chattr(how: str, path: Path) -> None:
    subprocess.run(["chattr", how, path], check=True, capture_output=True)


@pytest.mark.needs_program("chattr")
def test_a_folder_that_nobody_may_change(
    small_disks: SmallDisks, daemons: Daemons, store: Path
) -> None:
    """Where the operating system forbids a change, it is READ_ONLY, and nothing is left over."""
    daemon = daemons(assets_dir=small_disks.mount(size="8m"), store=store)
    folder = daemon.assets_dir / "some"
    with daemon.client() as client:
        for name in NAMES:
            (daemon.assets_dir / name).mkdir(parents=True)
            with immutable(daemon.assets_dir / name):
                with pytest.raises(ReadOnlyError) as refused:
                    client.fetch(name)
                assert refused.value.metadata["error"] == "EPERM"
                assert daemon.leftovers() == []
            client.fetch(name)
        with immutable(folder):
            assert read_tree(client.fetch("some/folder").path) == TREE


@pytest.mark.parametrize("name", NAMES)
def test_another_file_system_below_a_name(
    small_disks: SmallDisks, daemons: Daemons, store: Path, name: str
) -> None:
    """A rename into another file system fails, and is never made up for by copying."""
    daemon = daemons(assets_dir=small_disks.mount(size="8m"), store=store)
    other = small_disks.mount(at=daemon.assets_dir / name, size="8m")
    with daemon.client() as client:
        with pytest.raises(UnsafePathError) as refused:
            client.fetch(name)
        assert refused.value.metadata["error"] == "EXDEV"
        assert list(other.iterdir()) == []
        assert daemon.leftovers() == []
        small_disks.unmount(other)
        client.fetch(name)


def taken_away(daemon: Daemon, disks: SmallDisks, how: str) -> Path:
    """Take ASSETS_DIR away under the daemon and return what stands at its path instead."""
    if how == "unmounted":
        disks.unmount(daemon.assets_dir)
    else:
        daemon.assets_dir.rename(daemon.assets_dir.with_name("elsewhere"))
        daemon.assets_dir.mkdir()
    return daemon.assets_dir


@pytest.mark.parametrize("how", ["unmounted", "renamed"])
def test_an_assets_dir_that_is_taken_away(
    small_disks: SmallDisks, daemons: Daemons, store: Path, tmp_path: Path, how: str
) -> None:
    """An answer names what a caller finds: where ASSETS_DIR is gone, it is `UNSAFE_PATH`."""
    assets_dir = tmp_path / "assets"
    small_disks.mount(at=assets_dir, size="8m") if how == "unmounted" else assets_dir.mkdir()
    daemon = daemons(assets_dir=assets_dir, store=store)
    with daemon.client() as client:
        client.fetch("some/file")
        instead = taken_away(daemon, small_disks, how)
        for name in NAMES:
            with pytest.raises(UnsafePathError):
                client.fetch(name)
        assert list(instead.iterdir()) == []


@pytest.mark.needs_program("bindfs")
@pytest.mark.skipif(not Path("/dev/fuse").exists(), reason="this kernel has no FUSE")
def test_a_file_system_in_user_space(
    small_disks: SmallDisks, daemons: Daemons, store: Path, tmp_path: Path
) -> None:
    """On FUSE all is served, and nothing evicted: the daemon says that locks may not be kept."""
    (tmp_path / "behind").mkdir()
    (assets_dir := tmp_path / "fuse").mkdir()
    small_disks.fuse(tmp_path / "behind", assets_dir)
    limit_bytes = sum(map(len, TREE.values()))
    daemon = daemons(
        assets_dir=assets_dir, store=store, variables={"ASSETD_CACHE_MAX_BYTES": str(limit_bytes)}
    )
    with daemon.client() as client:
        assert read_tree(client.fetch("some/folder").path) == TREE
        with pytest.raises(CacheFullError, match="nothing is evicted"):
            client.fetch("some/file")
        (entry,) = client.evict("some/folder:0.0").entries
        status = client.status()
        assert (entry.outcome, status.evictable_bytes) == (Entry.OUTCOME_LEASED, 0)
        (warning,) = status.warnings
        assert "FUSE" in warning
        assert read_tree(client.fetch("some/folder").path) == TREE
    assert daemon.stop() == 0
    small_disks.unmount(assets_dir)
    assert read_tree(tmp_path / "behind/some/folder/0.0") == TREE
