"""Interrupted downloads: kept as far as their bytes prove them, and not a byte further."""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from assetd_server.cache.ingest import (
    SYNCFS_ABOVE_FILES,
    SmallPart,
    StagedVersion,
    checksum_of,
    write_range,
)
from assetd_server.cache.kept import KeptPart
from assetd_server.cache.layout import AssetsDir
from assetd_server.errors import DiskFullError, IoError
from assetd_server.manifest import Part
from assetd_server.model import AssetKind

from tests.support.assets_bench import flip_byte
from tests.support.file_systems import FaultyFileSystem, Stopped
from tests.support.versions import PATHS, by_path, left_overs, part_of, receipt_of

RANGE = 100
LARGE = bytes(range(256)) * 2
TREE = {"empty": b"", "large": LARGE, "small": b"s" * 30, "sub/deep/other": b"o" * 40}
STARTS = range(0, len(LARGE), RANGE)
ETAG = '"one"'


def parts_of(tree: dict[str, bytes], *, checksums: bool = True) -> list[Part]:
    """The parts as a manifest of ours names them, or one of modelkit's."""
    parts = [part_of(path, data) for path, data in by_path(tree).items()]
    return parts if checksums else [Part(part.path, part.size_bytes) for part in parts]


PARTS = parts_of(TREE)
UNPROVEN = parts_of(TREE, checksums=False)
EMPTY, LARGE_PART, SMALL, OTHER = PARTS


def begin(assets_dir: AssetsDir, parts: list[Part] = PARTS) -> StagedVersion:
    """Go on with what lies in staging."""
    return StagedVersion(assets_dir, PATHS, AssetKind.DIRECTORY, parts)


def write_some(staged: StagedVersion, starts: list[int], etag: str = ETAG) -> None:
    """Write the small parts, and of the large one these ranges."""
    small = [SmallPart(part, [TREE[part.path]], etag) for part in (EMPTY, SMALL, OTHER)]
    staged.write_small(small)
    large = staged.add_part(LARGE_PART)
    for start in starts:
        write_range(large, start, [LARGE[start : start + RANGE]], etag)


def interrupted(assets_dir: AssetsDir, *starts: int) -> Path:
    """Leave a download in staging, and return the folder of its data."""
    staged = begin(assets_dir)
    write_some(staged, list(starts))
    staged.suspend()
    return Path(assets_dir.absolute(staged.data))


def kept_starts(staged: StagedVersion) -> list[int]:
    """Which ranges of the large part were kept."""
    large = staged.kept.get(LARGE_PART.path)
    return [written.start for written in large.ranges] if large else []


def test_what_was_written_is_kept(assets_dir: AssetsDir) -> None:
    """Ranges in any order, whole parts, empty ones too; each with its ETag."""
    interrupted(assets_dir, 300, 0)
    staged = begin(assets_dir)
    assert set(staged.kept) == set(TREE)
    assert kept_starts(staged) == [0, 300]
    assert {kept.etag for kept in staged.kept.values()} == {ETAG}
    assert [kept.part.path for kept in staged.kept.values() if not kept.is_whole] == ["large"]
    assert staged.kept_bytes == 30 + 40 + 2 * RANGE
    staged.discard()
    assert left_overs(Path(assets_dir.path)) == []


def test_what_is_missing_is_what_was_not_kept(assets_dir: AssetsDir) -> None:
    """The gaps, in ranges of whatever length is set by now."""
    interrupted(assets_dir, 100, 300)
    staged = begin(assets_dir)
    large = staged.kept[LARGE_PART.path]
    assert list(large.missing(RANGE)) == [(0, 100), (200, 100), (400, 100), (500, 12)]
    assert list(large.missing(1000)) == [(0, 100), (200, 100), (400, 112)]
    assert list(large.missing(60)) == [
        (0, 60),
        (60, 40),
        (200, 60),
        (260, 40),
        (400, 60),
        (460, 52),
    ]
    staged.discard()


def test_it_is_gone_on_with_in_the_same_file(assets_dir: AssetsDir, root: Path) -> None:
    """A download that was interrupted goes on in its own files, with what is missing.

    The rest is written beside what was kept; the whole is sealed as if it had come at once.
    """
    interrupted(assets_dir, 0, 200)
    staged = begin(assets_dir)
    large = staged.kept[LARGE_PART.path]
    opened = staged.resume_part(large)
    for start, length in large.missing(RANGE):
        write_range(opened, start, [LARGE[start : start + length]], large.etag)
    staged.end_part(opened)
    staged.seal(receipt_of(TREE))
    found = {path: (root / staged.data / path).read_bytes() for path in TREE}
    assert found == TREE
    staged.discard()


