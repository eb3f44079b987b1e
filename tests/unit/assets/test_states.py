"""What a caller is told of a version in the cache: how much it takes up, and when it was used."""

import asyncio
from datetime import timedelta

import pytest
from assetd_server.assets.orders import CacheState, ListOrder, ResolveOrder
from assetd_server.model import Presence
from assetd_server.spec import Spec

from tests.support.assets_bench import Bench, Daemon, PassingClock, paths_of
from tests.support.limited import filled, limited, until

TREE = {f"part{number}": bytes([number]) * 4096 for number in range(2)}


async def state_of(daemon: Daemon, spec: str) -> CacheState:
    """What resolving says of it, as listing does."""
    [entry] = (await daemon.assets.list(ListOrder())).entries
    resolved = await daemon.assets.resolve(ResolveOrder(Spec.parse(spec)))
    assert entry.cache_state == resolved.cache_state
    return resolved.cache_state


@pytest.mark.parametrize("stands", [False, True], ids=["absent", "present"])
async def test_an_unfinished_download_takes_up_what_has_come(
    bench: Bench, daemon: Daemon, stands: bool
) -> None:
    """While it is under way, and when it was left; beside the version that it will replace."""
    await daemon.push("x/kept", TREE)
    if stands:
        await daemon.fetch("x/kept:0.0")
    size = 2 * 4096 * stands
    assert (await state_of(daemon, "x/kept:0.0")).disk_bytes == size
    gate = bench.store.pause("read", "part1")
    fetching = asyncio.create_task(daemon.fetch("x/kept:0.0", force_download=True))
    await gate.reached()
    journal = daemon.root / ".assetd/staging" / paths_of("x/kept:0.0").key / "journal"
    await until(lambda: journal.read_bytes().count(b"\n") == 2)
    under_way = await state_of(daemon, "x/kept:0.0")
    assert under_way.disk_bytes >= size + 4096
    assert under_way.presence is (Presence.PRESENT if stands else Presence.ABSENT)
    fetching.cancel()
    await asyncio.gather(fetching, return_exceptions=True)
    await daemon.until_waiting(0)
    left = await state_of(daemon, "x/kept:0.0")
    assert left.disk_bytes == (await daemon.assets.status()).used_bytes >= size + 4096
    await daemon.fetch("x/kept:0.0")
    await daemon.fetch("x/kept:0.0", force_download=True)
    assert (await state_of(daemon, "x/kept:0.0")).disk_bytes == 2 * 4096


@pytest.mark.parametrize("walked", [False, True], ids=["before a walk", "after it"])
async def test_the_last_use_is_the_last_fetch(bench: Bench, walked: bool) -> None:
    """A hit is a use, whether the tree has been walked or not; by the marker it would be none."""
    clock = PassingClock()
    first = bench.daemon(limited(max_bytes=300), clock=clock)
    await filled(first, "x/a:0.0")
    daemon = await bench.successor(first, settings=limited(max_bytes=300), clock=clock)
    if walked:
        await daemon.assets.status()
    clock.advance(100)
    await daemon.fetch("x/a:0.0")
    used_at = clock.now()
    clock.advance(5)
    assert (await state_of(daemon, "x/a:0.0")).last_used_time == used_at
    clock.advance(5)
    await daemon.fetch("x/a:0.0")
    state = await state_of(daemon, "x/a:0.0")
    assert state.last_used_time == used_at + timedelta(seconds=10)


async def test_what_no_run_has_used_since_was_used_when_its_marker_says(bench: Bench) -> None:
    """A start is no use, and neither is a walk."""
    clock = PassingClock()
    first = bench.daemon(clock=clock)
    await filled(first, "x/a:0.0")
    marker = first.root / "x/a/.0.0.SUCCESS"
    daemon = await bench.successor(first, clock=clock)
    await daemon.assets.status()
    last_used_time = (await state_of(daemon, "x/a:0.0")).last_used_time
    assert last_used_time is not None
    assert last_used_time.timestamp() == pytest.approx(marker.stat().st_mtime)
