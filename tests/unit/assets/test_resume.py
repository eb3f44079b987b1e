"""Downloads that were interrupted: gone on with, whoever ended them, and never with wrong bytes.

A kill is a copy of ASSETS_DIR made at that moment: another daemon starts over it, as after a
restart.
"""

import asyncio
import fcntl
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from assetd_server.assets.orders import FetchCompleted, FetchEvent, FetchProgress
from assetd_server.assets.settings import AssetsSettings
from assetd_server.errors import (
    AssetError,
    BadManifestError,
    DigestMismatchError,
    DiskFullError,
    IoError,
    StoreAccessDeniedError,
    StoreUnavailableError,
)
from assetd_server.model import Source, Verification

from tests.support.assets_bench import (
    RANGE_BYTES,
    Bench,
    Daemon,
    flip_byte,
    flocked,
    paths_of,
    started_of,
)
from tests.support.clocks import ManualClock
from tests.support.memory_store import Gate
from tests.support.staging import kept_downloads
from tests.support.trees import read_tree
from tests.support.versions import Content, left_overs

SPEC = "x/y:0.0"
RANGES = 6
LARGE = b"".join(bytes([number]) * RANGE_BYTES for number in range(1, RANGES)) + b"the last"
TREE = {"a": b"1" * 100, "b/large": LARGE, "c": b"", "d/e": b"2" * 300}
# One at a time: what has come when a read begins is what was read before it.
ONE_AT_A_TIME = AssetsSettings(range_bytes=RANGE_BYTES, connection_count=1)


def staging(daemon: Daemon) -> Path:
    """Where the daemon stages the version."""
    return daemon.root / ".assetd/staging" / paths_of(SPEC).key


async def until_journalled(daemon: Daemon, count: int) -> None:
    """Return once so many parts or ranges are written, and said to be."""
    journal = staging(daemon) / "journal"
    async with asyncio.timeout(30):
        while not journal.exists() or journal.read_bytes().count(b"\n") <= count:  # noqa: ASYNC110 - nothing but the disk tells of it
            await asyncio.sleep(0)


@asynccontextmanager
async def stopped_at(
    bench: Bench, daemon: Daemon, key: str, count: int, **order: bool
) -> AsyncIterator[Gate]:
    """A fetch that waits for the `count`th read of that key; it is left in the end."""
    gates = [bench.store.pause("read", key) for _ in range(count)]
    fetching = asyncio.create_task(daemon.fetch(SPEC, **order))
    for gate in gates[:-1]:
        await gate.reached()
        gate.open()
    await gates[-1].reached()
    try:
        yield gates[-1]
    finally:
        fetching.cancel()
        await asyncio.gather(fetching, return_exceptions=True)
        await daemon.until_waiting(0)
        bench.store.come_back()


def killed(bench: Bench, daemon: Daemon, settings: AssetsSettings = ONE_AT_A_TIME) -> Daemon:
    """The successor of a daemon that dies now."""
    root = bench.folder / f"after{len(bench.daemons)}"
    shutil.copytree(daemon.root, root, symlinks=True)
    return bench.daemon(settings, root=root)


async def interrupted(bench: Bench, daemon: Daemon, journalled: int, at: int) -> None:
    """Leave a fetch of the tree when so much is journalled, at that read of the large part."""
    async with stopped_at(bench, daemon, "b/large", at):
        await until_journalled(daemon, journalled)