def test_it_may_be_interrupted_again_and_again(assets_dir: AssetsDir) -> None:
    """Each flight adds its ranges to those of all before it."""
    interrupted(assets_dir, 0)
    for start in STARTS[1:]:
        staged = begin(assets_dir)
        opened = staged.resume_part(staged.kept[LARGE_PART.path])
        write_range(opened, start, [LARGE[start : start + RANGE]], ETAG)
        staged.suspend()
    staged = begin(assets_dir)
    assert kept_starts(staged) == list(STARTS)
    assert staged.kept[LARGE_PART.path].is_confirmed
    staged.discard()


def test_a_kill_at_any_call_keeps_what_was_journalled(scratch: Path) -> None:
    """Whatever call a kill comes at, what is kept of a download is right, and little is lost."""
    number, finished, most = 0, False, 0
    while not finished:
        number += 1
        root = scratch / str(number)
        root.mkdir()
        fs = FaultyFileSystem()
        fs.stop(number)
        try:
            assets_dir = AssetsDir(str(root), fs)
            staged = begin(assets_dir)
            write_some(staged, [200, 0])
            finished = True
            fs.heal()
            staged.close()
            assets_dir.close()
        except Stopped:
            pass
        restarted = AssetsDir(str(root), FaultyFileSystem())
        staged = begin(restarted)
        for kept in staged.kept.values():
            require_right(root / staged.data / kept.part.path, kept)
        assert staged.kept_bytes >= most
        most = max(most, staged.kept_bytes)
        staged.discard()
        restarted.close()
        shutil.rmtree(root)
    assert (most, number > 20) == (30 + 40 + 2 * RANGE, True)


def require_right(path: Path, kept: KeptPart) -> None:
    """Compare the ranges that were kept with the bytes that they should have."""
    data, expected = path.read_bytes(), TREE[kept.part.path]
    assert len(data) <= len(expected)
    for written in kept.ranges:
        assert data[written.start : written.end] == expected[written.start : written.end]


def test_a_kill_while_it_is_taken_over_loses_nothing(scratch: Path) -> None:
    """However often the next run dies at its beginning, the one that lives has all of it."""
    number, finished = 0, False
    while not finished:
        number += 1
        root = scratch / str(number)
        root.mkdir()
        assets_dir = AssetsDir(str(root), FaultyFileSystem())
        interrupted(assets_dir, 0, 300)
        assets_dir.close()
        fs = FaultyFileSystem()
        fs.stop(number)
        try:
            dying = AssetsDir(str(root), fs)
            begin(dying).close()
            finished = True
            fs.heal()
            dying.close()
        except Stopped:
            pass
        restarted = AssetsDir(str(root), FaultyFileSystem())
        staged = begin(restarted)
        assert (kept_starts(staged), len(staged.kept)) == ([0, 300], len(TREE)), number
        staged.discard()
        restarted.close()
        shutil.rmtree(root)
    assert number > 30


@pytest.mark.parametrize("offset", [0, 99, 100, 350, 511])
def test_a_byte_that_flipped_in_what_was_kept(assets_dir: AssetsDir, offset: int) -> None:
    """What is kept is read back and compared: a range with a wrong byte is fetched again.

    Its range is dropped, the others stay.
    """
    data = interrupted(assets_dir, *STARTS[:-1])
    damaged = bytearray((data / "large").read_bytes())
    damaged.extend(bytes(len(LARGE) - len(damaged)))
    damaged[offset] ^= 1
    (data / "large").write_bytes(damaged)
    staged = begin(assets_dir)
    assert kept_starts(staged) == [s for s in STARTS[:-1] if not s <= offset < s + RANGE]
    staged.discard()


def test_a_whole_part_that_is_damaged_goes(assets_dir: AssetsDir, root: Path) -> None:
    """By the journal or by the manifest: a damaged byte that the journal believes is found too."""
    data = interrupted(assets_dir)
    flip_byte(data / "small")
    staged = begin(assets_dir)
    assert set(staged.kept) == {"empty", "sub/deep/other"}
    # Damaged on the way: the bytes are what the journal says, and not what the manifest does.
    wrong = staged.add_part(SMALL)
    write_range(wrong, 0, [b"x" * 30], ETAG)
    staged.suspend()
    again = begin(assets_dir)
    assert set(again.kept) == {"empty", "sub/deep/other"}
    assert not (root / again.data / "small").exists()
    again.discard()


@pytest.mark.parametrize("length", [0, 99, 100, 150])
def test_what_was_cut_short_is_kept_up_to_there(assets_dir: AssetsDir, length: int) -> None:
    """As after a power cut: the journal knows of bytes that the disk never got."""
    data = interrupted(assets_dir, 0, 100, 200)
    os.truncate(data / "large", length)
    staged = begin(assets_dir)
    assert kept_starts(staged) == [s for s in (0, 100, 200) if s + RANGE <= length]
    staged.discard()


