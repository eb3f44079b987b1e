"""The walk: what takes room, whatever else lies there, and how little is read for it."""

import errno
import os
from pathlib import Path

import pytest
from assetd_server.cache.layout import AssetsDir, VersionPaths
from assetd_server.cache.scan import Found, Known, list_folder, look_at
from assetd_server.errors import IoError, UnsafePathError
from assetd_server.model import AssetName
from assetd_server.versioning import Version

from tests.support.file_systems import FaultyFileSystem
from tests.support.versions import PATHS, Content, marker_path, put, put_ours

FILE = b"content"
TREE = {"a": b"one", "sub/b": b"twenty"}
both_kinds = pytest.mark.parametrize("content", [FILE, TREE], ids=["file", "directory"])


def version(name: str, text: str) -> VersionPaths:
    """The paths of a version."""
    return VersionPaths(AssetName(name), Version.parse(text))


def found(assets_dir: AssetsDir, paths: VersionPaths = PATHS, **how: object) -> Found | None:
    """What stands of one version."""
    looked = look_at(assets_dir, paths.folder, [paths], **how)  # type: ignore[arg-type]
    return looked[0] if looked else None


def size_of(content: Content) -> int:
    """The bytes of all parts."""
    return 7 if isinstance(content, bytes) else 9


# Folders


def test_a_folder_holds_versions_and_folders(assets_dir: AssetsDir, root: Path) -> None:
    """By their names alone; what begins with a dot is somebody's own."""
    for spec in ("x/y/0.0", "x/y/12.3", "x/y/2026-11-23T09-30-00Z", "x/y/deeper/0.1", "x/z/0.0"):
        (root / spec).mkdir(parents=True)
    (root / "x/y/README").touch()
    (root / "x/y/.0.0.SUCCESS").touch()
    (root / "x/y/01.0").mkdir()
    (root / ".cache/x").mkdir(parents=True)
    assert sorted(list_folder(assets_dir, "").folders) == ["x"]
    assert sorted(list_folder(assets_dir, "x").folders) == ["x/y", "x/z"]
    listed = list_folder(assets_dir, "x/y")
    assert {str(paths.version) for paths in listed.versions} == {
        "0.0",
        "12.3",
        "2026-11-23T09-30-00Z",
    }
    assert {paths.folder for paths in listed.versions} == {"x/y"}
    # Such a name is no version, so it may be an asset's.
    assert sorted(listed.folders) == ["x/y/01.0", "x/y/deeper"]


def test_versions_need_an_asset(assets_dir: AssetsDir, root: Path) -> None:
    """What looks like one at the top, or below a name that no asset has, is none."""
    (root / "0.0").mkdir()
    (root / "-x\ny/0.0").mkdir(parents=True)
    assert not list_folder(assets_dir, "").versions
    assert not list_folder(assets_dir, "-x\ny").versions


@pytest.mark.parametrize("what", ["gone", "file", "link"])
def test_a_folder_that_is_none_any_more_holds_nothing(
    assets_dir: AssetsDir, root: Path, what: str
) -> None:
    """Anybody may edit the tree while we walk."""
    if what == "file":
        (root / "x").touch()
    elif what == "link":
        (root / "x").symlink_to(root.parent)
    listed = list_folder(assets_dir, "x")
    assert (list(listed.versions), list(listed.folders)) == ([], [])


@pytest.mark.parametrize("code", [errno.EACCES, errno.EPERM])
def test_a_folder_that_we_may_not_read_holds_nothing(
    assets_dir: AssetsDir, root: Path, fs: FaultyFileSystem, code: int
) -> None:
    """`lost+found` at the top of a disk is root's, and no reason to fail."""
    (root / "lost+found").mkdir()
    fs.fail(1, code, "open")
    assert not list_folder(assets_dir, "lost+found").versions


def test_a_disk_that_fails_is_told(assets_dir: AssetsDir, root: Path, fs: FaultyFileSystem) -> None:
    """Nobody may take what cannot be read for an empty folder."""
    (root / "x").mkdir()
    fs.fail(1, errno.EIO, "list_names")
    with pytest.raises(IoError):
        list_folder(assets_dir, "x")


def test_assets_dir_itself_has_to_be_readable(assets_dir: AssetsDir, fs: FaultyFileSystem) -> None:
    """Nothing is known where the top is no folder."""
    fs.fail(1, errno.ELOOP, "open")
    with pytest.raises(UnsafePathError):
        list_folder(assets_dir, "")


# Versions


@both_kinds
def test_our_version_has_its_size_and_a_receipt(
    assets_dir: AssetsDir, root: Path, content: Content
) -> None:
    """And the time of its marker, of which only changes count."""
    put_ours(root, content)
    os.utime(marker_path(root, content), ns=(0, 12345))
    assert found(assets_dir) == Found(PATHS, size_of(content), True, True, 12345)


