"""A whole version and parts of it at once: who waits for whom, and what goes in the end."""

import asyncio
from contextlib import aclosing
from dataclasses import replace

import pytest
from assetd_server.assets.orders import (
    FetchCompleted,
    FetchOrder,
    FetchPhase,
    FetchProgress,
    FetchStarted,
)
from assetd_server.assets.selection import Selection
from assetd_server.cache.budget import Limits
from assetd_server.model import Source, Verification
from assetd_server.spec import Spec

from tests.support.assets_bench import (
    RANGE_BYTES,
    SETTINGS,
    Bench,
    Daemon,
    first_of,
    flip_byte,
    names_of,
)
from tests.support.clocks import ManualClock
from tests.support.limited import until
from tests.support.trees import read_tree

TREE = {"a.json": b"1" * 100, "b.bin": b"2" * (3 * RANGE_BYTES), "c.bin": b"3" * 10}
ALL_BYTES = sum(map(len, TREE.values()))
PARTS = ".assetd/partial/x/d/0.0/parts"
JSON = Selection(include=("*.json",))
# More than one range: worth the wait for whoever brings it.
BINS = Selection(include=("*.bin",))


@pytest.fixture
async def pushed(bench: Bench, daemon: Daemon) -> Daemon:
    """A daemon with a directory asset in its store, and nothing in its cache."""
    await daemon.push("x/d", TREE)
    bench.store.calls.clear()
    return daemon


def order_of(selection: Selection | None) -> FetchOrder:
    """A fetch that tells often how far it is."""
    return FetchOrder(Spec.parse("x/d:0.0"), selection=selection, progress_interval_seconds=0.001)


@pytest.mark.parametrize("first", [None, BINS])
async def test_the_whole_and_many_of_its_parts_are_one_download(
    bench: Bench, pushed: Daemon, first: Selection | None
) -> None:
    """Fetches of the whole version and of many of its parts wait for each other.

    Whoever comes second says QUEUED, and no part is fetched twice.
    """
    gate = bench.store.pause("read", "c.bin")
    flying = asyncio.create_task(pushed.fetched("x/d:0.0", selection=first))
    await gate.reached()
    async with aclosing(pushed.assets.fetch(order_of(BINS if first is None else None))) as events:
        started, queued = await anext(events), await anext(events)
        assert isinstance(started, FetchStarted)
        assert not started.joined
        assert isinstance(queued, FetchProgress)
        assert queued.phase is FetchPhase.QUEUED
        gate.open()
        rest = [event async for event in events]
    figures = [event.present_bytes for event in rest if isinstance(event, FetchProgress)]
    assert figures == sorted(figures)
    second = rest[-1]
    assert isinstance(second, FetchCompleted)
    assert (await flying).transferred_bytes + second.transferred_bytes == ALL_BYTES
    assert second.transferred_bytes == (0 if first is None else len(TREE["a.json"]))
    assert second.relative_path == "x/d/0.0"
    assert read_tree(pushed.root / "x/d/0.0") == TREE


async def test_few_parts_wait_for_no_whole_version(bench: Bench, pushed: Daemon) -> None:
    """Who wants no more than one range brings has it at once, however long the whole takes."""
    gate = bench.store.pause("read", "b.bin")
    flying = asyncio.create_task(pushed.fetched("x/d"))
    await gate.reached()
    few = await pushed.fetched("x/d:0.0", selection=JSON)
    assert (few.transferred_bytes, few.source) == (len(TREE["a.json"]), Source.STORE)
    gate.open()
    await flying
    # The whole version has them, and nobody uses them any more.
    assert not (pushed.root / PARTS).exists()


async def test_parts_go_on_when_the_whole_is_given_up(bench: Bench, pushed: Daemon) -> None:
    """A whole download that lost its last caller leaves the parts to who wants them."""
    gate = bench.store.pause("read", "c.bin")
    flying = asyncio.create_task(pushed.fetch("x/d"))
    await gate.reached()
    parts = asyncio.create_task(pushed.fetched("x/d:0.0", selection=BINS))
    while len(list((await pushed.assets.status()).flights)) < 2:  # noqa: ASYNC110
        await asyncio.sleep(0)
    flying.cancel()
    assert (await parts).relative_path == ".assetd/partial/x/d/0.0/parts"
    assert read_tree(pushed.root / PARTS).keys() == {"b.bin", "c.bin"}


@pytest.mark.parametrize("damaged", [False, True])
async def test_who_waited_and_wants_hashes_gets_them(
    bench: Bench, pushed: Daemon, *, damaged: bool
) -> None:
    """What the whole download has brought is read for it, and fetched again where it is damaged.

    The figures fall only with another attempt.
    """
    gate = bench.store.pause("read", "c.bin")
    flying = asyncio.create_task(pushed.fetch("x/d"))
    await gate.reached()
    events = pushed.assets.fetch(replace(order_of(BINS), verify=True))
    async with aclosing(events):
        await first_of(events, FetchProgress)
        gate.open()
        await flying
        if damaged:
            flip_byte(pushed.root / "x/d/0.0/b.bin")
        *seen, completed = [event async for event in events]
    assert isinstance(completed, FetchCompleted)
    figures = [(one.attempt, one.present_bytes) for one in seen if isinstance(one, FetchProgress)]
    assert figures == sorted(figures)
    assert completed.verification is Verification.DIGEST
    assert (pushed.root / completed.relative_path / "b.bin").read_bytes() == TREE["b.bin"]
    assert (completed.relative_path == "x/d/0.0") is not damaged


async def test_parts_that_were_held_go_later(bench: Bench) -> None:
    """Parts that were in use when the whole version came go once they are unused for a while."""
    await bench.daemon().push("x/d", TREE)
    clock = ManualClock()
    daemon = bench.daemon(replace(SETTINGS, limits=Limits(min_age_seconds=90)), clock=clock)
    events = daemon.assets.fetch(replace(order_of(JSON), hold=True))
    await first_of(events, FetchCompleted)
    await daemon.fetch("x/d")
    await daemon.assets.start()
    await clock.until_asleep()
    clock.advance(SETTINGS.staging_max_age_seconds)
    await clock.until_asleep()
    assert (daemon.root / PARTS).exists(), "it is held"
    await events.aclose()
    used_bytes = ALL_BYTES + len(TREE["a.json"])
    assert (await daemon.assets.status()).used_bytes == used_bytes
    clock.advance(SETTINGS.staging_max_age_seconds)
    await until(lambda: not (daemon.root / PARTS).exists())
    await clock.until_asleep()
    assert (await daemon.assets.status()).used_bytes == ALL_BYTES
    assert names_of(await daemon.fetch("x/d", selection=JSON)) == ["FetchStarted", "FetchCompleted"]


async def test_without_a_store_parts_stay(bench: Bench) -> None:
    """Where nothing could be fetched again nothing goes by itself, not even what is here twice."""
    daemon = bench.daemon()
    await daemon.push("x/d", TREE)
    events = daemon.assets.fetch(replace(order_of(JSON), hold=True))
    await first_of(events, FetchCompleted)
    await daemon.fetch("x/d")
    await events.aclose()
    clock = ManualClock()
    alone = await bench.successor(daemon, with_store=False, clock=clock)
    await alone.assets.start()
    await clock.until_asleep()
    clock.advance(SETTINGS.staging_max_age_seconds)
    await clock.until_asleep()
    assert (alone.root / PARTS).exists()
