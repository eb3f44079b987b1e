"""Partial versions: they grow, part by part, and what their receipt lists is whole and durable."""

import errno
import fcntl
import json
import shutil
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from assetd_server.cache.evict import Evicted, Outcome, empty_trash
from assetd_server.cache.ingest import StagedVersion
from assetd_server.cache.layout import AssetsDir, PartialPaths, VersionPaths
from assetd_server.cache.leases import is_leased, take_lease
from assetd_server.cache.lookup import Lookup
from assetd_server.cache.partial import PartialVersions, find_in_parts
from assetd_server.cache.recover import recover
from assetd_server.cache.scan import list_folder, look_at
from assetd_server.errors import (
    AssetError,
    AssetInUseError,
    DiskFullError,
    IoError,
    UnsafePathError,
)
from assetd_server.model import AssetKind, AssetName, PartPath, Verification
from assetd_server.versioning import Version

from tests.support.file_systems import FaultyFileSystem, Stopped
from tests.support.trees import read_tree
from tests.support.versions import PATHS, by_path, left_overs, part_of, receipt_of, standing

TREE = {"a": b"new a", "receipt": b"r", "sub/b": b"new b", "sub/deep/.SUCCESS.": b"", "z": b"z"}
WHOLE = receipt_of(TREE)
PLACE = PartialPaths.of(PATHS)
FIRST, SECOND = ("a", "sub/b"), ("receipt", "sub/deep/.SUCCESS.")


def grow(
    assets_dir: AssetsDir,
    *parts: str,
    content: dict[str, bytes] = TREE,
    equal: tuple[str, ...] = (),
) -> PartialVersions:
    """Stage some parts and add them, as a flight does."""
    partial = PartialVersions(assets_dir)
    whole = receipt_of(content)
    staged = StagedVersion(assets_dir, PLACE, AssetKind.DIRECTORY)
    try:
        for path in parts:
            part = staged.add_part(part_of(path, content[path]))
            part.write(0, [content[path]])
            staged.end_part(part)
        some = tuple(part for part in whole.manifest.parts if part.path in parts)
        staged.seal(replace(whole, manifest=replace(whole.manifest, parts=some)))
        added = {PartPath(path): Verification.CHECKSUM for path in parts}
        partial.grow(staged, whole, added, [PartPath(path) for path in equal])
    finally:
        staged.discard()
    return partial


def here(assets_dir: AssetsDir, partial: PartialVersions | None = None) -> dict[str, bytes]:
    """What counts as present, with its bytes; everything else may be junk."""
    partial = partial or PartialVersions(assets_dir)
    receipt = partial.look(PATHS)
    found = partial.whole(PATHS, receipt, receipt.manifest.parts) if receipt else ()
    parts = Path(assets_dir.path) / PLACE.parts
    return {path: (parts / path).read_bytes() for path in found}


def of(*parts: str, content: dict[str, bytes] = TREE) -> dict[str, bytes]:
    """These parts with their bytes."""
    return {path: content[path] for path in parts}


def test_it_grows(assets_dir: AssetsDir, root: Path) -> None:
    """Each growth adds its parts to those that are here; the receipt has the whole manifest."""
    grow(assets_dir, *FIRST)
    assert here(assets_dir) == of(*FIRST)
    partial = grow(assets_dir, *SECOND)
    assert here(assets_dir) == of(*FIRST, *SECOND)
    receipt = partial.look(PATHS)
    assert receipt is not None
    assert receipt.receipt == WHOLE
    assert receipt.disk_bytes == sum(map(len, of(*FIRST, *SECOND).values()))
    assert read_tree(root / PLACE.parts) == of(*FIRST, *SECOND)
    assert left_overs(root) == []


def test_equal_parts_are_found(assets_dir: AssetsDir) -> None:
    """By their SHA-256, of the parts that are here, this version's own first, then others'."""
    partial = grow(assets_dir, *FIRST)
    other = VersionPaths(PATHS.name, Version.parse("7.0"))
    assert other.version.system is PATHS.version.system
    parts = WHOLE.manifest.parts
    for paths in (PATHS, PLACE, other):
        assert find_in_parts(partial, paths, parts) == {
            PartPath(path): PLACE.part(PartPath(path)) for path in FIRST
        }
    unknown = tuple(replace(part, sha256_hex=None) for part in parts)
    larger = tuple(replace(part, size_bytes=99) for part in parts)
    for others in (unknown, larger, ()):
        assert find_in_parts(partial, PATHS, others) == {}
    elsewhere = VersionPaths(AssetName("no/such"), PATHS.version)
    assert find_in_parts(partial, elsewhere, parts) == {}


