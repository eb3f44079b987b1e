"""Stores in memory that break a promise of `ObjectStore` on purpose: what the probe has to find."""

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import suppress

from assetd_server.errors import StoreAccessDeniedError, StoreUnavailableError
from assetd_server.store.base import (
    Buffer,
    EtagMismatchError,
    KeyExistsError,
    KeyNotFoundError,
    Listing,
    ObjectInfo,
    Upload,
    UploadNotFoundError,
)

from tests.support.memory_store import MemoryStore

# Between a look and the write: as a window of some milliseconds is to calls over a network.
_WINDOW_TURNS = 20


class LaxStore(MemoryStore):
    """Ignores the conditions of some operations; with `window`, looks first and writes later."""

    def __init__(self, *operations: str, window: bool = False) -> None:
        super().__init__()
        self._lax: Collection[str] = operations
        self._window = window

    async def create(self, key: str, data: Buffer) -> ObjectInfo:
        """Write an object, wherever."""
        if "create" not in self._lax:
            return await super().create(key, data)
        await self._look(key, None)
        return await self.put(key, data)

    async def swap(self, key: str, data: Buffer, etag: str) -> ObjectInfo:
        """Write an object over another one."""
        if "swap" not in self._lax:
            return await super().swap(key, data, etag)
        await self._look(key, etag)
        return await self.put(key, data)

    async def create_from_upload(self, upload: Upload, receipts: Sequence[str]) -> ObjectInfo:
        """Show an upload, wherever."""
        if "create_from_upload" not in self._lax:
            return await super().create_from_upload(upload, receipts)
        await self._look(upload.key, None)
        return await self.put_from_upload(upload, receipts)

    async def _look(self, key: str, etag: str | None) -> None:
        if not self._window:
            return
        try:
            there = (await self.head(key)).etag
        except KeyNotFoundError:
            there = None
        if there != etag:
            raise KeyExistsError(key) if etag is None else EtagMismatchError(key)
        await _turns()


class OverwritingStore(MemoryStore):
    """Lets uploads replace each other, and tells of the replaced one as of an upload that is gone.

    So does moto, as seen through our S3 store, which compares what stands there with what it sent.
    """

    async def create_from_upload(self, upload: Upload, receipts: Sequence[str]) -> ObjectInfo:
        """Show the upload if the key was absent a moment ago."""
        with suppress(KeyNotFoundError):
            await self.head(upload.key)
            raise KeyExistsError(upload.key)
        info = await self.put_from_upload(upload, receipts)
        await _turns()
        if await self.head(upload.key) != info:
            raise UploadNotFoundError(upload.key)
        return info


class SwappingNothingStore(MemoryStore):
    """Takes the condition of a swap for met where nothing is."""

    async def swap(self, key: str, data: Buffer, etag: str) -> ObjectInfo:
        """Replace the object, or create it."""
        with suppress(KeyExistsError):
            return await self.create(key, data)
        return await super().swap(key, data, etag)


class KeepingStore(MemoryStore):
    """Says yes to an abort, and forgets it."""

    async def abort_upload(self, upload: Upload) -> None:
        """Keep the upload."""


class FailingOnAbortedStore(MemoryStore):
    """Fails, as moto does, where it should say that an upload is gone."""

    async def create_from_upload(self, upload: Upload, receipts: Sequence[str]) -> ObjectInfo:
        """Show the upload, or fail."""
        try:
            return await super().create_from_upload(upload, receipts)
        except UploadNotFoundError:
            raise StoreUnavailableError(
                "the store did not answer for {key}: {cause}", key=upload.key, cause="HTTP 500"
            ) from None


class DenyingStore(MemoryStore):
    """Denies access where a key is absent, as S3 does to whoever may not list."""

    async def head(self, key: str) -> ObjectInfo:
        """Return the facts of an object, or refuse."""
        try:
            return await super().head(key)
        except KeyNotFoundError:
            raise StoreAccessDeniedError(
                "the store refused {key}: {cause}", key=key, cause="HTTP 403 AccessDenied"
            ) from None


class UnlistedStore(MemoryStore):
    """Lists nothing of what was written."""

    async def list(
        self, prefix: str, *, after: str = "", delimiter: bool = False
    ) -> AsyncIterator[Listing]:
        """Yield empty pages."""
        async for _ in super().list(prefix, after=after, delimiter=delimiter):
            yield Listing(objects=[])


async def _turns() -> None:
    for _ in range(_WINDOW_TURNS):
        await asyncio.sleep(0)
