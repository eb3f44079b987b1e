"""Scouts: they see what threads see, and whatever becomes of them the walk is right."""

import asyncio
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import uvloop
from assetd_server.assets.clock import Clock
from assetd_server.assets.scouts import Scouts
from assetd_server.assets.threads import Threads
from assetd_server.assets.walking import Walker
from assetd_server.cache import scouting
from assetd_server.cache.layout import AssetsDir, PartialPaths, VersionPaths
from assetd_server.cache.linux import FileSystem
from assetd_server.cache.scan import Folder, Found, Known, list_folder
from assetd_server.model import AssetName
from assetd_server.versioning import Version

from tests.support.complaints import complaints_of_asyncio
from tests.support.file_systems import no_descriptor_left
from tests.support.versions import put, put_ours
from tests.support.waiting import wait_until

TREE = {"a": b"one", "sub/b": b"twenty"}


def version(name: str, text: str) -> VersionPaths:
    """The paths of a version."""
    return VersionPaths(AssetName(name), Version.parse(text))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An ASSETS_DIR with versions of every kind, and with what hands and others leave there."""
    root = tmp_path / "assets"
    root.mkdir()
    for number in range(5):
        put_ours(root, b"content", version("x/files", f"0.{number}"))
        put_ours(root, TREE, version("x/folders", f"0.{number}"))
    put(root, b"m" * 50, version("m/file", "1.0"), marker=b"")
    put(root, TREE, version("m/folder", "2026-11-23T09-30-00Z"), marker=b"")
    put(root, TREE, version("m/unmarked", "1.0"))
    (root / "x/files/0.3").unlink()
    (root / "x/folders/0.3/.SUCCESS").unlink()
    (root / "x/files/0.9").symlink_to("/etc/passwd")
    partial = root / PartialPaths.of(version("x/folders", "0.7")).data
    partial.mkdir(parents=True)
    (partial / "receipt").write_bytes(b'{"format":1,"present_size":12,"more":0}')
    return root


@pytest.fixture
def assets_dir(root: Path) -> Iterator[AssetsDir]:
    """The open ASSETS_DIR."""
    with no_descriptor_left():
        assets_dir = AssetsDir(str(root), FileSystem())
        yield assets_dir
        assets_dir.close()


@pytest.fixture
def disk() -> Iterator[Threads]:
    """A pool for what blocks."""
    disk = Threads("disk", 4)
    yield disk
    disk.close()


def program(folder: Path, script: str) -> str:
    """What is started in the place of a scout."""
    path = folder / "scout"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(stat.S_IRWXU)
    return str(path)


async def walked(
    assets_dir: AssetsDir, disk: Threads, scouts: Scouts | None, known: dict[str, Known]
) -> list[Found]:
    """What a walk finds, by its key; by scouts where there are some."""
    walker = Walker(assets_dir, disk, Clock(), scouts, 1 if scouts else 10**6)
    return sorted((await walker.walk(known)).found, key=lambda one: one.key)


def folders_of(assets_dir: AssetsDir) -> list[Folder]:
    """Two folders with versions."""
    return [list_folder(assets_dir, "x/files"), list_folder(assets_dir, "x/folders")]


async def test_they_find_what_threads_find(assets_dir: AssetsDir, disk: Threads) -> None:
    """Ours, modelkit's, unmarked, partial ones: whoever looks, the figures are the tree's."""
    by_threads = await walked(assets_dir, disk, None, {})
    assert sum(one.size_bytes for one in by_threads) == 4 * 7 + 5 * 9 + 50 + 9 + 9 + 12
    scouts = Scouts(assets_dir, disk)
    folders = folders_of(assets_dir)
    assert len(await scouts.look([folders], {}) or ()) == 9, "they answer"
    assert await walked(assets_dir, disk, scouts, {}) == by_threads


async def test_what_is_known_is_not_read_again(
    assets_dir: AssetsDir, disk: Threads, root: Path
) -> None:
    """A receipt whose marker has the mtime of an earlier look says what it said then."""
    marker = (root / "x/folders/0.0/.SUCCESS").stat()
    known = {
        "x/folders/0.0": Known(marker.st_mtime_ns, 12345),
        "x/folders/0.1": Known(marker.st_mtime_ns - 1, 12345),
    }
    found = await walked(assets_dir, disk, Scouts(assets_dir, disk), known)
    sizes = {one.key: one.size_bytes for one in found}
    assert (sizes["x/folders/0.0"], sizes["x/folders/0.1"]) == (12345, 9)
    assert found == await walked(assets_dir, disk, None, known)


def test_what_goes_while_they_look_is_left_out(
    assets_dir: AssetsDir, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anybody may edit the tree while we walk."""
    monkeypatch.chdir(root)
    batch = folders_of(assets_dir)
    asked = scouting.question([batch], {})
    shutil.rmtree(root / "x/files")
    (root / "x/folders/0.2").rename(root / "elsewhere")
    found = scouting.found_in(scouting.answer(asked), [batch])
    assert sorted(one.key for one in found) == [f"x/folders/0.{number}" for number in (0, 1, 3, 4)]


