"""A store whose user dies at a call: as far as the store sees, for nothing more comes of it.

In process, so that every call of a protocol can be the last one within seconds. The user itself
goes on to wait; `end` lets it fail once the test has seen what it wanted.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from assetd_server.store.base import ObjectStore

from tests.support.pausing_store import PausingStore

T = TypeVar("T")


class DyingStore(PausingStore):
    """`inner`, of which call `number` (from 1) is the last one: it takes effect, or it does not.

    Its answer does not come, and no later call takes effect or is answered.
    """

    def __init__(self, inner: ObjectStore, number: int, *, takes_effect: bool) -> None:
        super().__init__(inner)
        self.has_died = asyncio.Event()
        self._last = number
        self._takes_effect = takes_effect
        self._is_over = asyncio.Event()

    def end(self) -> None:
        """Let whoever waits fail."""
        self._is_over.set()

    async def _call(self, operation: str, key: str, call: Callable[[], Awaitable[T]]) -> T:
        number = len(self.calls) + 1
        if number > self._last or (number == self._last and not self._takes_effect):
            await self._fall_silent(operation, key)
        answer = await super()._call(operation, key, call)
        if self.has_died.is_set() or number == self._last:
            await self._fall_silent(operation, key)
        return answer

    async def _fall_silent(self, operation: str, key: str) -> None:
        self.calls.append((f"unanswered {operation}", key))
        self.has_died.set()
        await self._is_over.wait()
        raise self._unavailable()