def longer(data: Path) -> None:
    """More than the part has."""
    with (data / "large").open("ab") as file:
        file.write(b"x" * len(LARGE))


def linked(data: Path) -> None:
    """A link to the very bytes."""
    (data / "large").rename(data.parent / "elsewhere")
    (data / "large").symlink_to(data.parent / "elsewhere")


def folder(data: Path) -> None:
    """A folder where the file was."""
    (data / "large").unlink()
    (data / "large").mkdir()


def gone(data: Path) -> None:
    """Deleted by hand."""
    (data / "large").unlink()


@pytest.mark.parametrize("change", [longer, linked, folder, gone])
def test_what_is_no_such_file_is_not_kept(
    assets_dir: AssetsDir, change: Callable[[Path], None]
) -> None:
    """Too long, a link, a folder, gone: the part begins anew."""
    data = interrupted(assets_dir, 0)
    change(data)
    staged = begin(assets_dir)
    assert "large" not in staged.kept
    staged.add_part(LARGE_PART)
    staged.discard()


def test_all_else_is_deleted(assets_dir: AssetsDir, root: Path) -> None:
    """Of what an earlier run left nothing is trusted but what its journal and its bytes prove.

    Markers, receipts, parts that nobody journalled, links: nothing there is trusted.
    """
    data = interrupted(assets_dir, 0)
    (data / ".SUCCESS").write_bytes(receipt_of(TREE).encode())
    (data.parent / "receipt").write_bytes(receipt_of(TREE).encode())
    (data.parent / "journal.new").touch()
    (data / "sub/.SUCCESS").touch()
    (data / "sub/stray").mkdir()
    (data / "sub/stray/file").touch()
    (data / "link").symlink_to(root)
    staged = begin(assets_dir)
    below = {str(path.relative_to(data.parent)) for path in data.parent.rglob("*")}
    files = {f"data/{path}" for path in TREE}
    assert below == files | {"journal", "data", "data/sub", "data/sub/deep"}
    staged.discard()


def test_another_content_begins_anew(assets_dir: AssetsDir, root: Path) -> None:
    """Of another manifest of the same version nothing is kept."""
    interrupted(assets_dir, 0)
    staged = begin(assets_dir, [*PARTS[:-1], part_of("sub/deep/other", b"x" * 40)])
    assert staged.kept == {}
    assert [path.name for path in (root / staged.folder).iterdir()] in (
        ["data", "journal"],
        ["journal", "data"],
    )
    assert list((root / staged.data).iterdir()) == []
    staged.discard()


def test_without_parts_nothing_is_kept(assets_dir: AssetsDir, root: Path) -> None:
    """Who does not say what is staged starts anew, and leaves nothing to others."""
    interrupted(assets_dir, 0)
    staged = StagedVersion(assets_dir, PATHS, AssetKind.DIRECTORY)
    assert staged.kept == {}
    staged.write_small([SmallPart(SMALL, [TREE["small"]])])
    staged.suspend()
    assert left_overs(root) == []


def test_ranges_of_two_objects_are_never_mixed(assets_dir: AssetsDir) -> None:
    """Of an object that was replaced meanwhile nothing older is kept.

    A part that was started over keeps what came of the newer object only.
    """
    staged = begin(assets_dir, UNPROVEN)
    large = staged.add_part(UNPROVEN[1])
    write_range(large, 0, [LARGE[:RANGE]], ETAG)
    write_range(large, 100, [LARGE[100:200]], '"two"')
    staged.suspend()
    again = begin(assets_dir, UNPROVEN)
    assert (kept_starts(again), again.kept[LARGE_PART.path].etag) == ([100], '"two"')
    again.discard()


def test_a_dropped_part_is_not_kept(assets_dir: AssetsDir) -> None:
    """Neither what was dropped before it was whole, nor what was kept and proved another's."""
    staged = begin(assets_dir)
    large = staged.add_part(LARGE_PART)
    write_range(large, 0, [LARGE[:RANGE]], ETAG)
    staged.write_small([SmallPart(SMALL, [TREE["small"]], ETAG)])
    staged.drop_part(large)
    # The same bytes by accident: the journal said that they hold no more.
    staged.add_part(LARGE_PART).write(0, [LARGE[:RANGE]])
    staged.suspend()
    again = begin(assets_dir)
    assert set(again.kept) == {"small"}
    again.drop_kept(again.kept[SMALL.path])
    again.suspend()
    last = begin(assets_dir)
    assert last.kept == {}
    last.discard()


def test_what_nobody_can_confirm_is_not_kept(assets_dir: AssetsDir) -> None:
    """Without the manifest's checksum a part is kept only if the store can be asked by ETag."""
    staged = begin(assets_dir, UNPROVEN)
    staged.write_small(
        [SmallPart(SMALL, [TREE["small"]]), SmallPart(OTHER, [TREE["sub/deep/other"]], ETAG)]
    )
    staged.suspend()
    again = begin(assets_dir, UNPROVEN)
    assert set(again.kept) == {"sub/deep/other"}
    assert not again.kept[OTHER.path].is_confirmed
    again.discard()


