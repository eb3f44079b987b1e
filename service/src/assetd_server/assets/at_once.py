"""One piece of work for each of many items, some of them at once.

As many workers as may run at once take the items from one iterator, so that neither the items nor
tasks for them stand in memory together.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from assetd_server.assets.transfer import first_error

_T = TypeVar("_T")
_R = TypeVar("_R")


async def work_through(
    items: Iterable[_T], at_once: int, work: Callable[[_T], Awaitable[_R]]
) -> Sequence[_R]:
    """Return what `work` returns of each item, in no order.

    The first that fails ends the others, and its failure is raised.
    """
    left = iter(items)
    try:
        async with asyncio.TaskGroup() as group:
            workers = [group.create_task(_work(left, work)) for _ in range(at_once)]
    except BaseExceptionGroup as failures:
        raise first_error(failures) from failures
    return [result for worker in workers for result in worker.result()]


async def _work(items: Iterator[_T], work: Callable[[_T], Awaitable[_R]]) -> Sequence[_R]:
    return [await work(item) for item in items]