def test_modelkit_never_sees_it(assets_dir: AssetsDir, root: Path) -> None:
    """Nothing stands outside `.assetd`, no marker below it, and no lookup finds a version."""
    grow(assets_dir, *FIRST, *SECOND)
    assert {path.name for path in root.iterdir()} == {".assetd"}
    assert list(root.rglob(".SUCCESS")) == []
    assert standing(root) is None
    lookup = Lookup(assets_dir)
    assert list(lookup.names()) == []
    assert lookup.versions(PATHS.name, unmarked=True) == []
    assert lookup.hit(PATHS) is None


def test_it_is_found_by_name(assets_dir: AssetsDir) -> None:
    """By a prefix of the name, and by the asset; a folder without a receipt is nothing."""
    partial = grow(assets_dir, *FIRST)
    assert partial.names() == partial.names(PATHS.name[:2]) == [PATHS.name]
    assert partial.names("q") == []
    assert partial.versions(PATHS.name) == [PATHS.version]
    assert partial.versions(AssetName("no/such")) == []
    with assets_dir.opened(PLACE.folder) as fd:
        assets_dir.fs.mkdir(fd, "7.7")
    assert partial.versions(PATHS.name) == [PATHS.version]


def test_a_walk_finds_it(assets_dir: AssetsDir, root: Path) -> None:
    """With the bytes that are here by its receipt's first bytes, and never as a whole version."""
    grow(assets_dir, *FIRST)
    folder = list_folder(assets_dir, ".assetd/partial")
    for segment in PATHS.name.split("/"):
        [below] = folder.folders
        assert below.endswith(segment)
        folder = list_folder(assets_dir, below)
    assert folder.versions == [PLACE]
    [found] = look_at(assets_dir, folder.path, folder.versions)
    assert found.key == PLACE.data
    assert found.size_bytes == sum(map(len, of(*FIRST).values()))
    assert (found.has_receipt, found.marked) == (True, False)
    assert found.marker_time_ns == (root / PLACE.receipt).stat().st_mtime_ns
    (root / PLACE.receipt).unlink()
    [found] = look_at(assets_dir, folder.path, folder.versions)
    assert (found.has_receipt, found.marked, found.marker_time_ns) == (False, False, None)


@pytest.mark.parametrize("raw", [b"", b"{}", b"[1]", b'{"format": 1}', WHOLE.encode()])
def test_what_is_no_receipt_lists_nothing(assets_dir: AssetsDir, root: Path, raw: bytes) -> None:
    """Parts beside an unreadable receipt do not count, and are overwritten by the next growth."""
    partial = grow(assets_dir, *FIRST)
    (root / PLACE.receipt).write_bytes(raw)
    (root / PLACE.part(PartPath("a"))).write_bytes(b"torn")
    assert partial.look(PATHS) is None
    grow(assets_dir, "a")
    assert here(assets_dir) == of("a")


@pytest.mark.parametrize(
    "change", [{"present": {"nope": "size"}}, {"present": {"a": "nonsense"}}, {"kind": "file"}]
)
def test_a_receipt_that_contradicts_itself_lists_nothing(
    assets_dir: AssetsDir, root: Path, change: dict[str, object]
) -> None:
    """A part that the manifest does not name is not present, whatever the receipt says."""
    partial = grow(assets_dir, *FIRST)
    document = json.loads((root / PLACE.receipt).read_bytes())
    (root / PLACE.receipt).write_text(json.dumps({**document, **change}))
    assert partial.look(PATHS) is None


def test_what_a_later_release_wrote_is_left_alone(assets_dir: AssetsDir, root: Path) -> None:
    """It is not read, not added to, and not removed."""
    partial = grow(assets_dir, *FIRST)
    (root / PLACE.receipt).write_bytes(b'{"format": 99}')
    assert partial.look(PATHS) is None
    with pytest.raises(UnsafePathError, match="later release"):
        partial.known(PATHS)
    with pytest.raises(UnsafePathError, match="later release"):
        grow(assets_dir, *SECOND)
    assert partial.evict(PATHS) == Evicted(Outcome.KEPT)
    assert read_tree(root / PLACE.parts) == of(*FIRST)


