"""How often all manifests of an asset are listed, by those who push to it."""

import asyncio

from tests.support.assets_bench import Bench, Daemon

FOLDER = "x/y/"


async def push(daemon: Daemon, number: int) -> None:
    """Take the next number."""
    await daemon.push("x/y", b"%d" % number)


async def push_twice(daemon: Daemon) -> None:
    """Whoever makes an asset looks more often; later there is an index."""
    await push(daemon, 0)
    await push(daemon, 1)


async def test_a_listing_is_repeated_after_a_minute(bench: Bench, daemon: Daemon) -> None:
    """Not by each push: it costs more with every version that there is."""
    await push_twice(daemon)
    before = bench.store.count("list", FOLDER)
    await push_twice(daemon)
    assert bench.store.count("list", FOLDER) == before
    daemon.clock.advance(60)
    await push_twice(daemon)
    assert bench.store.count("list", FOLDER) == before + 1


async def test_a_listing_that_takes_long_is_rare(bench: Bench, daemon: Daemon) -> None:
    """It takes a fiftieth of the time at most, so that pushes stay as quick as they were."""
    await push_twice(daemon)
    daemon.clock.advance(60)
    gate = bench.store.pause("list", FOLDER)
    pushing = asyncio.create_task(push(daemon, 0))
    await gate.reached()
    daemon.clock.advance(10)
    gate.open()
    await pushing
    before = bench.store.count("list", FOLDER)
    daemon.clock.advance(499)
    await push(daemon, 1)
    assert bench.store.count("list", FOLDER) == before
    daemon.clock.advance(1)
    await push(daemon, 2)
    assert bench.store.count("list", FOLDER) == before + 1


async def test_a_number_that_was_lost_in_a_race_is_no_reason_to_list(bench: Bench) -> None:
    """Somebody was quicker, and the index says so."""
    ours, other = bench.daemon(), bench.daemon()
    await push(ours, 0)
    await push(other, 0)
    bench.store.calls.clear()
    gate = bench.store.pause("create", ".assetd/claims/x/y/0.2")
    pushing = asyncio.create_task(push(ours, 1))
    await gate.reached()
    await push(other, 2)
    gate.open()
    await pushing
    assert await bench.listed("x/y") == ["0.3", "0.2", "0.1", "0.0"]
    assert bench.store.count("list", FOLDER) == 0
