"""Verify: hash what stands, say what is damaged, repair it, and stop when nobody listens."""

import asyncio
import errno
import fcntl
import json
import os
import shutil
import threading
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path

import pytest
from assetd_server.assets.cache_orders import (
    Selector,
    VerifyCompleted,
    VerifyEvent,
    VerifyOrder,
    VerifyOutcome,
    VerifyProgress,
    VerifyResult,
)
from assetd_server.errors import (
    CacheFullError,
    DigestMismatchError,
    IoError,
    NoStoreError,
    NotCachedError,
    ShuttingDownError,
    StoreUnavailableError,
)

from tests.support.assets_bench import Bench, Daemon, flip_byte, flocked, paths_of
from tests.support.file_systems import Call, FaultyFileSystem
from tests.support.limited import filled, held, limited, turns, verify
from tests.support.trees import read_tree
from tests.support.versions import Content, put

SOUND, DAMAGED, REPAIRED, UNVERIFIABLE = (
    VerifyOutcome.SOUND,
    VerifyOutcome.DAMAGED,
    VerifyOutcome.REPAIRED,
    VerifyOutcome.UNVERIFIABLE,
)
TREE = {"a": b"1" * 60, "b/c": b"2" * 9000, "empty": b""}
FILE = b"data" * 25


def results(events: list[VerifyEvent]) -> dict[str, tuple[VerifyOutcome, list[str]]]:
    """What became of whom, in order; the paths as the wire sorts them."""
    return {
        str(event.asset_version): (event.outcome, sorted(map(str, event.damaged_parts)))
        for event in events
        if isinstance(event, VerifyResult)
    }


def counts(events: list[VerifyEvent]) -> tuple[int, int]:
    """How many are sound and damaged at the end; `completed` is the last event, and the only."""
    assert [isinstance(event, VerifyCompleted) for event in events].index(True) == len(events) - 1
    last = events[-1]
    assert isinstance(last, VerifyCompleted)
    return last.sound_count, last.damaged_count


async def stored(daemon: Daemon, spec: str, content: Content) -> Path:
    """Push and fetch a version; return where it stands."""
    await daemon.push(spec, content)
    return Path((await daemon.fetched(f"{spec}:0.0")).path)


async def test_sound_versions_are_sound(daemon: Daemon) -> None:
    """Of either kind; one result for each, by name, then newest first."""
    await stored(daemon, "x/d", TREE)
    await filled(daemon, "x/a:9.0", "x/a:10.0")
    events = await verify(daemon)
    assert results(events) == {
        "x/a:10.0": (SOUND, []),
        "x/a:9.0": (SOUND, []),
        "x/d:0.0": (SOUND, []),
    }
    assert counts(events) == (3, 0)
    assert results(await verify(daemon, name_prefix="x/d")) == {"x/d:0.0": (SOUND, [])}
    assert results(await verify(daemon, spec="x/a:9.0")) == {"x/a:9.0": (SOUND, [])}
    assert counts(await verify(daemon, name_prefix="nobody")) == (0, 0)


def rot(folder: Path) -> None:
    """Flip a bit; the size stays."""
    flip_byte(folder / "b/c")


def cut(folder: Path) -> None:
    """Take the last byte away."""
    os.truncate(folder / "b/c", 8999)


def grow(folder: Path) -> None:
    """Add a byte."""
    (folder / "a").write_bytes(TREE["a"] + b"x")


def lose(folder: Path) -> None:
    """Delete a part, and a folder with it."""
    shutil.rmtree(folder / "b")


def add(folder: Path) -> None:
    """Put a file there that no manifest names; a program may load it all the same."""
    (folder / "b/.extra").touch()


def turn(folder: Path) -> None:
    """Put a folder where a file was."""
    (folder / "a").unlink()
    (folder / "a").mkdir()


def plant(folder: Path) -> None:
    """Put a link to the right bytes where the file was."""
    (folder / "a").rename(folder.parent / "moved")
    (folder / "a").symlink_to(folder.parent / "moved")


