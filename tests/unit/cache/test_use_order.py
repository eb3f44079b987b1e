"""The order of use, kept from one run to the next: a hint that may be torn, stale or gone."""

import errno
from pathlib import Path

import pytest
from assetd_server.cache.layout import AssetsDir
from assetd_server.cache.use_order import Remembered, note_end, read_order, take_end, write_order
from assetd_server.errors import DiskFullError, IoError

from tests.support.file_systems import FaultyFileSystem

ORDER = [
    Remembered("some/asset/0.1", 7200, 1_700_000_000_000_000_001, 15, 1_600_000_000_000_000_001),
    Remembered("with space/ü/2026-11-23T09-30-00Z", 60, None, None),
    Remembered("x/y/0.0", 0, -5, 0),
]


def test_what_is_written_is_read(assets_dir: AssetsDir) -> None:
    """In the same order; ages are whole seconds."""
    write_order(assets_dir, ORDER)
    write_order(assets_dir, ORDER)
    assert read_order(assets_dir) == ORDER
    write_order(assets_dir, [])
    assert read_order(assets_dir) == []


def test_there_may_be_none(assets_dir: AssetsDir, root: Path) -> None:
    """The first run, or one after somebody deleted it."""
    assert read_order(assets_dir) == []
    (root / ".assetd/order").mkdir(parents=True)
    assert read_order(assets_dir) == []


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"\xff\xff\n",
        b"12 - -\n",
        b"-3 5 5 x/y/0.0\n",
        b"1 2 x/y/0.0\n",
        b"1e3 - - x/y/0.0\n",
        b"\xd9\xa1 - - x/y/0.0\n",
        b"9999999999999 - - x/y/0.0\n",
    ],
)
def test_what_is_damaged_is_left_out(assets_dir: AssetsDir, root: Path, damage: bytes) -> None:
    """A line that is none hides no other."""
    write_order(assets_dir, ORDER)
    path = root / ".assetd/order"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + damage + lines[1])
    assert read_order(assets_dir) == ORDER[:2]


def test_a_torn_end_hides_nothing_before_it(assets_dir: AssetsDir, root: Path) -> None:
    """Cut anywhere: all lines before the cut are there."""
    write_order(assets_dir, ORDER)
    path = root / ".assetd/order"
    whole = path.read_bytes()
    ends = [end for end in range(len(whole)) if whole[end : end + 1] == b"\n"]
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        count = sum(end <= cut for end in ends)
        assert read_order(assets_dir)[:count] == ORDER[:count]


@pytest.mark.parametrize(
    ("call", "code", "error"),
    [("create", errno.ENOSPC, DiskFullError), ("rename", errno.EIO, IoError)],
)
def test_an_order_that_cannot_be_saved_leaves_the_last_one(
    assets_dir: AssetsDir, fs: FaultyFileSystem, call: str, code: int, error: type[Exception]
) -> None:
    """The file is replaced as a whole."""
    write_order(assets_dir, ORDER)
    fs.fail(1, code, call)
    with pytest.raises(error):
        write_order(assets_dir, ORDER[:1])
    assert read_order(assets_dir) == ORDER


def test_an_order_that_cannot_be_read_is_none(assets_dir: AssetsDir, fs: FaultyFileSystem) -> None:
    """It is a help, and no reason not to start."""
    write_order(assets_dir, ORDER)
    fs.fail(1, errno.EIO, "pread")
    assert read_order(assets_dir) == []


def test_an_end_is_told_once(assets_dir: AssetsDir) -> None:
    """Of the run that has taken it nobody knows how it will end."""
    assert not take_end(assets_dir)
    note_end(assets_dir)
    note_end(assets_dir)
    assert take_end(assets_dir)
    assert not take_end(assets_dir)


@pytest.mark.parametrize("call", ["unlink", "fsync"])
def test_an_end_that_cannot_be_taken_is_none(
    assets_dir: AssetsDir, fs: FaultyFileSystem, call: str
) -> None:
    """It may be there again after a power cut, and would be told of a run that had no end."""
    note_end(assets_dir)
    fs.fail(1, errno.EIO, call)
    assert not take_end(assets_dir)
