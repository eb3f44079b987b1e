"""Fetch as one caller sees it: the events, what is shared, what is compared, how a hold ends."""

import asyncio
import fcntl
import json
import os
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path

import pytest
from assetd_server.assets.facade import AssetsSettings
from assetd_server.assets.orders import (
    FetchCompleted,
    FetchEvent,
    FetchOrder,
    FetchPhase,
    FetchProgress,
    FetchStarted,
)
from assetd_server.cache.leases import take_lease
from assetd_server.errors import (
    AssetInUseError,
    AssetNotFoundError,
    DigestMismatchError,
    LockBusyError,
    NotCachedError,
    PartNotFoundError,
    ShuttingDownError,
    StoreUnavailableError,
    VersionNotFoundError,
)
from assetd_server.model import Digest, Freshness, Resolution, Source, Verification
from assetd_server.spec import Spec

from tests.support.assets_bench import (
    RANGE_BYTES,
    SETTINGS,
    Bench,
    Daemon,
    PassingClock,
    digest_of,
    names_of,
    paths_of,
    started_of,
)
from tests.support.clocks import ManualClock
from tests.support.trees import read_tree
from tests.support.versions import put

HIT = ["FetchStarted", "FetchCompleted"]
OTHER_DIGEST = Digest.of_hex("0" * 64)
TREE = {"a": b"1" * 100, "sub/b": b"2" * (3 * RANGE_BYTES), "sub/.dot": b"", "z": b"3"}


