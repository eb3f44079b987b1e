"""A bound on the bytes that all downloads together hold in memory. Pure, no I/O."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class ByteBudget:
    """A bound on bytes held in memory, first come first served."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._used = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def acquire(self, count: int) -> None:
        """Return when `count` bytes may be held; more than the whole budget waits for all of it."""
        count = min(count, self._limit)
        if not self._waiting and self._used + count <= self._limit:
            self._used += count
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((count, turn))
        try:
            await turn
        except asyncio.CancelledError:
            # Those behind may fit where this one did not.
            self.release(count if turn.done() and not turn.cancelled() else 0)
            raise

    def release(self, count: int) -> None:
        """Give `count` bytes back."""
        self._used -= min(count, self._limit)
        while self._waiting:
            wanted, turn = self._waiting[0]
            if turn.cancelled():
                self._waiting.popleft()
            elif self._used + wanted <= self._limit:
                self._waiting.popleft()
                self._used += wanted
                turn.set_result(None)
            else:
                return

    @asynccontextmanager
    async def hold(self, count: int) -> AsyncIterator[None]:
        """Hold `count` bytes for the length of the block."""
        await self.acquire(count)
        try:
            yield
        finally:
            self.release(count)
