"""What is done once in a while: when it is due, one after the other, whatever fails."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from assetd_server.assets.housekeeping import Chore, Housekeeping
from assetd_server.assets.orders import FetchCompleted, FetchOrder
from assetd_server.assets.selection import Selection
from assetd_server.cache.layout import PartialPaths
from assetd_server.errors import IoError
from assetd_server.spec import Spec

from tests.support.assets_bench import SETTINGS, Bench, first_of, paths_of
from tests.support.clocks import BEGINNING, ManualClock
from tests.support.limited import until
from tests.support.versions import left_overs


class Chores:
    """Records who was done, in order; the next ones fail where a test says so."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.errors: list[Exception] = []

    def chore(self, name: str, interval_seconds: float) -> Chore:
        """One chore."""

        async def work() -> None:
            self.done.append(name)
            if self.errors:
                raise self.errors.pop()

        return Chore(name, interval_seconds, work)


@asynccontextmanager
async def running(*chores: Chore) -> AsyncIterator[ManualClock]:
    """Housekeeping for the length of the block; its clock stands until it is advanced."""
    clock = ManualClock()
    task = asyncio.create_task(Housekeeping(clock, chores).run())
    try:
        await clock.until_asleep()
        yield clock
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def pass_by(clock: ManualClock, seconds: float) -> None:
    """Let time pass, and the work that is due be done."""
    clock.advance(seconds)
    await asyncio.sleep(0)
    await clock.until_asleep()


async def test_each_is_done_at_the_start_and_when_it_is_due() -> None:
    """By its own interval."""
    chores = Chores()
    async with running(chores.chore("often", 10), chores.chore("rare", 25)) as clock:
        assert chores.done == ["often", "rare"]
        for seconds in (10, 10, 5, 5):
            await pass_by(clock, seconds)
    assert chores.done == ["often", "rare", "often", "often", "rare", "often"]


@pytest.mark.parametrize("error", [IoError("broken"), ValueError("a defect")])
async def test_one_that_fails_keeps_nobody_from_being_done(error: Exception) -> None:
    """The others are done, and it is due again."""
    chores = Chores()
    chores.errors.append(error)
    async with running(chores.chore("fails", 10), chores.chore("works", 10)) as clock:
        await pass_by(clock, 10)
    assert chores.done == ["fails", "works"] * 2


async def test_old_downloads_are_swept_while_the_daemon_runs(bench: Bench) -> None:
    """Those that nobody went on with for as long as is set; at the start and later."""
    clock = ManualClock()
    daemon = bench.daemon(clock=clock)
    await bench.daemon().push("x/d", {"a": b"1", "b": b"2"})
    journal = daemon.root / ".assetd/staging" / paths_of("x/d:0.0").key / "journal"
    gate = bench.store.pause("read", "0.0/b")
    fetching = asyncio.create_task(daemon.fetch("x/d"))
    await gate.reached()
    await until(lambda: journal.read_bytes().count(b"\n") == 2)
    fetching.cancel()
    await daemon.until_waiting(0)
    written_at = BEGINNING.timestamp()
    os.utime(journal, (written_at, written_at))
    await daemon.assets.start()
    await clock.until_asleep()
    assert journal.exists()
    clock.advance(SETTINGS.staging_max_age_seconds)
    await asyncio.sleep(0)
    await clock.until_asleep()
    clock.advance(SETTINGS.staging_max_age_seconds)
    await until(lambda: left_overs(daemon.root) == [])


@pytest.mark.parametrize("has_receipt", [True, False])
async def test_what_a_killed_growth_has_left_is_deleted(bench: Bench, *, has_receipt: bool) -> None:
    """At the start: parts that no receipt lists count for nothing, and take no room any more."""
    clock = ManualClock()
    daemon = bench.daemon(clock=clock)
    await bench.daemon().push("x/d", {"a": b"1", "b": b"22"})
    await daemon.fetch("x/d", selection=Selection(include=("a",)))
    folder = daemon.root / PartialPaths.of(paths_of("x/d:0.0")).data
    (folder / "parts/b").write_bytes(b"22")
    if not has_receipt:
        (folder / "receipt").unlink()
    await daemon.assets.start()
    await clock.until_asleep()
    assert not (folder / "parts/b").exists()
    assert (folder / "parts/a").exists() is has_receipt
    assert (await daemon.assets.status()).used_bytes == int(has_receipt)


async def test_what_is_in_use_is_tidied_later(bench: Bench) -> None:
    """A call may be about to add to it: then it is left for the next time."""
    clock = ManualClock()
    daemon = bench.daemon(clock=clock)
    await bench.daemon().push("x/d", {"a": b"1", "b": b"22"})
    await daemon.fetch("x/d", selection=Selection(include=("a",)))
    left = daemon.root / PartialPaths.of(paths_of("x/d:0.0")).data / "parts/left"
    left.touch()
    order = FetchOrder(Spec.parse("x/d"), selection=Selection(include=("a",)), hold=True)
    events = daemon.assets.fetch(order)
    await first_of(events, FetchCompleted)
    await daemon.assets.start()
    await clock.until_asleep()
    assert left.exists()
    await events.aclose()
    clock.advance(SETTINGS.staging_max_age_seconds)
    await until(lambda: not left.exists())


async def test_a_link_in_the_way_keeps_nobody_from_being_tidied(bench: Bench) -> None:
    """Who fetches is told of it; it is not followed, and the others go on."""
    clock = ManualClock()
    daemon = bench.daemon(clock=clock)
    asset = daemon.root / ".assetd/partial/x/d"
    for version in ("0.0", "0.1", "0.2"):
        (asset / version).mkdir(parents=True)
    (asset / "0.1/receipt").symlink_to(daemon.root)
    await daemon.assets.start()
    await clock.until_asleep()
    assert [path.name for path in asset.iterdir()] == ["0.1"]