@contextmanager
def flocked(path: Path, operation: int) -> Iterator[bool]:
    """Try to lock a file or folder as another process would; tells whether it was to be had."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, operation | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
    else:
        yield True
    finally:
        os.close(descriptor)


def may_be_moved(path: Path) -> bool:
    """Whether nobody holds a lease on it."""
    with flocked(path, fcntl.LOCK_EX) as free:
        return free


async def first_of(events: AsyncGenerator[FetchEvent, None], kind: type) -> FetchEvent:
    """Read on until an event of this kind comes."""
    return await anext(event async for event in events if isinstance(event, kind))


def flip_byte(path: Path) -> None:
    """Rot: another first byte, of the same length."""
    data = bytearray(path.read_bytes())
    data[0] ^= 1
    path.write_bytes(data)


# The events


@pytest.mark.parametrize("content", [b"", b"x", b"y" * (3 * RANGE_BYTES + 7), TREE])
async def test_a_miss_starts_once_and_completes_last(
    daemon: Daemon, content: bytes | dict[str, bytes]
) -> None:
    """Exactly one started, some progress, one completed, which is the last; the bytes are there."""
    await daemon.push("x/y", content)
    events = await daemon.fetch("x/y")
    names = names_of(events)
    assert names.count("FetchStarted") == names.count("FetchCompleted") == 1
    assert names[0] == "FetchStarted"
    assert names[-1] == "FetchCompleted"
    completed, started = events[-1], started_of(events)
    assert isinstance(completed, FetchCompleted)
    assert completed.path == str(daemon.root / "x/y/0.0")
    assert completed.source is Source.STORE
    assert completed.verification is Verification.CHECKSUM
    assert completed.transferred_bytes == started.total_bytes
    assert completed.asset_version.digest == digest_of(content)
    assert started.resolution is Resolution.STORE
    assert not started.joined
    found = read_tree(Path(completed.path))
    assert found == (content if isinstance(content, dict) else {"": content})


@pytest.mark.parametrize("spec", ["x/y", "x/y:0", "x/y:0.0"])
async def test_a_hit_is_exactly_two_events(daemon: Daemon, spec: str) -> None:
    """A hit is started and completed, and comes from the cache."""
    await daemon.push("x/y", b"data")
    await daemon.fetch("x/y")
    events = await daemon.fetch(spec)
    assert names_of(events) == HIT
    started, completed = started_of(events), events[-1]
    assert isinstance(completed, FetchCompleted)
    assert (started.flight_id, started.joined) == ("", False)
    assert started.present_bytes == started.total_bytes == 4
    assert completed.source is Source.CACHE
    assert completed.transferred_bytes == 0


async def test_a_pinned_hit_asks_nobody(bench: Bench, daemon: Daemon) -> None:
    """A pinned version that is present is served without a store call, also while it is down."""
    await daemon.push("x/y", b"data")
    await daemon.fetch("x/y")
    bench.store.calls.clear()
    bench.store.go_down()
    assert names_of(await daemon.fetch("x/y:0.0")) == HIT
    assert bench.store.calls == []


async def test_nothing_precedes_started_at_first(bench: Bench) -> None:
    """For the first 5 s nothing comes before started; after that RESOLVING does, and repeatedly."""
    clock = PassingClock()
    daemon = bench.daemon(clock=clock)
    await daemon.push("x/y", b"data")
    index = bench.store.pause("get", "x/y.versions")
    meta = bench.store.pause("get", "0.0.meta")
    order = FetchOrder(Spec.parse("x/y"), progress_interval_seconds=0.001)
    async with aclosing(daemon.assets.fetch(order)) as events:
        first = asyncio.ensure_future(anext(events))
        await index.reached()
        clock.advance(4.9)
        assert not first.done()
        clock.advance(0.1)
        index.open()
        await meta.reached()
        seen = [await first, await anext(events), await anext(events)]
        assert seen == [FetchProgress(FetchPhase.RESOLVING)] * 3
        meta.open()
        rest = [event async for event in events]
    assert [n for n in names_of(rest) if n != "FetchProgress"] == HIT
    starts = names_of(rest).index("FetchStarted")
    assert all(event == FetchProgress(FetchPhase.RESOLVING) for event in rest[:starts])


async def test_progress_is_absolute_and_never_falls(bench: Bench, daemon: Daemon) -> None:
    """Within one attempt the figures only rise, and end at the total."""
    await daemon.push("x/d", TREE)
    gate = bench.store.pause("read", "sub/b")
    order = FetchOrder(Spec.parse("x/d"), progress_interval_seconds=0.001)
    seen: list[FetchProgress] = []
    async with aclosing(daemon.assets.fetch(order)) as events:
        async for event in events:
            if isinstance(event, FetchProgress):
                seen.append(event)
                if len(seen) == 3:
                    gate.open()
    assert [event.attempt for event in seen] == [1] * len(seen)
    figures = [event.present_bytes for event in seen]
    assert figures == sorted(figures)
    assert {event.total_bytes for event in seen} == {sum(map(len, TREE.values()))}
    assert max(figures) <= sum(map(len, TREE.values()))


async def test_a_repeat_tells_of_another_attempt(bench: Bench, daemon: Daemon) -> None:
    """Bytes that have to come again are taken off the figures, together with a new attempt."""
    await daemon.push("x/y", b"d" * 10)
    bench.store.damage("x/y/0.0", times=1)
    bench.store.pause("read", "nowhere")
    gates = [bench.store.pause("read", "x/y/0.0") for _ in range(2)]
    order = FetchOrder(Spec.parse("x/y"), progress_interval_seconds=0.001)
    seen: list[FetchProgress] = []
    async with aclosing(daemon.assets.fetch(order)) as events:
        gates[0].open()
        async for event in events:
            if isinstance(event, FetchProgress):
                seen.append(event)
                if event.attempt == 2:
                    gates[1].open()
    assert {event.attempt for event in seen} >= {2}
    second = next(event for event in seen if event.attempt == 2)
    assert second.present_bytes == 0


# What is shared


async def test_all_callers_share_one_set_of_reads(bench: Bench, daemon: Daemon) -> None:
    """Concurrent fetches of a version read each object once; all but one say that they joined."""
    await daemon.push("x/d", TREE)
    gate = bench.store.pause("read", "x/d/0.0/a")
    bench.store.calls.clear()
    callers = [asyncio.create_task(daemon.fetch("x/d:0.0")) for _ in range(10)]
    await gate.reached()
    status = await daemon.assets.status()
    assert [flight.waiter_count for flight in status.flights] == [10]
    gate.open()
    all_events = await asyncio.gather(*callers)
    ranges = {"a": 1, "z": 1, "sub/.dot": 1, "sub/b": 3}
    for part, count in ranges.items():
        assert bench.store.count("read", f"x/d/0.0/{part}") == count
    assert sorted(started_of(events).joined for events in all_events) == [False] + [True] * 9
    assert len({started_of(events).flight_id for events in all_events}) == 1


async def test_two_versions_are_two_flights(bench: Bench, daemon: Daemon) -> None:
    """Only callers of the same version wait for each other."""
    await daemon.push("x/y", b"first")
    await daemon.push("x/y", b"second")
    gate = bench.store.pause("read", "x/y/0.0")
    slow = asyncio.create_task(daemon.fetch("x/y:0.0"))
    await gate.reached()
    assert not started_of(await daemon.fetch("x/y:0.1")).joined
    gate.open()
    await slow


@pytest.mark.parametrize("leaver", [0, 1])
async def test_who_leaves_does_not_stop_the_others(
    bench: Bench, daemon: Daemon, leaver: int
) -> None:
    """When one caller leaves, be it the first, the download goes on for the other."""
    await daemon.push("x/y", b"data")
    gate = bench.store.pause("read", "x/y/0.0")
    callers = [asyncio.create_task(daemon.fetch("x/y:0.0"))]
    await gate.reached()
    callers.append(asyncio.create_task(daemon.fetch("x/y:0.0")))
    await daemon.until_waiting(2)
    callers[leaver].cancel()
    with pytest.raises(asyncio.CancelledError):
        await callers[leaver]
    gate.open()
    assert names_of(await callers[1 - leaver])[-1] == "FetchCompleted"
    assert bench.store.count("read", "x/y/0.0") == 2  # one of them was the push's own look


@pytest.mark.parametrize("key", ["x/y.versions", "0.0.meta"])
async def test_the_last_who_leaves_stops_it_before_it_started(
    bench: Bench, daemon: Daemon, key: str
) -> None:
    """A caller who leaves before anything is known leaves nothing under way."""
    await daemon.push("x/y", b"data")
    gate = bench.store.pause("get", key)
    caller = asyncio.create_task(daemon.fetch("x/y"))
    await gate.reached()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert list((await daemon.assets.status()).flights) == []


@pytest.mark.parametrize("part", ["a", "sub/b"])
async def test_the_last_who_leaves_stops_the_download(
    bench: Bench, daemon: Daemon, part: str
) -> None:
    """When nobody waits any more the download ends, nothing of it stays, and a repeat succeeds."""
    await daemon.push("x/d", TREE)
    gate = bench.store.pause("read", part)
    events = daemon.assets.fetch(FetchOrder(Spec.parse("x/d")))
    await first_of(events, FetchStarted)
    await gate.reached()
    await events.aclose()
    await daemon.until_waiting(0)
    await daemon.require_idle()
    assert not (daemon.root / "x/d/0.0").exists()
    assert names_of(await daemon.fetch("x/d"))[-1] == "FetchCompleted"


async def test_who_comes_while_a_flight_ends_starts_anew(bench: Bench, daemon: Daemon) -> None:
    """A caller never joins a download that was given up, but waits for its end and starts anew."""
    await daemon.push("x/y", b"data")
    gate = bench.store.pause("read", "x/y/0.0")
    first = asyncio.create_task(daemon.fetch("x/y:0.0"))
    await gate.reached()
    first.cancel()
    second = asyncio.create_task(daemon.fetch("x/y:0.0"))
    events = await second
    assert not started_of(events).joined
    assert names_of(events)[-1] == "FetchCompleted"


async def test_a_flight_that_takes_too_long_is_given_up(bench: Bench) -> None:
    """The download has a deadline of its own; its end is a failure to retry."""
    daemon = bench.daemon(AssetsSettings(fetch_timeout_seconds=0.01))
    await daemon.push("x/y", b"data")
    bench.store.pause("read", "x/y/0.0")
    with pytest.raises(StoreUnavailableError, match="took longer"):
        await daemon.fetch("x/y")


async def test_closing_ends_what_is_under_way(bench: Bench, daemon: Daemon) -> None:
    """A daemon that stops gives its downloads up, and whoever waits hears that at once."""
    await daemon.push("x/y", b"data")
    gate = bench.store.pause("read", "x/y/0.0")
    caller = asyncio.create_task(daemon.fetch("x/y"))
    await gate.reached()
    daemon.assets.drain()
    await daemon.assets.close()
    with pytest.raises(StoreUnavailableError, match="given up"):
        await caller
    bench.daemons.remove(daemon)
    daemon.assets_dir.close()
    assert daemon.fs.open_paths == []


# Parts


@pytest.mark.parametrize("part", ["a", "/a", "sub", "sub/b", "sub/.dot"])
async def test_a_part_is_answered_by_its_own_path(daemon: Daemon, part: str) -> None:
    """`[sub/part]` may name a file or a folder; the whole version is fetched all the same."""
    await daemon.push("x/d", TREE)
    for _ in ("miss", "hit"):
        completed = await daemon.fetched(f"x/d[{part}]")
        assert completed.relative_path == f"x/d/0.0/{part.removeprefix('/')}"
        assert read_tree(daemon.root / "x/d/0.0") == TREE


async def test_a_missing_part_costs_no_download(bench: Bench, daemon: Daemon) -> None:
    """PART_NOT_FOUND comes before any byte does."""
    await daemon.push("x/d", TREE)
    bench.store.calls.clear()
    for part in ("nope", "su", "sub/b/c", "A"):
        with pytest.raises(PartNotFoundError):
            await daemon.fetch(f"x/d[{part}]")
    assert bench.store.count("read") == 0
    assert not (daemon.root / "x").exists()


@pytest.mark.parametrize("is_cached", [False, True])
async def test_a_file_has_no_parts(bench: Bench, daemon: Daemon, *, is_cached: bool) -> None:
    """A part of a file asset is PART_NOT_FOUND, on a miss and on a hit."""
    await daemon.push("x/y", b"data")
    if is_cached:
        await daemon.fetch("x/y")
    bench.store.calls.clear()
    with pytest.raises(PartNotFoundError):
        await daemon.fetch("x/y[sub]")
    assert bench.store.count("read") == 0


async def test_a_hit_misses_a_part_too(daemon: Daemon) -> None:
    """A cached version answers for its own parts only."""
    await daemon.push("x/d", TREE)
    await daemon.fetch("x/d")
    with pytest.raises(PartNotFoundError):
        await daemon.fetch("x/d[nope]")


# Whom it may ask


async def test_what_nobody_has_is_not_found(daemon: Daemon) -> None:
    """An unknown asset or version is NOT_FOUND and leaves no folder behind."""
    await daemon.push("x/y", b"data")
    with pytest.raises(AssetNotFoundError):
        await daemon.fetch("x/q")
    with pytest.raises(AssetNotFoundError):
        await daemon.fetch("x/q:0.0")
    with pytest.raises(VersionNotFoundError):
        await daemon.fetch("x/y:7.7")
    assert not (daemon.root / "x").exists()


async def test_the_cache_alone_never_downloads(bench: Bench, daemon: Daemon) -> None:
    """Freshness CACHE serves what is there, and answers NOT_CACHED for the rest."""
    await daemon.push("x/y", b"data")
    bench.store.calls.clear()
    for spec in ("x/y", "x/y:0.0"):
        with pytest.raises(NotCachedError):
            await daemon.fetch(spec, freshness=Freshness.CACHE)
    assert bench.store.calls == []


async def test_a_fallback_is_served_and_named(bench: Bench, daemon: Daemon) -> None:
    """STORE_OR_CACHE serves the newest cached version while the store is down, and says so."""
    await daemon.push("x/y", b"old")
    await daemon.fetch("x/y")
    await daemon.push("x/y", b"new")
    bench.store.go_down()
    events = await daemon.fetch("x/y", freshness=Freshness.STORE_OR_CACHE)
    assert names_of(events) == HIT
    assert started_of(events).resolution is Resolution.FALLBACK
    with pytest.raises(StoreUnavailableError):
        await daemon.fetch("x/y", freshness=Freshness.STORE)


async def test_what_modelkit_left_whole_is_adopted(bench: Bench, daemon: Daemon) -> None:
    """An empty marker beside data of the store's sizes becomes a receipt, without a download."""
    await daemon.push("x/d", TREE)
    put(daemon.root, TREE, paths_of("x/d:0.0"), marker=b"")
    bench.store.calls.clear()
    completed = await daemon.fetched("x/d:0.0")
    assert bench.store.count("read") == 0
    assert completed.source is Source.CACHE
    assert completed.verification is Verification.SIZE
    assert completed.reused_bytes == sum(map(len, TREE.values()))
    assert names_of(await daemon.fetch("x/d:0.0")) == HIT
    assert json.loads((daemon.root / "x/d/0.0/.SUCCESS").read_bytes())["verification"] == "size"


