"""The assets as the wire sees them: one object, one method per thing that can be asked.

Puts the parts of this floor together; decides nothing itself.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass

from assetd_server.assets.claimed import ClaimedVersions
from assetd_server.assets.claiming import Claiming
from assetd_server.assets.clock import Clock
from assetd_server.assets.fetch import Fetcher
from assetd_server.assets.finding import Finder
from assetd_server.assets.flight import Flights
from assetd_server.assets.holds import Holds
from assetd_server.assets.landing import FetchFlight, FlightState, Landed, Landing
from assetd_server.assets.listing import Listing
from assetd_server.assets.orders import (
    CacheState,
    CacheStatus,
    FetchEvent,
    FetchOrder,
    FetchPhase,
    FetchProgress,
    FilesPage,
    FlightStatus,
    ListFilesOrder,
    ListOrder,
    ListPage,
    PushEvent,
    PushStep,
    Resolved,
    ResolveOrder,
)
from assetd_server.assets.partial_landing import Landings, PartialLanding
from assetd_server.assets.partials import Partials
from assetd_server.assets.present import Present
from assetd_server.assets.push import Pusher
from assetd_server.assets.resolve import Resolver
from assetd_server.assets.states import States
from assetd_server.assets.threads import Threads
from assetd_server.assets.transfer import Transfer
from assetd_server.cache.layout import AssetsDir, VersionPaths
from assetd_server.cache.lookup import Lookup
from assetd_server.cache.partial import PartialVersions
from assetd_server.cache.publish import Publisher
from assetd_server.errors import NoStoreError, ShuttingDownError
from assetd_server.model import AssetVersion, Freshness, Presence
from assetd_server.store.base import ObjectStore
from assetd_server.store.catalog import Catalog
from assetd_server.store.claims import Claims
from assetd_server.store.commits import Commits
from assetd_server.telemetry import Telemetry
from assetd_server.versioning import VersioningSystem


@dataclass(frozen=True)
class AssetsSettings:
    """The choices of an operator that concern assets; units in the names."""

    freshness: Freshness = Freshness.STORE
    store_timeout_seconds: float = 10.0
    lock_timeout_seconds: float = 60.0
    fetch_timeout_seconds: float = 6 * 3600.0
    versioning: VersioningSystem = VersioningSystem.MAJOR_MINOR
    force_download: bool = False
    connection_count: int = 32
    transfer_memory_bytes: int = 192 * 2**20
    range_bytes: int = 8 * 2**20
    warnings: tuple[str, ...] = ()


class Assets:
    """Everything that can be asked of one ASSETS_DIR and its store (None: none is configured)."""

    def __init__(
        self,
        store: ObjectStore | None,
        assets_dir: AssetsDir,
        settings: AssetsSettings,
        telemetry: Telemetry,
        clock: Clock,
    ) -> None:
        """Put the parts together; nothing is read, and nothing runs yet.

        Owns `store` from here on, and closes it; `assets_dir` stays the caller's.
        """
        self._store = store
        self._dir = assets_dir
        self._settings = settings
        self._clock = clock
        self._start_time = clock.now()
        self._quick = Threads("quick", 8)
        self._disk = Threads("disk", 8)
        self._lookup = Lookup(assets_dir)
        self._holds = Holds(clock)
        self._draining = False
        self._catalog = Catalog(store, clock.sleep, clock.now) if store else None
        self._partial = PartialVersions(assets_dir)
        self._states = States(
            assets_dir, self._lookup, self._partial, self._holds, alone=store is None
        )
        self._present = Present(assets_dir, self._lookup, self._quick, self._disk)
        self._resolver = Resolver(
            self._catalog,
            self._lookup,
            self._quick,
            settings.freshness,
            settings.store_timeout_seconds,
        )
        self._flights: Flights[FlightState, Landed] = Flights(clock, settings.fetch_timeout_seconds)
        partials = Partials(assets_dir, self._partial, self._quick, self._disk)
        self._fetcher = Fetcher(
            Finder(self._resolver, self._present, partials, alone=store is None),
            self._present,
            self._make_landings(telemetry),
            self._flights,
            self._holds,
            assets_dir,
            self._quick,
            telemetry,
            clock,
            settings.force_download,
        )
        self._pusher = self._make_pusher()
        self._listing = Listing(
            self._catalog,
            self._resolver,
            self._lookup,
            self._partial,
            self._states,
            self._quick,
        )

    def _make_landings(self, telemetry: Telemetry) -> Landings | None:
        if self._catalog is None:
            return None
        transfer = Transfer(
            self._catalog.store,
            self._disk,
            telemetry,
            connection_count=self._settings.connection_count,
            memory_bytes=self._settings.transfer_memory_bytes,
            range_bytes=self._settings.range_bytes,
        )
        whole = Landing(
            self._catalog,
            transfer,
            self._dir,
            self._lookup,
            Publisher(self._dir, self._lookup),
            self._disk,
            telemetry,
            self._clock,
            self._settings.lock_timeout_seconds,
        )
        partial = PartialLanding(
            self._catalog,
            transfer,
            self._dir,
            self._partial,
            self._disk,
            telemetry,
            self._clock,
        )
        return Landings(whole, partial)

    def _make_pusher(self) -> Pusher | None:
        if self._catalog is None:
            return None
        claims = Claims(self._catalog.store)
        commits = Commits(self._catalog, self._clock.sleep)
        claimed = ClaimedVersions(claims, commits)
        return Pusher(
            self._catalog,
            Claiming(self._catalog, claims, commits, claimed, self._clock),
            claimed,
            self._dir,
            self._disk,
            self._clock,
            self._settings.versioning,
        )

    async def resolve(self, order: ResolveOrder) -> Resolved:
        """Return the version that a spec means now, and what the cache holds of it.

        Raises: as `Resolver.resolve`; a pinned version that is nowhere is VersionNotFoundError,
            or NotCachedError where the store must not be asked.
        """
        spec = order.spec
        meaning = await self._resolver.resolve(spec, order.freshness, order.store_timeout_seconds)
        if meaning.version is None:
            answered = await self._present.plain_path(spec)
            state = CacheState(
                Presence.PRESENT,
                answered.relative_path,
                self._dir.absolute(answered.relative_path),
            )
            return Resolved(answered.asset_version, meaning.resolution, state)
        paths = VersionPaths(spec.name, meaning.version)
        cached = await self._quick.run(self._states.of, paths)
        if cached.state.presence is not Presence.ABSENT:
            return Resolved(cached.asset_version, meaning.resolution, cached.state)
        described = await self._resolver.describe(
            paths.name, paths.version, order.freshness, order.store_timeout_seconds
        )
        return Resolved(described, meaning.resolution, cached.state)

    async def fetch(self, order: FetchOrder) -> AsyncGenerator[FetchEvent, None]:
        """Make a version present and tell the progress; see `Fetcher.fetch`.

        Raises:
            ShuttingDownError: the daemon drains.
        """
        self._refuse_while_draining()
        async with aclosing(self._fetcher.fetch(order)) as events:
            async for event in events:
                yield event

    async def push(self, steps: AsyncIterator[PushStep]) -> AsyncGenerator[PushEvent, None]:
        """Create a version and tell the progress; see `Pusher.push`.

        Raises:
            ShuttingDownError: the daemon drains.
            NoStoreError: no store is configured.
        """
        self._refuse_while_draining()
        if self._pusher is None:
            raise NoStoreError("no store is configured to push to: set ASSETD_STORE")
        async with aclosing(self._pusher.push(steps)) as events:
            async for event in events:
                yield event

    async def list(self, order: ListOrder) -> ListPage:
        """Return one page of versions; see `Listing.list`."""
        return await self._listing.list(order)

    async def list_files(self, order: ListFilesOrder) -> FilesPage:
        """Return one page of the files of a version; see `Listing.list_files`."""
        return await self._listing.list_files(order)

    async def status(self) -> CacheStatus:
        """Return the state of ASSETS_DIR and of the daemon. Walks the tree: not for tight loops."""
        cached = await self._disk.run(self._states.all)
        whole = [version for version in cached if version.state.presence is Presence.PRESENT]
        free = await self._quick.run(self._dir.free_bytes)
        return CacheStatus(
            assets_dir=self._dir.path,
            used_bytes=sum(version.state.disk_bytes for version in cached),
            limit_bytes=None,
            reserved_bytes=0,
            evictable_bytes=0,
            disk_free_bytes=free,
            version_count=len(whole),
            pinned_count=0,
            leased_count=sum(version.state.leased for version in whole),
            flights=[self._flight_status(flight) for flight in self._flights],
            holds=list(self._holds),
            store=self._store.url if self._store else "",
            store_last_ok_time=self._catalog.last_ok_time if self._catalog else None,
            warnings=self._settings.warnings,
            start_time=self._start_time,
        )

    def _flight_status(self, flight: FetchFlight) -> FlightStatus:
        state = flight.state
        version = AssetVersion(state.paths.name, state.paths.version)
        if state.manifest is not None:
            version = state.manifest.describe(state.paths.name, state.paths.version)
        progress = FetchProgress(FetchPhase.RESOLVING)
        if state.meter is not None:
            progress = state.meter.snapshot()
        return FlightStatus(
            flight.flight_id, version, progress, flight.waiter_count, flight.start_time
        )

    def _refuse_while_draining(self) -> None:
        if self._draining:
            raise ShuttingDownError("the daemon is shutting down: ask its successor")

    def drain(self) -> None:
        """Refuse new fetches and pushes, and end the holds; what is under way goes on."""
        self._draining = True
        self._fetcher.drain()

    async def close(self) -> None:
        """Stop what is left and release everything. Call `drain` first, and the server's stop."""
        await self._flights.cancel_all()
        if self._store is not None:
            await self._store.close()
        await asyncio.to_thread(self._quick.close)
        await asyncio.to_thread(self._disk.close)
