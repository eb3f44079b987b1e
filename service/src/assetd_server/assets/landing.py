"""What a flight does: make one version stand at its final path, checked and durable.

Adopt what stands there whole, else download into staging, verify, and publish under modelkit's lock
(`layout.md`, "Fetch"). Knows nothing of callers: `assets.fetch` has those.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

from assetd_server.assets.clock import Clock
from assetd_server.assets.flight import Flight
from assetd_server.assets.ledger import Ledger
from assetd_server.assets.orders import FetchPhase, FetchProgress, FlightStatus
from assetd_server.assets.progress import ProgressMeter
from assetd_server.assets.reusing import Reuse
from assetd_server.assets.room import Room
from assetd_server.assets.selection import Selection
from assetd_server.assets.shielding import to_the_end
from assetd_server.assets.threads import Threads
from assetd_server.assets.transfer import StoredPart, Transfer
from assetd_server.assets.turns import Turns
from assetd_server.cache.hashing import hash_parts, strangers
from assetd_server.cache.ingest import StagedVersion
from assetd_server.cache.layout import AssetsDir, VersionPaths
from assetd_server.cache.lookup import Lookup
from assetd_server.cache.publish import ModelkitLock, Publisher, try_modelkit_lock
from assetd_server.cache.receipt import Receipt
from assetd_server.errors import (
    DigestMismatchError,
    LockBusyError,
    StoreAccessDeniedError,
    StoreUnavailableError,
    UnsafePathError,
)
from assetd_server.manifest import Manifest, Part
from assetd_server.model import AssetVersion, Source, Verification
from assetd_server.store.catalog import Catalog, part_key
from assetd_server.telemetry import Span, SpanLink, Telemetry

_LOCK_POLL_SECONDS = 0.05
_MAX_LOCK_POLL_SECONDS = 1.0
# The ends of a download of which what has come is sound, and wanted when the version is fetched
# again: the store did not answer, modelkit was in the way, nobody waited any more.
_INTERRUPTIONS = (
    asyncio.CancelledError,
    StoreUnavailableError,
    StoreAccessDeniedError,
    LockBusyError,
)


@dataclass
class FlightState:
    """How far a flight is, for those who wait for it."""

    paths: VersionPaths
    # Whatever stands there is known to be damaged, or was refused by a caller: do not adopt it.
    replaces: bool
    check_digest: bool
    links: list[SpanLink] = field(default_factory=list)
    span: Span | None = None
    manifest: Manifest | None = None
    meter: ProgressMeter | None = None
    # None: the whole version.
    selection: Selection | None = None
    # The manifest is known; then, what of it is here already is counted.
    planned: asyncio.Event = field(default_factory=asyncio.Event)
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    # Another flight had to end first, and may have brought what this one is for.
    queued: bool = False

    def plan(self, manifest: Manifest, meter: ProgressMeter) -> None:
        """Tell who waits what the flight is about."""
        self.manifest, self.meter = manifest, meter
        self.planned.set()

    def queue(self) -> None:
        """Tell who waits that another flight has to end first."""
        if self.meter is not None:
            self.meter.phase = FetchPhase.QUEUED
        self.queued = True
        self.begun.set()

    def add_link(self, link: SpanLink) -> None:
        """Note another call that waits, before or after the download's span has begun."""
        if self.span is None:
            self.links.append(link)
        else:
            self.span.add_link(link)


@dataclass(frozen=True)
class Landed:
    """The version stands, by this receipt; `source` is where its bytes came from."""

    receipt: Receipt
    source: Source
    transferred_bytes: int
    reused_bytes: int
    # Where; a version that landed whole meanwhile has the parts too.
    paths: VersionPaths


FetchFlight = Flight[FlightState, Landed]


@asynccontextmanager
async def staging(
    disk: Threads,
    assets_dir: AssetsDir,
    paths: VersionPaths,
    manifest: Manifest,
    meter: ProgressMeter,
) -> AsyncIterator[StagedVersion]:
    """Yield the version in staging, with what earlier flights left there counted as present.

    An interruption leaves what has come to the next flight; every other end discards it.
    """
    meter.phase = FetchPhase.DOWNLOADING
    # Whoever is cancelled meanwhile leaves what was kept.
    staged = await disk.obtain(
        StagedVersion.suspend, StagedVersion, assets_dir, paths, manifest.kind, manifest.parts
    )
    meter.reuse_bytes(staged.kept_bytes)
    leave = staged.discard
    try:
        yield staged
    except _INTERRUPTIONS:
        leave = staged.suspend
        raise
    finally:
        await to_the_end(disk.run(leave))