async def test_what_modelkit_left_torn_is_replaced(daemon: Daemon) -> None:
    """Data of another size than the store says is replaced, marker or not."""
    await daemon.push("x/d", TREE)
    put(daemon.root, {**TREE, "a": b"torn"}, paths_of("x/d:0.0"), marker=b"")
    completed = await daemon.fetched("x/d:0.0")
    assert completed.source is Source.STORE
    assert read_tree(daemon.root / "x/d/0.0") == TREE


async def test_what_modelkit_left_is_served_unchecked_while_the_store_is_down(
    bench: Bench, daemon: Daemon
) -> None:
    """Where the store cannot be asked, modelkit's marker counts, and the answer says NONE."""
    await daemon.push("x/d", TREE)
    put(daemon.root, TREE, paths_of("x/d:0.0"), marker=b"")
    bench.store.go_down()
    for freshness in (Freshness.STORE, Freshness.STORE_OR_CACHE, Freshness.CACHE):
        events = await daemon.fetch("x/d:0.0[sub/b]", freshness=freshness)
        assert names_of(events) == HIT
        completed = events[-1]
        assert isinstance(completed, FetchCompleted)
        assert completed.verification is Verification.NONE
        assert completed.relative_path == "x/d/0.0/sub/b"
        with pytest.raises(PartNotFoundError):
            await daemon.fetch("x/d:0.0[nope]", freshness=freshness)


