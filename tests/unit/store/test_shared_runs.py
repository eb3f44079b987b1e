"""Runs that are shared: never older than the question, and nobody's own."""

import asyncio

import pytest
from assetd_server.store.shared_runs import SharedRuns


class Oracle:
    """Answers with the number of its run, once a test lets it."""

    def __init__(self) -> None:
        self.runs = 0
        self.may_end = asyncio.Event()
        self.shared = SharedRuns(self._run)

    async def _run(self, key: str) -> str:
        self.runs += 1
        number = self.runs
        await self.may_end.wait()
        if key == "fails":
            raise ValueError(number)
        return f"{key}{number}"


async def begun(oracle: Oracle, count: int) -> None:
    """Wait until so many runs have begun."""
    while oracle.runs < count:  # noqa: ASYNC110
        await asyncio.sleep(0)


async def test_who_asks_while_a_run_is_under_way_shares_the_next() -> None:
    """Two runs serve any number; the later askers get the later answer."""
    oracle = Oracle()
    first = asyncio.create_task(oracle.shared.ask("k"))
    await begun(oracle, 1)
    later = [asyncio.create_task(oracle.shared.ask("k")) for _ in range(10)]
    other = asyncio.create_task(oracle.shared.ask("other"))
    await begun(oracle, 2)
    oracle.may_end.set()
    assert await first == "k1"
    assert set(await asyncio.gather(*later)) == {"k3"}
    assert await other == "other2"


async def test_a_failure_reaches_all_who_wait_and_nobody_else() -> None:
    """Each of them raises it; the next question is a new run."""
    oracle = Oracle()
    oracle.may_end.set()
    asked = [oracle.shared.ask("fails") for _ in range(3)]
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [ValueError] * 3
    with pytest.raises(ValueError, match="2"):
        await oracle.shared.ask("fails")


async def test_who_leaves_leaves_the_run_to_the_others() -> None:
    """A cancelled caller cancels nothing; `close` waits for what nobody waits for any more."""
    oracle = Oracle()
    asked = [asyncio.create_task(oracle.shared.ask("k")) for _ in range(2)]
    await begun(oracle, 1)
    asked[0].cancel()
    await asyncio.wait([asked[0]])
    oracle.may_end.set()
    assert await asked[1] == "k1"
    oracle.may_end.clear()
    alone = asyncio.create_task(oracle.shared.ask("fails"))
    await begun(oracle, 2)
    alone.cancel()
    closing = asyncio.create_task(oracle.shared.close())
    oracle.may_end.set()
    await closing
