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
        writing, closing its descriptor) must not race with it.
        """
        loop = asyncio.get_running_loop()
        future = loop.run_in_executor(self._pool, partial(call, *args, **kwargs))
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            if not future.cancel():
                await asyncio.wait([future])
            raise

    def close(self) -> None:
        """Wait for the calls under way and end the threads."""
        self._pool.shutdown(wait=True, cancel_futures=True)