async def test_unmarked_data_is_never_served_unchecked(bench: Bench, daemon: Daemon) -> None:
    """Where a store is configured, data without a marker may be half of a version."""
    await daemon.push("x/y", b"data")
    put(daemon.root, b"data", paths_of("x/y:0.0"))
    bench.store.go_down()
    with pytest.raises(StoreUnavailableError):
        await daemon.fetch("x/y:0.0")


async def test_data_that_contradicts_our_receipt_is_never_served(
    bench: Bench, daemon: Daemon
) -> None:
    """What shrank under our receipt is damaged: no fallback while the store is down."""
    await daemon.push("x/y", b"data")
    await daemon.fetch("x/y")
    (daemon.root / "x/y/0.0").write_bytes(b"dat")
    bench.store.go_down()
    with pytest.raises(StoreUnavailableError):
        await daemon.fetch("x/y:0.0")
    bench.store.come_back()
    await daemon.fetch("x/y:0.0")
    assert (daemon.root / "x/y/0.0").read_bytes() == b"data"


# Digests


@pytest.mark.parametrize("is_cached", [False, True])
async def test_an_expected_digest_that_fits(daemon: Daemon, *, is_cached: bool) -> None:
    """A pinned digest is compared with the bytes themselves, and the answer says DIGEST."""
    await daemon.push("x/d", TREE)
    if is_cached:
        await daemon.fetch("x/d")
    completed = await daemon.fetched("x/d", expected_digest=digest_of(TREE))
    assert completed.verification is Verification.DIGEST