@pytest.mark.parametrize("path", FIRST)
def test_what_was_deleted_or_torn_by_hand_does_not_count(
    assets_dir: AssetsDir, root: Path, path: str
) -> None:
    """A part counts while it has its size; the others go on to."""
    grow(assets_dir, *FIRST)
    file = root / PLACE.part(PartPath(path))
    others = set(FIRST) - {path}
    file.write_bytes(TREE[path] + b"x")
    assert here(assets_dir) == of(*others)
    file.unlink()
    assert here(assets_dir) == of(*others)
    grow(assets_dir, path)
    assert here(assets_dir) == of(*FIRST)


def test_another_content_takes_its_place(assets_dir: AssetsDir) -> None:
    """Should the store's version not be what the receipt is about, none of the old parts counts."""
    other = {**TREE, "z": b"longer"}
    grow(assets_dir, *FIRST)
    grow(assets_dir, "z", content=other)
    assert here(assets_dir) == {"z": b"longer"}


# Order


def index(fs: FaultyFileSystem, *texts: str) -> int:
    """The number of the last call that reads like this."""
    return max(i for i, call in enumerate(fs.calls) if all(text in str(call) for text in texts))


def test_the_receipt_comes_last(assets_dir: AssetsDir, fs: FaultyFileSystem) -> None:
    """Bytes, then names, then the receipt: each durable before the next begins."""
    fs.calls.clear()
    grow(assets_dir, "sub/b", "sub/deep/.SUCCESS.")
    moved = index(fs, "rename ", PLACE.part(PartPath("sub/b")))
    assert index(fs, "fsync .assetd/staging", "data/sub/b") < moved
    renamed = index(fs, "rename ", f"-> {PLACE.receipt}")
    aside = index(fs, "fsync .assetd/staging", "/receipt")
    folders = [PLACE.part(PartPath("sub/deep")), PLACE.part(PartPath("sub")), PLACE.parts]
    for folder in folders:
        assert moved < index(fs, f"fsync {folder}") < renamed
    assert moved < aside < renamed
    assert [str(call) for call in fs.named("fsync")][-1] == f"fsync {PLACE.data}"
    parents = [call.paths[0] for call in fs.named("fsync")]
    assert {PLACE.folder, ".assetd/partial", ".assetd", ""} <= set(parents)


def test_the_first_answer_of_a_run_is_durable(assets_dir: AssetsDir, fs: FaultyFileSystem) -> None:
    """Whoever wrote the receipt may have died before its sync; after that nothing is synced."""
    grow(assets_dir, *FIRST)
    fs.calls.clear()
    partial = PartialVersions(assets_dir)
    here(assets_dir, partial)
    assert [call.paths[0] for call in fs.named("fsync")] == [PLACE.receipt, PLACE.data]
    fs.calls.clear()
    here(assets_dir, partial)
    assert fs.named("fsync") == []


# Faults


def every_root(scratch: Path) -> Iterator[tuple[int, Path]]:
    """An ASSETS_DIR with the first parts for each call of a second growth, and the number."""
    count = 1
    number = 0
    while number < count:
        root = scratch / str(number)
        root.mkdir()
        assets_dir = AssetsDir(str(root), FaultyFileSystem())
        grow(assets_dir, *FIRST)
        assets_dir.close()
        if number == 0:
            fs = FaultyFileSystem()
            counting = AssetsDir(str(root), fs)
            fs.calls.clear()
            grow(counting, *SECOND)
            count = len(fs.calls)
            counting.close()
        else:
            yield number, root
        shutil.rmtree(root)
        number += 1
    assert count > 40


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC], ids=errno.errorcode.get)
def test_a_failure_at_any_call_keeps_what_is_here(scratch: Path, code: int) -> None:
    """The caller gets a typed error, no part is lost or half there, and the next try succeeds."""
    expected = DiskFullError if code == errno.ENOSPC else IoError
    failures = 0
    for number, root in every_root(scratch):
        fs = FaultyFileSystem()
        assets_dir = AssetsDir(str(root), fs)
        fs.fail(number, code)
        failure: AssetError | None = None
        try:
            grow(assets_dir, *SECOND)
        except AssetError as error:
            failure = error
        fs.heal()
        assert type(failure) in (expected, type(None)), fs.calls[number]
        failures += failure is not None
        stands = here(assets_dir)
        assert stands in (of(*FIRST), of(*FIRST, *SECOND)), fs.calls[number]
        assert read_tree(root / PLACE.parts) == stands, fs.calls[number]
        grow(assets_dir, *SECOND)
        assert here(assets_dir) == of(*FIRST, *SECOND)
        assert left_overs(root) == []
        assets_dir.close()
        assert fs.open_paths == []
    assert failures > number * 3 / 4


