"""A store around any other, whose calls a test stops, fails, delays or counts, named by their keys.

`MemoryStore` has such seams for the next step of a kind, whatever its key. Here a call is named by
its operation and the end of its key, as in `("create", "0.0.meta")`: that is how a protocol speaks.
Knows no asset.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
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

from tests.support.memory_store import Gate

_T = TypeVar("_T")


class Late:
    """A call that got no answer and takes effect when `arrive` is awaited, or never."""

    def __init__(self) -> None:
        self._call: Callable[[], Awaitable[object]] | None = None

    def send(self, call: Callable[[], Awaitable[object]]) -> None:
        """Take the call: the store calls it."""
        self._call = call

    @property
    def is_sent(self) -> bool:
        """Whether the call was made at all."""
        return self._call is not None

    async def arrive(self) -> None:
        """Let the call take effect now; its outcome reaches nobody."""
        assert self._call is not None
        await asyncio.gather(self._call(), return_exceptions=True)


@dataclass
class _Rule:
    operation: str
    key_end: str
    times: int
    gate: Gate | None = None
    holds_answer: bool = False
    error: Exception | None = None
    loses_answer: bool = False
    late: Late | None = None

    def takes(self, operation: str, key: str) -> bool:
        from_beginning = key.startswith(".") or self.key_end.endswith("/")
        return (
            self.times > 0
            and self.operation in ("*", operation)
            and (key.startswith if from_beginning else key.endswith)(self.key_end)
        )


class PausingStore(ObjectStore):
    """`inner`, with calls that wait, fail, or lose their answer where a test says so.

    A key is matched by its end; by its beginning where a rule names a folder (`a/b/`), or where the
    key lies below a dotted one. "" matches all keys, and "*" all operations.
    """

    def __init__(self, inner: ObjectStore) -> None:
        self.inner = inner
        self.calls: list[tuple[str, str]] = []
        self.read_ranges: list[tuple[str, int, int | None]] = []
        self._rules: list[_Rule] = []
        self._damage: Counter[str] = Counter()
        self._fails_at: int | None = None

    # For tests

    def pause(self, operation: str, key_end: str = "") -> Gate:
        """Stop the next such call before its effect, until the gate is opened."""
        gate = Gate()
        self._rules.append(_Rule(operation, key_end, 1, gate=gate))
        return gate

    def hold_answer(self, operation: str, key_end: str = "") -> Gate:
        """Let the next such call take effect, and its caller hear of it once the gate is opened."""
        gate = Gate()
        self._rules.append(_Rule(operation, key_end, 1, gate=gate, holds_answer=True))
        return gate

    def fail(
        self,
        operation: str,
        key_end: str = "",
        *,
        error: Exception | None = None,
        times: int = 1,
    ) -> None:
        """Let the next such calls fail before they have an effect."""
        self._rules.append(_Rule(operation, key_end, times, error=error or self._unavailable()))

    def go_down(self) -> None:
        """Let every call fail, until `come_back`."""
        self.fail("*", times=1 << 30)

    def come_back(self) -> None:
        """Forget all rules that have not been used up."""
        self._rules.clear()

    def lose_answer(self, operation: str, key_end: str = "", *, times: int = 1) -> None:
        """Let the next such calls take effect, and fail for their caller."""
        self._rules.append(
            _Rule(operation, key_end, times, error=self._unavailable(), loses_answer=True)
        )

    def delay(self, operation: str, key_end: str = "") -> Late:
        """Let the next such call fail for its caller, and take effect when the test says so."""
        late = Late()
        self._rules.append(_Rule(operation, key_end, 1, error=self._unavailable(), late=late))
        return late

    def fail_call(self, number: int) -> None:
        """Let call `number` from now on (1 is the next) fail before it has an effect."""
        self._fails_at = len(self.calls) + number

    def damage(self, key: str, *, times: int) -> None:
        """Flip a bit of the first byte of the next answers that read from `key`."""
        self._damage[key] += times

    def count(self, operation: str, key_end: str = "") -> int:
        """Return how many such calls there were."""
        rule = _Rule(operation, key_end, 1)
        return sum(rule.takes(*call) for call in self.calls)

    async def bytes_of(self, key: str) -> bytes:
        """Return what stands under a key, past all rules."""
        return (await self.inner.get(key, 1 << 30))[1]

    def _unavailable(self) -> StoreUnavailableError:
        return StoreUnavailableError("the store {store} was told to fail", store=self.url)

    async def _call(self, operation: str, key: str, call: Callable[[], Awaitable[_T]]) -> _T:
        rule = await self._begin(operation, key)
        if rule is not None and rule.late is not None:
            rule.late.send(call)
        elif rule is None or rule.loses_answer or rule.error is None:
            answer = await call()
            if rule is not None and rule.gate is not None and rule.holds_answer:
                await self._wait_at(rule.gate, operation, key)
            if rule is None or rule.error is None:
                return answer
        assert rule.error is not None
        raise rule.error

    async def _begin(self, operation: str, key: str) -> _Rule | None:
        self.calls.append((operation, key))
        if len(self.calls) == self._fails_at:
            raise self._unavailable()
        rule = next((rule for rule in self._rules if rule.takes(operation, key)), None)
        if rule is not None:
            rule.times -= 1
            if rule.gate is not None and not rule.holds_answer:
                await self._wait_at(rule.gate, operation, key)
        return rule

    async def _wait_at(self, gate: Gate, operation: str, key: str) -> None:
        try:
            await gate.pass_through()
        except asyncio.CancelledError:
            self.calls.append((f"cancelled {operation}", key))
            raise

    # The contract

    @property
    def url(self) -> str:
        return self.inner.url

    async def head(self, key: str) -> ObjectInfo:
        return await self._call("head", key, partial(self.inner.head, key))

    async def checksum(self, key: str) -> tuple[ObjectInfo, int | None]:
        return await self._call("checksum", key, partial(self.inner.checksum, key))

    async def get(self, key: str, max_bytes: int) -> tuple[ObjectInfo, bytes]:
        return await self._call("get", key, partial(self.inner.get, key, max_bytes))

    async def read(
        self, key: str, *, start: int = 0, length: int | None = None, etag: str | None = None
    ) -> ObjectReader:
        self.read_ranges.append((key, start, length))
        opened = partial(self.inner.read, key, start=start, length=length, etag=etag)
        return _DamagingReader(await self._call("read", key, opened), self._damage)

    async def list(
        self, prefix: str, *, after: str = "", delimiter: bool = False
    ) -> AsyncIterator[Listing]:
        rule = await self._begin("list", prefix)
        if rule is not None and rule.error is not None:
            raise rule.error
        async for page in self.inner.list(prefix, after=after, delimiter=delimiter):
            yield page

    async def put(self, key: str, data: Buffer) -> ObjectInfo:
        return await self._call("put", key, partial(self.inner.put, key, data))

    async def create(self, key: str, data: Buffer) -> ObjectInfo:
        return await self._call("create", key, partial(self.inner.create, key, data))

    async def refuses_damage(self, key: str) -> bool:
        return await self._call("refuses_damage", key, partial(self.inner.refuses_damage, key))

    async def swap(self, key: str, data: Buffer, etag: str) -> ObjectInfo:
        return await self._call("swap", key, partial(self.inner.swap, key, data, etag))

    async def delete(self, key: str) -> None:
        await self._call("delete", key, partial(self.inner.delete, key))

    async def start_upload(self, key: str, *, for_copies: bool = False) -> Upload:
        call = partial(self.inner.start_upload, key, for_copies=for_copies)
        return await self._call("start_upload", key, call)

    async def upload_part(
        self, upload: Upload, number: int, offset: int, data: Sequence[Buffer]
    ) -> str:
        call = partial(self.inner.upload_part, upload, number, offset, data)
        return await self._call("upload_part", upload.key, call)

    async def copy_part(
        self, upload: Upload, number: int, offset: int, length: int, source: CopySource
    ) -> str:
        call = partial(self.inner.copy_part, upload, number, offset, length, source)
        return await self._call("copy_part", upload.key, call)

    async def create_from_upload(self, upload: Upload, receipts: Sequence[str]) -> ObjectInfo:
        call = partial(self.inner.create_from_upload, upload, receipts)
        return await self._call("create_from_upload", upload.key, call)

    async def put_from_upload(
        self, upload: Upload, receipts: Sequence[str], *, within: str = ""
    ) -> ObjectInfo:
        call = partial(self.inner.put_from_upload, upload, receipts, within=within)
        return await self._call("put_from_upload", upload.key, call)

    async def abort_upload(self, upload: Upload) -> None:
        await self._call("abort_upload", upload.key, partial(self.inner.abort_upload, upload))

    async def uploads(self, prefix: str) -> AsyncIterator[UnfinishedUpload]:
        rule = await self._begin("uploads", prefix)
        if rule is not None and rule.error is not None:
            raise rule.error
        async for upload in self.inner.uploads(prefix):
            yield upload

    async def close(self) -> None:
        await self.inner.close()


class _DamagingReader:
    def __init__(self, inner: ObjectReader, damage: "Counter[str]") -> None:
        self._inner = inner
        self._damage = damage

    @property
    def info(self) -> ObjectInfo:
        return self._inner.info

    async def __aiter__(self) -> AsyncIterator[Buffer]:
        damages = self._damage[self.info.key] > 0
        self._damage[self.info.key] -= damages
        async for chunk in self._inner:
            yield bytes([chunk[0] ^ 1]) + bytes(chunk[1:]) if damages else chunk
            damages = False