@pytest.mark.parametrize("is_cached", [False, True])
async def test_an_expected_digest_that_does_not_fit(
    bench: Bench, daemon: Daemon, *, is_cached: bool
) -> None:
    """Another digest ends the call with DIGEST_MISMATCH, before anything is downloaded."""
    await daemon.push("x/d", TREE)
    if is_cached:
        await daemon.fetch("x/d")
    bench.store.calls.clear()
    with pytest.raises(DigestMismatchError) as failure:
        await daemon.fetch("x/d", expected_digest=OTHER_DIGEST)
    assert failure.value.metadata["found"] == digest_of(TREE)
    assert failure.value.metadata["expected"] == OTHER_DIGEST
    assert bench.store.count("read") == 0


async def test_modelkits_push_has_no_digest_until_it_is_asked_for(
    bench: Bench, daemon: Daemon
) -> None:
    """What modelkit pushed is checked by size; an expected digest is computed from the bytes."""
    await bench.modelkit_pushes("x/d:0.0", TREE)
    completed = await daemon.fetched("x/d:0.0")
    assert completed.verification is Verification.SIZE
    assert completed.asset_version.digest is None
    checked = await daemon.fetched("x/d:0.0", expected_digest=digest_of(TREE))
    assert checked.verification is Verification.DIGEST
    with pytest.raises(DigestMismatchError):
        await daemon.fetch("x/d:0.0", expected_digest=OTHER_DIGEST)


@pytest.mark.parametrize("expected", [digest_of(TREE), OTHER_DIGEST])
async def test_an_expected_digest_on_modelkits_push(
    bench: Bench, daemon: Daemon, expected: Digest
) -> None:
    """On a miss the digest of what modelkit pushed is compared once the bytes are here."""
    await bench.modelkit_pushes("x/d:0.0", TREE)
    if expected == digest_of(TREE):
        completed = await daemon.fetched("x/d:0.0", expected_digest=expected)
        assert completed.verification is Verification.DIGEST
        assert completed.asset_version.digest == expected
        return
    with pytest.raises(DigestMismatchError):
        await daemon.fetch("x/d:0.0", expected_digest=expected)


async def test_an_expected_digest_of_unchecked_data(bench: Bench, daemon: Daemon) -> None:
    """While the store is down, a pinned digest decides on what modelkit left in the cache."""
    await daemon.push("x/d", TREE)
    put(daemon.root, TREE, paths_of("x/d:0.0"), marker=b"")
    bench.store.go_down()
    completed = await daemon.fetched("x/d:0.0", expected_digest=digest_of(TREE))
    assert completed.verification is Verification.DIGEST
    with pytest.raises(DigestMismatchError):
        await daemon.fetch("x/d:0.0", expected_digest=OTHER_DIGEST)


async def test_a_digest_is_hashed_once_a_run(daemon: Daemon) -> None:
    """A second fetch with the same pinned digest does not read the files again; verify does."""
    await daemon.push("x/d", TREE)
    await daemon.fetch("x/d")

    def part_reads() -> int:
        reads = [call.paths[0] for call in daemon.fs.named("pread")]
        return sum(path.startswith("x/d/0.0/") and "SUCCESS" not in path for path in reads)

    before = part_reads()
    await daemon.fetch("x/d:0.0", expected_digest=digest_of(TREE))
    once = part_reads()
    assert once > before
    await daemon.fetch("x/d:0.0", expected_digest=digest_of(TREE))
    assert part_reads() == once
    await daemon.fetch("x/d:0.0", verify=True)
    assert part_reads() == once + (once - before)


