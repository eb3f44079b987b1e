"""Blocking calls off the loop: bounded, and never abandoned half done."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from assetd_server.assets.threads import Threads

from tests.support.complaints import complaints_of_asyncio


class Gate:
    """A blocking call that says when it has begun, and goes on when it is let."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.may_end = threading.Event()
        self.ended = False
        GATES.append(self)

    def __call__(self, result: str = "done") -> str:
        self.begun.set()
        self.may_end.wait()
        self.ended = True
        return result

    async def until_begun(self) -> None:
        await asyncio.to_thread(self.begun.wait)


GATES: list[Gate] = []


@pytest.fixture(autouse=True)
def gates() -> Iterator[None]:
    """A test that fails must not leave a thread waiting, for which the process would wait."""
    yield
    for gate in GATES:
        gate.may_end.set()
    GATES.clear()


@pytest_asyncio.fixture
async def threads() -> AsyncIterator[Threads]:
    """A pool of one thread."""
    threads = Threads("test", 1)
    yield threads
    for gate in GATES:
        gate.may_end.set()
    await asyncio.to_thread(threads.close)


async def turns_of_the_loop(count: int = 20) -> None:
    """Let everything that is ready run."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_call_runs_off_the_loop(threads: Threads) -> None:
    """With its arguments; what it returns or raises is the caller's."""
    here = threading.get_ident()
    assert await threads.run(threading.get_ident) != here
    assert await threads.run(sorted, [2, 1], reverse=True) == [2, 1]
    with pytest.raises(ZeroDivisionError):
        await threads.run(divmod, 1, 0)


async def test_the_pool_is_bounded(threads: Threads) -> None:
    """The second call waits for the thread of the first."""
    first, second = Gate(), Gate()
    tasks = [asyncio.create_task(threads.run(gate)) for gate in (first, second)]
    await first.until_begun()
    await turns_of_the_loop()
    assert not second.begun.is_set()
    second.may_end.set()
    first.may_end.set()
    assert await asyncio.gather(*tasks) == ["done", "done"]


@pytest.mark.parametrize("cancellations", [1, 3])
async def test_a_cancelled_caller_waits_for_what_has_begun(
    threads: Threads, cancellations: int
) -> None:
    """Its clean-up would otherwise race with the call; cancelling again changes nothing."""
    gate = Gate()
    task = asyncio.create_task(threads.run(gate))
    await gate.until_begun()
    for _ in range(cancellations):
        task.cancel()
        await turns_of_the_loop()
    assert not task.done()
    assert not gate.ended
    gate.may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert gate.ended


async def test_a_cancelled_caller_does_not_wait_for_what_has_not_begun(threads: Threads) -> None:
    """It is dropped, and never runs."""
    busy, waiting = Gate(), Gate()
    first = asyncio.create_task(threads.run(busy))
    await busy.until_begun()
    second = asyncio.create_task(threads.run(waiting))
    await turns_of_the_loop()
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    busy.may_end.set()
    await first
    assert await threads.run(lambda: "after") == "after"
    assert not waiting.begun.is_set()


async def test_the_failure_of_an_abandoned_call_is_not_shouted(
    threads: Threads, caplog: pytest.LogCaptureFixture
) -> None:
    """The caller is gone; the loop must not log what nobody asked for."""
    gate = Gate()

    def fail() -> None:
        gate()
        raise OSError("nobody listens")

    task = asyncio.create_task(threads.run(fail))
    await gate.until_begun()
    task.cancel()
    await turns_of_the_loop()
    gate.may_end.set()
    await asyncio.wait([task])
    assert task.cancelled()
    # asyncio complains once the future is gone, which pytest.raises would keep.
    del task
    assert complaints_of_asyncio(caplog) == []


async def test_what_was_obtained_is_given_back_by_a_cancelled_caller(threads: Threads) -> None:
    """A lock that nobody holds in hand would be held for ever."""
    gate, given_back = Gate(), list[str]()
    task = asyncio.create_task(threads.obtain(given_back.append, gate, "lock"))
    await gate.until_begun()
    task.cancel()
    await turns_of_the_loop()
    assert given_back == []
    gate.may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert given_back == ["lock"]


async def test_what_was_obtained_is_kept_by_its_caller(threads: Threads) -> None:
    """Only a caller that is cancelled cannot take it; a failure gave nothing to give back."""
    given_back: list[object] = []
    assert await threads.obtain(given_back.append, str, "lock") == "lock"
    with pytest.raises(ZeroDivisionError):
        await threads.obtain(given_back.append, divmod, 1, 0)
    assert given_back == []


async def test_closing_waits_for_what_has_begun() -> None:
    """The last fsync of a run is not cut off; what has not begun is cancelled."""
    threads = Threads("test", 1)
    busy, waiting = Gate(), Gate()
    first = asyncio.create_task(threads.run(busy))
    await busy.until_begun()
    second = asyncio.create_task(threads.run(waiting))
    await turns_of_the_loop()
    closing = asyncio.create_task(asyncio.to_thread(threads.close))
    with pytest.raises(asyncio.CancelledError):
        await second
    assert not closing.done()
    busy.may_end.set()
    assert await first == "done"
    await closing
    assert not waiting.begun.is_set()
