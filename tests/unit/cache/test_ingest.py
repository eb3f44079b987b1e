"""Bytes on their way in: staged, hashed, durable, and gone when something fails."""

import errno
import itertools
from pathlib import Path

import pytest
from assetd_server.cache.ingest import (
    SYNCFS_ABOVE_FILES,
    SmallPart,
    StagedVersion,
    checksum_of,
    write_range,
)
from assetd_server.cache.kept import combined
from assetd_server.cache.layout import AssetsDir
from assetd_server.cache.linux import Buffer
from assetd_server.cache.receipt import Marker, decode_marker
from assetd_server.errors import DiskFullError, IoError
from assetd_server.manifest import Part
from assetd_server.model import AssetKind, PartPath

from tests.support.file_systems import FaultyFileSystem, StutteringFileSystem
from tests.support.versions import (
    PATHS,
    Content,
    left_overs,
    part_of,
    receipt_of,
    stage,
    standing,
)

FILE = b"content"
TREE = {"a": b"one", "sub/b": b"two", "sub/deep/c": b"three"}
MANY = {f"sub/{number}": b"%d" % number for number in range(SYNCFS_ABOVE_FILES + 4)}
all_kinds = pytest.mark.parametrize("content", [FILE, TREE, MANY], ids=["file", "few", "many"])


@all_kinds
def test_a_staged_version_is_invisible_and_whole(
    assets_dir: AssetsDir, root: Path, content: Content
) -> None:
    """All of it lies below `.assetd/staging`, the receipt with it; discarding leaves nothing."""
    staged = stage(assets_dir, content)
    assert standing(root) is None
    data = root / staged.data
    files = {path for path in data.rglob("*") if path.is_file()}
    found = {str(path.relative_to(data)): path.read_bytes() for path in files}
    if isinstance(content, bytes):
        assert data.read_bytes() == content
        receipt = (root / staged.folder / "receipt").read_bytes()
    else:
        receipt = found.pop(".SUCCESS")
        assert found == content
    assert decode_marker(receipt) == (Marker.RECEIPT, receipt_of(content))
    staged.discard()
    staged.discard()
    assert left_overs(root) == []


@all_kinds
def test_sealing_syncs_the_bytes_before_it_returns(
    assets_dir: AssetsDir, fs: FaultyFileSystem, content: Content
) -> None:
    """Each file and each staged folder, or the whole file system where there are many."""
    staged = stage(assets_dir, content, sealed=False)
    fs.calls.clear()
    staged.seal(receipt_of(content))
    synced = {call.paths[0] for call in fs.named("fsync")}
    if content is MANY:
        assert fs.calls[-1].name == "syncfs"
    elif isinstance(content, bytes):
        assert synced >= {staged.data, staged.folder, f"{staged.folder}/receipt"}
    else:
        assert synced >= {f"{staged.data}/{path}" for path in [*TREE, ".SUCCESS", "sub/deep"]}
        assert staged.data in synced
    written = [i for i, call in enumerate(fs.calls) if call.name == "pwritev"]
    syncs = [i for i, call in enumerate(fs.calls) if call.name in ("fsync", "syncfs")]
    assert max(written) < max(syncs)
    staged.discard()


def test_the_sync_of_many_hears_of_every_write_error(
    assets_dir: AssetsDir, fs: FaultyFileSystem
) -> None:
    """Syncfs tells of errors since its descriptor was opened: so that comes before any write."""
    staged = stage(assets_dir, MANY)
    opened = [i for i, call in enumerate(fs.calls) if str(call) == f"open {staged.folder}"]
    first_part = next(i for i, call in enumerate(fs.calls) if call.name == "create")
    assert min(opened) < first_part
    staged.discard()


def test_a_file_that_was_closed_unsynced_is_synced_by_all(
    assets_dir: AssetsDir, fs: FaultyFileSystem
) -> None:
    """A dropped part makes the files fewer again, and must not bring back the sync of each."""
    staged = StagedVersion(assets_dir, PATHS, AssetKind.DIRECTORY)
    parts = [staged.add_part(part_of(path, data)) for path, data in MANY.items()]
    for part in parts:
        staged.end_part(part)
    for part in parts[2:]:
        staged.drop_part(part)
    fs.calls.clear()
    staged.seal(receipt_of(dict(list(MANY.items())[:2])))
    assert fs.named("syncfs") != []
    staged.discard()


def test_many_files_take_few_descriptors(assets_dir: AssetsDir, fs: FaultyFileSystem) -> None:
    """A directory of 5,000 parts must not use up the daemon's descriptors."""
    staged = stage(assets_dir, MANY, sealed=False)
    assert len(fs.open_paths) <= SYNCFS_ABOVE_FILES + 2
    staged.discard()


def test_ranges_come_in_any_order(assets_dir: AssetsDir, root: Path) -> None:
    """Each is written at its offset, and the checksums of the ranges give that of the file."""
    data = bytes(range(256)) * 40
    cuts = [0, 1, 4096, 7000, len(data)]
    ranges = list(itertools.pairwise(cuts))
    staged = StagedVersion(assets_dir, PATHS, AssetKind.FILE)
    part = staged.add_part(part_of("", data))
    sums = {}
    for start, end in reversed(ranges):
        middle = (start + end) // 2
        pieces: list[Buffer] = [data[start:middle], memoryview(data)[middle:end], b""]
        sums[start] = write_range(part, start, pieces)
    staged.end_part(part)
    assert (root / staged.data).read_bytes() == data
    total = combined([sums[start] for start, _ in ranges])
    assert total == checksum_of([data]) == checksum_of([data[:9], data[9:]])
    staged.discard()