# Verify, force


@pytest.mark.parametrize("part", ["a", "sub/b"])
@pytest.mark.parametrize("pinned", [False, True])
async def test_verify_finds_a_flipped_byte_and_repairs_it(
    bench: Bench, daemon: Daemon, part: str, *, pinned: bool
) -> None:
    """A byte that rotted in the cache is found by verify or a pinned digest, and fetched again."""
    await daemon.push("x/d", TREE)
    await daemon.fetch("x/d")
    flip_byte(daemon.root / "x/d/0.0" / part)
    bench.store.calls.clear()
    asked: dict[str, object] = {"expected_digest": digest_of(TREE)} if pinned else {"verify": True}
    events = await daemon.fetch("x/d:0.0", **asked)
    completed = events[-1]
    assert isinstance(completed, FetchCompleted)
    assert completed.source is Source.STORE
    assert completed.verification is Verification.DIGEST
    assert read_tree(daemon.root / "x/d/0.0") == TREE
    assert bench.store.count("read", part) > 0


async def test_verify_of_sound_bytes_downloads_nothing(bench: Bench, daemon: Daemon) -> None:
    """Sound bytes stay where they are, and the answer says DIGEST."""
    await daemon.push("x/d", TREE)
    await daemon.fetch("x/d")
    bench.store.calls.clear()
    completed = await daemon.fetched("x/d:0.0", verify=True)
    assert completed.verification is Verification.DIGEST
    assert completed.source is Source.CACHE
    assert bench.store.calls == []


async def test_verify_finds_rot_in_what_modelkit_left(daemon: Daemon) -> None:
    """Data of the right size with a wrong byte is not adopted where somebody asks for hashes."""
    await daemon.push("x/y", b"data")
    put(daemon.root, b"dat!", paths_of("x/y:0.0"), marker=b"")
    completed = await daemon.fetched("x/y:0.0", verify=True)
    assert completed.source is Source.STORE
    assert (daemon.root / "x/y/0.0").read_bytes() == b"data"


async def test_who_joins_may_be_stricter(bench: Bench, daemon: Daemon) -> None:
    """A caller that verifies is not content with what those it joined were content with."""
    await daemon.push("x/y", b"data")
    put(daemon.root, b"dat!", paths_of("x/y:0.0"), marker=b"")
    gate = bench.store.pause("get", "0.0.meta")
    content_with_sizes = asyncio.create_task(daemon.fetched("x/y:0.0"))
    await gate.reached()
    strict = asyncio.create_task(daemon.fetch("x/y:0.0", verify=True))
    await daemon.until_waiting(2)
    gate.open()
    assert (await content_with_sizes).verification is Verification.SIZE
    events = await strict
    completed = events[-1]
    assert isinstance(completed, FetchCompleted)
    assert completed.verification is Verification.DIGEST
    assert names_of(events).count("FetchStarted") == 1
    assert (daemon.root / "x/y/0.0").read_bytes() == b"data"


async def test_who_joins_may_insist_on_a_download(bench: Bench, daemon: Daemon) -> None:
    """A forced caller that joins a flight which adopts what stands there has it replaced after."""
    await daemon.push("x/y", b"data")
    put(daemon.root, b"dat!", paths_of("x/y:0.0"), marker=b"")
    gate = bench.store.pause("get", "0.0.meta")
    content_with_sizes = asyncio.create_task(daemon.fetched("x/y:0.0"))
    await gate.reached()
    forced = asyncio.create_task(daemon.fetched("x/y:0.0", force_download=True))
    await daemon.until_waiting(2)
    gate.open()
    assert (await content_with_sizes).source is Source.CACHE
    assert (await forced).source is Source.STORE
    assert (daemon.root / "x/y/0.0").read_bytes() == b"data"


async def test_damage_without_a_way_to_mend_is_told(bench: Bench, daemon: Daemon) -> None:
    """Rot that verify finds while the store is down, or must not be asked, is never answered."""
    await daemon.push("x/y", b"data")
    await daemon.fetch("x/y")
    flip_byte(daemon.root / "x/y/0.0")
    with pytest.raises(NotCachedError):
        await daemon.fetch("x/y:0.0", verify=True, freshness=Freshness.CACHE)
    bench.store.go_down()
    with pytest.raises(StoreUnavailableError):
        await daemon.fetch("x/y:0.0", verify=True)