def test_a_kill_at_any_call_keeps_what_is_here(scratch: Path) -> None:
    """Whatever call a kill comes at, parts that were here stay, and what counts is whole.

    The rest is deleted, and fetched again.
    """
    for number, root in every_root(scratch):
        fs = FaultyFileSystem()
        assets_dir = AssetsDir(str(root), fs)
        fs.stop(number)
        with pytest.raises(Stopped):
            grow(assets_dir, *SECOND)
        restarted = AssetsDir(str(root), FaultyFileSystem())
        assert recover(restarted).writable
        assert left_overs(root) == []
        partial = PartialVersions(restarted)
        assert partial.untidied() == [PLACE]
        assert partial.tidy(PLACE)
        assert partial.untidied() == []
        stands = here(restarted)
        assert stands in (of(*FIRST), of(*FIRST, *SECOND)), fs.calls[-1]
        assert read_tree(root / PLACE.parts) == stands, fs.calls[-1]
        grow(restarted, *SECOND)
        assert here(restarted) == of(*FIRST, *SECOND)
        restarted.close()


def test_a_first_growth_that_fails_leaves_nothing(scratch: Path) -> None:
    """Whatever call fails: no byte of what nobody was told of stays, or the parts are here."""
    number, failed = 0, True
    while failed:
        number += 1
        root = scratch / str(number)
        root.mkdir()
        fs = FaultyFileSystem()
        assets_dir = AssetsDir(str(root), fs)
        fs.fail(number, errno.EIO)
        with suppress(AssetError):
            grow(assets_dir, *FIRST)
        failed = fs.planned == 0
        fs.heal()
        stands = [path for path in (root / PLACE.data).rglob("*") if path.is_file()]
        assert here(assets_dir) == of(*FIRST) or stands == [], fs.calls[number]
        assets_dir.close()
    assert number > 40


# What counts for nothing


def litter(root: Path) -> None:
    """Leave what a growth leaves that is killed before its receipt."""
    for path in ("left", "sub/left", "own/left"):
        file = root / PLACE.part(PartPath(path))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"left")


def test_what_no_receipt_lists_is_deleted(assets_dir: AssetsDir, root: Path) -> None:
    """Parts and their folders; without a receipt, or with one that says nothing, all of it."""
    partial = grow(assets_dir, *FIRST)
    litter(root)
    assert partial.tidy(PLACE)
    assert read_tree(root / PLACE.parts) == here(assets_dir) == of(*FIRST)
    assert not (root / PLACE.parts / "own").exists()
    for raw in (None, b"{}"):
        grow(assets_dir, *FIRST)
        (root / PLACE.receipt).unlink()
        if raw is not None:
            (root / PLACE.receipt).write_bytes(raw)
        assert not partial.tidy(PLACE)
        assert not (root / PLACE.data).exists()
    assert not partial.tidy(PLACE)
    assert partial.untidied() == []


def test_what_grows_is_tidied_again(assets_dir: AssetsDir, fs: FaultyFileSystem) -> None:
    """Once, and what has not grown since is not looked at."""
    partial = grow(assets_dir, *FIRST)
    assert partial.tidy(PLACE)
    assert partial.untidied() == []
    staged = StagedVersion(assets_dir, PLACE, AssetKind.DIRECTORY)
    staged.seal(replace(WHOLE, manifest=replace(WHOLE.manifest, parts=())))
    fs.fail(1, errno.EIO, "rename")
    with pytest.raises(IoError):
        partial.grow(staged, WHOLE, {})
    assert partial.untidied() == [PLACE]
    staged.discard()


