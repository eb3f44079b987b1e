"""Fetch as one caller sees it: the events, what is shared, parts, and whom it may ask."""

import asyncio
import json
from contextlib import aclosing
from pathlib import Path

import pytest
from assetd_server.assets.orders import (
    FetchCompleted,
    FetchOrder,
    FetchPhase,
    FetchProgress,
    FetchStarted,
)
from assetd_server.assets.settings import AssetsSettings
from assetd_server.errors import (
    AssetNotFoundError,
    NotCachedError,
    PartNotFoundError,
    StoreUnavailableError,
    VersionNotFoundError,
)
from assetd_server.model import Freshness, Resolution, Source, Verification
from assetd_server.spec import Spec

from tests.support.assets_bench import (
    RANGE_BYTES,
    Bench,
    Daemon,
    PassingClock,
    digest_of,
    first_of,
    flip_byte,
    names_of,
    paths_of,
    started_of,
)
from tests.support.trees import read_tree
from tests.support.versions import put

HIT = ["FetchStarted", "FetchCompleted"]
TREE = {"a": b"1" * 100, "sub/b": b"2" * (3 * RANGE_BYTES), "sub/.dot": b"", "z": b"3"}


# The events


@pytest.mark.parametrize("content", [b"", b"x", b"y" * (3 * RANGE_BYTES + 7), TREE])
async def test_a_miss_starts_once_and_completes_last(
    daemon: Daemon, content: bytes | dict[str, bytes]
) -> None:
    """A miss is one `started`, some `progress` and one `completed`, which is the last event."""
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
    """A hit is exactly `started` and `completed`, and comes from the cache."""
    await daemon.push("x/y", b"data")
    await daemon.fetch("x/y")
    events = await daemon.fetch(spec)
    assert names_of(events) == HIT
    started, completed = started_of(events), events[-1]
    assert isinstance(completed, FetchCompleted)
    assert (started.flight_id, started.joined) == ("", False)
    assert started.present_bytes == started.total_bytes == 4
    assert completed.source is Source.CACHE
    assert (completed.transferred_bytes, completed.reused_bytes) == (0, 4)


async def test_a_pinned_hit_asks_nobody(bench: Bench, daemon: Daemon) -> None:
    """A pinned version that is present is served without a store call, also while it is down."""
    await daemon.push("x/y", b"data")
    await daemon.fetch("x/y")
    bench.store.calls.clear()
    bench.store.go_down()
    assert names_of(await daemon.fetch("x/y:0.0")) == HIT
    assert bench.store.calls == []


async def test_nothing_precedes_started_at_first(bench: Bench) -> None:
    """For the first 5 s nothing comes before `started`; after that `progress` does, repeatedly."""
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
    """Progress is absolute and never falls within one attempt.

    Within one attempt the figures only rise, and end at the total.
    """
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


async def test_a_second_download_is_another_attempt(bench: Bench, daemon: Daemon) -> None:
    """Whoever has joined a download that left damage behind sees all of it come again, as such."""
    await daemon.push("x/d", TREE)
    gate = bench.store.pause("read", "sub/b")
    flying = asyncio.create_task(daemon.fetch("x/d"))
    await gate.reached()
    order = FetchOrder(Spec.parse("x/d"), verify=True, progress_interval_seconds=0.001)
    seen: list[FetchProgress] = []
    async with aclosing(daemon.assets.fetch(order)) as events:
        async for event in events:
            if isinstance(event, FetchProgress):
                seen.append(event)
                if seen[-1].present_bytes and not flying.done():
                    gate.open()
                    await flying
                    flip_byte(daemon.root / "x/d/0.0/a")
    assert [event.attempt for event in seen][-1] == 2
    figures = [(event.attempt, event.present_bytes) for event in seen]
    assert figures == sorted(figures)
    assert read_tree(daemon.root / "x/d/0.0") == TREE


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
    """When one caller leaves, be it the first, the download goes on for the others."""
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
    """When nobody waits any more the download ends, and a repeat succeeds."""
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
    """A download has a deadline of its own, and its end is a failure to retry."""
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
    """`[sub/part]` may name a file or a folder, and the answer is its path.

    The whole version is fetched all the same.
    """
    await daemon.push("x/d", TREE)
    for _ in ("miss", "hit"):
        completed = await daemon.fetched(f"x/d[{part}]")
        assert completed.relative_path == f"x/d/0.0/{part.removeprefix('/')}"
        assert read_tree(daemon.root / "x/d/0.0") == TREE


async def test_a_missing_part_costs_no_download(bench: Bench, daemon: Daemon) -> None:
    """`PART_NOT_FOUND` comes before any byte does."""
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
    """Data that contradicts our receipt is never served, also while the store is down."""
    await daemon.push("x/y", b"data")
    await daemon.fetch("x/y")
    (daemon.root / "x/y/0.0").write_bytes(b"dat")
    bench.store.go_down()
    with pytest.raises(StoreUnavailableError):
        await daemon.fetch("x/y:0.0")
    bench.store.come_back()
    await daemon.fetch("x/y:0.0")
    assert (daemon.root / "x/y/0.0").read_bytes() == b"data"