@pytest.mark.parametrize("by_operator", [False, True])
async def test_force_downloads_what_is_present(
    bench: Bench, daemon: Daemon, *, by_operator: bool
) -> None:
    """force_download, of the call or of the daemon, reads the store although it is there."""
    await daemon.push("x/y", b"data")
    await daemon.fetch("x/y")
    settings = AssetsSettings(force_download=by_operator)
    forced = bench.daemon(settings, root=daemon.root)
    bench.store.calls.clear()
    completed = await forced.fetched("x/y:0.0", force_download=not by_operator)
    assert completed.source is Source.STORE
    assert bench.store.count("read", "x/y/0.0") == 1


async def test_force_leaves_equal_content_alone(daemon: Daemon) -> None:
    """What proves equal to the new copy stays, so a lease on it is no obstacle."""
    await daemon.push("x/y", b"data")
    await daemon.fetch("x/y")
    inode = (daemon.root / "x/y/0.0").stat().st_ino
    lease = take_lease(daemon.assets_dir, paths_of("x/y:0.0"))
    assert lease is not None
    completed = await daemon.fetched("x/y:0.0", force_download=True)
    lease.release()
    assert completed.source is Source.STORE
    assert (daemon.root / "x/y/0.0").stat().st_ino == inode


@pytest.mark.parametrize("content", [b"data", TREE])
async def test_what_is_leased_is_never_replaced(
    daemon: Daemon, content: bytes | dict[str, bytes]
) -> None:
    """Damage under a lease is ASSET_IN_USE, and stays untouched until the lease ends."""
    await daemon.push("x/y", content)
    await daemon.fetch("x/y")
    standing = daemon.root / "x/y/0.0"
    damaged = standing if isinstance(content, bytes) else standing / "a"
    flip_byte(damaged)
    before = read_tree(standing)
    lease = take_lease(daemon.assets_dir, paths_of("x/y:0.0"))
    assert lease is not None
    for order in ({"force_download": True}, {"verify": True}):
        with pytest.raises(AssetInUseError):
            await daemon.fetch("x/y:0.0", **order)
        assert read_tree(standing) == before
    lease.release()
    await daemon.fetch("x/y:0.0", force_download=True)
    assert read_tree(standing) == (content if isinstance(content, dict) else {"": content})


# Holds


async def test_a_hold_is_a_lease_until_it_is_closed(daemon: Daemon) -> None:
    """With hold nobody can move the version, from completed on until the caller closes."""
    await daemon.push("x/y", b"data")
    standing = daemon.root / "x/y/0.0"
    order = FetchOrder(Spec.parse("x/y"), hold=True, caller="me")
    async with aclosing(daemon.assets.fetch(order)) as events:
        await first_of(events, FetchCompleted)
        assert not may_be_moved(standing)
        [hold] = (await daemon.assets.status()).holds
        assert (str(hold.asset_version), hold.caller) == ("x/y:0.0", "me")
    assert may_be_moved(standing)


async def test_a_hold_keeps_a_forced_fetch_away(daemon: Daemon) -> None:
    """A hold of this very daemon counts like any lease."""
    await daemon.push("x/y", b"data")
    async with aclosing(daemon.assets.fetch(FetchOrder(Spec.parse("x/y"), hold=True))) as events:
        await first_of(events, FetchCompleted)
        flip_byte(daemon.root / "x/y/0.0")
        with pytest.raises(AssetInUseError):
            await daemon.fetch("x/y:0.0", force_download=True)


async def test_draining_ends_holds(daemon: Daemon) -> None:
    """A draining daemon ends its holds with SHUTTING_DOWN, and takes no new calls."""
    await daemon.push("x/y", b"data")
    async with aclosing(daemon.assets.fetch(FetchOrder(Spec.parse("x/y"), hold=True))) as events:
        await first_of(events, FetchCompleted)
        waiting = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0)
        assert not waiting.done()
        daemon.assets.drain()
        with pytest.raises(ShuttingDownError):
            await waiting
    assert may_be_moved(daemon.root / "x/y/0.0")
    with pytest.raises(ShuttingDownError):
        await daemon.fetch("x/y")
    with pytest.raises(ShuttingDownError):
        await daemon.push("x/y", b"more")


async def test_draining_lets_a_download_end(bench: Bench, daemon: Daemon) -> None:
    """A fetch under way ends well while the daemon drains; only its hold does not begin."""
    await daemon.push("x/y", b"data")
    gate = bench.store.pause("read", "x/y/0.0")
    fetching = asyncio.create_task(daemon.fetch("x/y"))
    holding = asyncio.create_task(daemon.fetch("x/y", hold=True))
    await gate.reached()
    daemon.assets.drain()
    gate.open()
    assert names_of(await fetching)[-1] == "FetchCompleted"
    with pytest.raises(ShuttingDownError):
        await holding


