"""Turns: who does the same kind of work on the same thing does it one after the other.

Within one event loop, by key, in the order in which they came.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager


class Turns:
    """A lock for each key that somebody has or waits for."""

    def __init__(self) -> None:
        self._locks: dict[str, asyncio.Lock] = {}
        self._waiting: Counter[str] = Counter()

    @asynccontextmanager
    async def turn(self, key: str, queued: Callable[[], None]) -> AsyncIterator[None]:
        """Have the turn for the length of the block; who has to wait calls `queued` first."""
        lock = self._locks.setdefault(key, asyncio.Lock())
        self._waiting[key] += 1
        try:
            if lock.locked():
                queued()
            async with lock:
                yield
        finally:
            self._waiting[key] -= 1
            if not self._waiting[key]:
                del self._locks[key], self._waiting[key]
