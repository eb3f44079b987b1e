"""A clock whose time moves when a test says so."""

import asyncio
from datetime import UTC, datetime, timedelta

from assetd_server.assets.clock import Clock

BEGINNING = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)


class ManualClock(Clock):
    """Stands still until it is advanced; who sleeps wakes when its time has come.

    Wall clock and monotonic time move together, unless `jump` moves the wall clock alone.
    """

    def __init__(self, now: datetime = BEGINNING) -> None:
        self._wall = now
        self._seconds = 0.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []
        self._fell_asleep = asyncio.Condition()

    def now(self) -> datetime:
        return self._wall

    def monotonic(self) -> float:
        return self._seconds

    @property
    def sleeper_count(self) -> int:
        """How many wait for time to pass."""
        return sum(not woken.done() for _, woken in self._sleepers)

    async def sleep(self, seconds: float) -> None:
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.append((self._seconds + seconds, woken))
        async with self._fell_asleep:
            self._fell_asleep.notify_all()
        if seconds <= 0:
            self.advance(0)
        await woken

    async def until_asleep(self, count: int = 1) -> None:
        """Return when at least `count` wait for time to pass."""
        async with self._fell_asleep:
            await self._fell_asleep.wait_for(lambda: self.sleeper_count >= count)

    def advance(self, seconds: float) -> None:
        """Let time pass, and wake whose time has come, the earliest first."""
        self._seconds += seconds
        self._wall += timedelta(seconds=seconds)
        due = [sleeper for sleeper in self._sleepers if sleeper[0] <= self._seconds]
        self._sleepers = [sleeper for sleeper in self._sleepers if sleeper[0] > self._seconds]
        for _, woken in sorted(due, key=lambda sleeper: sleeper[0]):
            if not woken.done():
                woken.set_result(None)

    def jump(self, seconds: float) -> None:
        """Set the wall clock, as an operator does; durations do not notice."""
        self._wall += timedelta(seconds=seconds)
