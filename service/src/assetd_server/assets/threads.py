"""Blocking calls off the event loop, in bounded pools.

Two pools, so that a hit, which takes microseconds, never waits behind an fsync that takes seconds.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

_P = ParamSpec("_P")
_R = TypeVar("_R")


class Threads:
    """A bounded pool whose calls are never abandoned half done."""

    def __init__(self, name: str, count: int) -> None:
        self._pool = ThreadPoolExecutor(count, thread_name_prefix=f"assetd-{name}")

    async def run(self, call: Callable[_P, _R], *args: _P.args, **kwargs: _P.kwargs) -> _R:
        """Return what `call` returns.

        A cancelled caller waits for a call that has begun: what follows (deleting what it was
        writing, closing its descriptor) must not race with it. A call that has not begun is
        dropped.
        """
        return await self._run(partial(call, *args, **kwargs), None)

    async def obtain(
        self,
        give_back: Callable[[_R], object],
        call: Callable[_P, _R],
        *args: _P.args,
        **kwargs: _P.kwargs,
    ) -> _R:
        """Return what `call` returns, something that has to be given back: a lock, a descriptor.

        As `run`; and what a cancelled caller can no longer take is handed to `give_back`, in the
        pool as well.
        """
        return await self._run(partial(call, *args, **kwargs), give_back)

    async def _run(self, call: Callable[[], _R], give_back: Callable[[_R], object] | None) -> _R:
        # The future of `run_in_executor` says that it was cancelled while the thread goes on; only
        # the pool's own future knows whether the call has begun.
        begun = self._pool.submit(call)
        ended = asyncio.wrap_future(begun)
        try:
            return await asyncio.shield(ended)
        except asyncio.CancelledError:
            if not begun.cancel():
                await _settled(ended)
                if give_back is not None and ended.exception() is None:
                    undone = self._pool.submit(give_back, ended.result())
                    await _settled(asyncio.wrap_future(undone))
            raise

    def close(self) -> None:
        """Wait for the calls under way and end the threads."""
        self._pool.shutdown(wait=True, cancel_futures=True)


async def _settled(future: "asyncio.Future[_R]") -> None:
    """Wait for the future's end, however often the caller is cancelled meanwhile."""
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError:
            continue
    if not future.cancelled():
        future.exception()  # seen: asyncio complains of failures that nobody looked at
