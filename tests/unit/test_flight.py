"""Flights: one download of a version, shared by all who want it."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from assetd_server.assets.flight import Flight, Flights
from assetd_server.errors import DiskFullError, StoreUnavailableError

from tests.support.clocks import BEGINNING, ManualClock
from tests.support.complaints import complaints_of_asyncio

FAR = 1e9


class Download:
    """What flies: begins, then ends as the test says."""

    def __init__(self) -> None:
        self.begun_count = 0
        self.begun = asyncio.Event()
        self.may_end = asyncio.Event()
        self.cleaning = asyncio.Event()
        self.may_clean = asyncio.Event()
        self.may_clean.set()
        self.failure: Exception | None = None

    async def __call__(self, flight: Flight[str, str]) -> str:
        self.begun_count += 1
        self.begun.set()
        try:
            await self.may_end.wait()
        except asyncio.CancelledError:
            self.cleaning.set()
            await self.may_clean.wait()
            raise
        if self.failure:
            raise self.failure
        return f"{flight.state} landed"


@pytest_asyncio.fixture
async def flights() -> AsyncIterator[Flights[str, str]]:
    """The flights of a daemon, of which none is left at the end."""
    flights: Flights[str, str] = Flights(ManualClock(), FAR)
    yield flights
    assert list(flights) == []


@pytest_asyncio.fixture
async def download() -> Download:
    """One download."""
    return Download()


async def wait(flights: Flights[str, str], download: Download, key: str = "a:1.0") -> str | None:
    """Want a version, and wait for it."""
    async with flights.join(key, lambda: "state", download) as (flight, _):
        return await flight.result()


async def turns_of_the_loop(count: int = 20) -> None:
    """Let everything that is ready run."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_all_who_want_a_version_share_one_download(
    flights: Flights[str, str], download: Download
) -> None:
    """A hundred callers, one download, one result."""
    callers = [asyncio.create_task(wait(flights, download)) for _ in range(100)]
    await download.begun.wait()
    await turns_of_the_loop()
    (flight,) = flights
    assert (flight.waiter_count, flight.start_time) == (100, BEGINNING)
    download.may_end.set()
    assert set(await asyncio.gather(*callers)) == {"state landed"}
    assert download.begun_count == 1


async def test_who_comes_later_is_told_that_it_joined(
    flights: Flights[str, str], download: Download
) -> None:
    """The first one started it; both see the same flight."""
    async with (
        flights.join("a:1.0", lambda: "first", download) as (first, first_joined),
        flights.join("a:1.0", lambda: "second", download) as (second, second_joined),
    ):
        assert (first_joined, second_joined) == (False, True)
        assert first is second
        assert first.state == "first"
        download.may_end.set()
        assert await second.result() == "first landed"


async def test_versions_fly_apart(flights: Flights[str, str]) -> None:
    """Another version is another flight, with an id of its own."""
    downloads = [Download(), Download()]
    callers = [
        asyncio.create_task(wait(flights, download, key))
        for key, download in zip("ab", downloads, strict=True)
    ]
    for download in downloads:
        await download.begun.wait()
        download.may_end.set()
    assert len({flight.flight_id for flight in flights}) == 2
    await asyncio.gather(*callers)


async def test_a_version_that_has_landed_flies_anew(
    flights: Flights[str, str], download: Download
) -> None:
    """A flight is forgotten with its end: it may have been evicted since."""
    download.may_end.set()
    assert await wait(flights, download) == "state landed"
    assert await wait(flights, download) == "state landed"
    assert download.begun_count == 2


async def test_one_who_leaves_does_not_end_it_for_the_others(
    flights: Flights[str, str], download: Download
) -> None:
    """The one who started it included."""
    first = asyncio.create_task(wait(flights, download))
    await download.begun.wait()
    second = asyncio.create_task(wait(flights, download))
    await turns_of_the_loop()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    (flight,) = flights
    assert flight.waiter_count == 1
    download.may_end.set()
    assert await second == "state landed"


async def test_the_last_who_leaves_cancels_it(
    flights: Flights[str, str], download: Download
) -> None:
    """Nobody wants the bytes any more; the caller does not wait for the clean-up."""
    download.may_clean.clear()
    callers = [asyncio.create_task(wait(flights, download)) for _ in range(2)]
    await download.begun.wait()
    await turns_of_the_loop()
    for caller in callers:
        assert not download.cleaning.is_set()
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
    await download.cleaning.wait()
    (flight,) = flights
    assert flight.abandoned
    download.may_clean.set()
    await asyncio.wait([flight.task])