@both_kinds
def test_modelkits_version_is_marked_without_a_receipt(
    assets_dir: AssetsDir, root: Path, content: Content
) -> None:
    """Its bytes are what stands there."""
    put(root, content, marker=b"")
    seen = found(assets_dir)
    assert seen is not None
    assert (seen.size_bytes, seen.has_receipt, seen.marked) == (size_of(content), False, True)


@both_kinds
def test_unmarked_data_takes_room_too(assets_dir: AssetsDir, root: Path, content: Content) -> None:
    """Nobody is served it, and nothing evicts it."""
    put(root, content)
    assert found(assets_dir) == Found(PATHS, size_of(content), False, False, None)


@pytest.mark.parametrize("receipt", [b"{}", b"garbage", b'{"format":1,"kind":"file","size":5,'])
def test_a_folder_with_another_marker_is_counted(
    assets_dir: AssetsDir, root: Path, receipt: bytes
) -> None:
    """What is no receipt of a folder says nothing of its size: the files do."""
    put(root, TREE, marker=receipt)
    seen = found(assets_dir)
    assert seen is not None
    assert (seen.size_bytes, seen.has_receipt) == (9, False)


def test_a_marker_without_data_is_nothing(assets_dir: AssetsDir, root: Path) -> None:
    """Users forget it."""
    put_ours(root, FILE)
    (root / PATHS.data).unlink()
    assert found(assets_dir) is None


@pytest.mark.parametrize("what", ["link", "fifo"])
def test_what_is_neither_file_nor_folder_is_left_out(
    assets_dir: AssetsDir, root: Path, what: str
) -> None:
    """And hides nobody else."""
    other = version("some/asset", "0.2")
    put_ours(root, FILE, other)
    path = root / PATHS.data
    if what == "link":
        path.symlink_to(root / other.data)
    else:
        os.mkfifo(path)
    assert [one.paths for one in look_at(assets_dir, PATHS.folder, [PATHS, other])] == [other]


def test_names_that_no_part_may_have_take_room_too(assets_dir: AssetsDir, root: Path) -> None:
    """Whoever put them there."""
    put(root, {"a\nb": b"one", "c/.SUCCESS": b"two"}, marker=b"")
    seen = found(assets_dir)
    assert seen is not None
    assert seen.size_bytes == 6


def test_a_folder_that_is_gone_has_no_versions(assets_dir: AssetsDir) -> None:
    """Removed between the listing and the look."""
    assert look_at(assets_dir, "some/asset", [PATHS]) == []


# How little is read


def test_a_receipt_is_read_by_its_head(
    assets_dir: AssetsDir, root: Path, fs: FaultyFileSystem
) -> None:
    """One read a folder, none a file, whatever the number of parts."""
    put_ours(root, {f"part{number}": b"x" * 10 for number in range(500)})
    fs.calls.clear()
    seen = found(assets_dir)
    assert seen is not None
    assert (seen.size_bytes, len(fs.named("pread"))) == (5000, 1)
    assert len(fs.calls) < 10


def test_a_receipt_that_is_known_is_not_read_again(
    assets_dir: AssetsDir, root: Path, fs: FaultyFileSystem
) -> None:
    """As long as the marker's time is the same; a touch, which is a use, makes it be read."""
    put_ours(root, TREE)
    first = found(assets_dir)
    assert first is not None
    assert first.marker_time_ns is not None
    known = {PATHS.data: Known(first.marker_time_ns, 1234)}
    fs.calls.clear()
    again = found(assets_dir, known=known)
    assert again is not None
    assert (again.size_bytes, fs.named("pread")) == (1234, [])
    os.utime(marker_path(root, TREE), ns=(0, 77))
    touched = found(assets_dir, known=known)
    assert touched is not None
    assert (touched.size_bytes, touched.marker_time_ns) == (9, 77)


@pytest.mark.parametrize("what", ["marker", "version", "link"])
def test_what_is_known_is_no_reason_to_believe_in_it(
    assets_dir: AssetsDir, root: Path, what: str
) -> None:
    """Without its marker, or without itself, it is what it is now."""
    put_ours(root, TREE)
    first = found(assets_dir)
    assert first is not None
    assert first.marker_time_ns is not None
    marker = marker_path(root, TREE)
    if what == "version":
        (root / PATHS.data).rename(root / "aside")
    else:
        marker.unlink()
    if what == "link":
        marker.symlink_to(root / "nowhere")
        os.utime(marker, ns=(0, first.marker_time_ns), follow_symlinks=False)
    seen = found(assets_dir, known={PATHS.data: Known(first.marker_time_ns, 1234)})
    assert seen is None or not seen.has_receipt
