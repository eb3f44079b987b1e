"""What a flight of some parts does: make them stand in the partial version, checked and durable.

What is here already stays; what is missing is staged, verified, and moved in. Flights with other
selections wait for each other, version by version, so that each part is downloaded once; and for
the flight of the whole version, unless they want little. Knows nothing of callers, and writes
nothing at the final path: `assets.landing` does.
"""

from collections.abc import Set
from contextlib import AsyncExitStack
from dataclasses import replace

from assetd_server.assets.clock import Clock
from assetd_server.assets.landing import (
    FetchFlight,
    FlightState,
    Landed,
    staging,
    stored_parts,
    with_hashes,
)
from assetd_server.assets.orders import FetchPhase
from assetd_server.assets.partials import weakest
from assetd_server.assets.present import contradicts
from assetd_server.assets.progress import ProgressMeter
from assetd_server.assets.reusing import Reuse
from assetd_server.assets.room import Room
from assetd_server.assets.selection import Selection, wanted_parts
from assetd_server.assets.threads import Threads
from assetd_server.assets.transfer import Transfer
from assetd_server.assets.turns import Turns
from assetd_server.cache.hashing import hash_parts
from assetd_server.cache.ingest import StagedVersion
from assetd_server.cache.layout import AssetsDir, PartialPaths, VersionPaths
from assetd_server.cache.lookup import Lookup
from assetd_server.cache.partial import PartialVersions
from assetd_server.cache.receipt import Receipt
from assetd_server.errors import AssetInUseError, UnsafePathError
from assetd_server.manifest import Manifest, Part
from assetd_server.model import PartPath, Source, Verification
from assetd_server.spec import Spec
from assetd_server.store.catalog import Catalog
from assetd_server.telemetry import Telemetry
from assetd_server.versioning import VersionSelector

# A partial version can be removed by hand, or evicted, while it grows; not for ever.
_ROUNDS = 5


class PartialLanding:
    """Flies: `land` is the body of every flight that has a selection."""

    def __init__(
        self,
        catalog: Catalog,
        transfer: Transfer,
        reuse: Reuse,
        assets_dir: AssetsDir,
        lookup: Lookup,
        versions: PartialVersions,
        room: Room,
        turns: Turns,
        disk: Threads,
        telemetry: Telemetry,
        clock: Clock,
        little_bytes: int,
    ) -> None:
        self._catalog = catalog
        self._telemetry = telemetry
        self.store_url = catalog.store.url
        self.transfer = transfer
        self.reuse = reuse
        self.dir = assets_dir
        self._lookup = lookup
        self.versions = versions
        self.room = room
        self.disk = disk
        self.clock = clock
        self._little_bytes = little_bytes
        # Those of the whole versions' flights, by their paths; and our own, by those of the parts.
        self._turns = turns

    async def land(self, flight: FetchFlight) -> Landed:
        """Return when all that is wanted stands in the partial version, or in the whole one.

        Raises:
            VersionNotFoundError, AssetNotFoundError: the store has no such version.
            PartNotFoundError, InvalidFieldError: the version has nothing of what is wanted.
            DigestMismatchError, BadManifestError: its bytes are not what its manifest says.
            AssetInUseError, UnsafePathError: what stands there cannot be replaced.
            StoreUnavailableError, StoreAccessDeniedError, DiskFullError, ReadOnlyError, IoError.
        """
        state = flight.state
        paths, selection = PartialPaths.of(state.paths), state.selection or Selection()
        with self._telemetry.download_span(
            str(paths.data), flight.flight_id, state.links
        ) as state.span:
            manifest = await self._catalog.manifest(paths.name, paths.version)
            wanted = wanted_parts(_spec(paths, selection), manifest, selection)
            meter = ProgressMeter(self.clock, _size(wanted), len(wanted))
            growth = _Growth(self, state, paths, manifest, wanted, meter)
            await growth.look()
            state.plan(manifest, meter)
            whole = VersionPaths(paths.name, paths.version)
            async with AsyncExitStack() as turns:
                if growth.missing_bytes > self._little_bytes:
                    await turns.enter_async_context(self._turns.turn(whole.data, state.queue))
                await turns.enter_async_context(self._turns.turn(paths.data, state.queue))
                if state.queued and not state.replaces:
                    receipt = await self.disk.run(self._lookup.hit, whole)
                    if receipt is not None:
                        return growth.overtaken(receipt, whole)
                return await growth.run()


