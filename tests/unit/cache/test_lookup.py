"""What stands in ASSETS_DIR, and what of it is a hit."""

import errno
import os
import shutil
from pathlib import Path

import pytest
from assetd_server.cache.layout import AssetsDir, VersionPaths
from assetd_server.cache.lookup import ABSENT, Lookup
from assetd_server.cache.receipt import Marker
from assetd_server.errors import IoError, ReadOnlyError, UnsafePathError
from assetd_server.manifest import Part
from assetd_server.model import AssetKind, AssetName, PartPath
from assetd_server.versioning import Version

from tests.support.file_systems import Call, FaultyFileSystem
from tests.support.versions import (
    PATHS,
    Content,
    manifest_of,
    marker_path,
    put,
    put_ours,
    receipt_of,
)

FILE = b"content"
TREE = {"a": b"one", "sub/b": b"two", "sub/deep/c": b"three"}
both_kinds = pytest.mark.parametrize("content", [FILE, TREE], ids=["file", "directory"])


@pytest.fixture
def lookup(assets_dir: AssetsDir) -> Lookup:
    """What a run of the daemon asks."""
    return Lookup(assets_dir)


def age_folders(root: Path) -> None:
    """Set back the mtime of every folder, so that the next change differs on any clock."""
    for folder in (root, *(path for path in root.rglob("*") if path.is_dir())):
        os.utime(folder, ns=(10**18, 10**18))


def test_nothing_stands_in_an_empty_folder(lookup: Lookup) -> None:
    """Absent is an answer, no error."""
    assert lookup.look(PATHS) == ABSENT
    assert lookup.hit(PATHS) is None
    assert not lookup.look(PATHS).complete


@both_kinds
def test_a_receipt_with_data_of_its_sizes_is_a_hit(
    lookup: Lookup, root: Path, content: Content
) -> None:
    """A hit is our receipt with data of the receipt's sizes; nobody else is asked."""
    put_ours(root, content)
    assert lookup.hit(PATHS) == receipt_of(content)
    assert lookup.look(PATHS).complete


@both_kinds
@pytest.mark.parametrize(
    ("marker", "expected"),
    [
        (None, Marker.ABSENT),
        (b"", Marker.FOREIGN),
        (b"{", Marker.FOREIGN),
        (b'{"format": 2}', Marker.NEWER),
    ],
    ids=["none", "modelkit", "torn", "newer"],
)
def test_no_other_marker_is_a_hit(
    lookup: Lookup, root: Path, content: Content, marker: bytes | None, expected: Marker
) -> None:
    """Without a receipt of ours the data is looked at anew, whoever marked it."""
    put(root, content, marker=marker)
    standing = lookup.look(PATHS)
    assert (standing.kind, standing.marker, standing.receipt) == (
        manifest_of(content).kind,
        expected,
        None,
    )
    assert standing.complete is (marker is not None)
    assert lookup.hit(PATHS) is None


@both_kinds
def test_a_marker_without_data_is_no_hit(lookup: Lookup, root: Path, content: Content) -> None:
    """Users delete the data and forget the marker."""
    put_ours(root, content)
    for part in root.joinpath(PATHS.folder).rglob("*"):
        if part.is_file() and "SUCCESS" not in part.name:
            part.unlink()
    assert lookup.hit(PATHS) is None


def test_a_receipt_of_the_other_kind_vouches_for_nothing(lookup: Lookup, root: Path) -> None:
    """A directory that took the place of a file is not described by the file's receipt."""
    put(root, TREE, marker=receipt_of(FILE).encode())
    assert lookup.look(PATHS).marker is Marker.FOREIGN
    assert lookup.hit(PATHS) is None


@pytest.mark.parametrize("size_change", [-1, 1])
def test_a_file_is_measured_at_every_hit(lookup: Lookup, root: Path, size_change: int) -> None:
    """A file is measured at every hit: one that was cut or grew is fetched again.

    One stat is cheap.
    """
    put_ours(root, FILE)
    assert lookup.hit(PATHS) is not None
    os.truncate(root / PATHS.data, len(FILE) + size_change)
    assert lookup.hit(PATHS) is None
    os.truncate(root / PATHS.data, len(FILE))
    assert lookup.hit(PATHS) is not None


@pytest.mark.parametrize("part", list(TREE))
def test_a_deleted_part_is_noticed_at_the_next_hit(lookup: Lookup, root: Path, part: str) -> None:
    """A part that was deleted, however deep it lay, is noticed by the next fetch.

    Deleting changes the mtime of its folder, which each hit compares.
    """
    put_ours(root, TREE)
    age_folders(root)
    assert lookup.hit(PATHS) is not None
    (root / PATHS.data / part).unlink()
    assert lookup.hit(PATHS) is None
    assert lookup.hit(PATHS) is None


