"""Work that has to end, whatever becomes of the caller who began it."""

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

_T = TypeVar("_T")


async def to_the_end(work: Awaitable[_T]) -> _T:
    """Return what `work` returns; when the caller is cancelled, only after it has ended."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await ended(task)
        raise


async def ended(future: "asyncio.Future[Any]") -> None:
    """Return when `future` has ended, well or not, however often the caller is cancelled meanwhile.

    Raises:
        asyncio.CancelledError: the caller was; only then.
    """
    cancelled = False
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError:
            cancelled = True
    if not future.cancelled():
        future.exception()  # seen: asyncio complains of failures that nobody looked at
    if cancelled:
        raise asyncio.CancelledError
