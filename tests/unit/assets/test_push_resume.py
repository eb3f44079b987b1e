"""A push that was cut in the middle of a large file goes on there, or leaves nothing."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field, replace

import pytest
from assetd_server.assets.orders import PushChunk, PushCompleted, PushEvent, PushStep, PushWanted
from assetd_server.assets.settings import AssetsSettings
from assetd_server.errors import (
    PushInProgressError,
    PushMismatchError,
    PushNotCommittedError,
    VersionExistsError,
)
from assetd_server.store.retrying import RetryingStore

from tests.support.assets_bench import SETTINGS, Bench, Daemon, steps_of
from tests.support.clocks import ManualClock
from tests.support.versions import left_overs

MIB = 2**20
PIECE = 16
# Two whole pieces and some more.
LARGE = b"".join(bytes([number]) * MIB for number in range(37))
PUSH_ID = "6f0e6a2e-6d1c-4a51-9f0e-0d0b8f8a7c11"
OTHERS_ID = "0b7a3c52-5a0d-4d5b-8a55-7d5ce7cf0a11"
SPEC = "x/y:1.0"


@pytest.fixture
def clock() -> ManualClock:
    """A clock that stands still until it is told."""
    return ManualClock()


@pytest.fixture
def daemon(bench: Bench, clock: ManualClock) -> Daemon:
    """A daemon with that clock."""
    return bench.daemon(clock=clock)


@dataclass
class Pushing:
    """A caller who sends what is wanted, from where it is wanted, up to so many chunks."""

    daemon: Daemon
    content: bytes = LARGE
    spec: str = SPEC
    push_id: str = PUSH_ID
    chunks: int = len(LARGE)
    # Where each file was wanted from.
    offsets: list[int] = field(default_factory=list)
    is_answered: asyncio.Event = field(default_factory=asyncio.Event)
    sent: list[int] = field(default_factory=list)
    all_sent: asyncio.Event = field(default_factory=asyncio.Event)

    async def steps(self) -> AsyncIterator[PushStep]:
        """The steps; without an end where not all chunks are to be sent."""
        for step in steps_of(self.spec, self.content, chunk_bytes=MIB, push_id=self.push_id):
            if not isinstance(step, PushChunk):
                yield step
                continue
            await self.is_answered.wait()
            if step.offset < self.offsets[0]:
                continue
            if len(self.sent) == self.chunks:
                self.all_sent.set()
                await asyncio.Event().wait()
            self.sent.append(step.offset // MIB)
            yield step

    async def run(self) -> PushEvent:
        """Push, and return the last event."""
        async with aclosing(self.daemon.assets.push(self.steps())) as events:
            async for event in events:
                if isinstance(event, PushWanted):
                    self.offsets += [offset for _, offset in event.parts]
                    self.is_answered.set()
        return event

    async def cut(self) -> None:
        """Push until all that is to be sent has been taken, and leave."""
        running = asyncio.create_task(self.run())
        await self.all_sent.wait()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_push_goes_on_in_the_middle_of_a_file(bench: Bench, daemon: Daemon) -> None:
    """A push that was cut in the middle of a large file is wanted from there on.

    Its claim is released meanwhile, and what is not a whole piece is sent again.
    """
    await Pushing(daemon, chunks=2 * PIECE + 3).cut()
    assert await bench.claim_states() == {"released"}
    assert bench.memory.upload_count == 1
    again = Pushing(daemon)
    assert isinstance(await again.run(), PushCompleted)
    assert again.offsets == [2 * PIECE * MIB]
    assert again.sent == list(range(2 * PIECE, 37))
    assert await bench.stored(SPEC) == LARGE
    assert bench.memory.upload_count == 0
    assert left_overs(daemon.root) == []


async def test_it_may_be_cut_again_and_again(bench: Bench, daemon: Daemon) -> None:
    """Each try goes on where the last one was; the bump keeps its number."""
    for begin in (0, PIECE):
        pushing = Pushing(daemon, spec="x/y", chunks=PIECE + 2)
        await pushing.cut()
        assert pushing.offsets == [begin * MIB]
    last = Pushing(daemon, spec="x/y")
    completed = await last.run()
    assert isinstance(completed, PushCompleted)
    assert last.offsets == [2 * PIECE * MIB]
    assert str(completed.asset_version.version) == "0.0"
    assert await bench.stored("x/y:0.0") == LARGE


async def test_a_caller_who_is_back_before_the_break_was_seen(bench: Bench, daemon: Daemon) -> None:
    """Waits for the end of the stream that is dead, and goes on where that one was."""
    first = Pushing(daemon, chunks=PIECE + 2)
    dying = asyncio.create_task(first.run())
    await first.all_sent.wait()
    again = Pushing(daemon)
    running = asyncio.create_task(again.run())
    await asyncio.sleep(0.05)
    assert again.offsets == []
    dying.cancel()
    assert isinstance(await running, PushCompleted)
    assert again.offsets == [PIECE * MIB]
    assert await bench.stored(SPEC) == LARGE


async def test_a_stream_that_lives_on_is_not_waited_for(
    bench: Bench, daemon: Daemon, clock: ManualClock
) -> None:
    """For longer than a moment: two callers with one `push_id` make one version, as ever."""
    first = Pushing(daemon, chunks=PIECE + 2)
    living = asyncio.create_task(first.run())
    await first.all_sent.wait()
    again = Pushing(daemon)
    assert isinstance(await again.run(), PushCompleted)
    assert again.offsets == [0]
    living.cancel()
    await asyncio.gather(living, return_exceptions=True)
    await clock.until_asleep()
    clock.advance(60)
    assert await bench.stored(SPEC) == LARGE


async def test_what_is_kept_is_kept_for_a_while(
    bench: Bench, daemon: Daemon, clock: ManualClock
) -> None:
    """After `ASSETD_PUSH_RESUME_MAX_AGE` no upload is left of a push that was cut."""
    await Pushing(daemon, chunks=PIECE + 1).cut()
    await clock.until_asleep()
    clock.advance(59)
    await daemon.assets.settle_pushes()
    assert bench.memory.upload_count == 1
    clock.advance(1)
    await daemon.require_idle()
    assert bench.memory.upload_count == 0
    again = Pushing(daemon)
    await again.run()
    assert again.offsets == [0]


async def test_nothing_is_kept_where_nobody_wants_it(bench: Bench, clock: ManualClock) -> None:
    """With 0s; and of a push that ends by a word, its own or the daemon's."""
    none = bench.daemon(replace(SETTINGS, push_resume_max_age_seconds=0.0), clock=clock)
    await Pushing(none, chunks=PIECE + 1).cut()
    assert bench.memory.upload_count == 0
    daemon = bench.daemon(clock=clock)
    steps = steps_of(SPEC, LARGE, chunk_bytes=MIB)
    with pytest.raises(PushNotCommittedError):
        await daemon.push_steps(steps[: PIECE + 5])
    assert bench.memory.upload_count == 0
    with pytest.raises(PushMismatchError):
        await daemon.push_steps([*steps[: PIECE + 5], steps[2]])
    assert bench.memory.upload_count == 0


