"""Holds inside the daemon: shared by fetches, exclusive to an eviction, and never both."""

import asyncio

import pytest
from assetd_server.assets.uses import Uses

from tests.support.limited import turns


async def test_fetches_share_a_version() -> None:
    """Any number; it is in use until the last one is over."""
    uses = Uses()
    async with uses.shared("a"):
        async with uses.shared("a"):
            assert uses.in_use("a")
        assert uses.in_use("a")
        assert not uses.in_use("b")
    assert not uses.in_use("a")


async def test_an_eviction_does_not_wait() -> None:
    """What is in use is not had, at once; what it was refused it does not keep from others."""
    uses = Uses()
    async with uses.shared("a"):
        with uses.exclusive("a") as ours:
            assert not ours
        assert uses.in_use("a")
    with uses.exclusive("a") as ours:
        assert ours
        with uses.exclusive("a") as second:
            assert not second
        assert uses.in_use("a"), "the one who was refused has ended nothing"


async def test_a_fetch_waits_for_the_moment_of_an_eviction() -> None:
    """It begins when the eviction is over; another version is another matter."""
    uses = Uses()
    began: list[str] = []

    async def fetch(key: str) -> None:
        async with uses.shared(key):
            began.append(key)

    with uses.exclusive("a"):
        fetching = asyncio.create_task(fetch("a"))
        await fetch("b")
        await turns()
        assert began == ["b"]
    await fetching
    assert began == ["b", "a"]


async def test_one_eviction_after_the_other_is_waited_for() -> None:
    """Whoever wakes looks again: the next eviction may have come first."""
    uses = Uses()
    first = uses.exclusive("a")
    first.__enter__()
    fetching = asyncio.create_task(uses.shared("a").__aenter__())
    await turns()
    first.__exit__(None, None, None)
    with uses.exclusive("a") as ours:
        assert ours
        await turns()
        assert not fetching.done()
    await fetching
    assert uses.in_use("a")


async def test_a_failure_ends_a_use() -> None:
    """Whatever happens inside: nobody keeps a version for ever."""
    uses = Uses()
    with pytest.raises(ZeroDivisionError):
        async with uses.shared("a"):
            raise ZeroDivisionError
    with pytest.raises(ZeroDivisionError), uses.exclusive("a"):
        raise ZeroDivisionError
    assert not uses.in_use("a")


async def test_who_is_cancelled_while_waiting_uses_nothing() -> None:
    """A caller who leaves before its turn leaves no use behind."""
    uses = Uses()
    with uses.exclusive("a"):
        waiting = asyncio.create_task(uses.shared("a").__aenter__())
        await turns()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    assert not uses.in_use("a")
