"""The one layer that repeats what a store could not do, around any `ObjectStore`.

Only `StoreUnavailableError` is repeated: everything else is an answer. Conditional writes are too,
though the first try may have taken effect: that shows as `KeyExistsError`, `EtagMismatchError` or
`UploadNotFoundError`, and callers settle it by reading, as they have to in any case. Knows no SDK
and no status: the stores below neither repeat nor wait.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from assetd_server.errors import StoreUnavailableError
from assetd_server.store.base import (
    Buffer,
    CopySource,
    Listing,
    ObjectInfo,
    ObjectReader,
    ObjectStore,
    UnfinishedUpload,
    Upload,
)

T = TypeVar("T")


@dataclass(frozen=True)
class Retry:
    """A call that failed and is repeated, as try number `attempt`, in `delay_seconds`."""

    operation: str
    key: str
    attempt: int
    delay_seconds: float
    error: StoreUnavailableError


@dataclass(frozen=True)
class RetryPolicy:
    """How long to go on: at most `attempts` in a row, none of them later than `within_seconds`.

    Both count from the call, or from the last byte or page that came of it. Waits are random, up to
    a bound that begins with `base_delay_seconds` and doubles up to `max_delay_seconds`: so callers
    that failed together do not come back together.
    """

    attempts: int = 6
    within_seconds: float = 30.0
    base_delay_seconds: float = 0.2
    max_delay_seconds: float = 5.0

    def delay_bound_seconds(self, failures: int) -> float:
        """Return the longest wait after that many failures in a row."""
        return min(self.base_delay_seconds * 2.0 ** (failures - 1), self.max_delay_seconds)


class RetryingStore(ObjectStore):
    """`inner`, where a call fails with `StoreUnavailableError` only after it was tried for a while.

    A reader goes on at the byte that it has reached, with the ETag of its first answer; a listing
    after the last name that it has told. Neither yields anything twice. `on_retry` is called before
    each wait, from the event loop. `sleep`, `draw` (a number from 0 to 1) and `monotonic_seconds`
    are the waits, the dice and the clock.
    """

    def __init__(
        self,
        inner: ObjectStore,
        policy: RetryPolicy | None = None,
        *,
        on_retry: Callable[[Retry], None] = lambda _: None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        draw: Callable[[], float] = random.random,
        monotonic_seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self._inner = inner
        self._tries = partial(
            _Tries, policy or RetryPolicy(), on_retry, sleep, draw, monotonic_seconds
        )

    @property
    def url(self) -> str:
        """The inner store's."""
        return self._inner.url

    async def head(self, key: str) -> ObjectInfo:
        """See `ObjectStore.head`."""
        return await self._repeat("head", key, partial(self._inner.head, key))

    async def checksum(self, key: str) -> tuple[ObjectInfo, int | None]:
        """See `ObjectStore.checksum`."""
        return await self._repeat("checksum", key, partial(self._inner.checksum, key))

    async def get(self, key: str, max_bytes: int) -> tuple[ObjectInfo, bytes]:
        """See `ObjectStore.get`."""
        return await self._repeat("get", key, partial(self._inner.get, key, max_bytes))

    async def read(
        self, key: str, *, start: int = 0, length: int | None = None, etag: str | None = None
    ) -> ObjectReader:
        """Open the range, and again whenever it breaks off; see `ObjectStore.read`."""
        opened = partial(self._inner.read, key, start=start, length=length, etag=etag)
        first = await self._repeat("read", key, opened)
        size_bytes = first.info.size_bytes
        end = size_bytes if length is None else min(start + length, size_bytes)
        return _ResumingReader(self._inner, first, start, max(start, end), self._tries("read", key))

    async def list(
        self, prefix: str, *, after: str = "", delimiter: bool = False
    ) -> AsyncIterator[Listing]:
        """List, and go on after the last name told; see `ObjectStore.list`."""
        tries = self._tries("list", prefix)
        while True:
            try:
                async for page in self._inner.list(prefix, after=after, delimiter=delimiter):
                    tries.restart()
                    after = max([after, *page.prefixes[-1:], *(o.key for o in page.objects[-1:])])
                    yield page
            except StoreUnavailableError as error:
                await tries.wait_after(error)
            else:
                return

    async def put(self, key: str, data: Buffer) -> ObjectInfo:
        """See `ObjectStore.put`."""
        return await self._repeat("put", key, partial(self._inner.put, key, data))

    async def create(self, key: str, data: Buffer) -> ObjectInfo:
        """See `ObjectStore.create`. `KeyExistsError` may speak of our own first try."""
        return await self._repeat("create", key, partial(self._inner.create, key, data))

    async def swap(self, key: str, data: Buffer, etag: str) -> ObjectInfo:
        """See `ObjectStore.swap`. `EtagMismatchError` may speak of our own first try."""
        return await self._repeat("swap", key, partial(self._inner.swap, key, data, etag))

    async def refuses_damage(self, key: str) -> bool:
        """See `ObjectStore.refuses_damage`; asked once."""
        return await self._inner.refuses_damage(key)

    async def delete(self, key: str) -> None:
        """See `ObjectStore.delete`."""
        await self._repeat("delete", key, partial(self._inner.delete, key))

    async def start_upload(self, key: str, *, for_copies: bool = False) -> Upload:
        """See `ObjectStore.start_upload`. What a try began whose answer was lost stays, empty."""
        call = partial(self._inner.start_upload, key, for_copies=for_copies)
        tries = self._tries("start_upload", key)
        upload = await tries.repeat(call)
        return replace(upload, may_have_twins=tries.has_failed)

    async def upload_part(
        self, upload: Upload, number: int, offset: int, data: Sequence[Buffer]
    ) -> str:
        """See `ObjectStore.upload_part`."""
        call = partial(self._inner.upload_part, upload, number, offset, data)
        return await self._repeat("upload_part", upload.key, call)

    async def copy_part(
        self, upload: Upload, number: int, offset: int, length: int, source: CopySource
    ) -> str:
        """See `ObjectStore.copy_part`."""
        call = partial(self._inner.copy_part, upload, number, offset, length, source)
        return await self._repeat("copy_part", upload.key, call)

    async def create_from_upload(self, upload: Upload, receipts: Sequence[str]) -> ObjectInfo:
        """See `ObjectStore.create_from_upload`. A refusal may be due to our own first try."""
        call = partial(self._inner.create_from_upload, upload, receipts)
        return await self._repeat("create_from_upload", upload.key, call)

    async def put_from_upload(
        self, upload: Upload, receipts: Sequence[str], *, within: str = ""
    ) -> ObjectInfo:
        """See `ObjectStore.put_from_upload`. A refusal may be due to our own first try."""
        call = partial(self._inner.put_from_upload, upload, receipts, within=within)
        return await self._repeat("put_from_upload", upload.key, call)

    async def abort_upload(self, upload: Upload) -> None:
        """See `ObjectStore.abort_upload`."""
        await self._repeat("abort_upload", upload.key, partial(self._inner.abort_upload, upload))

    async def uploads(self, prefix: str) -> AsyncIterator[UnfinishedUpload]:
        """See `ObjectStore.uploads`. All are gathered first, as none can be told twice."""

        async def gather() -> list[UnfinishedUpload]:
            return [upload async for upload in self._inner.uploads(prefix)]

        for upload in await self._repeat("uploads", prefix, gather):
            yield upload

    async def close(self) -> None:
        """Close the inner store."""
        await self._inner.close()

    async def _repeat(self, operation: str, key: str, call: Callable[[], Awaitable[T]]) -> T:
        return await self._tries(operation, key).repeat(call)