@pytest.mark.parametrize(
    ("damage", "parts"),
    [
        (rot, ["b/c"]),
        (cut, ["b/c"]),
        (grow, ["a"]),
        (lose, ["b/c"]),
        (add, ["b/.extra"]),
        (turn, ["a"]),
        (plant, ["a"]),
    ],
)
async def test_damage_is_found_and_repaired(
    daemon: Daemon, damage: Callable[[Path], None], parts: list[str]
) -> None:
    """Verify names each part that is not as the manifest says, and a repair makes it so again.

    Whatever is not as the manifest says is named; the repair makes it so again.
    """
    folder = await stored(daemon, "x/d", TREE)
    damage(folder)
    events = await verify(daemon)
    assert results(events) == {"x/d:0.0": (DAMAGED, parts)}
    assert counts(events) == (0, 1)
    events = await verify(daemon, repair=True)
    assert results(events) == {"x/d:0.0": (REPAIRED, parts)}
    assert counts(events) == (1, 0)
    assert read_tree(folder) == TREE
    assert results(await verify(daemon)) == {"x/d:0.0": (SOUND, [])}


@pytest.mark.parametrize("pushed", [FILE, TREE], ids=["file", "directory"])
async def test_the_other_kind_is_damage(daemon: Daemon, pushed: Content) -> None:
    """A folder where a file has to be, or the reverse: nothing of it is as it should be."""
    path = await stored(daemon, "x/y", pushed)
    if pushed is FILE:
        path.unlink()
        put(daemon.root, TREE, paths_of("x/y:0.0"), marker=b"")
        parts = [""]
    else:
        shutil.rmtree(path)
        put(daemon.root, FILE, paths_of("x/y:0.0"), marker=b"")
        parts = sorted(TREE)
    assert results(await verify(daemon)) == {"x/y:0.0": (DAMAGED, parts)}
    assert results(await verify(daemon, repair=True)) == {"x/y:0.0": (REPAIRED, parts)}
    assert read_tree(path) == ({"": pushed} if isinstance(pushed, bytes) else pushed)


async def test_a_file_is_named_by_the_empty_path(daemon: Daemon) -> None:
    """A file asset has one part, without a name."""
    flip_byte(await stored(daemon, "x/y", FILE))
    assert results(await verify(daemon)) == {"x/y:0.0": (DAMAGED, [""])}


async def test_a_name_that_no_part_may_have_is_told_by_its_folder(daemon: Daemon) -> None:
    """It cannot be named on the wire, and is no reason to be silent."""
    folder = await stored(daemon, "x/d", TREE)
    (folder / "b/line\nbreak").touch()
    (folder / "b/.SUCCESS").touch()
    assert results(await verify(daemon)) == {"x/d:0.0": (DAMAGED, ["b"])}


async def test_modelkits_versions_are_compared_with_the_store(bench: Bench, daemon: Daemon) -> None:
    """What modelkit pushed and put there is compared by size: UNVERIFIABLE at best, never sound.

    By size only: equal ones are unverifiable, others damaged, and the repair is ours.
    """
    await bench.modelkit_pushes("m/y:0.0", b"modelkit")
    put(daemon.root, b"modelkit", paths_of("m/y:0.0"), marker=b"")
    events = await verify(daemon)
    assert results(events) == {"m/y:0.0": (UNVERIFIABLE, [])}
    assert counts(events) == (0, 0)
    (daemon.root / "m/y/0.0").write_bytes(b"model")
    assert results(await verify(daemon)) == {"m/y:0.0": (DAMAGED, [""])}
    assert results(await verify(daemon, repair=True)) == {"m/y:0.0": (REPAIRED, [""])}
    assert (daemon.root / "m/y/0.0").read_bytes() == b"modelkit"


async def test_what_the_store_does_not_know_is_unverifiable(bench: Bench, daemon: Daemon) -> None:
    """Nobody says what it should be: neither a receipt of ours nor the store."""
    put(daemon.root, b"data", paths_of("m/y:0.0"), marker=b"")
    assert results(await verify(daemon)) == {"m/y:0.0": (UNVERIFIABLE, [])}
    alone = bench.daemon(with_store=False)
    put(alone.root, b"data", paths_of("m/y:0.0"))
    assert results(await verify(alone)) == {"m/y:0.0": (UNVERIFIABLE, [])}


async def test_without_a_store_receipts_are_enough(bench: Bench, daemon: Daemon) -> None:
    """Without a store our receipts are enough to verify by; only a repair needs one.

    What ours say can be checked; only a repair needs a store.
    """
    path = await stored(daemon, "x/d", TREE)
    alone = await bench.successor(daemon, with_store=False)
    assert results(await verify(alone)) == {"x/d:0.0": (SOUND, [])}
    rot(path)
    assert results(await verify(alone)) == {"x/d:0.0": (DAMAGED, ["b/c"])}
    with pytest.raises(NoStoreError):
        await verify(alone, repair=True)


