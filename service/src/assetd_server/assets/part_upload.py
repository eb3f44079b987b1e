"""One part on its way into the store, piece by piece: created, never overwritten, proven equal.

An equal left-over of an earlier push is kept. An unequal one, of a claim that was released, is
replaced by an upload that the claim lists, so that whoever takes the claim over can end it first
(`layout.md`, "Push", step 5). What proves a part equal is what the store tells of the bytes that it
took; where it tells nothing, they are read back.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from assetd_server.assets.byte_budget import ByteBudget
from assetd_server.assets.claimed import ClaimedVersion, ClaimedVersions, ClaimLostError
from assetd_server.assets.shielding import ended, to_the_end
from assetd_server.assets.threads import Threads
from assetd_server.cache.ingest import checksum_of
from assetd_server.errors import AssetError, DigestMismatchError, StoreUnavailableError
from assetd_server.manifest import Part, encode_crc64nvme
from assetd_server.model import PartPath
from assetd_server.store.base import (
    Buffer,
    CopySource,
    EtagMismatchError,
    KeyExistsError,
    KeyNotFoundError,
    ObjectInfo,
    ObjectStore,
    Upload,
    UploadNotFoundError,
)
from assetd_server.store.catalog import Catalog, part_key

# S3 takes 10,000 pieces an object, of 5 MiB or more each.
PIECE_BYTES = 16 * 2**20
_MAX_PIECES = 10_000
# A range that a store copies by itself; S3 allows 5 GiB.
COPY_BYTES = 2**30
_REPLACE_TRIES = 5
# To hash so many takes less than the hop into a thread is worth.
SHORT_BYTES = 256 * 2**10

A = TypeVar("A")
T = TypeVar("T")

# Takes how many bytes of a part are in the store by now.
Count = Callable[[PartPath, int], None]


def length_of(data: Sequence[Buffer]) -> int:
    """Return how many bytes some buffers have."""
    return sum(map(len, data))


def piece_bytes_of(size_bytes: int) -> int:
    """Return the length of every piece but the last of a part with that size."""
    return max(PIECE_BYTES, -(-size_bytes // _MAX_PIECES))


@dataclass(frozen=True)
class Place:
    """Where the parts of one claimed version go, and what may be used on the way.

    `budget` bounds the bytes that all pushes hold in memory together, `turns` the calls. `count` is
    told of each piece that the store has taken.
    """

    catalog: Catalog
    claims: ClaimedVersions
    claimed: ClaimedVersion
    budget: ByteBudget
    turns: asyncio.Semaphore
    threads: Threads
    count: Count

    @property
    def store(self) -> ObjectStore:
        """The store."""
        return self.catalog.store

    @property
    def root(self) -> str:
        """The key of the version itself, at or below which all its parts are."""
        return part_key(self.claimed.name, self.claimed.version, PartPath.of_file())

    def key(self, part: Part) -> str:
        """Return the key of a part."""
        return part_key(self.claimed.name, self.claimed.version, part.path)

    async def off_the_loop(self, length: int, work: Callable[[A], T], data: A) -> T:
        """Do work that takes time with the `length` of `data` in a thread, unless it is short."""
        return work(data) if length <= SHORT_BYTES else await self.threads.run(work, data)


class PartUpload:
    """Takes the pieces of one part in order, then shows it. Call `finish` or `abandon` at the end.

    A part of one piece is one create. More go as one upload, some pieces at once.
    """

    def __init__(self, place: Place, part: Part) -> None:
        self._place = place
        self._store = place.store
        self._key = place.key(part)
        self._path = part.path
        self._size_bytes = part.size_bytes or 0
        self._small: Buffer = b""
        self._is_copy = False
        self._held_bytes = 0
        self._upload: Upload | None = None
        self._sending: list[asyncio.Task[str]] = []
        self._offset = 0
        self._taken_bytes = 0

    @property
    def sent_bytes(self) -> int:
        """How many bytes are on their way, or there, in pieces of an upload."""
        return self._offset

    async def resume(self, place: Place) -> None:
        """Go on under a later claim on the same version, once all pieces sent so far are there.

        Raises:
            ClaimLostError: somebody has ended the upload.
            DiskFullError, IoError: it cannot be noted.
            StoreUnavailableError, StoreAccessDeniedError: a piece did not arrive.
        """
        await asyncio.gather(*self._sending)
        if self._upload is not None:
            await place.claims.note_upload(place.claimed, self._upload)
        self._place = place
        place.count(self._path, self._taken_bytes)

    async def reserve(self, length: int) -> None:
        """Return when there is room in memory for the next piece."""
        await self._place.budget.acquire(length)
        self._held_bytes += length

    async def send(self, data: Sequence[Buffer]) -> None:
        """Take the next piece, for which room was reserved, in the buffers that it came in.

        Raises:
            StoreUnavailableError, StoreAccessDeniedError, DiskFullError: an upload cannot be begun,
                or a piece before this one failed.
        """
        if self._size_bytes <= PIECE_BYTES:
            self._small = data[0] if len(data) == 1 else b"".join(data)
            return
        upload = self._upload or await self._begin()
        for task in self._sending:
            if task.done():
                task.result()
        number = len(self._sending) + 1
        sending = self._send(upload, number, self._offset, data)
        self._sending.append(asyncio.create_task(sending))
        self._offset += length_of(data)

    async def _begin(self, *, for_copies: bool = False) -> Upload:
        """Return an upload that is begun and noted; what is begun is known, for `abandon` to drop.

        Also where the caller is cancelled meanwhile: the store may have begun it by then.
        """
        return await to_the_end(self._begin_and_note(for_copies))

    async def _begin_and_note(self, for_copies: bool) -> Upload:
        try:
            upload = await self._store.start_upload(self._key, for_copies=for_copies)
        except AssetError:
            self._place.claims.doubt_uploads(self._place.claimed)
            raise
        self._upload = upload
        if upload.may_have_twins:
            self._place.claims.doubt_uploads(self._place.claimed)
        await self._place.claims.note_upload(self._place.claimed, upload)
        return upload

    async def copy_from(self, source: CopySource) -> None:
        """Have the store copy the whole part, which is not empty; instead of `send`.

        That it can, `finish` tells.
        """
        self._is_copy = True
        upload = await self._begin(for_copies=True)
        for number, offset in enumerate(range(0, self._size_bytes, COPY_BYTES), 1):
            length = min(COPY_BYTES, self._size_bytes - offset)
            copy = partial(self._store.copy_part, upload, number, offset, length, source)
            self._sending.append(asyncio.create_task(self._in_turn(copy, length)))

    async def _send(self, upload: Upload, number: int, offset: int, data: Sequence[Buffer]) -> str:
        length = length_of(data)
        try:
            send = partial(self._store.upload_part, upload, number, offset, data)
            return await self._in_turn(send, length)
        finally:
            self._release(length)

    async def _in_turn(self, call: Callable[[], Awaitable[str]], length: int) -> str:
        """Return the receipt of a piece that is sent, or copied, when its turn comes."""
        try:
            async with self._place.turns:
                receipt = await call()
        except UploadNotFoundError:
            # Somebody took this push for dead, and ended what it had begun.
            raise ClaimLostError from None
        self._taken_bytes += length
        self._place.count(self._path, self._taken_bytes)
        return receipt

    def _let_go(self) -> None:
        self._release(self._held_bytes)
        self._small = b""

    def _release(self, count: int) -> None:
        self._held_bytes -= count
        self._place.budget.release(count)

    async def finish(self, part: Part) -> ObjectInfo:
        """Show the part, whose checksums are known by now; return what stands there, proven equal.

        Raises:
            ClaimLostError: somebody released the claim meanwhile.
            DigestMismatchError: the part reads back other than it was written.
            CannotCopyError, KeyNotFoundError, EtagMismatchError: it cannot be copied.
            StoreUnavailableError, StoreAccessDeniedError, DiskFullError.
        """
        try:
            return await self._finish(part)
        finally:
            await self.close()

    async def _finish(self, part: Part) -> ObjectInfo:
        try:
            info = await self._create()
        except KeyExistsError:
            kept = await find_equal(self._place, part)
            if kept is not None:
                return kept
            info = await self._replace(part)
        proven = await self._prove(part, info)
        if proven is None:
            await self._place.claims.require_held(self._place.claimed)
            raise DigestMismatchError(
                "{key} reads back from the store other than it was written (crc64nvme {expected}"
                " was sent): the version is not committed",
                key=self._key,
                expected=encode_crc64nvme(part.crc64nvme or 0),
            )
        return proven

    async def _create(self) -> ObjectInfo:
        if self._upload is None:
            async with self._place.turns:
                return await self._store.create(self._key, self._small)
        receipts = await asyncio.gather(*self._sending)
        try:
            info = await self._store.create_from_upload(self._upload, receipts)
        except UploadNotFoundError:
            # Whoever took the claim over has ended it; or it was shown, and the answer was lost.
            raise KeyExistsError(self._key) from None
        self._upload = None
        return info

    async def _replace(self, part: Part) -> ObjectInfo:
        """Put the part over the unequal one of a released claim."""
        for _ in range(_REPLACE_TRIES):
            if self._upload is None:
                self._upload = await self._begin_again()
            receipts = await asyncio.gather(*self._sending)
            await self._place.claims.update(self._place.claimed, add_upload=self._upload)
            # The claim lists the upload now. If the version was committed before that, its bytes
            # are not ours to replace.
            claimed = self._place.claimed
            if await self._place.catalog.find_manifest(claimed.name, claimed.version) is not None:
                raise ClaimLostError
            try:
                info = await self._store.put_from_upload(
                    self._upload, receipts, within=self._place.root
                )
            except UploadNotFoundError:
                self._upload = None
                kept = await find_equal(self._place, part)
                if kept is not None:
                    return kept
            except KeyExistsError:
                # Where keys are paths: a call of a push that was given up came late, with an object
                # where a folder has to be, or the reverse. Another number is free of it.
                raise StoreUnavailableError(
                    "{key} cannot be stored: an object of another kind is in its way, left by a"
                    " push that was given up; push again, or another version",
                    key=self._key,
                ) from None
            else:
                self._upload = None
                return info
        raise StoreUnavailableError(
            "uploads of {key} keep vanishing from the store: look for a rule that aborts them",
            key=self._key,
        )

    async def _begin_again(self) -> Upload:
        if self._is_copy or self._size_bytes > PIECE_BYTES:
            # The bytes have been let go, or were never here.
            raise ClaimLostError
        upload = await self._begin()
        self._taken_bytes = 0
        send = partial(self._store.upload_part, upload, 1, 0, [self._small])
        self._sending = [asyncio.create_task(self._in_turn(send, len(self._small)))]
        return upload

    async def _prove(self, part: Part, info: ObjectInfo) -> ObjectInfo | None:
        """Tell whether the store took the very bytes; None: it did not."""
        if info.is_compared:
            return info
        if info.md5_hex is None or self._is_copy or self._size_bytes > PIECE_BYTES:
            return await find_equal(self._place, part)
        md5_hex = await self._place.off_the_loop(len(self._small), _md5_hex, self._small)
        return info if info.md5_hex == md5_hex else await find_equal(self._place, part)

    async def close(self) -> None:
        """Drop what was not shown, also where the caller is cancelled meanwhile. Idempotent."""
        if self._sending or self._upload is not None:
            await to_the_end(self.abandon())
        else:
            self._let_go()

    async def abandon(self) -> bool:
        """Drop what was not shown. Idempotent.

        Returns whether nothing of it is left in the store.
        """
        for task in self._sending:
            task.cancel()
        for task in self._sending:
            await ended(task)
        self._let_go()
        upload, self._upload = self._upload, None
        try:
            if upload is not None:
                await self._store.abort_upload(upload)
        except AssetError:
            # What made the push fail matters more than an upload that stays for now.
            self._place.claims.doubt_uploads(self._place.claimed)
            return False
        return True


async def find_equal(place: Place, part: Part) -> ObjectInfo | None:
    """Return what stands under the part's key, if it is the part; None: nothing, or another.

    By the checksum that the store keeps, where it keeps one; else by the bytes.
    """
    key = place.key(part)
    try:
        info, checksum = await place.store.checksum(key)
        if info.size_bytes != part.size_bytes:
            return None
        if checksum is None:
            info, checksum = await _read_checksum(place.store, key)
    except (KeyNotFoundError, EtagMismatchError):
        return None  # it went, or was replaced, also while it was read
    return info if checksum == part.crc64nvme else None


async def _read_checksum(store: ObjectStore, key: str) -> tuple[ObjectInfo, int]:
    checksum = 0
    reader = await store.read(key)
    async for chunk in reader:
        checksum = checksum_of([chunk], checksum)
    return reader.info, checksum


def _md5_hex(data: Buffer) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()