@pytest.mark.parametrize(
    "script",
    [
        "exit 1",
        "cat; exit 0",
        "cat >/dev/null; echo '[[[[99, 1, true, true, 1]], []]]'",
        "cat >/dev/null; echo '[[[[0, 1]], []]]'",
        "cat >/dev/null; echo '[[[]]]'",
        "cat >/dev/null; echo '[[],[]]'; echo '[[],[]]'",
        "kill -9 $$",
    ],
    ids=["fails", "echoes", "strange", "short", "one folder less", "one batch more", "killed"],
)
async def test_a_scout_that_fails_is_done_without(
    assets_dir: AssetsDir, disk: Threads, tmp_path: Path, script: str
) -> None:
    """Whatever it says or leaves out, nobody is told other figures than the tree's."""
    scouts = Scouts(assets_dir, disk, program(tmp_path, script))
    assert await scouts.look([folders_of(assets_dir)], {}) is None
    assert await walked(assets_dir, disk, scouts, {}) == await walked(assets_dir, disk, None, {})


def test_a_scout_that_dies_at_once_is_done_without_on_the_daemons_loop(
    root: Path, disk: Threads, tmp_path: Path
) -> None:
    """A child of uvloop's own fails now and then in a way that nobody expects."""
    assets_dir = AssetsDir(str(root), FileSystem())
    scouts = Scouts(assets_dir, disk, program(tmp_path, "kill -9 $$"))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        for _ in range(10):
            assert runner.run(scouts.look([folders_of(assets_dir)], {})) is None
    assets_dir.close()


@pytest.mark.parametrize("python", ["", "/nonexistent/python", "/etc/passwd"])
async def test_a_scout_that_cannot_be_started_is_done_without(
    assets_dir: AssetsDir, disk: Threads, python: str
) -> None:
    """Where a sandbox forbids other programs, or the interpreter has no path, threads look."""
    assert await Scouts(assets_dir, disk, python).look([folders_of(assets_dir)], {}) is None


async def test_a_scout_cannot_keep_the_daemons_lock(
    assets_dir: AssetsDir, disk: Threads, tmp_path: Path, root: Path
) -> None:
    """A daemon that was killed has a successor at once, whatever its scouts still do."""
    assert assets_dir.try_lock_instance()
    told = tmp_path / "told"
    script = f'ls -l /proc/$$/fd >"{told}.new" && mv "{told}.new" "{told}"; exec sleep 600'
    scouts = Scouts(assets_dir, disk, program(tmp_path, script))
    looking = asyncio.create_task(scouts.look([folders_of(assets_dir)], {}))
    await asyncio.to_thread(wait_until, told.exists, "a scout")
    assert str(root) in told.read_text(), "the scout has ASSETS_DIR open"
    ours, other = assets_dir.fd, AssetsDir(str(root), FileSystem())
    assert not other.try_lock_instance(), "the daemon lives"
    # As its death would: the kernel drops what only it had open.
    os.dup2(other.fd, ours)
    # A scout that is just being started has our files for a moment, until it is a program.
    await asyncio.to_thread(wait_until, other.try_lock_instance, "the daemon's lock")
    looking.cancel()
    await asyncio.gather(looking, return_exceptions=True)
    other.close()


async def test_a_walk_that_is_cancelled_ends_its_scouts(
    assets_dir: AssetsDir, disk: Threads, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A daemon that stops leaves no process, and logs no failure of those that it ended."""
    told = tmp_path / "told"
    script = f'echo $$ >>"{told}"; exec sleep 600'
    walker = Walker(
        assets_dir, disk, Clock(), Scouts(assets_dir, disk, program(tmp_path, script)), 1
    )
    walking = asyncio.create_task(walker.walk({}))
    await asyncio.to_thread(
        wait_until, lambda: told.exists() and told.read_text().endswith("\n"), "a scout"
    )
    walking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await walking
    number = told.read_text().strip()
    wait_until(lambda: not Path(f"/proc/{number}").exists(), "its end")
    assert complaints_of_asyncio(caplog) == []


def test_a_scout_that_is_killed_leaves_no_process(assets_dir: AssetsDir) -> None:
    """The processes into which it splits itself end with it, whatever they were doing."""
    command = (sys.executable, "-m", scouting.__name__, str(assets_dir.fd))
    asked = scouting.question([folders_of(assets_dir)], {})
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, pass_fds=(assets_dir.fd,)
    ) as scout:
        assert scout.stdin is not None
        scout.stdin.write(asked)
        scout.stdin.flush()
        wait_until(lambda: len(children_of(scout.pid)) > 1, "its processes")
        processes = children_of(scout.pid)
        scout.kill()
        scout.stdin.close()
    wait_until(lambda: not any(psutil.pid_exists(one) for one in processes), "their end")


def children_of(pid: int) -> list[int]:
    """The processes that it has started and that run."""
    return [one.pid for one in psutil.Process(pid).children()]


def test_the_program_is_light() -> None:
    """It starts while somebody waits: none of what only the daemon needs is loaded."""
    heavy = {"grpc", "obstore", "boto3", "awscrt", "asyncio"}
    script = f"import sys, assetd_server.cache.scouting; print(*{heavy} & set(sys.modules))"
    loaded = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert loaded.stdout.split() == []