async def test_who_comes_during_the_clean_up_starts_anew(
    flights: Flights[str, str], download: Download
) -> None:
    """It waits until staging is free: two writers of one staged version would mix it."""
    download.may_clean.clear()
    first = asyncio.create_task(wait(flights, download))
    await download.begun.wait()
    first.cancel()
    await download.cleaning.wait()
    again = Download()
    later = [asyncio.create_task(wait(flights, again)) for _ in range(3)]
    await turns_of_the_loop()
    assert not again.begun.is_set()
    download.may_clean.set()
    await again.begun.wait()
    again.may_end.set()
    assert await asyncio.gather(*later) == ["state landed"] * 3
    assert again.begun_count == 1


async def test_a_failure_reaches_all_who_wait(
    flights: Flights[str, str], download: Download
) -> None:
    """Each gets the error itself; who comes then tries anew."""
    download.failure = DiskFullError("no room")
    callers = [asyncio.create_task(wait(flights, download)) for _ in range(3)]
    await download.begun.wait()
    await turns_of_the_loop()
    download.may_end.set()
    assert await asyncio.gather(*callers, return_exceptions=True) == [download.failure] * 3
    download.failure = None
    assert await wait(flights, download) == "state landed"


async def test_a_failure_that_nobody_hears_is_not_shouted(
    flights: Flights[str, str], download: Download, caplog: pytest.LogCaptureFixture
) -> None:
    """Everybody left while it failed."""
    download.failure = DiskFullError("no room")
    async with flights.join("a:1.0", lambda: "state", download):
        download.may_end.set()
        await turns_of_the_loop()
    assert complaints_of_asyncio(caplog) == []


async def test_waiting_can_be_bounded(flights: Flights[str, str], download: Download) -> None:
    """None when the time is over, and the flight goes on: so progress is told meanwhile."""
    async with flights.join("a:1.0", lambda: "state", download) as (flight, _):
        await download.begun.wait()
        assert await flight.result(0) is None
        download.may_end.set()
        assert await flight.result(FAR) == "state landed"


async def test_a_flight_that_takes_too_long_is_given_up(download: Download) -> None:
    """It has a deadline of its own, after which all who wait are told so, and it cleans up."""
    flights: Flights[str, str] = Flights(ManualClock(), 0)
    with pytest.raises(StoreUnavailableError, match="took longer than 0 s"):
        await wait(flights, download)
    assert list(flights) == []


async def test_a_timeout_inside_is_not_the_deadline(flights: Flights[str, str]) -> None:
    """A disk that answers ETIMEDOUT must not send the operator to raise our deadline."""

    async def fly(_: Flight[str, str]) -> str:
        raise TimeoutError("said by the disk")

    with pytest.raises(TimeoutError, match="said by the disk"):
        async with flights.join("a:1.0", lambda: "state", fly) as (flight, _):
            await flight.result()


async def test_draining_ends_all_of_them(flights: Flights[str, str]) -> None:
    """Who still waits is told that it was given up; clean-up is over when draining is."""
    downloads = {key: Download() for key in "abc"}
    callers = [asyncio.create_task(wait(flights, d, key)) for key, d in downloads.items()]
    for download in downloads.values():
        await download.begun.wait()
    await flights.cancel_all()
    assert list(flights) == []
    results = await asyncio.gather(*callers, return_exceptions=True)
    assert [type(result) for result in results] == [StoreUnavailableError] * 3
    await flights.cancel_all()


async def test_a_flight_that_never_began_is_forgotten(
    flights: Flights[str, str], download: Download
) -> None:
    """Its only caller left before the loop came to it: the next one must not wait for ever."""
    async with flights.join("a:1.0", lambda: "state", download):
        pass
    download.may_end.set()
    async with asyncio.timeout(60):
        assert await wait(flights, download) == "state landed"
    assert download.begun_count == 1


async def test_a_failing_caller_leaves_too(flights: Flights[str, str], download: Download) -> None:
    """An error in the caller's own block counts as leaving."""

    async def stumble() -> None:
        async with flights.join("a:1.0", lambda: "state", download):
            await download.begun.wait()
            raise ValueError("the caller's own")

    with pytest.raises(ValueError, match="the caller's own"):
        await stumble()
    await download.cleaning.wait()
    await turns_of_the_loop()