def read_again(bench: Bench) -> dict[str, list[int]]:
    """The ranges that were asked for, by their key."""
    ranges: dict[str, list[int]] = {}
    for key, start, _ in bench.store.read_ranges:
        ranges.setdefault(key.removeprefix("x/y/0.0").lstrip("/"), []).append(start // RANGE_BYTES)
    return ranges


def require_landed(daemon: Daemon, content: Content) -> None:
    """Check what stands, and that nothing is left in staging."""
    expected = {"": content} if isinstance(content, bytes) else content
    assert read_tree(daemon.root / "x/y/0.0") == expected
    assert left_overs(daemon.root) == []


# Ends that keep


@pytest.mark.parametrize("ranges", range(RANGES))
async def test_a_kill_costs_only_what_was_under_way(bench: Bench, ranges: int) -> None:
    """Whenever it comes: what had come is not read again, and the caller is told of it."""
    daemon = bench.daemon(ONE_AT_A_TIME)
    await bench.daemon().push("x/y", LARGE)
    async with stopped_at(bench, daemon, "x/y/0.0", ranges + 1):
        await until_journalled(daemon, ranges)
        successor = killed(bench, daemon)
    bench.store.read_ranges.clear()
    events = await successor.fetch(SPEC)
    assert read_again(bench) == {"": list(range(ranges, RANGES))}
    kept_bytes = ranges * RANGE_BYTES
    assert started_of(events).present_bytes == kept_bytes
    figures = [event.present_bytes for event in events if isinstance(event, FetchProgress)]
    assert figures == sorted(figures)
    assert figures[0] == kept_bytes
    completed = completed_of(events)
    assert (completed.transferred_bytes, completed.reused_bytes) == (
        len(LARGE) - kept_bytes,
        kept_bytes,
    )
    assert (completed.source, completed.verification) == (Source.STORE, Verification.CHECKSUM)
    require_landed(successor, LARGE)


def completed_of(events: list[FetchEvent]) -> FetchCompleted:
    """The last event."""
    assert isinstance(events[-1], FetchCompleted)
    return events[-1]


async def test_kill_after_kill_it_gets_there(bench: Bench) -> None:
    """A daemon that dies at every range still ends the download, reading each but once."""
    daemon = bench.daemon(ONE_AT_A_TIME)
    await bench.daemon().push("x/y", LARGE)
    bench.store.read_ranges.clear()
    for number in range(1, RANGES):
        async with stopped_at(bench, daemon, "x/y/0.0", 2 if number > 1 else 1):
            await until_journalled(daemon, number - 1)
            successor = killed(bench, daemon)
        daemon = successor
    await daemon.fetch(SPEC)
    # Each daemon but the last was killed when it had asked for the range that the next begins with.
    assert read_again(bench)[""] == sorted([*range(RANGES), *range(RANGES - 1)])
    require_landed(daemon, LARGE)


def unavailable(bench: Bench) -> None:
    """The store goes away."""
    bench.store.fail("read", "b/large", times=100)


def denied(bench: Bench) -> None:
    """The credentials expire."""
    error = StoreAccessDeniedError("expired")
    bench.store.fail("read", "b/large", times=100, error=error)


@pytest.mark.parametrize("end", [unavailable, denied])
async def test_a_store_that_fails_costs_only_what_was_under_way(
    bench: Bench, end: Callable[[Bench], None]
) -> None:
    """What was downloaded before a failure of the store is not downloaded again.

    The parts and ranges that had come are kept for the next fetch.
    """
    daemon = bench.daemon(ONE_AT_A_TIME)
    await bench.daemon().push("x/y", TREE)
    gates = [bench.store.pause("read", "b/large") for _ in range(3)]
    fetching = asyncio.create_task(daemon.fetch(SPEC))
    for gate in gates[:2]:
        gate.open()
    await gates[2].reached()
    await until_journalled(daemon, 3)
    end(bench)
    gates[2].open()
    with pytest.raises((StoreUnavailableError, StoreAccessDeniedError)):
        await fetching
    assert left_overs(daemon.root) == kept_downloads(daemon.root) != []
    bench.store.come_back()
    bench.store.read_ranges.clear()
    await daemon.fetch(SPEC)
    assert read_again(bench) == {"b/large": list(range(2 + 1, RANGES)), "c": [0], "d/e": [0]}
    require_landed(daemon, TREE)


@pytest.mark.parametrize("restarts", [False, True])
async def test_callers_that_leave_keep_what_has_come(bench: Bench, *, restarts: bool) -> None:
    """When nobody waits any more, and also over an orderly stop of the daemon."""
    daemon = bench.daemon(ONE_AT_A_TIME)
    await bench.daemon().push("x/y", TREE)
    await interrupted(bench, daemon, journalled=3, at=3)
    assert left_overs(daemon.root) == kept_downloads(daemon.root) != []
    if restarts:
        await bench.close()
        daemon = bench.daemon(ONE_AT_A_TIME, root=daemon.root)
    bench.store.read_ranges.clear()
    await daemon.fetch(SPEC)
    assert read_again(bench) == {"b/large": [2, 3, 4, 5], "c": [0], "d/e": [0]}
    require_landed(daemon, TREE)


async def test_a_download_that_takes_too_long_goes_on_next_time(bench: Bench) -> None:
    """Its time is over, its bytes are not lost."""
    settings = AssetsSettings(
        range_bytes=RANGE_BYTES, connection_count=1, fetch_timeout_seconds=0.2
    )
    daemon = bench.daemon(settings)
    await bench.daemon().push("x/y", LARGE)
    for _ in range(2):
        bench.store.pause("read", "x/y/0.0").open()
    bench.store.pause("read", "x/y/0.0")
    with pytest.raises(StoreUnavailableError, match="ASSETD_FETCH_TIMEOUT"):
        await daemon.fetch(SPEC)
    bench.store.come_back()
    assert left_overs(daemon.root) == kept_downloads(daemon.root)
    successor = bench.daemon(ONE_AT_A_TIME, root=daemon.root)
    completed = await successor.fetched(SPEC)
    assert completed.transferred_bytes + completed.reused_bytes == len(LARGE)
    require_landed(successor, LARGE)


@pytest.mark.parametrize("content", [LARGE, TREE])
async def test_a_version_that_waits_for_modelkit_is_not_downloaded_twice(
    bench: Bench, content: Content
) -> None:
    """Whole and checked, it waits in staging for the lock: the next fetch publishes it."""
    clock = ManualClock()
    daemon = bench.daemon(clock=clock)
    await bench.daemon().push("x/y", content)
    lock = daemon.root / ".cache/x/y.lock"
    lock.parent.mkdir(parents=True)
    lock.touch()
    with flocked(lock, fcntl.LOCK_EX):
        fetching = asyncio.create_task(daemon.fetch(SPEC))
        await clock.until_asleep()
        clock.advance(1000)
        with pytest.raises(AssetError):
            await fetching
    bench.store.read_ranges.clear()
    completed = await daemon.fetched(SPEC)
    assert read_again(bench) == {}
    size = sum(map(len, content.values())) if isinstance(content, dict) else len(content)
    assert (completed.source, completed.transferred_bytes) == (Source.CACHE, 0)
    assert completed.reused_bytes == size
    require_landed(daemon, content)


async def test_who_leaves_while_it_is_proven_loses_nothing(bench: Bench) -> None:
    """Reading back may take minutes; what was kept before is kept after it."""
    daemon = bench.daemon(ONE_AT_A_TIME)
    await bench.daemon().push("x/y", TREE)
    await interrupted(bench, daemon, journalled=3, at=3)
    leaving = leave_at(daemon, "fsync", 1)
    with pytest.raises(asyncio.CancelledError):
        await leaving
    await daemon.until_waiting(0)
    bench.store.read_ranges.clear()
    await daemon.fetch(SPEC)
    assert read_again(bench) == {"b/large": [2, 3, 4, 5], "c": [0], "d/e": [0]}
    require_landed(daemon, TREE)


def leave_at(
    daemon: Daemon, call: str, number: int, error: OSError | None = None
) -> "asyncio.Task[list[FetchEvent]]":
    """A fetch whose caller leaves right before that call of the file system, which then fails."""
    loop = asyncio.get_running_loop()

    async def leave() -> None:
        fetching.cancel()
        await asyncio.wait([fetching])
        # The flight, which nobody waits for any more, hears of it in the next turn of the loop.
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    def act() -> None:
        asyncio.run_coroutine_threadsafe(leave(), loop).result()
        if error is not None:
            raise error

    daemon.fs.before(call, act, number)
    fetching = asyncio.create_task(daemon.fetch(SPEC))
    return fetching


# Ends that keep nothing


@pytest.mark.parametrize("call", ["pwritev", "create", "fsync", "start_writeback"])
@pytest.mark.parametrize("code", [28, 5])
async def test_a_disk_that_fails_gives_all_back(
    bench: Bench, daemon: Daemon, call: str, code: int
) -> None:
    """No space, or an error of the disk: what was staged is condemned, whatever had come."""
    await bench.daemon().push("x/y", TREE)
    daemon.fs.fail(3, code, call)
    with pytest.raises(DiskFullError if code == 28 else IoError):
        await daemon.fetch(SPEC)
    assert left_overs(daemon.root) == []
    await daemon.fetch(SPEC)
    require_landed(daemon, TREE)


async def test_a_write_that_fails_while_everybody_leaves(bench: Bench) -> None:
    """Nobody hears of it, and nothing of it is kept all the same."""
    daemon = bench.daemon(ONE_AT_A_TIME)
    await bench.daemon().push("x/y", LARGE)
    # The journal's beginning, the first range, its record, the second range.
    leaving = leave_at(daemon, "pwritev", 4, OSError(5, "EIO"))
    with pytest.raises(asyncio.CancelledError):
        await leaving
    await daemon.until_waiting(0)
    assert left_overs(daemon.root) == []


async def test_damage_is_not_kept(bench: Bench, daemon: Daemon) -> None:
    """Bytes that contradict the manifest, twice: nothing of the version is trusted."""
    await daemon.push("x/y", TREE)
    bench.store.damage("x/y/0.0/d/e", times=2)
    with pytest.raises(DigestMismatchError):
        await daemon.fetch(SPEC)
    assert left_overs(daemon.root) == []


# What changed meanwhile


async def test_bytes_that_rot_in_staging_come_again(bench: Bench) -> None:
    """A flipped byte costs its range, and is never published."""
    daemon = bench.daemon(ONE_AT_A_TIME)
    await bench.daemon().push("x/y", TREE)
    await interrupted(bench, daemon, journalled=4, at=4)
    flip_byte(staging(daemon) / "data/b/large")
    flip_byte(staging(daemon) / "data/a")
    bench.store.read_ranges.clear()
    await daemon.fetch(SPEC)
    assert read_again(bench) == {"a": [0], "b/large": [0, 3, 4, 5], "c": [0], "d/e": [0]}
    require_landed(daemon, TREE)


OTHER = {"a": b"9" * 100, "b/large": LARGE[::-1], "c": b"", "d/e": b"8" * 300}


@pytest.mark.parametrize("replaced", [["b/large"], ["a"], ["a", "b/large"], []])
async def test_an_object_that_was_replaced_begins_anew(bench: Bench, replaced: list[str]) -> None:
    """Of modelkit's objects the ETag tells: two writes of one are never mixed."""
    daemon = bench.daemon(ONE_AT_A_TIME)
    await bench.modelkit_pushes(SPEC, TREE)
    await interrupted(bench, daemon, journalled=3, at=3)
    content = {**TREE, **{path: OTHER[path] for path in replaced}}
    for path in replaced:
        await bench.memory.put(f"x/y/0.0/{path}", content[path])
    bench.store.calls.clear()
    bench.store.read_ranges.clear()
    events = await daemon.fetch(SPEC, progress_interval_seconds=0.001)
    read = read_again(bench)
    assert ("a" in read) == ("a" in replaced)
    if "b/large" in replaced:
        # With one connection the rest is asked for once more before the answer is known to be no.
        assert read["b/large"][-RANGES:] == list(range(RANGES))
    else:
        assert read["b/large"] == [2, 3, 4, 5]
    assert bench.store.count("head", "0.0/a") == 1
    assert completed_of(events).verification is Verification.SIZE
    figures = [(e.attempt, e.present_bytes) for e in events if isinstance(e, FetchProgress)]
    assert figures == sorted(figures)
    assert completed_of(events).reused_bytes == sum(
        count
        for path, count in {"a": 100, "b/large": 2 * RANGE_BYTES}.items()
        if path not in replaced
    )
    require_landed(daemon, content)


async def test_the_last_range_is_of_the_same_object_too(bench: Bench) -> None:
    """Where one range is all that is missing, it is asked for by the ETag of the others."""
    daemon = bench.daemon(ONE_AT_A_TIME)
    await bench.modelkit_pushes(SPEC, LARGE)
    async with stopped_at(bench, daemon, "x/y/0.0", RANGES):
        await until_journalled(daemon, RANGES - 1)
    await bench.memory.put("x/y/0.0", LARGE[::-1])
    completed = await daemon.fetched(SPEC)
    assert completed.reused_bytes == 0
    require_landed(daemon, LARGE[::-1])


async def test_a_part_that_is_gone_from_the_store_is_missed(bench: Bench) -> None:
    """A kept part of modelkit's that the store lacks by now is BAD_MANIFEST, as any other."""
    daemon = bench.daemon(ONE_AT_A_TIME)
    await bench.modelkit_pushes(SPEC, TREE)
    await interrupted(bench, daemon, journalled=3, at=3)
    gate = bench.store.pause("head", "0.0/a")
    fetching = asyncio.create_task(daemon.fetch(SPEC))
    await gate.reached()
    await bench.memory.delete("x/y/0.0/a")
    gate.open()
    with pytest.raises(BadManifestError) as failure:
        await fetching
    assert failure.value.metadata["key"] == "x/y/0.0/a"
    assert left_overs(daemon.root) == []


async def test_another_manifest_begins_anew(bench: Bench) -> None:
    """What was staged is of no use to a version that was made anew by hand."""
    daemon = bench.daemon(ONE_AT_A_TIME)
    await bench.modelkit_pushes(SPEC, TREE)
    await interrupted(bench, daemon, journalled=3, at=3)
    other = {**TREE, "d/e": b"longer" * 100}
    await bench.modelkit_pushes(SPEC, other)
    bench.store.read_ranges.clear()
    completed = await daemon.fetched(SPEC)
    assert completed.reused_bytes == 0
    assert set(read_again(bench)) == set(TREE)
    require_landed(daemon, other)


@pytest.mark.parametrize("range_bytes", [RANGE_BYTES // 4, 3 * RANGE_BYTES, 100 * RANGE_BYTES])
async def test_ranges_of_another_length(bench: Bench, range_bytes: int) -> None:
    """ASSETD_RANGE_BYTES may change between two runs."""
    daemon = bench.daemon(ONE_AT_A_TIME)
    await bench.daemon().push("x/y", LARGE)
    async with stopped_at(bench, daemon, "x/y/0.0", 3):
        await until_journalled(daemon, 2)
        settings = AssetsSettings(range_bytes=range_bytes, connection_count=1)
        successor = killed(bench, daemon, settings)
    bench.store.read_ranges.clear()
    completed = await successor.fetched(SPEC)
    assert completed.transferred_bytes == len(LARGE) - 2 * RANGE_BYTES
    assert min(start for _, start, _ in bench.store.read_ranges) == 2 * RANGE_BYTES
    require_landed(successor, LARGE)


async def test_a_forced_download_goes_on_too(bench: Bench) -> None:
    """What was begun to replace a version is not begun again; what stands there is no source."""
    daemon = bench.daemon(ONE_AT_A_TIME)
    await bench.daemon().push("x/y", LARGE)
    await daemon.fetch(SPEC)
    async with stopped_at(bench, daemon, "x/y/0.0", 3, force_download=True):
        await until_journalled(daemon, 2)
    bench.store.read_ranges.clear()
    completed = await daemon.fetched(SPEC, force_download=True)
    assert read_again(bench) == {"": [2, 3, 4, 5]}
    assert completed.reused_bytes == 2 * RANGE_BYTES
    require_landed(daemon, LARGE)


async def test_many_small_parts_are_gone_on_with(bench: Bench) -> None:
    """Those that were written in batches are kept; the rest comes."""
    tree = {f"{number % 7}/{number:03}": b"%d" % number for number in range(300)}
    daemon = bench.daemon(ONE_AT_A_TIME)
    await bench.daemon().push("x/y", tree)
    async with stopped_at(bench, daemon, "6/202", 1):
        await until_journalled(daemon, 200)
        successor = killed(bench, daemon)
    journalled = (staging(successor) / "journal").read_bytes().count(b"\n") - 1
    bench.store.read_ranges.clear()
    events = await successor.fetch(SPEC)
    assert len(bench.store.read_ranges) == 300 - journalled
    require_landed(successor, tree)
    last = [event for event in events if isinstance(event, FetchProgress)][-1]
    assert last.total_files == 300


async def test_a_missing_part_is_told_before_anything_is_read(bench: Bench) -> None:
    """Who asks for a part that is not there does not wait for what is kept to be proven."""
    daemon = bench.daemon(ONE_AT_A_TIME)
    await bench.daemon().push("x/y", TREE)
    await interrupted(bench, daemon, journalled=3, at=3)
    bench.store.read_ranges.clear()
    with pytest.raises(AssetError, match="no part"):
        await daemon.fetch(f"{SPEC}[none]")
    assert read_again(bench) == {}
    assert kept_downloads(daemon.root) != []
