"""ASSETS_DIR: where things stand, what opening them may never do, what an error means."""

import errno
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from assetd_server.cache.hashing import hash_parts
from assetd_server.cache.ingest import StagedVersion
from assetd_server.cache.layout import AssetsDir, VersionPaths, meaning, os_errors
from assetd_server.cache.leases import is_leased, take_lease
from assetd_server.cache.lookup import Lookup
from assetd_server.cache.publish import Publisher, try_modelkit_lock
from assetd_server.cache.recover import recover
from assetd_server.errors import (
    AssetError,
    DiskFullError,
    IoError,
    ReadOnlyError,
    TooManyRequestsError,
    UnsafePathError,
)
from assetd_server.model import AssetKind, AssetName, PartPath
from assetd_server.versioning import Version

from tests.support.file_systems import FaultyFileSystem
from tests.support.versions import PATHS, marker_path, put, put_ours, receipt_of, stage

TREE = {"a": b"one", "sub/b": b"two"}


def test_versions_and_markers_stand_where_modelkit_puts_them() -> None:
    """A tree that one filled the other serves: the layout is modelkit's, byte for byte."""
    paths = VersionPaths(AssetName("some/asset"), Version.parse("0.0"))
    assert paths.data == "some/asset/0.0"
    assert paths.marker(AssetKind.FILE) == "some/asset/.0.0.SUCCESS"
    assert paths.marker(AssetKind.DIRECTORY) == "some/asset/0.0/.SUCCESS"
    assert paths.modelkit_lock == ".cache/some/asset.lock"
    assert paths.part(PartPath("sub/b")) == "some/asset/0.0/sub/b"
    assert paths.part(PartPath.of_file()) == "some/asset/0.0"


def test_keys_are_one_short_entry_and_differ() -> None:
    """The key names the version's folder in staging: two versions never share one."""
    texts = [("a/b", "1.0"), ("a", "1.0"), ("a/b", "1.1"), ("a" * 255 + "/" + "b" * 255, "1.0")]
    keys = {VersionPaths(AssetName(name), Version.parse(text)).key for name, text in texts}
    assert len(keys) == len(texts)
    assert all(re.fullmatch(r"[0-9a-f]{32}", key) for key in keys)


def test_one_daemon_owns_the_folder(assets_dir: AssetsDir, root: Path) -> None:
    """A second daemon is refused until the first one is gone."""
    second = AssetsDir(str(root), FaultyFileSystem())
    assert assets_dir.try_lock_instance()
    assert not second.try_lock_instance()
    second.close()


def test_a_directory_that_was_taken_away_is_noticed(assets_dir: AssetsDir, root: Path) -> None:
    """A path that callers are told has to lead to what we have open; put back, it does again."""
    assets_dir.require_in_place()
    elsewhere = root.rename(root.with_name("elsewhere"))
    with pytest.raises(UnsafePathError, match="restart the daemon"):
        assets_dir.require_in_place()
    root.mkdir()
    with pytest.raises(UnsafePathError):
        assets_dir.require_in_place()
    root.rmdir()
    elsewhere.rename(root)
    assets_dir.require_in_place()


@pytest.mark.parametrize(
    ("path", "error"), [("absent", IoError), ("file", UnsafePathError)], ids=["absent", "file"]
)
def test_a_folder_that_is_none_cannot_be_opened(
    root: Path, path: str, error: type[AssetError]
) -> None:
    """The operator reads which path it was."""
    (root / "file").write_bytes(b"")
    with pytest.raises(error, match=path):
        AssetsDir(str(root / path), FaultyFileSystem())


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (errno.ENOSPC, DiskFullError),
        (errno.EDQUOT, DiskFullError),
        (errno.EROFS, ReadOnlyError),
        (errno.EACCES, ReadOnlyError),
        (errno.EPERM, ReadOnlyError),
        (errno.ELOOP, UnsafePathError),
        (errno.EXDEV, UnsafePathError),
        (errno.ENOTDIR, UnsafePathError),
        (errno.EISDIR, UnsafePathError),
        (errno.ENXIO, UnsafePathError),
        (errno.ESPIPE, UnsafePathError),
        (errno.EMFILE, TooManyRequestsError),
        (errno.ENFILE, TooManyRequestsError),
        (errno.EIO, IoError),
        (errno.ENOENT, IoError),
        (errno.EBADF, IoError),
        (errno.EINVAL, IoError),
    ],
    ids=errno.errorcode.get,
)
def test_every_error_of_the_system_has_a_meaning(code: int, error: type[AssetError]) -> None:
    """Of the system's errors a caller learns the name and the path below ASSETS_DIR, no more."""
    cause = OSError(code, "said by the system", "/somewhere/else")
    told = meaning(cause, "some/asset/0.1")
    assert type(told) is error
    assert told.metadata["error"] == errno.errorcode[code]
    assert "said by the system" not in str(told)
    assert "/somewhere/else" not in str(told)