def test_a_deleted_part_is_noticed_after_publish_too(lookup: Lookup, root: Path) -> None:
    """What was published in this run is trusted only as long as its folders stay as they are."""
    put_ours(root, TREE)
    age_folders(root)
    lookup.trust(PATHS, lookup.stamps(PATHS.data, receipt_of(TREE)))
    assert lookup.hit(PATHS) is not None
    shutil.rmtree(root / PATHS.data / "sub/deep")
    assert lookup.hit(PATHS) is None


def test_a_replaced_folder_is_measured_again(lookup: Lookup, root: Path) -> None:
    """Another inode under the same mtime is another folder."""
    put_ours(root, TREE)
    age_folders(root)
    assert lookup.hit(PATHS) is not None
    sub = root / PATHS.data / "sub"
    sub.rename(root / "aside")
    shutil.copytree(root / "aside", sub)
    (sub / "b").write_bytes(b"longer")
    age_folders(root)
    assert lookup.hit(PATHS) is None


def test_a_directory_is_measured_once_a_run(
    lookup: Lookup, root: Path, fs: FaultyFileSystem
) -> None:
    """5,000 parts are not looked at for every hit, only their folders."""
    put_ours(root, TREE)
    lookup.hit(PATHS)
    fs.calls.clear()
    lookup.hit(PATHS)
    looked_at = {call.paths[0] for call in fs.named("lstat")}
    assert looked_at >= {PATHS.data, f"{PATHS.data}/sub", f"{PATHS.data}/sub/deep"}
    assert looked_at & {f"{PATHS.data}/{part}" for part in TREE} == set()


@both_kinds
def test_the_first_hit_of_a_run_is_made_durable(
    assets_dir: AssetsDir, root: Path, fs: FaultyFileSystem, content: Content
) -> None:
    """The first hit of a version in a run is made durable before it is answered.

    The run before may have died between rename and sync; later hits cost no sync.
    """
    put_ours(root, content)
    marker = str(marker_path(root, content).relative_to(root))
    folders = {PATHS.folder} | ({PATHS.data} if content is TREE else set())
    for _ in range(2):
        lookup = Lookup(assets_dir)
        fs.calls.clear()
        lookup.hit(PATHS)
        assert {call.paths[0] for call in fs.named("fsync")} == {marker, *folders}
        fs.calls.clear()
        lookup.hit(PATHS)
        assert fs.named("fsync") == []


@both_kinds
def test_a_hit_that_cannot_be_made_durable_is_not_answered(
    lookup: Lookup, root: Path, fs: FaultyFileSystem, content: Content
) -> None:
    """An error of the disk reaches the caller, and the next hit tries to sync again."""
    put_ours(root, content)
    fs.fail(1, errno.EIO, "fsync")
    with pytest.raises(IoError):
        lookup.hit(PATHS)
    fs.calls.clear()
    assert lookup.hit(PATHS) is not None
    assert fs.named("fsync") != []


def test_a_hit_on_a_read_only_mount_needs_no_sync(
    lookup: Lookup, root: Path, fs: FaultyFileSystem
) -> None:
    """Nothing of ours can be pending there."""
    put_ours(root, FILE)
    fs.fail(1, errno.EROFS, "fsync")
    assert lookup.hit(PATHS) is not None


def test_whole_means_every_part_of_its_size(lookup: Lookup, root: Path) -> None:
    """What stands there is adopted only if the store's sizes agree, and it is of the same kind."""
    put(root, TREE)
    parts = manifest_of(TREE).parts
    assert lookup.is_whole(PATHS, AssetKind.DIRECTORY, parts)
    assert not lookup.is_whole(PATHS, AssetKind.FILE, parts)
    assert not lookup.is_whole(PATHS, AssetKind.DIRECTORY, (*parts, Part(PartPath("more"), 0)))
    assert not lookup.is_whole(PATHS, AssetKind.DIRECTORY, (Part(PartPath("a"), 99),))
    assert not lookup.is_whole(PATHS, AssetKind.DIRECTORY, (Part(PartPath("a"), None),))
    assert not lookup.is_whole(PATHS, AssetKind.DIRECTORY, (Part(PartPath("sub"), 4096),))


