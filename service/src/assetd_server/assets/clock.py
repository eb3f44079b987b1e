"""Time, as everything above the store and the cache sees it: passed in, so that tests own it."""

import asyncio
import time
from datetime import UTC, datetime


class Clock:
    """The real clock. Tests pass a subclass whose time moves when they say so."""

    def now(self) -> datetime:
        """Return the wall clock's time, for people and documents; it may jump."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds that never go back, for durations."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds`."""
        await asyncio.sleep(seconds)
