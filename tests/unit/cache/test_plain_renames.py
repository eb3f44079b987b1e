"""File systems that know no rename but the plain one: what they can keep is kept, else refused.

Case 35 of docs/faults.md. FUSE file systems and some network ones answer EINVAL, a sandbox that
forbids renameat2 ENOSYS.
"""

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from assetd_server.cache.layout import AssetsDir
from assetd_server.cache.linux import rename_new
from assetd_server.cache.lookup import Lookup
from assetd_server.cache.publish import Publisher, try_modelkit_lock
from assetd_server.cache.recover import recover
from assetd_server.errors import IoError, UnsafePathError

from tests.support.file_systems import FaultyFileSystem, Stopped
from tests.support.versions import (
    PATHS,
    Content,
    left_overs,
    modelkit_serves,
    put,
    put_ours,
    receipt_of,
    stage,
    standing,
)

FILE, OLD_FILE = b"new content", b"old"
TREE, OLD_TREE = {"a": b"new a", "sub/b": b"new b"}, {"a": b"old", "sub/c": b"old c"}


class PlainFileSystem(FaultyFileSystem):
    """Knows neither RENAME_NOREPLACE nor RENAME_EXCHANGE."""

    code = errno.EINVAL

    def rename_noreplace(self, from_fd: int, name: str, to_fd: int, new_name: str) -> None:
        self._begin("rename_noreplace", (self._at(from_fd, name), self._at(to_fd, new_name)))
        raise OSError(self.code, os.strerror(self.code))

    def rename_exchange(self, from_fd: int, name: str, to_fd: int, new_name: str) -> None:
        self._begin("rename_exchange", (self._at(from_fd, name), self._at(to_fd, new_name)))
        raise OSError(self.code, os.strerror(self.code))


@pytest.fixture
def fs() -> PlainFileSystem:
    """The file system of `assets_dir`."""
    return PlainFileSystem()


def publish(assets_dir: AssetsDir, content: Content) -> Lookup:
    """Stage and publish, as a flight does."""
    lookup, staged = Lookup(assets_dir), stage(assets_dir, content)
    try:
        lock = try_modelkit_lock(assets_dir, PATHS)
        assert lock is not None
        try:
            Publisher(assets_dir, lookup).publish(staged, receipt_of(content))
        finally:
            lock.release()
    finally:
        staged.discard()
    return lookup


both_codes = pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOSYS], ids=errno.errorcode.get)


@both_codes
@pytest.mark.parametrize("content", [FILE, TREE], ids=["file", "directory"])
def test_what_is_new_is_published(
    assets_dir: AssetsDir, root: Path, fs: PlainFileSystem, content: Content, code: int
) -> None:
    """A fetch of a version that is not there needs no more than a plain rename."""
    fs.code = code
    assert publish(assets_dir, content).hit(PATHS) == receipt_of(content)
    assert standing(root) == modelkit_serves(root) == content
    assert left_overs(root) == []


def test_a_file_replaces_a_file(assets_dir: AssetsDir, root: Path) -> None:
    """That was a plain rename all along."""
    put_ours(root, OLD_FILE)
    publish(assets_dir, FILE)
    assert standing(root) == FILE


def test_an_empty_folder_is_in_nobodys_way(assets_dir: AssetsDir, root: Path) -> None:
    """A modelkit that was killed leaves one; nothing in it can be lost."""
    (root / PATHS.data).mkdir(parents=True)
    publish(assets_dir, TREE)
    assert standing(root) == TREE