def test_what_is_kept_is_synced_again(assets_dir: AssetsDir, fs: FaultyFileSystem) -> None:
    """Each file, by a descriptor that hears of errors: the run before may have died unsynced."""
    interrupted(assets_dir, 0)
    fs.calls.clear()
    staged = begin(assets_dir)
    synced = {call.paths[0] for call in fs.named("fsync")}
    assert synced == {f"{staged.data}/{path}" for path in TREE}
    staged.discard()


@pytest.mark.parametrize("call", ["fsync", "pread", "fstat", "unlink", "list_names"])
def test_a_disk_that_fails_what_is_kept_costs_only_that(
    assets_dir: AssetsDir, root: Path, fs: FaultyFileSystem, call: str
) -> None:
    """A failed sync condemns the staged files: the flight begins anew, with new ones."""
    data = interrupted(assets_dir, 0)
    (data / "stray").touch()
    # The journal is read first.
    fs.fail(2 if call in ("pread", "fstat") else 1, errno.EIO, call)
    staged = begin(assets_dir)
    assert staged.kept == {}
    assert list((root / staged.data).iterdir()) == []
    staged.discard()
    assert left_overs(root) == []


def finish(staged: StagedVersion) -> None:
    """Write on and seal; whatever comes of it, leave it to others."""
    try:
        staged.write_small([SmallPart(part_of("more", b"m"), [b"m"])])
        staged.seal(receipt_of(TREE))
    finally:
        staged.suspend()


@pytest.mark.parametrize(
    ("call", "code", "error"),
    [
        ("pwritev", errno.ENOSPC, DiskFullError),
        ("start_writeback", errno.EIO, IoError),
        ("create", errno.EDQUOT, DiskFullError),
        ("close", errno.EIO, IoError),
        ("fsync", errno.EIO, IoError),
    ],
)
def test_what_was_condemned_is_never_left_to_others(
    assets_dir: AssetsDir,
    root: Path,
    fs: FaultyFileSystem,
    call: str,
    code: int,
    error: type[Exception],
) -> None:
    """After a failed write or sync nothing is kept, and all space is given back.

    Whoever wanted to keep it.
    """
    staged = begin(assets_dir)
    write_some(staged, [0])
    fs.fail(1, code, call)
    with pytest.raises(error):
        finish(staged)
    assert left_overs(root) == []
    assert fs.open_paths == [""]


def test_a_failed_record_condemns_too(
    assets_dir: AssetsDir, root: Path, fs: FaultyFileSystem
) -> None:
    """The journal lies on the same disk."""
    staged = begin(assets_dir)
    large = staged.add_part(LARGE_PART)
    fs.fail(2, errno.ENOSPC, "pwritev")
    with pytest.raises(DiskFullError):
        write_range(large, 0, [LARGE[:RANGE]], ETAG)
    staged.suspend()
    assert left_overs(root) == []


def test_many_small_parts_are_kept_with_few_descriptors(
    assets_dir: AssetsDir, fs: FaultyFileSystem
) -> None:
    """Thousands of kept parts need none; sealing syncs what is new, and every folder."""
    tree = {f"sub/{number}": b"%d" % number for number in range(2 * SYNCFS_ABOVE_FILES)}
    parts = parts_of(tree)
    staged = begin(assets_dir, parts)
    staged.write_small(SmallPart(part, [tree[part.path]], ETAG) for part in parts[1:])
    staged.suspend()
    again = begin(assets_dir, parts)
    assert set(again.kept) == set(tree) - {"sub/0"}
    assert len(fs.open_paths) <= 3
    again.write_small([SmallPart(parts[0], [tree["sub/0"]], ETAG)])
    fs.calls.clear()
    again.seal(receipt_of(tree))
    synced = {call.paths[0] for call in fs.named("fsync")}
    assert synced >= {again.data, f"{again.data}/sub", f"{again.data}/sub/0"}
    again.discard()


def test_a_file_asset_is_kept_too(assets_dir: AssetsDir, root: Path) -> None:
    """Its only part has no name."""
    part = part_of("", LARGE)
    staged = StagedVersion(assets_dir, PATHS, AssetKind.FILE, [part])
    write_range(staged.add_part(part), 100, [LARGE[100:200]], ETAG)
    staged.suspend()
    again = StagedVersion(assets_dir, PATHS, AssetKind.FILE, [part])
    assert [(w.start, w.crc64nvme) for w in again.kept[part.path].ranges] == [
        (100, checksum_of([LARGE[100:200]]))
    ]
    again.discard()
    assert left_overs(root) == []
