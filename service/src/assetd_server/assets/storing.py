"""The parts of a claimed version into the store: created, never overwritten, read back.

An equal left-over of an earlier push is kept. An unequal one, of a claim that was released, is
replaced by an upload that the claim lists, so that whoever takes the claim over can end it first
(`layout.md`, "Push", step 5). Memory is bounded by what is uploaded at once.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress

from assetd_server.assets.claimed import ClaimedVersion, ClaimedVersions, ClaimLostError
from assetd_server.assets.shielding import to_the_end
from assetd_server.assets.transfer import first_error
from assetd_server.cache.ingest import checksum_of
from assetd_server.errors import AssetError, DigestMismatchError, StoreUnavailableError
from assetd_server.manifest import Part, encode_crc64nvme
from assetd_server.model import PartPath
from assetd_server.store.base import (
    EtagMismatchError,
    KeyExistsError,
    KeyNotFoundError,
    ObjectStore,
    Upload,
    UploadNotFoundError,
)
from assetd_server.store.catalog import Catalog, part_key

# S3 takes 10,000 pieces an object, of 5 MiB or more each.
_PIECE_BYTES = 16 * 2**20
_MAX_PIECES = 10_000
_SMALL_AT_ONCE = 16
_PIECES_AT_ONCE = 4
_REPLACE_TRIES = 5

ReadPart = Callable[[PartPath, int, int], Awaitable[bytes]]


class PartStorage:
    """Stores the parts of one claimed version; `read` gives a range of a part's bytes."""

    def __init__(
        self,
        catalog: Catalog,
        claimed_versions: ClaimedVersions,
        claimed: ClaimedVersion,
        read: ReadPart,
        count_stored: Callable[[int], None],
    ) -> None:
        self._store: ObjectStore = catalog.store
        self._catalog = catalog
        self._claimed_versions = claimed_versions
        self._claimed = claimed
        self._read = read
        self._count_stored = count_stored
        self._parts_at_once = asyncio.Semaphore(_SMALL_AT_ONCE)
        self._pieces_at_once = asyncio.Semaphore(_PIECES_AT_ONCE)

    async def store_all(self, parts: Sequence[Part]) -> None:
        """Return when the store holds every part, and each was read back equal.

        Raises:
            ClaimLostError: somebody released the claim meanwhile.
            DigestMismatchError: a part reads back other than it was written.
            StoreUnavailableError, StoreAccessDeniedError, DiskFullError.
        """
        try:
            async with asyncio.TaskGroup() as group:
                for part in parts:
                    group.create_task(self._store_one(part))
        except BaseExceptionGroup as failures:
            raise first_error(failures) from failures

    async def _store_one(self, part: Part) -> None:
        key = part_key(self._claimed.name, self._claimed.version, part.path)
        async with self._parts_at_once:
            try:
                await self._create(key, part)
            except KeyExistsError:
                if not await self._is_equal(key, part):
                    await self._replace(key, part)
            if not await self._is_equal(key, part):
                raise DigestMismatchError(
                    "{key} reads back from the store other than it was written (crc64nvme"
                    " {expected} was sent): the version is not committed",
                    key=key,
                    expected=encode_crc64nvme(part.crc64nvme or 0),
                )
        self._count_stored(part.size_bytes or 0)

    async def _create(self, key: str, part: Part) -> None:
        size = part.size_bytes or 0
        if size <= _PIECE_BYTES:
            await self._store.create(key, await self._read(part.path, 0, size))
            return
        async with self._upload(key) as upload:
            receipts = await self._send_pieces(upload, part)
            await self._store.create_from_upload(upload, receipts)

    @asynccontextmanager
    async def _upload(self, key: str) -> AsyncIterator[Upload]:
        """Begin an upload, and drop it where the block fails."""
        upload = await self._store.start_upload(key)
        try:
            yield upload
        except BaseException:
            # What made the block fail matters more than an upload that stays.
            with suppress(AssetError):
                await to_the_end(self._store.abort_upload(upload))
            raise

    async def _send_pieces(self, upload: Upload, part: Part) -> list[str]:
        size = part.size_bytes or 0
        length = max(_PIECE_BYTES, -(-size // _MAX_PIECES))
        # An empty object is one empty piece.
        starts = range(0, max(size, 1), length)
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._send_piece(upload, part, number, start, length))
                for number, start in enumerate(starts, 1)
            ]
        return [task.result() for task in tasks]

    async def _send_piece(
        self, upload: Upload, part: Part, number: int, start: int, length: int
    ) -> str:
        async with self._pieces_at_once:
            data = await self._read(part.path, start, length)
            return await self._store.upload_part(upload, number, start, data)

    async def _is_equal(self, key: str, part: Part) -> bool:
        """Read what stands under the key and compare it with what is to stand there."""
        checksum = 0
        try:
            reader = await self._store.read(key)
            if reader.info.size_bytes != part.size_bytes:
                return False
            async for chunk in reader:
                checksum = checksum_of([chunk], checksum)
        except (KeyNotFoundError, EtagMismatchError):
            return False  # it went, or was replaced, also while it was read
        return checksum == part.crc64nvme

    async def _replace(self, key: str, part: Part) -> None:
        """Put a part over the unequal one of a released claim."""
        for _ in range(_REPLACE_TRIES):
            async with self._upload(key) as upload:
                receipts = await self._send_pieces(upload, part)
                await self._claimed_versions.update(self._claimed, add_upload=upload)
                # The claim lists the upload now. If the version was committed before that, its
                # bytes are not ours to replace.
                name, version = self._claimed.name, self._claimed.version
                if await self._catalog.find_manifest(name, version) is not None:
                    raise ClaimLostError
                try:
                    await self._store.put_from_upload(upload, receipts)
                except UploadNotFoundError:
                    if not await self._is_equal(key, part):
                        continue
                return
        raise StoreUnavailableError(
            "uploads of {key} keep vanishing from the store: look for a rule that aborts them",
            key=key,
        )
