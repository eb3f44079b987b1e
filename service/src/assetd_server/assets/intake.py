"""Where the bytes of a push come from: its stream, straight on or by way of the disk.

An intake says what it wants of the files that are announced, takes their bytes, and stores them
once the version is claimed.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import partial

from assetd_server.assets.arriving import ArrivingParts
from assetd_server.assets.claimed import ClaimedVersion
from assetd_server.assets.kept_uploads import KeptUploads
from assetd_server.assets.orders import PushChunk, PushPhase
from assetd_server.assets.part_upload import Place, find_equal
from assetd_server.assets.receiving import Received, spooled_parts, wrong_size
from assetd_server.assets.sources import PushSource
from assetd_server.assets.stock import Stock, StoredPart, look_at_stock
from assetd_server.assets.storing import (
    Stored,
    copy_stored,
    find_stored,
    for_each,
    store_copy,
    store_parts,
    store_read,
)
from assetd_server.assets.threads import Threads
from assetd_server.cache.spool import Spool
from assetd_server.errors import InvalidPushStreamError, PushInProgressError
from assetd_server.manifest import Part
from assetd_server.model import PartPath
from assetd_server.store.base import CopySource, EtagMismatchError, KeyNotFoundError
from assetd_server.store.catalog import part_key
from assetd_server.store.known_versions import KnownVersions


class Intake(ABC):
    """The bytes of one push."""

    @abstractmethod
    async def wanted(self, files: Sequence[Part]) -> Mapping[PartPath, int]:
        """Return which of these announced files are to be sent, and from which byte on."""

    @abstractmethod
    async def take(self, chunk: PushChunk) -> None:
        """Take bytes of a wanted file.

        Raises:
            InvalidPushStreamError, PushMismatchError: they are not what comes next.
            DiskFullError, StoreUnavailableError and other failures of disk and store.
        """

    @abstractmethod
    async def parts(self) -> tuple[Part, ...]:
        """Return what came, in bytewise order; called once, at the commit.

        Raises:
            PushMismatchError: it is not what was announced.
        """

    @abstractmethod
    async def store(self, place: Place) -> dict[str, Stored]:
        """Return when the store holds every part; again after a claim was lost.

        Raises:
            ClaimLostError: somebody released the claim meanwhile.
            PushInProgressError: that has happened before, and the bytes are gone.
        """

    @abstractmethod
    async def discard(self, *, is_cut: bool) -> None:
        """Stop, and delete what is here. Idempotent.

        Of a push that was cut, what it may go on with is kept for a while.
        """


class NothingWanted(Intake):
    """The intake of a push that needs no bytes: the version exists, or is not to be made."""

    def __init__(self, received: Received) -> None:
        self._received = received

    async def wanted(self, files: Sequence[Part]) -> Mapping[PartPath, int]:  # noqa: ARG002
        """Want none."""
        return {}

    async def take(self, chunk: PushChunk) -> None:
        """Drop it."""

    async def parts(self) -> tuple[Part, ...]:
        """Return what was announced."""
        announced = self._received.announced.values()
        return tuple(sorted(announced, key=lambda part: part.path.encode()))

    async def store(self, place: Place) -> dict[str, Stored]:  # noqa: ARG002
        """Store nothing."""
        return {}

    async def discard(self, *, is_cut: bool) -> None:
        """Have nothing to delete."""


class SpooledIntake(Intake):
    """Bytes of unknown digest: kept on the disk until all are there and hashed."""

    def __init__(self, received: Received, spool: Spool, threads: Threads) -> None:
        self._received = received
        self._spool = spool
        self._threads = threads
        self._parts: tuple[Part, ...] = ()

    async def wanted(self, files: Sequence[Part]) -> Mapping[PartPath, int]:
        """Want all that are not empty."""
        return {part.path: 0 for part in files if part.size_bytes}

    async def take(self, chunk: PushChunk) -> None:
        """Write the bytes to the spool; see `Intake.take`."""
        self._received.require_next(chunk, self._spool.length(chunk.path))
        await self._threads.run(self._spool.append, chunk.path, chunk.data)

    async def parts(self) -> tuple[Part, ...]:
        """Return what was spooled; see `Intake.parts`."""
        self._parts = spooled_parts(self._received, self._spool)
        return self._parts

    async def store(self, place: Place) -> dict[str, Stored]:
        """Read the spool into the store; see `Intake.store`."""
        self._received.count_anew()
        return await store_parts(place, self._parts, self._read)

    async def _read(self, path: PartPath, offset: int, length: int) -> bytes:
        return await self._threads.run(self._spool.read, path, offset, length)

    async def discard(self, *, is_cut: bool) -> None:  # noqa: ARG002
        """Delete the spool: nobody knows which bytes they are."""
        await self._threads.run(self._spool.discard)


class StreamedIntake(Intake):
    """Bytes of known digest, for a version that is claimed: on into the store as they come."""

    def __init__(
        self, received: Received, place: Place, versions: KnownVersions, kept: KeptUploads
    ) -> None:
        self._received = received
        self._place = place
        self._versions = versions
        self._arriving = ArrivingParts(self._place, kept)
        self._stock: Stock | None = None
        self._stored: dict[str, Stored] = {}

    async def wanted(self, files: Sequence[Part]) -> Mapping[PartPath, int]:
        """Want what the store has not: neither a left-over nor an equal part elsewhere.

        A file of which an earlier push was cut is wanted from there on.
        """
        if self._stock is None:
            kind = self._received.plan.kind
            self._stock = await look_at_stock(
                self._place.catalog, self._versions, self._place.claimed, kind
            )
        find = partial(self._find, self._stock)
        filled = [part for part in files if part.size_bytes]
        maybe = filter(self._stock.may_have, filled)
        had = await for_each(maybe, find, self._received.count)
        self._arriving.has(had)
        lacking = [part for part in filled if part.path not in had]
        return {part.path: await self._arriving.resume(part) for part in lacking}

    async def _find(self, stock: Stock, part: Part) -> Stored | None:
        stored = await find_stored(self._place, part) if stock.may_be_left(part) else None
        source = stock.find_elsewhere(part)
        if stored is None and source is not None:
            stored = await copy_stored(self._place, part, source)
        return stored

    async def take(self, chunk: PushChunk) -> None:
        """Hand the bytes on; see `Intake.take`."""
        if chunk.offset == 0:
            # Who sends without looking back sends all of it.
            await self._arriving.begin_again(chunk.path)
        part = self._received.require_next(chunk, self._arriving.length(chunk.path))
        await self._arriving.append(part, chunk.data)

    async def parts(self) -> tuple[Part, ...]:
        """Return what was announced: what came is compared as it comes; see `Intake.parts`."""
        for part in self._received.announced.values():
            length = self._arriving.length(part.path)
            if part.path in self._received.wanted and length != part.size_bytes:
                raise wrong_size(part, length)
        self._stored = await self._arriving.complete(self._received.announced.values())
        return _in_order(self._stored)

    async def store(self, place: Place) -> dict[str, Stored]:
        """Return what is stored; under another claim, only if it is still there.

        See `Intake.store`.
        """
        if place.claimed is not self._place.claimed:
            self._received.count_anew()
            before = self._place.claimed
            self._stored = {
                path: await self._store_again(place, before, stored.part)
                for path, stored in self._stored.items()
            }
            self._place = place
        return self._stored

    async def _store_again(self, place: Place, before: ClaimedVersion, part: Part) -> Stored:
        info = await find_equal(place, part)
        stored = Stored(part, info) if info else None
        if stored is None and before.version != place.claimed.version:
            source = StoredPart(part_key(before.name, before.version, part.path), part)
            stored = await copy_stored(place, part, source)
        if stored is None:
            raise claim_lost(self._received)
        self._received.count(part.path, part.size_bytes or 0)
        return stored

    async def discard(self, *, is_cut: bool) -> None:
        """Drop or keep what is on its way; what is in the store stays for a repeat."""
        await self._arriving.abandon(is_cut=is_cut)


class SourceIntake(Intake):
    """Bytes that lie where the header says: read, or copied by the store, and never sent."""

    def __init__(self, received: Received, source: PushSource, versions: KnownVersions) -> None:
        self._received = received
        self._source = source
        self._versions = versions
        self._parts: tuple[Part, ...] = ()

    async def wanted(self, files: Sequence[Part]) -> Mapping[PartPath, int]:  # noqa: ARG002
        """Refuse: what is pushed is what lies there; see `Intake.wanted`."""
        raise _needs_no("files")

    async def take(self, chunk: PushChunk) -> None:  # noqa: ARG002
        """Refuse; see `Intake.take`."""
        raise _needs_no("chunk")

    async def parts(self) -> tuple[Part, ...]:
        """Hash everything; see `PushSource.parts`."""
        self._received.phase = PushPhase.HASHING
        self._parts = await self._source.parts(self._count_hashed)
        self._received.announced = {part.path: part for part in self._parts}
        self._received.is_announced = True
        self._received.phase = None
        return self._parts

    def _count_hashed(self, count: int) -> None:
        self._received.received_bytes += count

    async def store(self, place: Place) -> dict[str, Stored]:
        """Store all parts, and look whether the source is still what was hashed.

        Raises:
            SourceChangedError: it is not.
            and what `Intake.store` and `PushSource.read` raise.
        """
        self._received.count_anew()
        kind = self._received.plan.kind
        stock = await look_at_stock(place.catalog, self._versions, place.claimed, kind)
        store = partial(self._store, place, stock)
        stored = await for_each(self._parts, store, self._received.count)
        await self._source.check_unchanged()
        return stored

    async def _store(self, place: Place, stock: Stock, part: Part) -> Stored:
        there = await find_equal(place, part) if stock.may_be_left(part) else None
        if there is not None:
            return Stored(part, there)
        elsewhere = stock.find_elsewhere(part) if part.size_bytes else None
        stored = await copy_stored(place, part, elsewhere) if elsewhere else None
        source = self._source.copy_source(part.path) if part.size_bytes else None
        if stored is None and source is not None:
            stored = await self._copy(place, part, source)
        return stored or await store_read(place, part, self._source.read)

    async def _copy(self, place: Place, part: Part, source: CopySource) -> Stored | None:
        try:
            return await store_copy(place, part, source)
        except (KeyNotFoundError, EtagMismatchError):
            return None  # reading it tells what has become of it

    async def discard(self, *, is_cut: bool) -> None:  # noqa: ARG002
        """Close the source, which stays as it is."""
        await self._source.close()


def _needs_no(step: str) -> InvalidPushStreamError:
    return InvalidPushStreamError(
        "a push from a staged path or a URI has no {step}: send the commit", field=step, step=step
    )


def claim_lost(received: Received) -> PushInProgressError:
    """Return the failure of a push whose version others have taken in the meantime."""
    return PushInProgressError(
        "the claim on {spec} was released by somebody while it was being pushed: push it again",
        spec=received.header.spec,
    )


def _in_order(stored: dict[str, Stored]) -> tuple[Part, ...]:
    return tuple(sorted((one.part for one in stored.values()), key=lambda part: part.path.encode()))
