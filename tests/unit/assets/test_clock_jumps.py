"""The wall clock and the times on the disk may be anything (case 112 of docs/faults.md)."""

import asyncio
import os
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.support.assets_bench import Bench, PassingClock
from tests.support.trees import read_tree

TEN_YEARS = timedelta(days=3653)
TREE = {"config.json": b"{}", "sub/weights": b"w" * 20_000}
FETCHES: list[dict[str, Any]] = [{}, {}, {"verify": True}, {"force_download": True}]


class JumpingClock(PassingClock):
    """Its wall clock is ten years ahead, then ten years back, at every second look."""

    _offset = TEN_YEARS

    def now(self) -> datetime:
        self._offset = -self._offset
        return super().now() + self._offset


async def test_a_clock_that_jumps_is_in_nobodys_way(bench: Bench) -> None:
    """Whatever the wall clock does, calls are answered: durations come from another clock."""
    daemon = bench.daemon(clock=JumpingClock())
    await daemon.push("x/file", b"data")
    await daemon.push("x/folder", TREE)
    for spec in ("x/file", "x/folder"):
        for how in FETCHES:
            assert timedelta(0) <= (await daemon.fetched(spec, **how)).elapsed < TEN_YEARS
    assert read_tree(daemon.root / "x/folder/0.0") == TREE


@pytest.mark.parametrize("jump", [TEN_YEARS, -TEN_YEARS], ids=["ahead", "back"])
async def test_a_jump_does_not_end_a_download(bench: Bench, jump: timedelta) -> None:
    """A download's deadline is a duration: setting the clock neither ends nor prolongs it."""
    clock = PassingClock()
    daemon = bench.daemon(clock=clock)
    await daemon.push("x/y", b"data")
    gate = bench.store.pause("read", "x/y/0.0")
    caller = asyncio.create_task(daemon.fetched("x/y"))
    await gate.reached()
    clock.jump(jump.total_seconds())
    gate.open()
    assert timedelta(0) <= (await caller).elapsed < TEN_YEARS


@pytest.mark.parametrize("time", [0, 4_070_908_800], ids=["1970", "2099"])
async def test_times_on_the_disk_mean_nothing(bench: Bench, time: int) -> None:
    """What stands there is a hit whatever its times are: no clock is compared with them."""
    daemon = bench.daemon()
    await daemon.push("x/folder", TREE)
    await daemon.fetch("x/folder")
    for path in [daemon.root, *daemon.root.rglob("*")]:
        os.utime(path, (time, time))
    for run in (daemon, bench.daemon(root=daemon.root)):
        assert (await run.fetched("x/folder")).transferred_bytes == 0
