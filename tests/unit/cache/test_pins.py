"""Pins: kept over restarts and power cuts, undone by hand, read or not started at all."""

import errno
from pathlib import Path

import pytest
from assetd_server.cache.layout import PINS, AssetsDir, VersionPaths
from assetd_server.cache.pins import Pins
from assetd_server.errors import DiskFullError, IoError, ReadOnlyError, UnsafePathError
from assetd_server.model import AssetName
from assetd_server.versioning import Version

from tests.support.file_systems import FaultyFileSystem, Stopped
from tests.support.versions import PATHS

OTHER = VersionPaths(AssetName("some/asset"), Version.parse("0.2"))


def loaded(assets_dir: AssetsDir) -> Pins:
    """The pins as the next run finds them."""
    pins = Pins(assets_dir)
    pins.load()
    return pins


def test_a_pin_outlives_the_run(assets_dir: AssetsDir) -> None:
    """Set twice is set; undone twice is undone; another version is another matter."""
    pins = loaded(assets_dir)
    for _ in range(2):
        pins.pin(PATHS)
        assert pins.is_pinned(PATHS.data)
    again = loaded(assets_dir)
    assert (again.is_pinned(PATHS.data), again.is_pinned(OTHER.data)) == (True, False)
    for _ in range(2):
        again.unpin(PATHS)
        assert not again.is_pinned(PATHS.data)
    assert not loaded(assets_dir).is_pinned(PATHS.data)


def test_a_pin_is_durable_before_it_is_told(assets_dir: AssetsDir, fs: FaultyFileSystem) -> None:
    """A pin is durable before it is told.

    Content, then name, then every folder on the way: a power cut finds it or nothing torn.
    """
    Pins(assets_dir).pin(PATHS)
    synced = [call.paths[0] for call in fs.named("fsync")]
    assert synced[-2:] == [f"{PINS}/.{PATHS.key}", PINS]
    assert {"", ".assetd"} <= set(synced)
    changes = [call.name for call in fs.named("fsync", "rename")]
    assert changes[-3:] == ["fsync", "rename", "fsync"]


def test_undoing_is_durable_too(assets_dir: AssetsDir, fs: FaultyFileSystem) -> None:
    """The folder is synced after the name is gone."""
    pins = Pins(assets_dir)
    pins.pin(PATHS)
    fs.calls.clear()
    pins.unpin(PATHS)
    assert [call.name for call in fs.named("unlink", "fsync")] == ["unlink", "fsync"]


def test_who_empties_our_folder_unpins(assets_dir: AssetsDir, root: Path) -> None:
    """Undoing a pin whose file is gone is no error."""
    pins = loaded(assets_dir)
    pins.pin(PATHS)
    (root / PINS / PATHS.key).unlink()
    pins.unpin(PATHS)
    assert not pins.is_pinned(PATHS.data)
    pins.pin(PATHS)
    assert loaded(assets_dir).is_pinned(PATHS.data)


def test_who_deletes_our_folder_unpins(assets_dir: AssetsDir, root: Path) -> None:
    """Undoing a pin without any folder of pins is no error either."""
    pins = loaded(assets_dir)
    pins.pin(PATHS)
    (root / PINS / PATHS.key).unlink()
    (root / PINS).rmdir()
    pins.unpin(PATHS)
    assert not pins.is_pinned(PATHS.data)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"x" * 5000, b"no path\n"])
def test_what_is_no_pin_pins_nothing(assets_dir: AssetsDir, root: Path, content: bytes) -> None:
    """Torn, foreign or oversized: read past."""
    (root / PINS).mkdir(parents=True)
    (root / PINS / "0123").write_bytes(content)
    (root / PINS / "folder").mkdir()
    (root / PINS / f".{PATHS.key}").write_bytes(f"{PATHS.data}\n".encode())
    assert not loaded(assets_dir).is_pinned(PATHS.data)


@pytest.mark.parametrize("call", ["list_names", "pread"])
def test_pins_that_cannot_be_read_are_told(
    assets_dir: AssetsDir, fs: FaultyFileSystem, call: str
) -> None:
    """Nobody would know what has to stay: the daemon does not start."""
    Pins(assets_dir).pin(PATHS)
    fs.fail(1, errno.EIO, call)
    with pytest.raises(IoError):
        Pins(assets_dir).load()


def test_a_link_for_the_folder_is_refused(assets_dir: AssetsDir, root: Path) -> None:
    """What it leads to are no pins of ours."""
    (root / ".assetd").mkdir()
    (root / PINS).symlink_to(root.parent)
    with pytest.raises(UnsafePathError):
        Pins(assets_dir).load()


@pytest.mark.parametrize(
    ("call", "code", "error"),
    [
        ("create", errno.EROFS, ReadOnlyError),
        ("pwritev", errno.ENOSPC, DiskFullError),
        ("fsync", errno.EIO, IoError),
        ("rename", errno.EIO, IoError),
    ],
)
def test_a_pin_that_fails_is_none(
    assets_dir: AssetsDir, fs: FaultyFileSystem, call: str, code: int, error: type[Exception]
) -> None:
    """It is told, nothing is pinned, and the next try works."""
    pins = loaded(assets_dir)
    fs.fail(1, code, call)
    with pytest.raises(error):
        pins.pin(PATHS)
    assert not pins.is_pinned(PATHS.data)
    pins.pin(PATHS)
    assert loaded(assets_dir).is_pinned(PATHS.data)


@pytest.mark.parametrize("unpins", [False, True])
def test_a_pin_that_is_killed_at_any_call_is_there_or_not(scratch: Path, unpins: bool) -> None:
    """Whatever half of it a kill leaves: the next run reads pins, and can pin and unpin."""
    number, finished = 0, False
    while not finished:
        number += 1
        root = scratch / str(number)
        root.mkdir()
        fs = FaultyFileSystem()
        first = AssetsDir(str(root), fs)
        pins = loaded(first)
        pins.pin(OTHER)
        if unpins:
            pins.pin(PATHS)
        fs.stop(number)
        try:
            (pins.unpin if unpins else pins.pin)(PATHS)
            finished = True
            fs.heal()
            first.close()
        except Stopped:
            pass
        second = AssetsDir(str(root), FaultyFileSystem())
        again = loaded(second)
        assert again.is_pinned(OTHER.data)
        again.pin(PATHS)
        assert loaded(second).is_pinned(PATHS.data)
        again.unpin(PATHS)
        assert not loaded(second).is_pinned(PATHS.data)
        second.close()
    assert number > 4
