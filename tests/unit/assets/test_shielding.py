"""Work that ends whatever becomes of its caller."""

import asyncio

import pytest
from assetd_server.assets.shielding import ended, to_the_end


@pytest.mark.parametrize("cancels", [1, 2, 5])
async def test_a_caller_leaves_only_after_the_end(cancels: int) -> None:
    """However often the caller is cancelled, the work ends first, and then the caller does."""
    reached, opened = asyncio.Event(), asyncio.Event()
    done = []

    async def work() -> None:
        reached.set()
        await opened.wait()
        done.append(True)

    caller = asyncio.create_task(to_the_end(work()))
    await reached.wait()
    for _ in range(cancels):
        caller.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not caller.done()
    opened.set()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert done == [True]


async def test_the_answer_and_the_failure_come_through() -> None:
    """A caller who stays gets what the work returns or raises."""

    async def work(number: int) -> int:
        await asyncio.sleep(0)
        return 1 // number

    assert await to_the_end(work(1)) == 1
    with pytest.raises(ZeroDivisionError):
        await to_the_end(work(0))


async def test_waiting_for_an_end_raises_nothing_of_it() -> None:
    """`ended` tells that a task is over, well or not, and counts its failure as seen."""

    async def work() -> None:
        raise ConnectionResetError

    failing = asyncio.create_task(work())
    await ended(failing)
    assert failing.done()
    cancelled = asyncio.create_task(asyncio.Event().wait())
    cancelled.cancel()
    await ended(cancelled)
    assert cancelled.cancelled()
