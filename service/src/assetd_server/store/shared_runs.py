"""One run of a question or a deed for all who want it at that moment, by key. Knows no store."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class SharedRuns(Generic[K, T]):
    """Runs of `run`, one at a time for a key: who asks while one is under way shares the next.

    So an answer is never older than the question, and two runs serve any number who ask at once. A
    run belongs to nobody who waits for it: whoever is cancelled leaves it to the others.
    """

    def __init__(self, run: Callable[[K], Awaitable[T]]) -> None:
        self._run = run
        self._next: dict[K, asyncio.Task[T]] = {}
        self._latest: dict[K, asyncio.Task[T]] = {}

    async def ask(self, key: K) -> T:
        """Return what a run returns, or raise what it raises, that begins after this call."""
        task = self._next.get(key)
        if task is None:
            task = asyncio.create_task(self._follow(key, self._latest.get(key)))
            self._next[key] = self._latest[key] = task
            task.add_done_callback(_seen)
        return await asyncio.shield(task)

    async def _follow(self, key: K, before: "asyncio.Task[T] | None") -> T:
        try:
            if before is not None:
                await asyncio.wait([before])
        finally:
            del self._next[key]
        try:
            return await self._run(key)
        finally:
            if self._latest.get(key) is asyncio.current_task():
                del self._latest[key]

    async def close(self) -> None:
        """Return when all runs have ended, those that nobody waits for any more included."""
        if self._latest:
            await asyncio.wait(list(self._latest.values()))


def _seen(task: "asyncio.Task[T]") -> None:
    # A failure that nobody waited for is told by whoever left, not by the loop.
    if not task.cancelled():
        task.exception()