def test_an_error_without_a_number_is_an_io_error() -> None:
    """Python raises a bare OSError now and then."""
    with pytest.raises(IoError, match="EIO"), os_errors("some/asset"):
        raise OSError("no number")


def plant(root: Path, path: str) -> Path:
    """Put a link at `path` to a folder outside, which holds what the cache might look for."""
    outside = root.parent / "outside"
    (outside / "inner").mkdir(parents=True)
    (outside / "file").write_bytes(b"outside")
    link = root / path
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(outside)
    return outside


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    """All that could have been touched in a folder."""
    return {
        str(path.relative_to(folder)): (
            path.lstat().st_mtime_ns,
            path.read_bytes() if path.is_file() else b"",
        )
        for path in [folder, *folder.rglob("*")]
    }


@pytest.mark.parametrize("where", ["some", "some/asset", "some/asset/0.1"])
@pytest.mark.parametrize("content", [b"file", TREE], ids=["file", "directory"])
def test_a_link_on_the_way_stops_every_use_of_the_version(
    assets_dir: AssetsDir, root: Path, where: str, content: bytes | dict[str, bytes]
) -> None:
    """A link in ASSETS_DIR is never followed: it is `UNSAFE_PATH`, and its target is untouched.

    By looking, leasing, publishing and adopting alike.
    """
    outside = plant(root, where)
    before = snapshot(outside)
    lookup = Lookup(assets_dir)
    publisher = Publisher(assets_dir, lookup)
    staged = stage(assets_dir, content)
    receipt = receipt_of(content)
    uses: list[Callable[[], object]] = [
        lambda: lookup.look(PATHS),
        lambda: lookup.hit(PATHS),
        lambda: lookup.stands(PATHS.data),
        lambda: lookup.is_whole(PATHS, receipt.manifest.kind, receipt.manifest.parts),
        lambda: lookup.unmarked_manifest(PATHS),
        lambda: take_lease(assets_dir, PATHS),
        lambda: is_leased(assets_dir, PATHS),
        lambda: hash_parts(assets_dir, PATHS.data, receipt.manifest.parts),
        lambda: publisher.adopt(PATHS, receipt),
        lambda: publisher.publish(staged, receipt),
    ]
    for use in uses:
        with pytest.raises(UnsafePathError):
            use()
    staged.discard()
    assert snapshot(outside) == before


@pytest.mark.parametrize("content", [b"file", TREE], ids=["file", "directory"])
def test_a_link_for_a_marker_is_not_read(
    assets_dir: AssetsDir, root: Path, content: bytes | dict[str, bytes]
) -> None:
    """A receipt that lies elsewhere vouches for nothing here, and is not written through."""
    put_ours(root, content)
    marker = marker_path(root, content)
    elsewhere = root.parent / "receipt"
    marker.rename(elsewhere)
    marker.symlink_to(elsewhere)
    before = elsewhere.read_bytes()
    with pytest.raises(UnsafePathError):
        Lookup(assets_dir).hit(PATHS)
    assert elsewhere.read_bytes() == before


def test_a_link_inside_a_directory_asset_is_no_part(assets_dir: AssetsDir, root: Path) -> None:
    """A folder of parts that became a link leads nowhere."""
    put_ours(root, TREE)
    outside = root.parent / "outside"
    (root / PATHS.data / "sub").rename(outside)
    (root / PATHS.data / "sub").symlink_to(outside)
    with pytest.raises(UnsafePathError):
        Lookup(assets_dir).hit(PATHS)
    with pytest.raises(UnsafePathError):
        hash_parts(assets_dir, PATHS.data, receipt_of(TREE).manifest.parts)


@pytest.mark.parametrize("where", [".cache", ".cache/some", ".cache/some/asset.lock"])
def test_a_link_for_the_lock_is_refused(assets_dir: AssetsDir, root: Path, where: str) -> None:
    """Creating a lock through a link would create a file elsewhere."""
    outside = plant(root, where)
    before = snapshot(outside)
    with pytest.raises(UnsafePathError):
        try_modelkit_lock(assets_dir, PATHS)
    assert snapshot(outside) == before