async def test_who_does_not_look_back_sends_all_of_it(bench: Bench, daemon: Daemon) -> None:
    """As grpcurl does: the file is taken from its beginning."""
    await Pushing(daemon, chunks=PIECE + 1).cut()
    await daemon.push_steps(steps_of(SPEC, LARGE, chunk_bytes=MIB, push_id=PUSH_ID))
    assert await bench.stored(SPEC) == LARGE
    assert bench.memory.upload_count == 0


async def test_other_content_goes_first(bench: Bench, daemon: Daemon, clock: ManualClock) -> None:
    """What is kept is in nobody's way, and never becomes part of another's version."""
    await Pushing(daemon, chunks=2 * PIECE + 1).cut()
    other = LARGE[::-1]
    pushing = Pushing(bench.daemon(), content=other, push_id=OTHERS_ID)
    assert isinstance(await pushing.run(), PushCompleted)
    with pytest.raises(VersionExistsError):
        await Pushing(daemon).run()
    assert await bench.stored(SPEC) == other
    clock.advance(60)
    await daemon.require_idle()
    assert bench.memory.upload_count == 0


async def test_an_upload_that_somebody_ended_begins_anew(bench: Bench, daemon: Daemon) -> None:
    """What is kept is not believed: the store has the last word."""
    await Pushing(daemon, chunks=PIECE + 1).cut()
    async for unfinished in bench.memory.uploads(""):
        await bench.memory.abort_upload(unfinished.upload)
    # It is noticed when the next piece is sent, and helpers repeat a push that ends so.
    with pytest.raises(PushInProgressError):
        await Pushing(daemon).run()
    again = Pushing(daemon)
    await again.run()
    assert again.offsets == [0]
    assert await bench.stored(SPEC) == LARGE


async def test_what_is_kept_outlives_the_search_for_a_lost_upload(
    bench: Bench, clock: ManualClock
) -> None:
    """A push that has to look for an upload whose answer was lost ends none that may go on."""
    daemon = bench.daemon(clock=clock, store=RetryingStore(bench.store, draw=lambda: 0.0))
    bench.store.lose_answer("start_upload", "x/y/1.0")
    await Pushing(daemon, chunks=PIECE + 1).cut()
    assert bench.memory.upload_count == 1
    again = Pushing(daemon)
    await again.run()
    assert again.offsets == [PIECE * MIB]
    assert bench.memory.upload_count == 0


async def test_a_daemon_that_ends_keeps_nothing(bench: Bench, daemon: Daemon) -> None:
    """Well, or by a crash: then the next run ends the upload."""
    await Pushing(daemon, chunks=PIECE + 1).cut()
    journal = daemon.root / ".assetd/push/.journal"
    [entry] = journal.iterdir()
    content = entry.read_bytes()
    [kept] = [found.upload async for found in bench.memory.uploads("")]
    await bench.end(daemon)
    assert bench.memory.upload_count == 0
    assert not entry.exists()
    # As a crash would have left them.
    begun = await bench.memory.start_upload("x/y/1.0")
    entry.write_bytes(content.replace(kept.upload_id.encode(), begun.upload_id.encode()))
    await bench.daemon(root=daemon.root).assets.settle_pushes()
    assert bench.memory.upload_count == 0
    assert not entry.exists()


async def test_a_store_that_is_away_is_told_later(
    bench: Bench, daemon: Daemon, clock: ManualClock
) -> None:
    """What cannot be ended when its time is over is settled like any push that ended early."""
    await Pushing(daemon, chunks=PIECE + 1).cut()
    await clock.until_asleep()
    bench.store.fail("abort_upload", "x/y/1.0")
    clock.advance(60)
    while not bench.store.count("abort_upload"):  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.01)
    assert bench.memory.upload_count == 1
    await daemon.require_idle()
    assert bench.memory.upload_count == 0


def test_it_is_a_minute_by_default() -> None:
    """Long enough for a client that comes again, short enough for nobody to notice."""
    assert AssetsSettings().push_resume_max_age_seconds == 60.0
