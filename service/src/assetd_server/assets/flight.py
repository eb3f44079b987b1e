"""Flights: one download of a version, shared by all who want it.

A flight belongs to the daemon, not to a caller: who joins waits for its task behind a shield, and
the task ends early only when nobody waits any more. Within one process single flight is a map;
between processes it is the instance lock.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Iterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Generic, TypeVar

from assetd_server.assets.clock import Clock
from assetd_server.errors import StoreUnavailableError

T = TypeVar("T")
S = TypeVar("S")


class Flight(Generic[S, T]):
    """One shared task: `state` says how far it is, `result` waits for its end."""

    def __init__(self, state: S, start_time: datetime) -> None:
        self.flight_id = uuid.uuid4().hex
        self.state = state
        self.start_time = start_time
        self.waiter_count = 0
        self.abandoned = False
        self.task: asyncio.Task[T]

    async def result(self, timeout_seconds: float | None = None) -> T | None:
        """Return the result, or None when `timeout_seconds` pass before.

        Raises what the task raised. A cancelled caller leaves the task alone.
        """
        # asyncio.wait does not cancel what it waits for, and does not await it: a handler that
        # awaits a cancelled shared task never sends a status.
        done, _ = await asyncio.wait([self.task], timeout=timeout_seconds)
        if not done:
            return None
        if self.task.cancelled():
            raise StoreUnavailableError("the download was given up: fetch again")
        return self.task.result()


class Flights(Generic[S, T]):
    """The flights under way, by key."""

    def __init__(self, clock: Clock, timeout_seconds: float) -> None:
        self._clock = clock
        self._timeout_seconds = timeout_seconds
        self._flights: dict[Hashable, Flight[S, T]] = {}

    def __iter__(self) -> Iterator[Flight[S, T]]:
        return iter(list(self._flights.values()))

    @asynccontextmanager
    async def join(
        self,
        key: Hashable,
        new_state: Callable[[], S],
        fly: Callable[[Flight[S, T]], Awaitable[T]],
    ) -> AsyncIterator[tuple[Flight[S, T], bool]]:
        """Wait with the others for the block's length; yields the flight and whether it was joined.

        Without a flight under way `fly` is started. When the last who waits leaves, the flight is
        cancelled; whoever comes then waits until it has cleaned up and starts anew.
        """
        while (flight := self._flights.get(key)) is not None and flight.abandoned:
            await asyncio.wait([flight.task])
        joined = flight is not None
        if flight is None:
            flight = self._start(key, new_state, fly)
        flight.waiter_count += 1
        try:
            yield flight, joined
        finally:
            flight.waiter_count -= 1
            if flight.waiter_count == 0 and not flight.task.done():
                flight.abandoned = True
                flight.task.cancel()

    def _start(
        self,
        key: Hashable,
        new_state: Callable[[], S],
        fly: Callable[[Flight[S, T]], Awaitable[T]],
    ) -> Flight[S, T]:
        flight: Flight[S, T] = Flight(new_state(), self._clock.now())
        flight.task = asyncio.create_task(self._run(key, flight, fly), name=f"flight {key}")
        self._flights[key] = flight

        def ended(task: asyncio.Task[T]) -> None:
            # A task that was cancelled before its first step has run none of its code.
            self._forget(key, flight)
            # A failure that nobody waits for any more is logged by whoever left, not by the loop.
            if not task.cancelled():
                task.exception()

        flight.task.add_done_callback(ended)
        return flight

    async def _run(
        self, key: Hashable, flight: Flight[S, T], fly: Callable[[Flight[S, T]], Awaitable[T]]
    ) -> T:
        try:
            async with asyncio.timeout(self._timeout_seconds) as limit:
                return await fly(flight)
        except TimeoutError:
            if not limit.expired():
                raise
            raise StoreUnavailableError(
                "the download took longer than {limit_seconds} s and was given up: raise"
                " ASSETD_FETCH_TIMEOUT",
                limit_seconds=self._timeout_seconds,
            ) from None
        finally:
            self._forget(key, flight)

    def _forget(self, key: Hashable, flight: Flight[S, T]) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]

    async def cancel_all(self) -> None:
        """Cancel what is under way and wait until it has cleaned up."""
        tasks = [flight.task for flight in self._flights.values()]
        for flight in self:
            flight.abandoned = True
            flight.task.cancel()
        if tasks:
            await asyncio.wait(tasks)
