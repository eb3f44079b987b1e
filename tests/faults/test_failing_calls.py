"""Every call of the file system fails once, in fetch and start, with every error that disks have.

The fetch fails with the reason of that error, or succeeds all the same; nothing partial is seen, no
space and no descriptor is kept, and the next fetch succeeds.
"""

import errno
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from assetd_server.assets.settings import AssetsSettings
from assetd_server.cache.recover import recover
from assetd_server.errors import AssetError, DiskFullError, IoError, TooManyRequestsError

from tests.support.assets_bench import RANGE_BYTES, Bench, Daemon, opened_bench, paths_of
from tests.support.crash_judging import opened
from tests.support.crash_operations import fill_own_folders
from tests.support.file_systems import Call, FaultyFileSystem, no_descriptor_left
from tests.support.scratch import scratch_folder
from tests.support.versions import (
    Content,
    left_overs,
    modelkit_serves,
    put,
    standing,
)

SPEC = "x/y:0.0"
PATHS = paths_of(SPEC)
FILE = b"content of a file that has " * 400
OLD_TREE = {"a": b"9" * 100, "c": b"9"}
TREE = {"a": b"1" * 100, "b/large": b"2" * (RANGE_BYTES * 2 + 1), "b/c/empty": b""}
MANY = {f"d{number % 3}/{number}": b"%d" % number for number in range(20)}
# One thing after another: a number then names the same call in each run, or nearly.
ONE_AT_A_TIME = AssetsSettings(range_bytes=RANGE_BYTES, connection_count=1)
ERRORS: dict[int, type[AssetError]] = {
    errno.ENOSPC: DiskFullError,
    errno.EDQUOT: DiskFullError,
    errno.EIO: IoError,
    errno.EMFILE: TooManyRequestsError,
}


def nothing(root: Path) -> None:
    """The version does not stand there yet."""


def torn(content: Content) -> Callable[[Path], None]:
    """What modelkit was writing when it was killed; the store has it whole."""
    old = content[:10] if isinstance(content, bytes) else {"a": b"1" * 10}
    return lambda root: put(root, old, PATHS, marker=b"")


@dataclass(frozen=True)
class Scene:
    """What is fetched, what stands there before, and how it is asked for."""

    content: Content
    prepare: Callable[[Path], None] = nothing
    forced: bool = False


SCENES = {
    "file": Scene(FILE),
    "directory": Scene(TREE),
    "many": Scene(MANY),
    "torn-file": Scene(FILE, torn(FILE)),
    "torn-directory": Scene(TREE, torn(TREE)),
    "forced": Scene(TREE, lambda root: put(root, OLD_TREE, PATHS, marker=b""), forced=True),
    "adopted": Scene(TREE, lambda root: put(root, TREE, PATHS, marker=b"")),
}

# The other scenes make few calls that these do not.
FIRST = ("file", "directory", "torn-directory")
CASES = [
    pytest.param(name, code, id=f"{name}-{errno.errorcode[code]}")
    for name in SCENES
    for code in (ERRORS if name in FIRST else [errno.EIO])
]
NO_CALL = Call("none", ())
# What is called to delete, or to look.
DELETING = {"unlink", "rmdir", "list_names", "lstat", "open", "close", "rename"}


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    """A store and room for daemons; at the end nothing is under way."""
    with no_descriptor_left():
        async with opened_bench(tmp_path) as bench:
            yield bench


@pytest.fixture
def scratch() -> Iterator[Path]:
    """Room for hundreds of small trees."""
    with scratch_folder() as folder:
        yield folder


async def fetch(daemon: Daemon, scene: Scene) -> AssetError | None:
    """Fetch, and return what was raised."""
    try:
        await daemon.fetch(SPEC, force_download=scene.forced)
    except AssetError as error:
        return error
    return None


@pytest.mark.parametrize(("name", "code"), CASES)
async def test_any_call_of_a_fetch_may_fail(
    bench: Bench, scratch: Path, name: str, code: int
) -> None:
    """Whatever call of the disk fails, a fetch tells the reason or succeeds, and keeps nothing."""
    scene = SCENES[name]
    await bench.daemon().push("x/y", scene.content)
    await bench.close()
    number, failures, was_reached = 0, 0, True
    while was_reached:
        number += 1
        root = scratch / str(number)
        root.mkdir()
        scene.prepare(root)
        before = standing(root, PATHS)
        daemon = bench.daemon(ONE_AT_A_TIME, root=root)
        daemon.fs.calls.clear()
        daemon.fs.fail(number, code)
        failure = await fetch(daemon, scene)
        daemon.fs.heal()
        was_reached = number <= len(daemon.fs.calls)
        call = daemon.fs.calls[number - 1] if was_reached else NO_CALL
        assert type(failure) in (ERRORS[code], type(None)), call
        failures += failure is not None
        require_nothing_of_it(daemon, scene, failure, before, call)
        assert await fetch(daemon, scene) is None, call
        assert modelkit_serves(root, PATHS) == scene.content, call
        await bench.close()
        bench.daemon(root=root)
        assert left_overs(root) == [], call
        await bench.close()
        shutil.rmtree(root)
    assert number > 40
    assert failures > number / 3


def require_nothing_of_it(
    daemon: Daemon, scene: Scene, failure: AssetError | None, before: Content | None, call: Call
) -> None:
    """Check that the version is whole if it was answered, else as it was, and nothing is kept."""
    stands = modelkit_serves(daemon.root, PATHS)
    assert stands in ((scene.content,) if failure is None else (before, scene.content)), call
    assert daemon.fs.open_paths == [""], call
    # What cannot be deleted, or may come back by a power cut, goes with the next start.
    assert left_overs(daemon.root) == [] or call.name in DELETING or stands == scene.content, call


@pytest.mark.parametrize("code", ERRORS, ids=errno.errorcode.get)
def test_any_call_of_a_start_may_fail(scratch: Path, code: int) -> None:
    """Whatever call of a start fails, it starts or tells why, and the next one does the rest.

    It tells the reason, or starts all the same; the next start does what there is to be done.
    """
    number, was_reached = 0, True
    while was_reached:
        number += 1
        root = scratch / str(number)
        fill_own_folders(root)
        fs = FaultyFileSystem()
        with opened(root, fs) as assets_dir:
            fs.calls.clear()
            fs.fail(number, code)
            with suppress(ERRORS[code]):
                recover(assets_dir)
            fs.heal()
            was_reached = number <= len(fs.calls)
        assert fs.open_paths == []
        with opened(root, FaultyFileSystem()) as assets_dir:
            assert recover(assets_dir).writable
        assert left_overs(root) == []
    assert number > 40
