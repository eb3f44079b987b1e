"""The parts of a claimed version into the store, from wherever their bytes come.

From this node's disk (`store_parts`), from a caller's stream while it arrives (`ArrivingParts`), or
from what the store has already (`find_stored`, `copy_stored`). Memory is bounded by the `Place`.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from assetd_server.assets.part_upload import PartUpload, Place, find_equal, piece_bytes_of
from assetd_server.assets.shielding import ended, to_the_end
from assetd_server.assets.stock import StoredPart
from assetd_server.assets.transfer import first_error
from assetd_server.cache.ingest import checksum_of
from assetd_server.errors import DigestMismatchError, PushMismatchError
from assetd_server.manifest import Part, encode_crc64nvme
from assetd_server.model import AssetKind, PartPath
from assetd_server.store.base import (
    CannotCopyError,
    CopySource,
    EtagMismatchError,
    KeyNotFoundError,
    ObjectInfo,
    ObjectStore,
)

_PARTS_AT_ONCE = 16
# Parts that have come whole and are not in the store yet; each is a task.
_MAX_FINISHING = 64
# A caller finishes one file before the next; some leeway costs a piece of memory each.
_MAX_UNFINISHED = 4
_LAST_MOMENT_SECONDS = 2.0

ReadPart = Callable[[PartPath, int, int], Awaitable[bytes]]
Count = Callable[[int], None]


@dataclass(frozen=True)
class Stored:
    """A part, and what stands in the store for it, proven equal."""

    part: Part
    info: ObjectInfo


async def store_parts(
    place: Place, parts: Iterable[Part], read: ReadPart, count: Count
) -> dict[str, Stored]:
    """Store parts whose checksums are known; `read` gives ranges of their bytes.

    Raises:
        ClaimLostError: somebody released the claim meanwhile.
        DigestMismatchError: a part reads back other than it was written.
        StoreUnavailableError, StoreAccessDeniedError, DiskFullError; and what `read` raises.
    """

    async def store(part: Part) -> Stored:
        return await store_read(place, part, read)

    return await for_each(parts, store, count)


async def store_read(place: Place, part: Part, read: ReadPart) -> Stored:
    """Store one part; see `store_parts`."""
    upload, size = PartUpload(place, part), part.size_bytes or 0
    try:
        for start in range(0, size, piece_bytes_of(size)):
            length = min(piece_bytes_of(size), size - start)
            await upload.reserve(length)
            await upload.send(await read(part.path, start, length))
        return Stored(part, await upload.finish(part))
    finally:
        await to_the_end(upload.abandon())


async def find_stored(place: Place, part: Part) -> Stored | None:
    """Return a left-over under the part's key that is the part, by its SHA-256; else None.

    Raises:
        StoreUnavailableError, StoreAccessDeniedError.
    """
    sha256, checksum = hashlib.sha256(), 0
    try:
        reader = await place.store.read(place.key(part))
        async for chunk in reader:
            data = bytes(chunk)
            await place.off_the_loop(sha256.update, data)
            checksum = checksum_of([data], checksum)
    except (KeyNotFoundError, EtagMismatchError):
        return None
    if sha256.hexdigest() != part.sha256_hex:
        return None
    return Stored(replace(part, crc64nvme=checksum), reader.info)


async def copy_stored(place: Place, part: Part, source: StoredPart) -> Stored | None:
    """Store a part from an equal one of another version; None where that is not what it was.

    Raises: as `store_parts`.
    """
    known = replace(part, crc64nvme=source.part.crc64nvme)
    try:
        info = await place.store.head(source.key)
        if info.size_bytes != part.size_bytes:
            return None
        copied = await store_copy(place, known, CopySource(place.store.url, source.key, info.etag))
        return copied or await store_read(place, known, _reader(place.store, source.key))
    except (DigestMismatchError, KeyNotFoundError, EtagMismatchError):
        return None


async def store_copy(place: Place, part: Part, source: CopySource) -> Stored | None:
    """Have the store copy a part, whose checksums are known; None where it cannot.

    Raises:
        KeyNotFoundError, EtagMismatchError: the source is gone, or another.
        and what `store_parts` raises.
    """
    upload = PartUpload(place, part)
    try:
        await upload.copy_from(source)
        return Stored(part, await upload.finish(part))
    except CannotCopyError:
        return None
    finally:
        await to_the_end(upload.abandon())


def _reader(store: ObjectStore, key: str) -> ReadPart:
    async def read(_: PartPath, start: int, length: int) -> bytes:
        reader = await store.read(key, start=start, length=length)
        return b"".join([chunk async for chunk in reader])

    return read


async def confirm(place: Place, kind: AssetKind, stored: Iterable[Stored]) -> None:
    """Look once more at what stands there: each part, as it was proven.

    Raises:
        ClaimLostError: somebody released the claim meanwhile.
        DigestMismatchError: a part is gone, or another.
    """
    found = await place.catalog.parts_in_store(place.claimed.name, place.claimed.version, kind)
    for one in stored:
        info = found.get(one.part.path)
        if info is not None and (info.etag, info.size_bytes) == (
            one.info.etag,
            one.part.size_bytes,
        ):
            continue
        if await find_equal(place, one.part) is None:
            await place.claims.require_held(place.claimed)
            raise DigestMismatchError(
                "{key} was stored, and by now is gone or another (crc64nvme {expected} was sent):"
                " the version is not committed",
                key=place.key(one.part),
                expected=encode_crc64nvme(one.part.crc64nvme or 0),
            )


async def for_each(
    parts: Iterable[Part], find: Callable[[Part], Awaitable[Stored | None]], count: Count
) -> dict[str, Stored]:
    """Store or find every part, some at once; the first failure ends all.

    Returns those that were to be had.
    """
    found: dict[str, Stored] = {}
    turns = asyncio.Semaphore(_PARTS_AT_ONCE)

    async def one(part: Part) -> None:
        async with turns:
            stored = await find(part)
        if stored is not None:
            found[part.path] = stored
            count(part.size_bytes or 0)

    try:
        async with asyncio.TaskGroup() as group:
            for part in parts:
                group.create_task(one(part))
    except BaseExceptionGroup as failures:
        raise first_error(failures) from failures
    return found


class ArrivingParts:
    """Takes the chunks of a claimed push, and stores each part while the next arrives.

    Call `complete`, or `abandon`, at the end.
    """

    def __init__(self, place: Place, count: Count) -> None:
        self._place = place
        self._count = count
        self._arriving: dict[PartPath, _ArrivingPart] = {}
        self._lengths: dict[PartPath, int] = {}
        self._finishing: set[asyncio.Task[None]] = set()
        self._stored: dict[str, Stored] = {}

    def length(self, path: PartPath) -> int:
        """Return how many bytes of a file have come."""
        return self._lengths.get(path, 0)

    def has(self, stored: Mapping[str, Stored]) -> None:
        """Take parts that the store has already."""
        self._stored |= stored

    async def append(self, part: Part, data: bytes) -> None:
        """Take the next bytes of a file, no more than its size; waits while the store is behind.

        Raises:
            PushMismatchError: a part that came whole is not what was announced; or too many files
                are unfinished at once.
            and what `store_parts` raises, for this part or one before it.
        """
        await self._settle_down_to(_MAX_FINISHING)
        arriving = self._arriving.get(part.path)
        if arriving is None:
            if len(self._arriving) >= _MAX_UNFINISHED:
                raise _too_many_unfinished(part)
            arriving = self._arriving[part.path] = _ArrivingPart(self._place, part)
        self._lengths[part.path] = self.length(part.path) + len(data)
        await arriving.append(data)
        if self._lengths[part.path] == part.size_bytes:
            self._finish(part.path, arriving)

    def _finish(self, path: PartPath, arriving: "_ArrivingPart") -> None:
        del self._arriving[path]
        finishing = asyncio.create_task(self._store(arriving))
        self._finishing.add(finishing)

    async def _store(self, arriving: "_ArrivingPart") -> None:
        stored = await arriving.finish()
        self._stored[stored.part.path] = stored
        self._count(stored.part.size_bytes or 0)

    async def _settle_down_to(self, count: int) -> None:
        """Wait until no more parts than that are on their last step; raise what one raised."""
        while True:
            for task in [task for task in self._finishing if task.done()]:
                self._finishing.remove(task)
                task.result()
            if len(self._finishing) <= count:
                return
            await asyncio.wait(self._finishing, return_when=asyncio.FIRST_COMPLETED)

    async def complete(self, parts: Iterable[Part]) -> dict[str, Stored]:
        """Return all parts, stored, once each has come whole; empty ones need no chunk.

        Raises:
            PushMismatchError: bytes of a part are missing; and as `append`.
        """
        missing = [part for part in parts if part.path not in self._lengths]
        for part in missing:
            if part.path not in self._stored and not part.size_bytes:
                await self._settle_down_to(_MAX_FINISHING)
                self._finish_empty(part)
        await self._settle_down_to(0)
        return self._stored

    def _finish_empty(self, part: Part) -> None:
        arriving = self._arriving[part.path] = _ArrivingPart(self._place, part)
        self._finish(part.path, arriving)

    async def abandon(self) -> None:
        """Stop, and drop what has not come whole. Idempotent.

        What has is stored to its end, if that takes a moment only: a repeat need not send it.
        """
        if self._finishing:
            await asyncio.wait(self._finishing, timeout=_LAST_MOMENT_SECONDS)
        for task in self._finishing:
            task.cancel()
        for task in self._finishing:
            await ended(task)
        for arriving in self._arriving.values():
            await arriving.abandon()


class _ArrivingPart:
    """One file of a stream: hashed as it comes, handed on in pieces."""

    def __init__(self, place: Place, part: Part) -> None:
        self._place = place
        self._part = part
        self._upload = PartUpload(place, part)
        self._piece_bytes = piece_bytes_of(part.size_bytes or 0)
        self._chunks: list[bytes] = []
        self._left = part.size_bytes or 0
        self._room = min(self._piece_bytes, self._left)
        self._sha256 = hashlib.sha256()
        self._checksum = 0
        self._hashing: asyncio.Task[None] | None = None

    async def append(self, data: bytes) -> None:
        while data:
            taken, data = data[: self._room], data[self._room :]
            self._chunks.append(taken)
            self._room -= len(taken)
            self._left -= len(taken)
            if self._room == 0:
                await self._send()

    async def _send(self) -> None:
        piece, self._chunks = b"".join(self._chunks), []
        self._room = min(self._piece_bytes, self._left)
        await self._upload.reserve(len(piece))
        self._hashing = asyncio.create_task(self._hash(self._hashing, piece))
        await self._upload.send(piece)

    async def _hash(self, before: "asyncio.Task[None] | None", piece: bytes) -> None:
        if before is not None:
            await before
        await self._place.off_the_loop(self._update, piece)

    def _update(self, piece: bytes) -> None:
        self._sha256.update(piece)
        self._checksum = checksum_of([piece], self._checksum)

    async def finish(self) -> Stored:
        try:
            if self._hashing is not None:
                await self._hashing
            found = self._sha256.hexdigest()
            if found != self._part.sha256_hex:
                raise other_bytes(self._part, found)
            part = replace(self._part, crc64nvme=self._checksum)
            return Stored(part, await self._upload.finish(part))
        finally:
            await to_the_end(self.abandon())

    async def abandon(self) -> None:
        if self._hashing is not None:
            await ended(self._hashing)
        await self._upload.abandon()


def other_bytes(announced: Part, found: str | None) -> PushMismatchError:
    """Return the failure of a file that is not what was announced."""
    return PushMismatchError(
        "{path!r} has the SHA-256 {found}, and {expected} was announced: the file changed while it"
        " was sent, or was damaged on the way",
        field="files.files.digest",
        path=announced.path,
        found=found,
        expected=announced.sha256_hex,
    )


def _too_many_unfinished(part: Part) -> PushMismatchError:
    return PushMismatchError(
        "a chunk of {path!r} came while {limit} other files are unfinished: finish one file before"
        " the next",
        field="chunk.path",
        path=part.path,
        limit=_MAX_UNFINISHED,
    )