async def test_a_store_that_is_down_hides_no_damage(bench: Bench, daemon: Daemon) -> None:
    """Our receipts say what has to stand there; the repair fails, and nothing is touched."""
    path = await stored(daemon, "x/d", TREE)
    rot(path)
    damaged = read_tree(path)
    bench.store.go_down()
    assert results(await verify(daemon)) == {"x/d:0.0": (DAMAGED, ["b/c"])}
    with pytest.raises(StoreUnavailableError):
        await verify(daemon, repair=True)
    assert read_tree(path) == damaged


@pytest.mark.parametrize("kept", ["hold", "flock"])
async def test_what_is_leased_is_not_replaced(daemon: Daemon, kept: str) -> None:
    """A repair never replaces what is leased: it stays damaged, and the answer says so.

    Somebody reads it: it stays damaged, and the answer says so.
    """
    path = await stored(daemon, "x/d", TREE)
    rot(path)
    inode = path.stat().st_ino
    if kept == "flock":
        with flocked(path, fcntl.LOCK_SH):
            events = await verify(daemon, repair=True)
    else:
        # A hold of what was sound when it began.
        flip_byte(path / "b/c")
        async with held(daemon, "x/d:0.0"):
            rot(path)
            events = await verify(daemon, repair=True)
    assert results(events) == {"x/d:0.0": (DAMAGED, ["b/c"])}
    assert counts(events) == (0, 1)
    assert path.stat().st_ino == inode


async def test_a_store_that_is_damaged_too_is_an_alarm(bench: Bench, daemon: Daemon) -> None:
    """Where the store is damaged too, what is cached is left alone: `DIGEST_MISMATCH`.

    DATA_LOSS names the key; what is cached is left alone, damaged as it is.
    """
    path = await stored(daemon, "x/d", TREE)
    rot(path)
    damaged = read_tree(path)
    bench.store.damage("x/d/0.0/b/c", times=99)
    with pytest.raises(DigestMismatchError) as failure:
        await verify(daemon, repair=True)
    assert failure.value.metadata["key"] == "x/d/0.0/b/c"
    assert read_tree(path) == damaged


async def test_a_repair_that_finds_no_room_is_told(bench: Bench) -> None:
    """The old copy stands until the new one does, and takes its own room meanwhile."""
    daemon = bench.daemon(limited(max_bytes=200))
    await filled(daemon, "x/a:0.0", "x/b:0.0")
    (daemon.root / "x/a/0.0").write_bytes(b"")
    await daemon.assets.status()
    async with held(daemon, "x/b:0.0"):
        put(daemon.root, b"u" * 100, paths_of("m/y:0.0"))
        with pytest.raises(CacheFullError):
            await verify(daemon, repair=True, spec="x/a:0.0")


async def test_who_is_named_has_to_be_there(daemon: Daemon) -> None:
    """Before anything is hashed."""
    with pytest.raises(NotCachedError):
        await verify(daemon, spec="x/y:0.0")


async def test_what_is_gone_before_its_turn_has_no_result(daemon: Daemon) -> None:
    """Evicted, or removed by hand, while others are hashed."""
    await filled(daemon, "x/a:0.0", "x/b:0.0", "x/c:0.0")
    events: list[VerifyEvent] = []
    async with aclosing(daemon.assets.verify(VerifyOrder(Selector()))) as verifying:
        async for event in verifying:
            events.append(event)
            shutil.rmtree(daemon.root / "x/b", ignore_errors=True)
    assert list(results(events)) == ["x/a:0.0", "x/c:0.0"]
    assert counts(events) == (2, 0)


async def test_what_vanishes_while_it_is_hashed_is_damaged(daemon: Daemon) -> None:
    """An operator deletes in the middle: that is no failure of the check."""
    path = await stored(daemon, "x/d", TREE)
    daemon.fs.before("pread", lambda: shutil.rmtree(path), number=2)
    [(outcome, _)] = results(await verify(daemon, spec="x/d:0.0")).values()
    assert outcome is DAMAGED


async def test_a_disk_that_fails_is_told(daemon: Daemon) -> None:
    """What cannot be read is neither sound nor damaged."""
    await stored(daemon, "x/d", TREE)
    await daemon.assets.status()
    daemon.fs.fail(2, errno.EIO, "pread")
    with pytest.raises(IoError):
        await verify(daemon, spec="x/d:0.0")


