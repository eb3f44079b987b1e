"""The spool of one push: bytes in order, hashed as they come."""

import errno
from contextlib import suppress
from pathlib import Path

import pytest
from assetd_server.cache.layout import AssetsDir
from assetd_server.cache.spool import Spool
from assetd_server.errors import DiskFullError, IoError
from assetd_server.model import PartPath

from tests.support.file_systems import FaultyFileSystem, StutteringFileSystem
from tests.support.versions import left_overs, part_of

PUSH_ID = "3f2b8c1e-0000-4000-8000-000000000001"
A, B = PartPath("a"), PartPath("sub/b")


@pytest.fixture
def spool(assets_dir: AssetsDir) -> Spool:
    """The spool of a push."""
    return Spool(assets_dir, PUSH_ID)


def test_files_that_come_in_turns_are_kept_apart(spool: Spool, root: Path) -> None:
    """Each grows by its own chunks; size and hashes are those of its bytes."""
    for path, chunk in [(A, b"one "), (B, b"two "), (A, b""), (A, b"three"), (B, b"four")]:
        spool.append(path, chunk)
    assert spool.part(A) == part_of("a", b"one three")
    assert spool.part(B) == part_of("sub/b", b"two four")
    assert (spool.length(A), spool.length(PartPath("c"))) == (9, 0)
    assert list(spool.paths()) == [A, B]
    assert spool.read(A, 4, 100) == b"three"
    assert spool.read(B, 0, 3) == b"two"
    assert spool.read(PartPath("c"), 0, 3) == b""
    spool.discard()
    assert left_overs(root) == []


def test_a_file_without_bytes_is_an_empty_part(spool: Spool) -> None:
    """Of an empty file no chunk comes, or an empty one."""
    assert spool.part(A) == part_of("a", b"")
    spool.append(A, b"")
    assert spool.part(A) == part_of("a", b"")
    assert spool.read(A, 0, 10) == b""
    spool.discard()


def test_one_descriptor_for_any_number_of_files(spool: Spool, fs: FaultyFileSystem) -> None:
    """A push of 5,000 parts must not use up the daemon's descriptors."""
    for number in range(50):
        spool.append(PartPath(f"part{number}"), b"x")
    assert len(fs.open_paths) == 2
    spool.discard()


def test_a_part_is_never_a_path_on_the_disk(spool: Spool, root: Path) -> None:
    """The caller's names are not used for files, so that none of them can collide or climb."""
    spool.append(A, b"1")
    spool.append(PartPath("a/below"), b"2")
    names = [path.name for path in (root / ".assetd/push/.spool" / PUSH_ID).iterdir()]
    assert sorted(names) == ["0", "1"]
    spool.discard()


@pytest.mark.parametrize(
    ("call", "code", "error"),
    [("pwritev", errno.ENOSPC, DiskFullError), ("create", errno.EIO, IoError)],
)
def test_a_failure_can_be_discarded(
    spool: Spool, root: Path, fs: FaultyFileSystem, call: str, code: int, error: type[Exception]
) -> None:
    """A full disk is told as such, and gives everything back."""
    fs.fail(1, code, call)
    with pytest.raises(error):
        spool.append(A, b"content")
    assert spool.length(A) == 0
    spool.discard()
    spool.discard()
    assert left_overs(root) == []


def test_discarding_survives_a_close_that_fails(
    spool: Spool, root: Path, fs: FaultyFileSystem
) -> None:
    """What could not be closed well is closed all the same, once, and the files go."""
    spool.append(A, b"content")
    fs.fail(1, errno.EIO, "close")
    with pytest.raises(IoError):
        spool.discard()
    spool.discard()
    assert left_overs(root) == []
    assert fs.open_paths == [""]


def test_the_left_overs_of_an_earlier_try_are_dropped(assets_dir: AssetsDir, spool: Spool) -> None:
    """A push that is repeated begins with nothing."""
    spool.append(A, b"old and longer")
    spool.discard()
    again = Spool(assets_dir, PUSH_ID)
    again.append(A, b"new")
    assert again.read(A, 0, 100) == b"new"
    again.discard()


def test_short_writes_are_continued(root: Path) -> None:
    """The kernel may take less than it was given."""
    assets_dir = AssetsDir(str(root), StutteringFileSystem())
    spool = Spool(assets_dir, PUSH_ID)
    spool.append(A, b"some content")
    spool.append(A, b" and more")
    assert spool.read(A, 0, 100) == b"some content and more"
    assert spool.part(A) == part_of("a", b"some content and more")
    spool.discard()
    assets_dir.close()


class FullFileSystem(FaultyFileSystem):
    """Takes no byte and reports no error."""

    def pwritev(self, fd: int, buffers: object, offset: int) -> int:  # noqa: ARG002
        return 0


def test_a_disk_that_takes_nothing_does_not_spin(root: Path) -> None:
    """A write of nothing is a failure: repeated for ever it would hang the push."""
    assets_dir = AssetsDir(str(root), FullFileSystem())
    spool = Spool(assets_dir, PUSH_ID)
    with pytest.raises(IoError):
        spool.append(A, b"content")
    spool.discard()
    assets_dir.close()


def test_a_spool_that_cannot_begin_leaves_nothing(
    assets_dir: AssetsDir, root: Path, fs: FaultyFileSystem
) -> None:
    """Whichever call fails: nobody has a spool in hand that could be discarded."""
    fs.calls.clear()
    Spool(assets_dir, PUSH_ID).discard()
    for number in range(1, len(fs.calls) + 1):
        fs.fail(number, errno.EIO)
        with suppress(IoError):
            Spool(assets_dir, PUSH_ID)
            fs.heal()
            Spool(assets_dir, PUSH_ID).discard()
        fs.heal()
        assert left_overs(root) == [], number
