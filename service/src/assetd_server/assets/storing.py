"""The parts of a claimed version into the store, from wherever their bytes come.

From this node's disk (`store_parts`), from a caller's stream while it arrives (`ArrivingParts`), or
from what the store has already (`find_stored`, `copy_stored`). Memory is bounded by the `Place`.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace

from assetd_server.assets.part_upload import Count, PartUpload, Place, find_equal, piece_bytes_of
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

_PARTS_AT_ONCE = 32

ReadPart = Callable[[PartPath, int, int], Awaitable[bytes]]


@dataclass(frozen=True)
class Stored:
    """A part, and what stands in the store for it, proven equal."""

    part: Part
    info: ObjectInfo


async def store_parts(place: Place, parts: Iterable[Part], read: ReadPart) -> dict[str, Stored]:
    """Store parts whose checksums are known; `read` gives ranges of their bytes.

    Raises:
        ClaimLostError: somebody released the claim meanwhile.
        DigestMismatchError: a part reads back other than it was written.
        StoreUnavailableError, StoreAccessDeniedError, DiskFullError; and what `read` raises.
    """

    async def store(part: Part) -> Stored:
        return await store_read(place, part, read)

    return await for_each(parts, store, place.count)


async def store_read(place: Place, part: Part, read: ReadPart) -> Stored:
    """Store one part; see `store_parts`."""
    upload, size = PartUpload(place, part), part.size_bytes or 0
    try:
        for start in range(0, size, piece_bytes_of(size)):
            length = min(piece_bytes_of(size), size - start)
            await upload.reserve(length)
            await upload.send([await read(part.path, start, length)])
        return Stored(part, await upload.finish(part))
    finally:
        await upload.close()


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
            await place.off_the_loop(len(data), sha256.update, data)
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
        await upload.close()


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
            count(part.path, part.size_bytes or 0)

    try:
        async with asyncio.TaskGroup() as group:
            for part in parts:
                group.create_task(one(part))
    except BaseExceptionGroup as failures:
        raise first_error(failures) from failures
    return found


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