def test_what_is_leased_is_tidied_later(assets_dir: AssetsDir, root: Path) -> None:
    """What counts for nothing now may be what somebody has held since before."""
    partial = grow(assets_dir, *FIRST)
    lease = take_lease(assets_dir, PLACE)
    assert lease is not None
    litter(root)
    before = read_tree(root / PLACE.parts)
    assert partial.tidy(PLACE)
    assert read_tree(root / PLACE.parts) == before
    assert partial.untidied() == [PLACE]
    lease.release()
    assert partial.tidy(PLACE)
    assert read_tree(root / PLACE.parts) == of(*FIRST)


def test_what_a_later_release_lists_is_not_tidied(assets_dir: AssetsDir, root: Path) -> None:
    """Nobody here can tell what of it counts."""
    partial = grow(assets_dir, *FIRST)
    (root / PLACE.receipt).write_bytes(b'{"format": 99}')
    assert partial.tidy(PLACE)
    assert read_tree(root / PLACE.parts) == of(*FIRST)


@pytest.mark.parametrize("has_receipt", [True, False])
def test_a_kill_while_it_is_tidied_costs_nothing(scratch: Path, *, has_receipt: bool) -> None:
    """What is listed stays, and the next run deletes the rest."""
    number, tidied = 0, False
    while not tidied:
        number += 1
        root = scratch / str(number)
        root.mkdir()
        with closing(AssetsDir(str(root), FaultyFileSystem())) as assets_dir:
            grow(assets_dir, *FIRST)
        litter(root)
        if not has_receipt:
            (root / PLACE.receipt).unlink()
        fs = FaultyFileSystem()
        dying = AssetsDir(str(root), fs)
        fs.stop(number)
        with suppress(Stopped):
            PartialVersions(dying).tidy(PLACE)
            tidied = True
        with closing(AssetsDir(str(root), FaultyFileSystem())) as assets_dir:
            partial = PartialVersions(assets_dir)
            expected = of(*FIRST) if has_receipt else {}
            assert here(assets_dir, partial) == expected
            assert partial.tidy(PLACE) is has_receipt
            assert here(assets_dir, partial) == expected
        assert (root / PLACE.data).exists() is has_receipt
        if has_receipt:
            assert read_tree(root / PLACE.parts) == expected
        if tidied:
            fs.heal()
            dying.close()
    assert number > 15


@pytest.mark.parametrize("planted", [PLACE.folder, PLACE.data, PLACE.parts, f"{PLACE.parts}/sub"])
def test_a_link_in_the_way_is_never_followed(
    assets_dir: AssetsDir, root: Path, tmp_path: Path, planted: str
) -> None:
    """A link where a folder is due is UNSAFE_PATH, and nothing is written behind it."""
    target = tmp_path / "target"
    target.mkdir()
    link = root / planted
    link.parent.mkdir(parents=True)
    link.symlink_to(target)
    with pytest.raises(UnsafePathError):
        grow(assets_dir, *FIRST)
    assert list(target.iterdir()) == []
    assert left_overs(root) == []


# Leases


def test_it_grows_under_a_lease(assets_dir: AssetsDir, root: Path) -> None:
    """Who holds parts sees more of them come, and none of them change."""
    grow(assets_dir, *FIRST)
    lease = take_lease(assets_dir, PLACE)
    assert lease is not None
    inodes = {path: (root / PLACE.part(PartPath(path))).stat().st_ino for path in FIRST}
    grow(assets_dir, *SECOND)
    assert is_leased(assets_dir, PLACE)
    assert not is_leased(assets_dir, PATHS)
    assert inodes == {p: (root / PLACE.part(PartPath(p))).stat().st_ino for p in FIRST}
    lease.release()
    assert not is_leased(assets_dir, PLACE)


def test_a_listed_part_is_replaced_only_without_a_lease(assets_dir: AssetsDir, root: Path) -> None:
    """ASSET_IN_USE, and the part stays as it is; with equal bytes there is nothing to replace."""
    grow(assets_dir, *FIRST)
    damaged = root / PLACE.part(PartPath("a"))
    damaged.write_bytes(b"dam a")
    lease = take_lease(assets_dir, PLACE)
    assert lease is not None
    with pytest.raises(AssetInUseError):
        grow(assets_dir, "a", "z")
    assert here(assets_dir) == {**of(*FIRST), "a": b"dam a"}
    grow(assets_dir, "sub/b", "z", equal=("sub/b",))
    assert here(assets_dir) == {**of(*FIRST, "z"), "a": b"dam a"}
    lease.release()
    grow(assets_dir, "a")
    assert here(assets_dir) == of(*FIRST, "z")