async def test_a_receipt_that_lies_is_damage(daemon: Daemon) -> None:
    """The bytes contradict it, whichever of the two is wrong."""
    await stored(daemon, "x/y", FILE)
    marker = daemon.root / "x/y/.0.0.SUCCESS"
    document = json.loads(marker.read_bytes())
    document["files"][""]["sha256"] = "0" * 64
    marker.write_text(json.dumps(document))
    assert results(await verify(daemon)) == {"x/y:0.0": (DAMAGED, [""])}


async def test_nobody_evicts_what_is_being_hashed(bench: Bench) -> None:
    """Nobody evicts what is being hashed.

    A check is a use, for as long as it takes.
    """
    daemon = bench.daemon(limited(max_bytes=200))
    await filled(daemon, "x/a:0.0", "x/b:0.0")
    await daemon.push("x/c", b"c" * 100)
    reading, go_on = gate_at(daemon.fs, "pread", "x/a/0.0")
    checking = asyncio.create_task(verify(daemon, spec="x/a:0.0"))
    await reading.wait()
    await daemon.fetch("x/c:0.0")
    assert not (daemon.root / "x/b/0.0").exists()
    go_on()
    assert results(await checking) == {"x/a:0.0": (SOUND, [])}


def gate_at(fs: FaultyFileSystem, call: str, path: str) -> tuple[asyncio.Event, Callable[[], None]]:
    """Stop the next such call on that path, which a thread makes; tell of it, and let it go."""
    loop, reached, opened = asyncio.get_running_loop(), asyncio.Event(), threading.Event()

    def stop() -> None:
        loop.call_soon_threadsafe(reached.set)
        assert opened.wait(30)

    fs.at(Call(call, (path,)), stop)
    return reached, opened.set


class Listener:
    """Listens to a check of everything, and tells of its first progress."""

    def __init__(self, daemon: Daemon, *, leaves: bool) -> None:
        self.events: list[VerifyEvent] = []
        self.heard_progress = asyncio.Event()
        self.task = asyncio.create_task(self._listen(daemon, leaves))

    async def _listen(self, daemon: Daemon, leaves: bool) -> None:
        async with aclosing(daemon.assets.verify(VerifyOrder(Selector()))) as events:
            async for event in events:
                self.events.append(event)
                if isinstance(event, VerifyProgress):
                    self.heard_progress.set()
                    if leaves:
                        break


@pytest.mark.parametrize("how", ["closed", "cancelled"])
async def test_the_check_stops_when_nobody_listens(daemon: Daemon, how: str) -> None:
    """A check that nobody listens to any more stops.

    A caller who leaves in the middle of a file ends the reading: the rest is not read.
    """
    await stored(daemon, "x/d", {f"part{n:02}": b"." * 1000 for n in range(50)})
    reading, go_on = gate_at(daemon.fs, "pread", "x/d/0.0/part03")
    listener = Listener(daemon, leaves=how == "closed")
    await reading.wait()
    daemon.fs.calls.clear()
    if how == "cancelled":
        listener.task.cancel()
    else:
        await listener.heard_progress.wait()
    await turns()
    go_on()
    await asyncio.gather(listener.task, return_exceptions=True)
    assert listener.task.cancelled() is (how == "cancelled")
    read = {call.paths[0] for call in daemon.fs.named("pread")}
    assert read <= {"x/d/0.0/part03"}


async def test_progress_never_falls_and_ends_with_all(daemon: Daemon) -> None:
    """Absolute figures of all that is selected."""
    await stored(daemon, "x/d", TREE)
    await filled(daemon, "x/a:0.0")
    reading, go_on = gate_at(daemon.fs, "pread", "x/d/0.0/empty")
    listener = Listener(daemon, leaves=False)
    await reading.wait()
    await listener.heard_progress.wait()
    go_on()
    await listener.task
    seen = [event for event in listener.events if isinstance(event, VerifyProgress)]
    assert {event.total_bytes for event in seen} == {9160}
    figures = [event.hashed_bytes for event in seen]
    assert figures == sorted(figures)
    assert figures[-1] == 9160


async def test_draining_checks_nothing_more(daemon: Daemon) -> None:
    """Ask the successor."""
    await filled(daemon, "x/a:0.0")
    daemon.assets.drain()
    with pytest.raises(ShuttingDownError):
        await verify(daemon)