class Landing:
    """Flies: `land` is the body of every flight."""

    def __init__(
        self,
        catalog: Catalog,
        transfer: Transfer,
        reuse: Reuse,
        assets_dir: AssetsDir,
        lookup: Lookup,
        publisher: Publisher,
        room: Room,
        ledger: Ledger,
        turns: Turns,
        disk: Threads,
        telemetry: Telemetry,
        clock: Clock,
        lock_timeout_seconds: float,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._catalog = catalog
        self._transfer = transfer
        self._reuse = reuse
        self._dir = assets_dir
        self._lookup = lookup
        self._publisher = publisher
        self._room = room
        self._ledger = ledger
        self._turns = turns
        self._disk = disk
        self._telemetry = telemetry
        self._clock = clock
        self._lock_timeout_seconds = lock_timeout_seconds
        self._jitter = jitter

    async def land(self, flight: FetchFlight) -> Landed:
        """Return when the version stands at its final path.

        Raises:
            VersionNotFoundError, AssetNotFoundError: the store has no such version.
            DigestMismatchError, BadManifestError: its bytes are not what its manifest says.
            AssetInUseError, UnsafePathError: what stands there cannot be replaced.
            LockBusyError: modelkit held its lock too long.
            StoreUnavailableError, StoreAccessDeniedError, DiskFullError, ReadOnlyError, IoError.
        """
        state = flight.state
        with self._telemetry.download_span(
            str(state.paths.data), flight.flight_id, state.links
        ) as state.span:
            manifest = await self._catalog.manifest(state.paths.name, state.paths.version)
            meter = ProgressMeter(self._clock, manifest.size_bytes, len(manifest.parts))
            state.plan(manifest, meter)
            async with self._turns.turn(state.paths.data, state.queue):
                landed = await self._adopt_or_download(state, manifest, meter)
            await self._ledger.look_again(state.paths)
            return landed

    async def _adopt_or_download(
        self, state: FlightState, manifest: Manifest, meter: ProgressMeter
    ) -> Landed:
        if not state.replaces and await self._is_whole(state.paths, manifest):
            return await self._adopt(state, manifest, meter)
        return await self._download(state, manifest, meter)

    async def _is_whole(self, paths: VersionPaths, manifest: Manifest) -> bool:
        return await self._disk.run(self._lookup.is_whole, paths, manifest.kind, manifest.parts)

    async def _adopt(self, state: FlightState, manifest: Manifest, meter: ProgressMeter) -> Landed:
        """Mark what stands there whole by its sizes; hash it first where somebody wants that."""
        state.begun.set()
        verification = Verification.SIZE
        if state.check_digest:
            meter.phase = FetchPhase.VERIFYING
            try:
                manifest = await self._hashed(state.paths, manifest, state.paths.data)
            except (DigestMismatchError, UnsafePathError):
                # Damaged, or gone meanwhile: the store has it whole.
                state.replaces = True
                return await self._download(state, manifest, meter)
            verification = Verification.DIGEST
        meter.phase = FetchPhase.PUBLISHING
        lock = await self._modelkit_lock(state.paths)
        try:
            if not await self._is_whole(state.paths, manifest):
                return await self._download_unlocked(state, manifest, meter, lock)
            receipt = self._receipt(manifest, verification)
            await self._disk.run(self._publisher.adopt, state.paths, receipt)
        finally:
            lock.release()
        self._ledger.landed(state.paths, manifest.size_bytes or 0)
        return Landed(receipt, Source.CACHE, 0, manifest.size_bytes or 0, state.paths)

    async def _download_unlocked(
        self, state: FlightState, manifest: Manifest, meter: ProgressMeter, lock: ModelkitLock
    ) -> Landed:
        # It vanished while we waited. A download may take hours, and modelkit waits ten seconds.
        lock.release()
        return await self._download(state, manifest, meter)

    async def _download(
        self, state: FlightState, manifest: Manifest, meter: ProgressMeter
    ) -> Landed:
        size_bytes = manifest.size_bytes or 0
        async with self._room.reserved(
            state.paths, size_bytes, lambda: meter.snapshot().present_bytes
        ) as reservation:
            landed = await self._download_reserved(state, manifest, meter)
            self._room.landed(reservation, state.paths, size_bytes)
            return landed

    async def _download_reserved(
        self, state: FlightState, manifest: Manifest, meter: ProgressMeter
    ) -> Landed:
        async with staging(self._disk, self._dir, state.paths, manifest, meter) as staged:
            state.begun.set()
            return await self._fill(state, manifest, staged, meter)

    async def _fill(
        self, state: FlightState, manifest: Manifest, staged: StagedVersion, meter: ProgressMeter
    ) -> Landed:
        if not state.replaces:
            await self._reuse.fill(staged, manifest.parts, meter)
        await self._transfer.download(stored_parts(state.paths, manifest), staged, meter)
        meter.phase = FetchPhase.VERIFYING
        manifest, verification = await self._verified(state, manifest, staged)
        receipt = self._receipt(manifest, verification)
        await self._disk.run(staged.seal, receipt)
        meter.phase = FetchPhase.PUBLISHING
        return await self._publish(state, staged, receipt, meter)

    async def _verified(
        self, state: FlightState, manifest: Manifest, staged: StagedVersion
    ) -> tuple[Manifest, Verification]:
        """Return the manifest with what was learnt, and how much was compared."""
        if state.check_digest:
            return await self._hashed(state.paths, manifest, staged.data), Verification.DIGEST
        if all(part.crc64nvme is not None for part in manifest.parts):
            return manifest, Verification.CHECKSUM
        return manifest, Verification.SIZE

    async def _hashed(self, paths: VersionPaths, manifest: Manifest, data: str) -> Manifest:
        hashed = await self._disk.run(hash_parts, self._dir, data, manifest.parts)
        return with_hashes(paths, manifest, hashed)

    async def _publish(
        self, state: FlightState, staged: StagedVersion, receipt: Receipt, meter: ProgressMeter
    ) -> Landed:
        # Before the lock: hashing may take minutes, and modelkit waits ten seconds for it.
        is_equal = state.replaces and await self._stands_equal(staged, receipt)
        lock = await self._modelkit_lock(state.paths)
        try:
            adopts = is_equal or not state.replaces
            if adopts and await self._is_whole(state.paths, receipt.manifest):
                # Unless hashed, modelkit was faster: its bytes were compared by size only.
                verification = receipt.verification if is_equal else Verification.SIZE
                adopted = replace(receipt, verification=verification)
                await self._disk.run(self._publisher.adopt, state.paths, adopted)
                return _landed(adopted, meter, state.paths)
            await self._disk.run(self._publisher.publish, staged, receipt)
        finally:
            lock.release()
        return _landed(receipt, meter, state.paths)

    async def _stands_equal(self, staged: StagedVersion, receipt: Receipt) -> bool:
        """Tell whether what stands there has the very bytes that were staged: it stays then."""
        paths, manifest = staged.paths, receipt.manifest
        if not await self._is_whole(paths, manifest):
            return False
        try:
            if await self._disk.run(strangers, self._dir, paths.data, manifest):
                return False
            stands = await self._disk.run(hash_parts, self._dir, paths.data, manifest.parts)
        except UnsafePathError:
            return False  # it went meanwhile
        if manifest.digest is None:
            return stands == await self._disk.run(
                hash_parts, self._dir, staged.data, manifest.parts
            )
        return stands == manifest.parts

    async def _modelkit_lock(self, paths: VersionPaths) -> ModelkitLock:
        """Wait for modelkit's lock, which it holds for the whole of its own downloads."""
        deadline = self._clock.monotonic() + self._lock_timeout_seconds
        delay = _LOCK_POLL_SECONDS
        while True:
            lock = await self._disk.obtain(_unlock, try_modelkit_lock, self._dir, paths)
            if lock is not None:
                return lock
            if self._clock.monotonic() >= deadline:
                raise LockBusyError(
                    "modelkit has held its lock {lock} for more than {limit_seconds} s: it is"
                    " downloading, or hangs; try again",
                    lock=paths.modelkit_lock,
                    limit_seconds=self._lock_timeout_seconds,
                )
            await self._clock.sleep(delay * (0.5 + self._jitter()))
            delay = min(delay * 2, _MAX_LOCK_POLL_SECONDS)

    def _receipt(self, manifest: Manifest, verification: Verification) -> Receipt:
        return Receipt(manifest, self._catalog.store.url, self._clock.now(), verification)


def status_of(flight: FetchFlight) -> FlightStatus:
    """Return how far a flight is, for people."""
    state = flight.state
    version = AssetVersion(state.paths.name, state.paths.version)
    if state.manifest is not None:
        version = state.manifest.describe(state.paths.name, state.paths.version)
    progress = FetchProgress(FetchPhase.RESOLVING)
    if state.meter is not None:
        progress = state.meter.snapshot()
    return FlightStatus(flight.flight_id, version, progress, flight.waiter_count, flight.start_time)


def _landed(receipt: Receipt, meter: ProgressMeter, paths: VersionPaths) -> Landed:
    all_was_here = meter.reused_bytes > 0 and not meter.arrived_bytes
    source = Source.CACHE if all_was_here else Source.STORE
    return Landed(receipt, source, meter.arrived_bytes, meter.reused_bytes, paths)


def _unlock(lock: ModelkitLock | None) -> None:
    if lock is not None:
        lock.release()


def stored_parts(paths: VersionPaths, manifest: Manifest) -> list[StoredPart]:
    """Return the parts with the keys under which the store holds them."""
    return [
        StoredPart(part, part_key(paths.name, paths.version, part.path)) for part in manifest.parts
    ]


def with_hashes(paths: VersionPaths, manifest: Manifest, hashed: tuple[Part, ...]) -> Manifest:
    """Return the manifest with the hashes that were found, each compared where it was known.

    Raises:
        DigestMismatchError: a part has another SHA-256 than its manifest says.
    """
    for known, found in zip(manifest.parts, hashed, strict=True):
        if known.sha256_hex not in (None, found.sha256_hex):
            raise DigestMismatchError(
                "{key} has the SHA-256 {found}, and the manifest says {expected}",
                key=part_key(paths.name, paths.version, known.path),
                found=found.sha256_hex,
                expected=known.sha256_hex,
            )
    return replace(manifest, parts=hashed)