@both_codes
@pytest.mark.parametrize(
    ("old", "new"),
    [(OLD_TREE, TREE), (OLD_TREE, FILE), (OLD_FILE, TREE)],
    ids=["directory-over-directory", "file-over-directory", "directory-over-file"],
)
def test_what_only_an_exchange_could_replace_is_refused(
    assets_dir: AssetsDir, root: Path, fs: PlainFileSystem, old: Content, new: Content, code: int
) -> None:
    """Where a file system cannot exchange two entries, no directory takes or leaves a place.

    It is `UNSAFE_PATH`, with what to do; once it was moved away by hand the next fetch succeeds.
    """
    fs.code = code
    put(root, old, marker=b"")
    with pytest.raises(UnsafePathError) as refused:
        publish(assets_dir, new)
    assert refused.value.metadata == {"path": PATHS.data, "error": errno.errorcode[code]}
    assert standing(root) == old
    assert left_overs(root) == []
    shutil.rmtree(root / PATHS.folder)
    publish(assets_dir, new)
    assert standing(root) == new


def test_a_failure_is_no_refusal(assets_dir: AssetsDir, root: Path, fs: PlainFileSystem) -> None:
    """Another error than that of an unknown call keeps its meaning."""
    fs.fail(1, errno.EIO, "rename_noreplace")
    with pytest.raises(IoError):
        publish(assets_dir, TREE)
    assert standing(root) is None
    fs.fail(1, errno.EIO, "rename_exchange")
    put_ours(root, OLD_TREE)
    with pytest.raises(IoError):
        publish(assets_dir, TREE)
    assert standing(root) == OLD_TREE
    assert left_overs(root) == []


def every_root(scratch: Path) -> Iterator[tuple[int, Path]]:
    """An empty ASSETS_DIR for each call of a fetch, and the call's number."""
    counted, fs = scratch / "0", PlainFileSystem()
    counted.mkdir()
    assets_dir = AssetsDir(str(counted), fs)
    fs.calls.clear()
    publish(assets_dir, TREE)
    count = len(fs.calls)
    assets_dir.close()
    for number in range(1, count + 1):
        root = scratch / str(number)
        root.mkdir()
        yield number, root


def test_a_kill_at_any_call_is_mended_by_the_next_run(scratch: Path) -> None:
    """As on every other file system: absent or whole, and the next run makes it whole."""
    for number, root in every_root(scratch):
        fs = PlainFileSystem()
        assets_dir = AssetsDir(str(root), fs)
        fs.stop(number)
        with pytest.raises(Stopped):
            publish(assets_dir, TREE)
        assert standing(root) in (None, TREE)
        restarted = AssetsDir(str(root), PlainFileSystem())
        assert recover(restarted).writable
        if standing(root) is None:
            publish(restarted, TREE)
        assert Lookup(restarted).hit(PATHS) == receipt_of(TREE)
        assert left_overs(root) == []
        restarted.close()


@pytest.mark.parametrize("what", ["file", "folder", "empty", "nothing"])
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_rename_never_replaces_what_anybody_could_use(
    assets_dir: AssetsDir, root: Path, fs: PlainFileSystem, kind: str, what: str
) -> None:
    """It is EEXIST, as RENAME_NOREPLACE has it; but for a folder in the place of an empty one."""
    source, target = root / "source", root / "target"
    (source / "inner").mkdir(parents=True) if kind == "folder" else source.write_bytes(b"source")
    if what == "file":
        target.write_bytes(b"target")
    elif what != "nothing":
        (target / "inner" if what == "folder" else target).mkdir(parents=True)
    if what == "nothing" or (kind, what) == ("folder", "empty"):
        rename_new(fs, assets_dir.fd, "source", assets_dir.fd, "target")
        assert not source.exists()
        return
    with pytest.raises(FileExistsError):
        rename_new(fs, assets_dir.fd, "source", assets_dir.fd, "target")
    assert source.exists()
    assert target.is_file() == (what == "file")


def test_who_leases_an_empty_folder_holds_nothing(
    assets_dir: AssetsDir, root: Path, fs: PlainFileSystem
) -> None:
    """The empty folder that somebody tries to lease is none by the time they compare."""
    folder = root / PATHS.data
    folder.mkdir(parents=True)
    fd = os.open(folder, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_SH)
    publish(assets_dir, TREE)
    assert os.fstat(fd).st_ino != folder.stat().st_ino, "a lease compares this last"
    os.close(fd)
    assert fs.named("rename_noreplace")
