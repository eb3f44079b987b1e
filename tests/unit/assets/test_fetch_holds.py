"""Fetch that holds, or waits for modelkit: leases and locks, and that none is ever left behind."""

import asyncio
import fcntl
from contextlib import aclosing

import pytest
from assetd_server.assets.orders import FetchCompleted, FetchOrder
from assetd_server.errors import AssetInUseError, LockBusyError, ShuttingDownError
from assetd_server.model import Source
from assetd_server.spec import Spec

from tests.support.assets_bench import (
    SETTINGS,
    Bench,
    Daemon,
    first_of,
    flip_byte,
    flocked,
    may_be_moved,
    names_of,
    paths_of,
)
from tests.support.clocks import ManualClock
from tests.support.versions import put

HIT = ["FetchStarted", "FetchCompleted"]


# Holds


async def test_a_hold_is_a_lease_until_it_is_closed(daemon: Daemon) -> None:
    """With `hold` nobody can move the version, from `completed` on until the caller closes."""
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
    """Cancelled at any step, a fetch leaves neither modelkit's lock nor a descriptor behind."""
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