async def test_a_hold_that_is_cancelled_leaves_no_lease(daemon: Daemon) -> None:
    """A caller whose task dies anywhere on its way to a hold leaves no lease behind."""
    await daemon.push("x/y", b"data")
    await daemon.fetch("x/y")
    for steps in range(60):
        holding = asyncio.create_task(daemon.fetch("x/y:0.0", hold=True))
        for _ in range(steps):
            await asyncio.sleep(0)
        holding.cancel()
        with pytest.raises(asyncio.CancelledError):
            await holding
        assert may_be_moved(daemon.root / "x/y/0.0"), f"a lease is left after {steps} steps"


async def test_a_hold_of_a_plain_path_ends_like_any(bench: Bench) -> None:
    """Without a store a plain path can be held too, though there is nothing to lease."""
    alone = bench.daemon(with_store=False)
    (alone.root / "some/folder").mkdir(parents=True)
    order = FetchOrder(Spec.parse("some/folder"), hold=True)
    async with aclosing(alone.assets.fetch(order)) as events:
        await first_of(events, FetchCompleted)
        assert len(list((await alone.assets.status()).holds)) == 1


async def test_without_a_store_unmarked_data_can_be_held(bench: Bench) -> None:
    """Without a store a version counts without its marker, for a lease as well."""
    alone = bench.daemon(with_store=False)
    put(alone.root, b"data", paths_of("x/y:0.0"))
    async with aclosing(alone.assets.fetch(FetchOrder(Spec.parse("x/y"), hold=True))) as events:
        await first_of(events, FetchCompleted)
        assert not may_be_moved(alone.root / "x/y/0.0")


# Beside modelkit


async def test_modelkits_lock_is_waited_for(bench: Bench) -> None:
    """While modelkit has its lock, publishing waits; after the limit the call is LOCK_BUSY."""
    clock = ManualClock()
    daemon = bench.daemon(clock=clock)
    await bench.daemon().push("x/y", b"data")
    lock = daemon.root / ".cache/x/y.lock"
    lock.parent.mkdir(parents=True)
    lock.touch()
    with flocked(lock, fcntl.LOCK_EX) as locked:
        assert locked
        fetching = asyncio.create_task(daemon.fetch("x/y"))
        await clock.until_asleep()
        clock.advance(SETTINGS.lock_timeout_seconds)
        with pytest.raises(LockBusyError) as failure:
            await fetching
        assert failure.value.metadata["lock"] == ".cache/x/y.lock"
        assert not (daemon.root / "x/y/0.0").exists()


async def test_modelkits_lock_that_is_released_is_taken(bench: Bench) -> None:
    """Once modelkit lets go, the fetch goes on, and the lock is free again after it."""
    clock = ManualClock()
    daemon = bench.daemon(clock=clock)
    await bench.daemon().push("x/y", b"data")
    lock = daemon.root / ".cache/x/y.lock"
    lock.parent.mkdir(parents=True)
    lock.touch()
    with flocked(lock, fcntl.LOCK_EX):
        fetching = asyncio.create_task(daemon.fetched("x/y"))
        await clock.until_asleep()
    clock.advance(10)
    assert (await fetching).source is Source.STORE
    assert may_be_moved(lock)


async def test_a_hit_does_not_wait_for_modelkit(daemon: Daemon) -> None:
    """A hit takes no lock of modelkit's."""
    await daemon.push("x/y", b"data")
    await daemon.fetch("x/y")
    with flocked(daemon.root / ".cache/x/y.lock", fcntl.LOCK_EX) as locked:
        assert locked
        assert names_of(await daemon.fetch("x/y")) == HIT


async def test_a_cancelled_fetch_leaves_no_lock(daemon: Daemon) -> None:
    """Cancelled at any step, a fetch leaves neither modelkit's lock nor a staged file behind."""
    await daemon.push("x/y", b"data")
    steps, done = 0, False
    while not done:
        steps += 1
        fetching = asyncio.create_task(daemon.fetch("x/y:0.0"))
        for _ in range(steps):
            await asyncio.sleep(0)
        fetching.cancel()
        done = not isinstance(
            (await asyncio.gather(fetching, return_exceptions=True))[0], asyncio.CancelledError
        )
        await daemon.until_waiting(0)
        await daemon.require_idle()
        (daemon.root / "x/y/0.0").unlink(missing_ok=True)
    assert steps > 10
