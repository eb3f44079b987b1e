"""Fetch, as one caller sees it: resolve, hit or join a flight, tell the progress, answer, hold.

The work that callers share is `assets.landing`; this is one caller's way through it, and nothing
here outlives the call. Promises: `api.md`, "Fetch".
"""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import AsyncExitStack, aclosing, contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import TypeVar

from assetd_server.assets.clock import Clock
from assetd_server.assets.finding import Finder, Hit, Miss, no_store
from assetd_server.assets.flight import Flights
from assetd_server.assets.holds import Holds
from assetd_server.assets.landing import FetchFlight, FlightState, Landed
from assetd_server.assets.landings import Landings
from assetd_server.assets.orders import (
    FetchCompleted,
    FetchEvent,
    FetchOrder,
    FetchPhase,
    FetchProgress,
    FetchStarted,
)
from assetd_server.assets.partials import require_comparable
from assetd_server.assets.present import Answer, Present, answer, require_digest
from assetd_server.assets.progress import Attempts
from assetd_server.assets.room import Room
from assetd_server.assets.selection import wanted_parts
from assetd_server.assets.shielding import ended
from assetd_server.assets.threads import Threads
from assetd_server.cache.layout import AssetsDir, PartialPaths
from assetd_server.cache.leases import Lease, take_lease
from assetd_server.errors import (
    AssetInUseError,
    ShuttingDownError,
    StoreUnavailableError,
)
from assetd_server.model import Source, Verification
from assetd_server.telemetry import Telemetry

_T = TypeVar("_T")

# gRPC retries a call by itself only while nothing has come: leave it that chance for a while.
_SILENT_SECONDS = 5.0
# A version can be replaced or deleted by hand between our last look and the lease; not for ever.
_ROUNDS = 10
# Whoever replaces some parts of it keeps leases away until they are durable. There is no waiting
# for a lease: look again after a while, and later each time; for some six seconds in all.
_PAUSE_SECONDS = 0.05
_MAX_PAUSE_SECONDS = 1.0