class _Growth:
    """One flight's way to all that is wanted."""

    def __init__(
        self,
        landing: PartialLanding,
        state: FlightState,
        paths: PartialPaths,
        manifest: Manifest,
        wanted: tuple[Part, ...],
        meter: ProgressMeter,
    ) -> None:
        self._landing = landing
        self._disk = landing.disk
        self._check_digest = state.check_digest
        self._replaces = state.replaces
        self._begun = state.begun
        self._paths = paths
        self._manifest = manifest
        self._wanted = wanted
        self._meter = meter
        # Of what is wanted: what is here, and compared with what; what this flight has fetched, and
        # what it has hashed.
        self._present: dict[PartPath, Verification] = {}
        self._fetched: set[PartPath] = set()
        self._hashed: set[PartPath] = set()

    async def run(self) -> Landed:
        """Fetch what is missing; once nothing is, return what landed.

        Raises:
            AssetInUseError: what is here was taken away as often as it was added to, or a part
                would have to be replaced, and somebody holds a lease.
        """
        for _ in range(_ROUNDS):
            await self.look()
            if self._check_digest:
                await self._hash_present()
            missing = tuple(part for part in self._wanted if part.path not in self._present)
            if not missing:
                return self._landed()
            await self._fetch(missing)
            self._replaces = False
        raise AssetInUseError(
            "parts of {name}:{version} were removed every time they had come: try again",
            name=self._paths.name,
            version=self._paths.version,
        )

    @property
    def missing_bytes(self) -> int:
        """What is not here of all that is wanted, as far as was looked."""
        return _size(self._wanted) - _size(self._of(self._present.keys()))

    def overtaken(self, receipt: Receipt, paths: VersionPaths) -> Landed:
        """Return what landed where the whole version has come before us."""
        absent = {part.path for part in self._wanted} - self._present.keys()
        self._count(absent)
        self._begun.set()
        return Landed(receipt, Source.CACHE, 0, _size(self._wanted), paths)

    async def look(self) -> None:
        """Take note of what is here, and count it."""
        found: dict[PartPath, Verification] = {}
        receipt = await self._disk.run(self._landing.versions.known, self._paths)
        if receipt is not None and receipt.is_of(self._manifest) and not self._replaces:
            whole = await self._disk.run(
                self._landing.versions.whole, self._paths, receipt, self._wanted
            )
            found = {path: receipt.present[path] for path in whole}
        self._count(found.keys() - self._present.keys() - self._fetched)
        self._lose(self._present.keys() - found.keys())
        self._present = found

    def _count(self, paths: Set[PartPath]) -> None:
        self._meter.add_present(_size(self._of(paths)), len(paths))

    def _lose(self, paths: Set[PartPath]) -> None:
        if paths:
            came = _size(self._of(paths & self._fetched))
            self._meter.start_over(came, _size(self._of(paths)) - came)
            self._meter.lose_files(len(paths))
            self._fetched -= paths

    def _of(self, paths: Set[PartPath]) -> tuple[Part, ...]:
        return tuple(part for part in self._wanted if part.path in paths)

    async def _hash_present(self) -> None:
        """Read what is here, and forget what is damaged: it is fetched again."""
        self._meter.phase = FetchPhase.VERIFYING
        unread = self._of(self._present.keys() - self._hashed)
        damaged = await self._damaged(unread)
        self._lose(damaged)
        self._hashed |= {part.path for part in unread} - damaged
        self._present = {path: Verification.DIGEST for path in self._present if path not in damaged}

    async def _damaged(self, parts: tuple[Part, ...]) -> Set[PartPath]:
        try:
            found = await self._hashes(self._paths.parts, parts)
        except UnsafePathError:
            return {part.path for part in parts}  # some went meanwhile
        pairs = zip(parts, found, strict=True)
        return {before.path for before, now in pairs if contradicts(before, now)}

    async def _hashes(self, folder: str, parts: tuple[Part, ...]) -> tuple[Part, ...]:
        return await self._disk.run(hash_parts, self._landing.dir, folder, parts)

    async def _fetch(self, missing: tuple[Part, ...]) -> None:
        """Stage what is missing, in room set aside for it, verify it, and move it in."""
        before = self._meter.snapshot().present_bytes
        async with self._landing.room.reserved(
            self._paths,
            _size(missing),
            lambda: max(self._meter.snapshot().present_bytes - before, 0),
        ) as reservation:
            disk_bytes = await self._fetch_reserved(missing)
            self._landing.room.landed(reservation, self._paths, disk_bytes)

    async def _fetch_reserved(self, missing: tuple[Part, ...]) -> int:
        """Return how large the partial version is then."""
        some = replace(self._manifest, parts=missing)
        async with staging(self._disk, self._landing.dir, self._paths, some, self._meter) as staged:
            self._begun.set()
            return await self._fill(staged, some)

    async def _fill(self, staged: StagedVersion, some: Manifest) -> int:
        if not self._replaces:
            await self._landing.reuse.fill(staged, some.parts, self._meter)
        parts = stored_parts(self._paths, some)
        await self._landing.transfer.download(parts, staged, self._meter)
        self._meter.phase = FetchPhase.VERIFYING
        if self._check_digest:
            hashed = await self._hashes(staged.data, some.parts)
            some = with_hashes(self._paths, some, hashed)
        await self._disk.run(staged.seal, self._receipt(some, Verification.NONE))
        self._meter.phase = FetchPhase.PUBLISHING
        return await self._add(staged, some.parts)

    async def _add(self, staged: StagedVersion, parts: tuple[Part, ...]) -> int:
        equal = await self._equal(staged, parts) if self._replaces else frozenset()
        known = {part.path: part for part in parts}
        self._manifest = replace(
            self._manifest,
            parts=tuple(known.get(part.path, part) for part in self._manifest.parts),
        )
        added = {part.path: self._verification(part) for part in parts}
        receipt = self._receipt(self._manifest, weakest(added.values()))
        grown = await self._disk.run(self._landing.versions.grow, staged, receipt, added, equal)
        self._fetched |= added.keys()
        if self._check_digest:
            self._hashed |= added.keys()
        self._present.update(added)
        return grown.disk_bytes

    async def _equal(self, staged: StagedVersion, parts: tuple[Part, ...]) -> Set[PartPath]:
        """Tell which parts stand with the very bytes that were staged: they stay then."""
        standing = await self._disk.run(self._landing.versions.known, self._paths)
        if standing is None:
            return frozenset()
        whole = await self._disk.run(self._landing.versions.whole, self._paths, standing, parts)
        both = tuple(part for part in parts if part.path in whole)
        try:
            here = await self._hashes(self._paths.parts, both)
        except UnsafePathError:
            return frozenset()  # some went meanwhile
        new = await self._hashes(staged.data, both)
        return {old.path for old, fresh in zip(here, new, strict=True) if old == fresh}

    def _verification(self, part: Part) -> Verification:
        if self._check_digest:
            return Verification.DIGEST
        return Verification.SIZE if part.crc64nvme is None else Verification.CHECKSUM

    def _receipt(self, manifest: Manifest, verification: Verification) -> Receipt:
        now = self._landing.clock.now()
        return Receipt(manifest, self._landing.store_url, now, verification)

    def _landed(self) -> Landed:
        receipt = self._receipt(self._manifest, weakest(self._present.values()))
        meter = self._meter
        all_was_here = not self._fetched or (meter.reused_bytes > 0 and not meter.arrived_bytes)
        source = Source.CACHE if all_was_here else Source.STORE
        return Landed(receipt, source, meter.arrived_bytes, meter.reused_bytes, self._paths)


def _size(parts: tuple[Part, ...]) -> int:
    return sum(part.size_bytes or 0 for part in parts)


def _spec(paths: PartialPaths, selection: Selection) -> Spec:
    return Spec(paths.name, VersionSelector(exact=paths.version), selection.folder)