def test_there_is_no_lease_on_what_is_not_there(assets_dir: AssetsDir) -> None:
    """Neither on nothing, nor on parts that no receipt lists."""
    assert take_lease(assets_dir, PLACE) is None
    with assets_dir.ensured_folder(PLACE.parts):
        pass
    assert take_lease(assets_dir, PLACE) is None


def drop(partial: PartialVersions, assets_dir: AssetsDir) -> Outcome:
    """Evict it, and delete what is left, as the daemon does."""
    evicted = partial.evict(PATHS)
    if evicted.trash:
        empty_trash(assets_dir, evicted.trash)
    return evicted.outcome


def test_it_is_evicted_as_a_whole(assets_dir: AssetsDir, root: Path, fs: FaultyFileSystem) -> None:
    """By one rename that is durable before anything is deleted; nothing to drop is fine."""
    partial = grow(assets_dir, *FIRST)
    fs.calls.clear()
    assert drop(partial, assets_dir) is Outcome.EVICTED
    moved = index(fs, f"rename_noreplace {PLACE.data} -> .assetd/trash/")
    for folder in (PLACE.folder, ".assetd/trash"):
        assert moved < index(fs, f"fsync {folder}") < index(fs, "unlink")
    assert here(assets_dir) == {}
    assert left_overs(root) == []
    assert drop(partial, assets_dir) is Outcome.KEPT


def test_another_receipt_is_not_evicted(assets_dir: AssetsDir) -> None:
    """Who has decided about one state of it does not evict another."""
    partial = grow(assets_dir, *FIRST)
    before = partial.look(PATHS)
    grow(assets_dir, *SECOND)
    assert partial.evict(PATHS, lambda now: now == before).outcome is Outcome.KEPT
    assert here(assets_dir) == of(*FIRST, *SECOND)


def test_it_is_not_evicted_while_leased(assets_dir: AssetsDir) -> None:
    """Left for later, untouched."""
    partial = grow(assets_dir, *FIRST)
    lease = take_lease(assets_dir, PLACE)
    assert lease is not None
    assert drop(partial, assets_dir) is Outcome.LEASED
    assert here(assets_dir) == of(*FIRST)
    lease.release()
    assert drop(partial, assets_dir) is Outcome.EVICTED
    assert here(assets_dir) == {}


def test_who_grows_what_is_taken_away_makes_it_anew(
    assets_dir: AssetsDir, root: Path, fs: FaultyFileSystem
) -> None:
    """Nothing is ever moved into a folder that lies in the trash."""
    grow(assets_dir, *FIRST)

    def take_away() -> None:
        shutil.rmtree(root / PLACE.data)

    fs.before("flock", take_away)
    grow(assets_dir, *SECOND)
    assert here(assets_dir) == of(*SECOND)


def test_a_kill_at_any_call_of_an_eviction_leaves_all_or_nothing(scratch: Path) -> None:
    """It is here with every part, or it is gone, and the next start deletes what is left."""
    number, gone = 0, False
    while not gone:
        number += 1
        root = scratch / str(number)
        root.mkdir()
        fs = FaultyFileSystem()
        assets_dir = AssetsDir(str(root), fs)
        partial = grow(assets_dir, *FIRST)
        fs.stop(number)
        with suppress(Stopped):
            gone = drop(partial, assets_dir) is Outcome.EVICTED
        restarted = AssetsDir(str(root), FaultyFileSystem())
        assert recover(restarted).writable
        assert here(restarted) in (of(*FIRST), {})
        assert left_overs(root) == []
        restarted.close()
        if gone:
            fs.heal()
            assets_dir.close()
    assert number > 20


def test_the_bytes_of_a_part_may_be_anything(assets_dir: AssetsDir) -> None:
    """What the tests use covers names that the layout uses itself."""
    assert "receipt" in by_path(TREE)
    grow(assets_dir, "receipt")
    assert here(assets_dir) == of("receipt")
    with assets_dir.opened(PLACE.data) as fd:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
