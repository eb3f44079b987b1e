"""Blocking calls off the event loop, in bounded pools.

Two pools, so that a hit, which takes microseconds, never waits behind an fsync that takes seconds.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

from assetd_server.blocking import run_to_its_end

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
        return await run_to_its_end(self._pool, partial(call, *args, **kwargs))

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
        work = partial(call, *args, **kwargs)
        return await run_to_its_end(self._pool, work, give_back=give_back)

    def close(self) -> None:
        """Wait for the calls under way and end the threads."""
        self._pool.shutdown(wait=True, cancel_futures=True)