class _Tries:
    """The failures in a row of one call, and the waits between them."""

    def __init__(
        self,
        policy: RetryPolicy,
        on_retry: Callable[[Retry], None],
        sleep: Callable[[float], Awaitable[object]],
        draw: Callable[[], float],
        monotonic_seconds: Callable[[], float],
        operation: str,
        key: str,
    ) -> None:
        self._policy = policy
        self._on_retry = on_retry
        self._sleep = sleep
        self._draw = draw
        self._monotonic_seconds = monotonic_seconds
        self._operation = operation
        self._key = key
        self.restart()

    @property
    def has_failed(self) -> bool:
        """Whether a try has failed since the beginning, or since the last restart."""
        return self._failures > 0

    def restart(self) -> None:
        """Count anew: something came."""
        self._failures = 0
        self._began_seconds = self._monotonic_seconds()

    async def repeat(self, call: Callable[[], Awaitable[T]]) -> T:
        """Return what the call returns, at the first try that does not fail."""
        while True:
            try:
                return await call()
            except StoreUnavailableError as error:
                await self.wait_after(error)

    async def wait_after(self, error: StoreUnavailableError) -> None:
        """Wait before the next try.

        Raises:
            StoreUnavailableError: `error` again, where there shall be no other try.
        """
        self._failures += 1
        delay_seconds = self._draw() * self._policy.delay_bound_seconds(self._failures)
        next_seconds = self._monotonic_seconds() + delay_seconds - self._began_seconds
        if self._failures >= self._policy.attempts or next_seconds > self._policy.within_seconds:
            raise error
        self._on_retry(Retry(self._operation, self._key, self._failures + 1, delay_seconds, error))
        await self._sleep(delay_seconds)


class _ResumingReader:
    """The bytes `start` to `end` of one write, opened again where they break off."""

    def __init__(
        self, store: ObjectStore, first: ObjectReader, start: int, end: int, tries: _Tries
    ) -> None:
        self._store = store
        self._reader = first
        self._info = first.info
        self._position = start
        self._end = end
        self._tries = tries

    @property
    def info(self) -> ObjectInfo:
        return self._info

    async def __aiter__(self) -> AsyncIterator[Buffer]:
        while True:
            try:
                async for chunk in self._reader:
                    self._tries.restart()
                    self._position += len(chunk)
                    yield chunk
            except StoreUnavailableError as error:
                await self._tries.wait_after(error)
                await self._resume()
            else:
                return

    async def _resume(self) -> None:
        rest = partial(
            self._store.read,
            self._info.key,
            start=self._position,
            length=self._end - self._position,
            etag=self._info.etag,
        )
        self._reader = await self._tries.repeat(rest)