class Fetcher:
    """Runs the fetches of one daemon. `landing` is None where no store is configured."""

    def __init__(
        self,
        finder: Finder,
        present: Present,
        landing: Landings | None,
        flights: Flights[FlightState, Landed],
        holds: Holds,
        room: Room,
        assets_dir: AssetsDir,
        quick: Threads,
        telemetry: Telemetry,
        clock: Clock,
        force_download: bool,
    ) -> None:
        self._finder = finder
        self._present = present
        self._landing = landing
        self._flights = flights
        self._holds = holds
        self._room = room
        self._dir = assets_dir
        self._quick = quick
        self._telemetry = telemetry
        self._clock = clock
        self._force_download = force_download
        self._draining = asyncio.Event()

    def drain(self) -> None:
        """End all holds with SHUTTING_DOWN; fetches under way go on."""
        self._draining.set()

    async def fetch(self, order: FetchOrder) -> AsyncGenerator[FetchEvent, None]:
        """Make what `order` names present, telling the progress; `completed` is the last event.

        With `order.hold` the generator stays open after it, and so does the lease, until the caller
        closes the generator or the daemon drains.

        Raises:
            ShuttingDownError: a hold ended because the daemon drains.
            and what `Resolver.resolve`, `Present.hit`, `Partials.hit` and `Landings.land` raise.
        """
        began = self._clock.monotonic()
        replaces = order.force_download or self._force_download
        started = False
        pause_seconds = 0.0
        attempts = Attempts()
        for _ in range(_ROUNDS):
            attempts.begin_round()
            if pause_seconds:
                await self._clock.sleep(pause_seconds)
            landed: Answer | None = None
            # From the first look to the answer nobody evicts what this call is about.
            async with AsyncExitStack() as use:
                async with aclosing(self._round(order, replaces, began, use)) as events:
                    async for event in events:
                        if isinstance(event, Answer):
                            landed = event
                        elif not started or not _opens(event):
                            started = started or isinstance(event, FetchStarted)
                            yield attempts.numbered(event)
                # No answer: somebody else's flight adopted what we know to be damaged. Insist.
                replaces = landed is None
                if landed is None:
                    continue
                lease = await self._lease(landed) if order.hold else None
                if order.hold and lease is None and landed.paths is not None:
                    pause_seconds = min(2 * pause_seconds or _PAUSE_SECONDS, _MAX_PAUSE_SECONDS)
                    continue
                async with aclosing(self._hold(order, landed, lease, began, use)) as events_of_hold:
                    async for event in events_of_hold:
                        yield event
            return
        raise AssetInUseError(
            "{spec} was replaced or removed every time it was about to be answered: try again",
            spec=order.spec,
        )

    async def _hold(
        self,
        order: FetchOrder,
        landed: Answer,
        lease: Lease | None,
        began: float,
        use: AsyncExitStack,
    ) -> AsyncGenerator[FetchEvent, None]:
        if not order.hold:
            yield self._completed(landed, began)
            return
        async with AsyncExitStack() as held:
            held.enter_context(self._used_at_the_end(landed))
            held.enter_context(
                self._holds.hold(lease, landed.paths, landed.asset_version, order.caller)
            )
            if landed.paths is not None:
                # What else the call was about may go: of parts that are held the whole version.
                await held.enter_async_context(self._finder.using(landed.paths))
                await use.aclose()
            yield self._completed(landed, began)
            await self._draining.wait()
            raise ShuttingDownError(
                "the daemon is shutting down: hold {spec} again with its successor",
                spec=order.spec,
            )

    @contextmanager
    def _used_at_the_end(self, landed: Answer) -> Iterator[None]:
        try:
            yield
        finally:
            self._room.used(landed.paths)

    async def _round(
        self, order: FetchOrder, replaces: bool, began: float, use: AsyncExitStack
    ) -> AsyncGenerator[FetchEvent | Answer, None]:
        """Go once from the spec to an answer, the last event; without one, look again."""
        finding = asyncio.create_task(self._finder.find(order, replaces, use))
        async with aclosing(self._waiting(finding, order, began)) as waiting:
            async for progress in waiting:
                yield progress
        found = finding.result()
        if isinstance(found, Hit):
            yield _started_of_hit(found)
            yield found.answer
            return
        if self._landing is None:
            raise no_store(order.spec)
        async with aclosing(self._fly(order, found, self._landing, replaces, began)) as events:
            async for event in events:
                yield event

    async def _waiting(
        self, task: asyncio.Task[_T], order: FetchOrder, began: float
    ) -> AsyncGenerator[FetchProgress, None]:
        """Wait for `task`; once the first silent seconds are over, say that we are resolving."""
        try:
            silent = max(began + _SILENT_SECONDS - self._clock.monotonic(), 0.0)
            await asyncio.wait([task], timeout=silent)
            while not task.done():
                yield FetchProgress(FetchPhase.RESOLVING)
                await asyncio.wait([task], timeout=order.progress_interval_seconds)
        finally:
            task.cancel()
            await ended(task)

    async def _until(
        self, flight: FetchFlight, event: asyncio.Event, order: FetchOrder, began: float
    ) -> AsyncGenerator[FetchProgress, None]:
        """Wait until the flight has come that far, or has ended without."""
        reaching = asyncio.create_task(_reached(flight, event))
        async with aclosing(self._waiting(reaching, order, began)) as waiting:
            async for progress in waiting:
                yield progress

    async def _fly(
        self, order: FetchOrder, found: Miss, landing: Landings, replaces: bool, began: float
    ) -> AsyncGenerator[FetchEvent | Answer, None]:
        """Join the version's flight, or start it, and tell how far it is until it has landed."""
        selection = order.selection
        paths = found.paths if selection is None else PartialPaths.of(found.paths)
        link = self._telemetry.current()

        def new_state() -> FlightState:
            wants_digest = order.verify or order.expected_digest is not None
            return FlightState(paths, replaces, wants_digest, selection=selection)

        key = paths.data, selection
        async with self._flights.join(key, new_state, landing.land) as (flight, joined):
            flight.state.add_link(link)
            state = flight.state
            async with aclosing(self._until(flight, state.planned, order, began)) as waiting:
                async for progress in waiting:
                    yield progress
            if state.manifest is None or state.meter is None:
                standing = await self._unplanned(order, found, flight)
                yield _started_of_hit(Hit(found.resolution, standing))
                yield standing
                return
            manifest = state.manifest
            wanted_parts(found.spec, manifest, selection)
            compare = require_comparable if selection else require_digest
            compare(found.spec, manifest.digest, order.expected_digest)
            async with aclosing(self._until(flight, state.begun, order, began)) as waiting:
                async for progress in waiting:
                    yield progress
            figures = state.meter.snapshot()
            yield FetchStarted(
                asset_version=manifest.describe(paths.name, paths.version),
                resolution=found.resolution,
                total_bytes=figures.total_bytes or 0,
                total_files=figures.total_files or 0,
                present_bytes=figures.present_bytes,
                joined=joined,
                flight_id=flight.flight_id,
            )
            # At once, so that a download shorter than the interval shows what it is about too.
            yield state.meter.snapshot()
            while (landed := await flight.result(order.progress_interval_seconds)) is None:
                yield state.meter.snapshot()
        if replaces and not state.replaces and landed.source is Source.CACHE:
            return  # we joined a flight that was content with what this caller wants replaced
        checking = asyncio.create_task(self._landed(order, found, landed))
        try:
            # Bytes that others were content with may have to be hashed for this caller.
            while not (await asyncio.wait([checking], timeout=order.progress_interval_seconds))[0]:
                yield replace(state.meter.snapshot(), phase=FetchPhase.VERIFYING)
        finally:
            checking.cancel()
            await ended(checking)
        result = checking.result()
        if result is not None:
            yield result

    async def _unplanned(self, order: FetchOrder, found: Miss, flight: FetchFlight) -> Answer:
        """Handle a flight that ended before its manifest was known."""
        try:
            await flight.result()
        except StoreUnavailableError:
            if flight.state.replaces:
                raise
            standing = await self._present.unverified(
                found.spec, found.paths, order.expected_digest, order.selection, unmarked=False
            )
            if standing is None:
                raise
            return standing
        raise AssertionError("a flight lands only with a plan")

    async def _landed(self, order: FetchOrder, found: Miss, landed: Landed) -> Answer | None:
        """Return the answer; None where the bytes that others were content with are damaged."""
        receipt, verification = landed.receipt, landed.receipt.verification
        wants_digest = order.verify or order.expected_digest is not None
        if wants_digest and verification is not Verification.DIGEST:
            checked = await self._finder.hit(order, found.spec, found.paths, verify=True)
            if checked is None:
                return None
            verification = checked.verification
        require_digest(found.spec, receipt.manifest.digest, order.expected_digest)
        return answer(
            found.spec,
            landed.paths,
            receipt,
            landed.source,
            verification,
            landed.transferred_bytes,
            landed.reused_bytes,
            selection=order.selection,
        )

    async def _lease(self, landed: Answer) -> Lease | None:
        paths = landed.paths
        if paths is None:
            return None
        unmarked = self._landing is None and not isinstance(paths, PartialPaths)
        return await self._quick.obtain(_release, take_lease, self._dir, paths, unmarked=unmarked)

    def _completed(self, landed: Answer, began: float) -> FetchCompleted:
        self._room.used(landed.paths)
        return FetchCompleted(
            path=self._dir.absolute(landed.relative_path),
            relative_path=landed.relative_path,
            asset_version=landed.asset_version,
            source=landed.source,
            transferred_bytes=landed.transferred_bytes,
            reused_bytes=landed.reused_bytes,
            elapsed=timedelta(seconds=self._clock.monotonic() - began),
            verification=landed.verification,
            keep_until_time=self._room.keep_until(),
        )


def _release(lease: Lease | None) -> None:
    if lease is not None:
        lease.release()


async def _reached(flight: FetchFlight, event: asyncio.Event) -> None:
    reached = asyncio.create_task(event.wait())
    try:
        await asyncio.wait([reached, flight.task], return_when=asyncio.FIRST_COMPLETED)
    finally:
        reached.cancel()


def _opens(event: FetchEvent) -> bool:
    """Tell whether an event belongs before or at the start, which a caller sees once."""
    resolving = isinstance(event, FetchProgress) and event.phase is FetchPhase.RESOLVING
    return resolving or isinstance(event, FetchStarted)


def _started_of_hit(hit: Hit) -> FetchStarted:
    return FetchStarted(
        asset_version=hit.answer.asset_version,
        resolution=hit.resolution,
        total_bytes=hit.answer.total_bytes,
        total_files=hit.answer.total_files,
        present_bytes=hit.answer.total_bytes,
        joined=False,
        flight_id="",
    )