def test_versions_are_those_that_stand_marked(lookup: Lookup, root: Path) -> None:
    """With a store a version counts by its marker; without one all data counts, as in modelkit."""
    name = PATHS.name
    for text, marker in [("0.1", b""), ("0.10", None), ("0.2", receipt_of(FILE).encode())]:
        put(root, FILE, VersionPaths(name, Version.parse(text)), marker=marker)
    put(root, TREE, VersionPaths(name, Version.parse("3.0")))
    (root / name / ".5.0.SUCCESS").touch()
    (root / name / "00.1").touch()
    (root / name / "latest").touch()
    assert sorted(map(str, lookup.versions(name, unmarked=False))) == ["0.1", "0.2"]
    assert sorted(map(str, lookup.versions(name, unmarked=True))) == ["0.1", "0.10", "0.2", "3.0"]
    assert lookup.versions(AssetName("some"), unmarked=True) == []
    assert lookup.versions(AssetName("absent"), unmarked=True) == []


def test_names_are_found_by_their_versions(lookup: Lookup, root: Path) -> None:
    """In bytewise order; our folders, modelkit's, links and the inside of versions are none."""
    dates = Version.parse("2026-11-23T09-30-00Z")
    for name in ("b/nested/asset", "b/nested", "B", "a.b", "a/b", "a"):
        put(root, FILE, VersionPaths(AssetName(name), Version.parse("0.0")))
    put(root, {"1.0": b"", "x/1.0": b""}, VersionPaths(AssetName("tree"), dates))
    (root / "link").symlink_to(root / "a")
    (root / "-odd").mkdir()
    (root / "-odd/1.0").touch()
    for folder in (".cache/some", ".assetd/staging/x", "empty/folder"):
        (root / folder).mkdir(parents=True)
    (root / ".assetd/staging/x/1.0").touch()
    everything = ["B", "a", "a.b", "a/b", "b/nested", "b/nested/asset", "tree"]
    assert list(lookup.names()) == everything
    assert list(lookup.names("a")) == ["a", "a.b", "a/b"]
    assert list(lookup.names("zzz")) == []


def test_names_are_found_while_an_operator_deletes(
    lookup: Lookup, root: Path, fs: FaultyFileSystem
) -> None:
    """Versions may be deleted by hand at any time: what is gone is left out, no failure."""
    put(root, FILE, VersionPaths(AssetName("goes/away"), Version.parse("0.0")))
    put(root, FILE, VersionPaths(AssetName("stays"), Version.parse("0.0")))
    # The first folder to be opened is the root; then it vanishes.
    fs.before("open", lambda: shutil.rmtree(root / "goes"), number=2)
    assert list(lookup.names()) == ["stays"]


def test_a_folder_that_we_may_not_read_hides_nothing_else(
    lookup: Lookup, root: Path, fs: FaultyFileSystem
) -> None:
    """`lost+found` at the top of a disk is root's; ASSETS_DIR itself has to be readable."""
    put(root, FILE, PATHS)
    (root / "lost+found").mkdir()

    def refuse() -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    fs.at(Call("open", ("lost+found",)), refuse)
    assert list(lookup.names()) == [PATHS.name]
    fs.fail(1, errno.EACCES, "open")
    with pytest.raises(ReadOnlyError):
        list(lookup.names())


def test_a_folder_that_is_no_utf8_is_no_name(lookup: Lookup, root: Path) -> None:
    """One odd folder does not keep the others from being listed."""
    odd = root / os.fsdecode(b"\xff\xfe")
    odd.mkdir()
    (odd / "0.0").touch()
    put(root, FILE)
    assert list(lookup.names()) == [PATHS.name]


def test_what_nobody_marked_is_described_as_it_stands(lookup: Lookup, root: Path) -> None:
    """Sizes and the time of the data; nothing that would need to be read."""
    put(root, TREE)
    os.utime(root / PATHS.data, (1_700_000_000, 1_700_000_000))
    manifest = lookup.unmarked_manifest(PATHS)
    assert manifest.kind is AssetKind.DIRECTORY
    assert {part.path: part.size_bytes for part in manifest.parts} == {
        path: len(data) for path, data in TREE.items()
    }
    assert manifest.push_time.timestamp() == 1_700_000_000
    assert manifest.digest is None


def test_what_does_not_stand_cannot_be_described(lookup: Lookup) -> None:
    """The caller has looked before; by now it is gone."""
    with pytest.raises(UnsafePathError):
        lookup.unmarked_manifest(PATHS)


def test_a_path_stands_or_not(lookup: Lookup, root: Path) -> None:
    """Files and folders do, below a file nothing does, a link is refused."""
    put(root, TREE)
    assert lookup.stands(PATHS.data)
    assert lookup.stands(f"{PATHS.data}/sub/b")
    assert not lookup.stands(f"{PATHS.data}/sub/x")
    assert not lookup.stands(f"{PATHS.data}/a/below")
    (root / PATHS.data / "link").symlink_to("a")
    with pytest.raises(UnsafePathError):
        lookup.stands(f"{PATHS.data}/link")