@pytest.mark.parametrize("where", [".assetd", ".assetd/staging"])
def test_nothing_is_staged_through_a_link(assets_dir: AssetsDir, root: Path, where: str) -> None:
    """Staging deletes what it finds: through a link it would delete elsewhere."""
    outside = plant(root, where)
    (outside / PATHS.key).mkdir()
    before = snapshot(outside)
    with pytest.raises(UnsafePathError):
        StagedVersion(assets_dir, PATHS, AssetKind.FILE)
    assert snapshot(outside) == before


def test_a_link_below_our_own_folder_is_removed_itself(assets_dir: AssetsDir, root: Path) -> None:
    """The start of a run empties its folders and never what a link in them points at."""
    outside = plant(root, ".assetd/trash")
    (root / ".assetd/staging/old").mkdir(parents=True)
    (root / ".assetd/staging/old/link").symlink_to(outside)
    before = snapshot(outside)
    assert recover(assets_dir).writable
    assert snapshot(outside) == before
    assert (root / ".assetd/trash").is_dir()
    assert not (root / ".assetd/trash").is_symlink()
    assert list((root / ".assetd/staging").iterdir()) == []


@pytest.mark.parametrize("kind", [stat.S_IFIFO, stat.S_IFSOCK], ids=["fifo", "socket"])
def test_a_special_file_for_a_version_is_unsafe(
    assets_dir: AssetsDir, root: Path, kind: int
) -> None:
    """A FIFO or a socket: refused at once, where a blocking open would wait for ever."""
    (root / PATHS.folder).mkdir(parents=True)
    os.mknod(root / PATHS.data, kind | 0o644)
    for use in (Lookup(assets_dir).hit, Lookup(assets_dir).unmarked_manifest):
        with pytest.raises(UnsafePathError):
            use(PATHS)
    with pytest.raises(UnsafePathError):
        hash_parts(assets_dir, PATHS.data, receipt_of(b"x").manifest.parts)


def test_a_fifo_for_a_marker_is_no_receipt(assets_dir: AssetsDir, root: Path) -> None:
    """Reading it would hang the thread, and soon all of them."""
    put(root, b"content")
    os.mkfifo(root / PATHS.marker(AssetKind.FILE))
    assert Lookup(assets_dir).hit(PATHS) is None


def test_small_files_only(assets_dir: AssetsDir, root: Path) -> None:
    """A marker of a gigabyte is not read into memory."""
    (root / "small").write_bytes(b"12345")
    assert assets_dir.read_small("small", 5) == b"12345"
    assert assets_dir.read_small("small", 4) is None
    assert assets_dir.read_small("absent", 4) is None
    assert assets_dir.read_small("small/below", 4) is None
    (root / "folder").mkdir()
    assert assets_dir.read_small("folder", 4) is None


def test_removing_a_tree_is_repeatable(assets_dir: AssetsDir, root: Path) -> None:
    """Absent is fine; names that are no UTF-8, and files without a mode, go too."""
    deep = root / ".assetd/trash/old" / os.fsdecode(b"\xff") / "sub"
    deep.mkdir(parents=True)
    (deep / "file").touch(mode=0)
    assets_dir.remove_tree(".assetd/trash/old")
    assets_dir.remove_tree(".assetd/trash/old")
    assets_dir.remove_tree(".assetd/absent/old")
    assert list((root / ".assetd/trash").iterdir()) == []


def test_a_durable_folder_is_synced_up_to_the_root(
    assets_dir: AssetsDir, fs: FaultyFileSystem
) -> None:
    """Each new folder is an entry of the one above, which has to be synced as well."""
    for _ in range(2):
        fs.calls.clear()
        with assets_dir.durable_folder("a/b/c"):
            pass
        synced = {call.paths[0] for call in fs.named("fsync")}
        # The second time too: the first may have failed in the middle of its syncs.
        assert {"", "a", "a/b"} <= synced


def test_two_make_one_folder(assets_dir: AssetsDir, fs: FaultyFileSystem, root: Path) -> None:
    """Whoever comes second takes the folder as it is."""
    fs.before("mkdir", (root / "a").mkdir)
    with assets_dir.ensured_folder("a/b") as fd:
        assert os.fstat(fd).st_ino == (root / "a/b").stat().st_ino