def test_short_writes_are_continued(root: Path) -> None:
    """The kernel may take less than it was given, in the middle of a buffer or between two."""
    assets_dir = AssetsDir(str(root), StutteringFileSystem())
    staged = StagedVersion(assets_dir, PATHS, AssetKind.FILE)
    part = staged.add_part(part_of("", b""))
    part.write(2, [b"ab", b"", b"cdefg", b"h"])
    assert (root / staged.data).read_bytes() == b"\0\0abcdefgh"
    staged.discard()
    assets_dir.close()


def test_more_buffers_than_one_call_takes(assets_dir: AssetsDir, root: Path) -> None:
    """A range arrives in as many pieces as the network made of it."""
    staged = StagedVersion(assets_dir, PATHS, AssetKind.FILE)
    part = staged.add_part(part_of("", b""))
    part.write(0, [b"%04d" % number for number in range(3000)])
    assert (root / staged.data).read_bytes()[-4:] == b"2999"
    assert (root / staged.data).stat().st_size == 12_000
    staged.discard()


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP])
def test_the_hint_for_the_disk_may_be_unknown(
    assets_dir: AssetsDir, root: Path, fs: FaultyFileSystem, code: int
) -> None:
    """Not every file system writes ranges back early; the fsync does the same."""
    fs.fail(1, code, "start_writeback")
    staged = stage(assets_dir, FILE)
    assert (root / staged.data).read_bytes() == FILE
    staged.discard()


@pytest.mark.parametrize(
    ("call", "code", "error"),
    [
        ("pwritev", errno.ENOSPC, DiskFullError),
        ("pwritev", errno.EDQUOT, DiskFullError),
        ("start_writeback", errno.EIO, IoError),
        ("create", errno.ENOSPC, DiskFullError),
        ("fsync", errno.EIO, IoError),
        ("close", errno.EIO, IoError),
    ],
)
def test_a_failure_condemns_what_is_staged(
    assets_dir: AssetsDir,
    root: Path,
    fs: FaultyFileSystem,
    call: str,
    code: int,
    error: type[Exception],
) -> None:
    """It is told in the domain's words, and nothing stays behind."""
    fs.fail(1, code, call)
    with pytest.raises(error):
        stage(assets_dir, TREE).discard()
    assert left_overs(root) == []
    assert standing(root) is None


def test_a_failed_sync_of_many_is_heard(assets_dir: AssetsDir, fs: FaultyFileSystem) -> None:
    """An error of write-back, of whichever file, is one of this version."""
    fs.fail(1, errno.EIO, "syncfs")
    with pytest.raises(IoError):
        stage(assets_dir, MANY)


def test_what_an_earlier_run_left_is_not_trusted(assets_dir: AssetsDir, root: Path) -> None:
    """A file of the same name, a marker, a folder where a file is due: all of it goes first."""
    left = stage(assets_dir, {**TREE, "stale": b"stale"})
    left.close()
    staged = stage(assets_dir, TREE)
    assert not (root / staged.data / "stale").exists()
    staged.close()
    as_file = stage(assets_dir, FILE)
    assert (root / as_file.data).read_bytes() == FILE
    as_file.discard()


def test_a_dropped_part_can_be_added_again(assets_dir: AssetsDir, root: Path) -> None:
    """A second try starts with an empty file: a shorter one must not keep the old end."""
    staged = StagedVersion(assets_dir, PATHS, AssetKind.DIRECTORY)
    part = staged.add_part(part_of("sub/b", b"damaged bytes"))
    part.write(0, [b"damaged bytes"])
    staged.drop_part(part)
    again = staged.add_part(part_of("sub/b", b"good"))
    again.write(0, [b"good"])
    assert (root / staged.data / "sub/b").read_bytes() == b"good"
    staged.discard()


def test_small_parts_are_written_where_they_are_sound(assets_dir: AssetsDir, root: Path) -> None:
    """The checksum of each is returned; damaged bytes are not written, unknown ones are."""
    staged = StagedVersion(assets_dir, PATHS, AssetKind.DIRECTORY)
    good, unknown = part_of("a", b"one"), Part(PartPath("sub/b"), 3)
    damaged = part_of("sub/c", b"right")
    batch = [(good, b"one"), (unknown, b"two"), (damaged, b"wrong")]
    found = staged.write_small(SmallPart(part, [data]) for part, data in batch)
    assert found == [checksum_of([data]) for _, data in batch]
    assert (root / staged.data / "a").read_bytes() == b"one"
    assert (root / staged.data / "sub/b").read_bytes() == b"two"
    assert not (root / staged.data / "sub/c").exists()
    staged.discard()


def test_closing_goes_on_past_a_failure(assets_dir: AssetsDir, fs: FaultyFileSystem) -> None:
    """One descriptor that cannot be closed well must not keep the others open."""
    staged = stage(assets_dir, TREE)
    fs.fail(1, errno.EIO, "close")
    with pytest.raises(IoError):
        staged.close()
    assert fs.open_paths == [""]
    staged.discard()
