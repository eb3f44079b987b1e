"""The assets as the wire sees them: one object, one method per thing that can be asked.

Puts the parts of this floor together; decides nothing itself.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing

from assetd_server.assets.cache_orders import (
    EvictEntry,
    EvictOrder,
    Pinned,
    VerifyEvent,
    VerifyOrder,
)
from assetd_server.assets.chores import make_chores
from assetd_server.assets.clock import Clock
from assetd_server.assets.evicting import Evictions
from assetd_server.assets.fetch import Fetcher
from assetd_server.assets.finding import Finder
from assetd_server.assets.flight import Flights
from assetd_server.assets.holds import Holds
from assetd_server.assets.housekeeping import Housekeeping
from assetd_server.assets.landing import FlightState, Landed, status_of
from assetd_server.assets.landings import Landings
from assetd_server.assets.ledger import Ledger
from assetd_server.assets.listing import Listing
from assetd_server.assets.orders import (
    CacheState,
    CacheStatus,
    FetchEvent,
    FetchOrder,
    FilesPage,
    ListFilesOrder,
    ListOrder,
    ListPage,
    PushEvent,
    PushStep,
    Resolved,
    ResolveOrder,
)
from assetd_server.assets.partials import Partials
from assetd_server.assets.present import Present
from assetd_server.assets.pushes import Pushes
from assetd_server.assets.resolve import Resolver
from assetd_server.assets.room import Room
from assetd_server.assets.settings import AssetsSettings
from assetd_server.assets.shielding import ended
from assetd_server.assets.sources import Sources
from assetd_server.assets.states import States
from assetd_server.assets.tending import Tending
from assetd_server.assets.threads import Threads
from assetd_server.assets.tidying import Tidying
from assetd_server.assets.uses import Uses
from assetd_server.assets.verifying import Verifier
from assetd_server.cache.layout import AssetsDir, VersionPaths
from assetd_server.cache.lookup import Lookup
from assetd_server.cache.partial import PartialVersions
from assetd_server.cache.pins import Pins
from assetd_server.cache.staging import StagingSweep
from assetd_server.errors import NoStoreError, ShuttingDownError
from assetd_server.model import Presence
from assetd_server.spec import Spec
from assetd_server.store.base import ObjectStore
from assetd_server.store.catalog import Catalog
from assetd_server.telemetry import Telemetry


class Assets:
    """Everything that can be asked of one ASSETS_DIR and its store (None: none is configured)."""

    def __init__(
        self,
        store: ObjectStore | None,
        assets_dir: AssetsDir,
        settings: AssetsSettings,
        telemetry: Telemetry,
        clock: Clock,
        sources: Sources | None = None,
    ) -> None:
        """Put the parts together; nothing is read, and nothing runs yet.

        Owns `store` from here on, and closes it; `assets_dir` and `sources` stay the caller's.
        """
        self._sources = sources
        self._store = store
        self._dir = assets_dir
        self._settings = settings
        self._clock = clock
        self._start_time = clock.now()
        self._quick = Threads("quick", 8)
        self._disk = Threads("disk", 8)
        self._lookup = Lookup(assets_dir)
        self._holds = Holds(clock)
        self._pins = Pins(assets_dir)
        self._uses = Uses()
        self._draining = False
        self._catalog = Catalog(store, clock.sleep, clock.now) if store else None
        self._partial = PartialVersions(assets_dir)
        self._ledger = Ledger(assets_dir, settings.limits, self._disk, clock)
        self._tidying = Tidying(
            assets_dir,
            self._lookup,
            self._partial,
            self._ledger,
            self._uses,
            self._disk,
            alone=store is None,
        )
        self._states = States(
            assets_dir,
            self._lookup,
            self._partial,
            self._holds,
            self._pins,
            self._ledger,
            alone=store is None,
        )
        self._evictions = self._make_evictions()
        evicts = settings.leases_trusted and settings.writable
        self._room = Room(self._ledger, self._evictions if evicts else None, self._holds, clock)
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
            Finder(self._resolver, self._present, partials, self._uses, alone=store is None),
            self._present,
            self._make_landings(telemetry),
            self._flights,
            self._holds,
            self._room,
            assets_dir,
            self._quick,
            telemetry,
            clock,
            settings.force_download,
        )
        self._pushes = self._make_pushes()
        chores = make_chores(
            StagingSweep(assets_dir, settings.staging_max_age_seconds),
            self._tidying,
            self._ledger,
            self.settle_pushes,
            self.look_again,
            self._disk,
            clock,
        )
        self._housekeeping = Housekeeping(clock, chores)
        self._background: asyncio.Task[None] | None = None
        self._listing = Listing(
            self._catalog,
            self._resolver,
            self._lookup,
            self._partial,
            self._states,
            self._quick,
        )
        self._tending = Tending(
            self._ledger,
            self._evictions,
            self._states,
            self._pins,
            self._uses,
            self._disk,
            writable=settings.writable,
            leases_trusted=settings.leases_trusted,
        )
        self._verifier = Verifier(
            self._catalog,
            assets_dir,
            self._lookup,
            self._partial,
            self._uses,
            self._disk,
            self._tending.selected,
            self._fetcher.fetch,
        )

    def _make_evictions(self) -> Evictions | None:
        if self._catalog is None:
            return None
        return Evictions(
            self._catalog,
            self._dir,
            self._lookup,
            self._partial,
            self._ledger,
            self._pins,
            self._uses,
            self._disk,
        )

    def _make_landings(self, telemetry: Telemetry) -> Landings | None:
        if self._catalog is None:
            return None
        return Landings(
            self._catalog,
            self._dir,
            self._lookup,
            self._partial,
            self._room,
            self._ledger,
            self._uses,
            self._tidying,
            self._disk,
            telemetry,
            self._clock,
            self._settings,
        )

    def _make_pushes(self) -> Pushes | None:
        if self._catalog is None:
            return None
        return Pushes(
            self._catalog, self._dir, self._disk, self._clock, self._sources, self._settings
        )

    @property
    def warnings(self) -> Sequence[str]:
        """What an operator should look at, a sentence each."""
        return self._settings.warnings

    async def load(self) -> None:
        """Read what has to be known before the first request.

        Raises:
            UnsafePathError, IoError: ASSETS_DIR cannot be read.
        """
        await self._disk.run(self._pins.load)
        await self._ledger.load()

    async def start(self) -> None:
        """Return when ASSETS_DIR has been walked; hits are served before.

        From then on what is due is done without being asked. At most once, before `close`.

        Raises:
            UnsafePathError, IoError: ASSETS_DIR cannot be read.
        """
        await self._ledger.refresh()
        self._background = asyncio.create_task(self._housekeeping.run(), name="housekeeping")

    async def settle_pushes(self) -> None:
        """Finish or release what pushes have left that ended on their way.

        Raises:
            UnsafePathError, IoError: what they have noted cannot be read.
        """
        if self._pushes is not None:
            await self._pushes.settle()

    async def look_again(self) -> None:
        """List again what others have dropped from indexes; see `Relisting.look_again`."""
        if self._pushes is not None:
            await self._pushes.look_again()

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
        cached = await self._states.told(paths, self._quick)
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
        if self._pushes is None:
            raise NoStoreError("no store is configured to push to: set ASSETD_STORE")
        async with aclosing(self._pushes.push(steps)) as events:
            async for event in events:
                yield event

    async def list(self, order: ListOrder) -> ListPage:
        """Return one page of versions; see `Listing.list`."""
        return await self._listing.list(order)

    async def list_files(self, order: ListFilesOrder) -> FilesPage:
        """Return one page of the files of a version; see `Listing.list_files`."""
        return await self._listing.list_files(order)

    async def evict(self, order: EvictOrder) -> Sequence[EvictEntry]:
        """Remove versions from the cache; see `Tending.evict`."""
        self._refuse_while_draining()
        return await self._tending.evict(order)

    async def pin(self, spec: Spec) -> Pinned:
        """Keep a cached version; see `Tending.pin`."""
        return await self._tending.pin(spec)

    async def unpin(self, spec: Spec) -> Pinned:
        """Undo `pin`; see `Tending.unpin`."""
        return await self._tending.unpin(spec)

    async def verify(self, order: VerifyOrder) -> AsyncGenerator[VerifyEvent, None]:
        """Hash cached versions; see `Verifier.verify`."""
        self._refuse_while_draining()
        async with aclosing(self._verifier.verify(order)) as events:
            async for event in events:
                yield event

    async def status(self) -> CacheStatus:
        """Return the state of ASSETS_DIR and of the daemon."""
        await self._ledger.refresh(now=True)
        budget = self._ledger.budget
        leased = await self._ledger.all_leased()
        alone = self._catalog is None
        present = [
            one
            for one in self._ledger.versions()
            if (one.marked or alone) and not self._ledger.is_partial(one)
        ]
        disk = await self._ledger.disk()
        return CacheStatus(
            assets_dir=self._dir.path,
            used_bytes=budget.used_bytes + budget.written_bytes,
            limit_bytes=budget.limit_bytes(disk),
            reserved_bytes=budget.remaining_bytes,
            evictable_bytes=self._room.evictable_bytes(leased),
            disk_free_bytes=disk.free_bytes,
            version_count=len(present),
            pinned_count=sum(self._pins.is_pinned(entry.key) for entry in present),
            leased_count=sum(entry.key in leased for entry in present),
            flights=[status_of(flight) for flight in self._flights],
            holds=list(self._holds),
            store=self._store.url if self._store else "",
            store_last_ok_time=self._catalog.last_ok_time if self._catalog else None,
            warnings=self.warnings,
            start_time=self._start_time,
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
        if self._background is not None:
            self._background.cancel()
            await ended(self._background)
        if self._evictions is not None:
            await self._evictions.close()
        if self._pushes is not None:
            await self._pushes.close()
        await self._ledger.tend(is_last=True)
        if self._store is not None:
            await self._store.close()
        await asyncio.to_thread(self._quick.close)
        await asyncio.to_thread(self._disk.close)
