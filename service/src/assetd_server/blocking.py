"""Blocking calls in a pool's threads, never abandoned half done. Knows nothing of what they do."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar

_T = TypeVar("_T")


async def run_to_its_end(
    pool: Executor,
    call: Callable[[], _T],
    *,
    hurry: Callable[[], object] | None = None,
    give_back: Callable[[_T], object] | None = None,
) -> _T:
    """Return what `call` returns.

    A cancelled caller waits for a call that has begun: what follows must not race with it. A call
    that has not begun is dropped. `hurry` tells a call that has begun that nobody wants it any
    more; what it returns all the same is handed to `give_back`, in the pool as well.
    """
    # The future of `run_in_executor` says that it was cancelled while the thread goes on; only
    # the pool's own future knows whether the call has begun.
    begun = pool.submit(call)
    ended = asyncio.wrap_future(begun)
    try:
        return await asyncio.shield(ended)
    except asyncio.CancelledError:
        if not begun.cancel():
            if hurry is not None:
                hurry()
            await _settled(ended)
            if give_back is not None and ended.exception() is None:
                undone = pool.submit(give_back, ended.result())
                await _settled(asyncio.wrap_future(undone))
        raise


async def _settled(future: "asyncio.Future[_T]") -> None:
    """Wait for the future's end, however often the caller is cancelled meanwhile."""
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError:
            continue
    if not future.cancelled():
        future.exception()  # seen: asyncio complains of failures that nobody looked at
