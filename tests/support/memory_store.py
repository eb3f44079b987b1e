"""A store in memory that keeps every promise of `ObjectStore`, and fails or waits where told to.

Each step of each call is counted: the call itself, each chunk that a reader yields (`chunk`) and
each page of a listing (`page`). A test makes the Nth step, or the next of a kind, fail before or
after its effect, or stops it there until it lets it go.
"""

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial

from assetd_server.errors import StoreUnavailableError
from assetd_server.store.base import (
    Buffer,
    CannotCopyError,
    CopySource,
    EtagMismatchError,
    KeyExistsError,
    KeyNotFoundError,
    Listing,
    ObjectInfo,
    ObjectReader,
    ObjectStore,
    ObjectTooLargeError,
    UnfinishedUpload,
    Upload,
    UploadNotFoundError,
)


@dataclass(frozen=True)
class Step:
    """Something that the store was asked for; numbered from 1 over all of its calls."""

    number: int
    operation: str
    key: str


@dataclass
class Gate:
    """A step that waits: `reached` once it is there, until `open` is called."""

    _reached: asyncio.Event = field(default_factory=asyncio.Event)
    _opened: asyncio.Event = field(default_factory=asyncio.Event)

    async def reached(self) -> None:
        """Returns once the step has come here."""
        await self._reached.wait()

    def open(self) -> None:
        """Lets the step go on."""
        self._opened.set()

    async def pass_through(self) -> None:
        """Waits at the gate: the store calls it."""
        self._reached.set()
        await self._opened.wait()


@dataclass
class _Fault:
    operation: str
    number: int | None = None
    error: Exception | None = None
    after_effect: bool = False
    gate: Gate | None = None

    def is_for(self, step: Step) -> bool:
        return self.operation in ("*", step.operation) and self.number in (None, step.number)


@dataclass
class _Object:
    data: bytes
    etag: str


@dataclass
class _Part:
    receipt: str
    offset: int
    data: bytes


class MemoryStore(ObjectStore):
    """Objects in a dict. Yields chunks of `chunk_bytes` and pages of `page_keys`.

    With a `failure_rate` steps fail by chance with `StoreUnavailableError`, before they have any
    effect; the dice are the same in every run.
    """

    # Whether it refuses what arrives damaged, and whether anybody has asked.
    refuses = False
    _compares = False

    def __init__(
        self, *, chunk_bytes: int = 1 << 16, page_keys: int = 1000, failure_rate: float = 0.0
    ) -> None:
        self.steps: list[Step] = []
        self.is_closed = False
        self.now: Callable[[], datetime] = partial(datetime.now, UTC)
        self._chunk_bytes = chunk_bytes
        self._page_keys = page_keys
        self._failure_rate = failure_rate
        self._dice = random.Random(0)
        self._faults: list[_Fault] = []
        self._objects: dict[str, _Object] = {}
        self._uploads: dict[str, dict[int, _Part]] = {}
        self._unfinished: dict[str, UnfinishedUpload] = {}
        self._serial = itertools.count(1)

    # For tests

    def fail_step(self, number: int, error: Exception | None = None) -> None:
        """Makes step `number` fail before it has an effect."""
        self._faults.append(_Fault("*", number=number, error=error or self.unavailable()))

    def fail_next(
        self,
        operation: str,
        error: Exception | None = None,
        *,
        times: int = 1,
        after_effect: bool = False,
    ) -> None:
        """Makes the next steps of a kind fail; `after_effect` is an answer that got lost."""
        for _ in range(times):
            self._faults.append(
                _Fault(operation, error=error or self.unavailable(), after_effect=after_effect)
            )

    def pause_next(self, operation: str) -> Gate:
        """Stops the next step of a kind, before its effect, until the gate is opened."""
        gate = Gate()
        self._faults.append(_Fault(operation, gate=gate))
        return gate

    def operations(self, operation: str) -> list[str]:
        """Returns the keys of the steps of a kind so far."""
        return [step.key for step in self.steps if step.operation == operation]

    @property
    def keys(self) -> list[str]:
        """What is there, in order."""
        return sorted(self._objects)

    @property
    def upload_count(self) -> int:
        """How many uploads are under way."""
        return len(self._uploads)

    def unavailable(self) -> StoreUnavailableError:
        """Returns the failure that steps fail with when no other is given."""
        return StoreUnavailableError("the store {store} was told to fail", store=self.url)

    async def _step(self, operation: str, key: str) -> Exception | None:
        """Counts a step; returns the failure that is due once it has had its effect."""
        step = Step(len(self.steps) + 1, operation, key)
        self.steps.append(step)
        fault = next((fault for fault in self._faults if fault.is_for(step)), None)
        if fault is not None:
            self._faults.remove(fault)
            if fault.gate is not None:
                await fault.gate.pass_through()
            elif fault.after_effect:
                return fault.error
            elif fault.error is not None:
                raise fault.error
        elif self._dice.random() < self._failure_rate:
            raise self.unavailable()
        # As with any real store, others get their turn between a call and its effect.
        await asyncio.sleep(0)
        return None

    # The contract

    @property
    def url(self) -> str:
        return "memory://"

    async def head(self, key: str) -> ObjectInfo:
        await self._step("head", key)
        return self._info(key)

    async def checksum(self, key: str) -> tuple[ObjectInfo, int | None]:
        return await self.head(key), None

    async def get(self, key: str, max_bytes: int) -> tuple[ObjectInfo, bytes]:
        await self._step("get", key)
        info = self._info(key)
        if info.size_bytes > max_bytes:
            raise ObjectTooLargeError(key)
        return info, self._objects[key].data

    async def read(
        self, key: str, *, start: int = 0, length: int | None = None, etag: str | None = None
    ) -> ObjectReader:
        await self._step("read", key)
        info = self._info(key)
        if etag is not None and info.etag != etag:
            raise EtagMismatchError(key)
        end = info.size_bytes if length is None else start + length
        return _MemoryReader(info, self._chunks(key, self._objects[key].data[start:end]))

    async def _chunks(self, key: str, data: bytes) -> AsyncIterator[Buffer]:
        for offset in range(0, len(data), self._chunk_bytes):
            await self._step("chunk", key)
            yield data[offset : offset + self._chunk_bytes]

    async def list(
        self, prefix: str, *, after: str = "", delimiter: bool = False
    ) -> AsyncIterator[Listing]:
        names = dict.fromkeys(
            _rolled_up(key, prefix) if delimiter else key
            for key in sorted(self._objects)
            if key.startswith(prefix)
        )
        left = [name for name in names if name > after]
        while left:
            await self._step("page", prefix)
            page, left = left[: self._page_keys], left[self._page_keys :]
            yield Listing(
                objects=[self._info(name) for name in page if name in self._objects],
                prefixes=[name for name in page if name.endswith("/")],
            )

    async def put(self, key: str, data: Buffer) -> ObjectInfo:
        failure = await self._step("put", key)
        return self._written(key, bytes(data), failure)

    async def create(self, key: str, data: Buffer) -> ObjectInfo:
        failure = await self._step("create", key)
        if key in self._objects:
            raise failure or KeyExistsError(key)
        return replace(self._written(key, bytes(data), failure), is_compared=self._compares)

    async def refuses_damage(self, key: str) -> bool:  # noqa: ARG002 - nothing stays of it
        self._compares = self.refuses
        return self.refuses

    async def swap(self, key: str, data: Buffer, etag: str) -> ObjectInfo:
        failure = await self._step("swap", key)
        if key not in self._objects or self._objects[key].etag != etag:
            raise failure or EtagMismatchError(key)
        return self._written(key, bytes(data), failure)

    async def delete(self, key: str) -> None:
        failure = await self._step("delete", key)
        self._objects.pop(key, None)
        if failure:
            raise failure

    async def start_upload(self, key: str, *, for_copies: bool = False) -> Upload:
        failure = await self._step("start_upload", key)
        upload = Upload(key, f"upload-{next(self._serial)}", for_copies)
        self._uploads[upload.upload_id] = {}
        self._unfinished[upload.upload_id] = UnfinishedUpload(upload, self.now())
        if failure:
            raise failure
        return upload

    async def upload_part(
        self, upload: Upload, number: int, offset: int, data: Sequence[Buffer]
    ) -> str:
        failure = await self._step("upload_part", upload.key)
        receipt = f"part-{next(self._serial)}"
        self._parts(upload)[number] = _Part(receipt, offset, b"".join(data))
        if failure:
            raise failure
        return receipt

    async def copy_part(
        self, upload: Upload, number: int, offset: int, length: int, source: CopySource
    ) -> str:
        failure = await self._step("copy_part", upload.key)
        if source.url != self.url:
            raise failure or CannotCopyError(source.key)
        if not upload.for_copies:
            raise ValueError("the upload was not begun for copies")
        parts = self._parts(upload)
        if self._info(source.key).etag != source.etag:
            raise failure or EtagMismatchError(source.key)
        receipt = f"part-{next(self._serial)}"
        data = self._objects[source.key].data[offset : offset + length]
        parts[number] = _Part(receipt, offset, data)
        if failure:
            raise failure
        return receipt

    async def create_from_upload(self, upload: Upload, receipts: Sequence[str]) -> ObjectInfo:
        failure = await self._step("create_from_upload", upload.key)
        data = self._joined(upload, receipts)
        if upload.key in self._objects:
            raise failure or KeyExistsError(upload.key)
        del self._uploads[upload.upload_id]
        return self._written(upload.key, data, failure)

    async def put_from_upload(
        self,
        upload: Upload,
        receipts: Sequence[str],
        *,
        within: str = "",  # noqa: ARG002 - keys are no paths here
    ) -> ObjectInfo:
        failure = await self._step("put_from_upload", upload.key)
        data = self._joined(upload, receipts)
        del self._uploads[upload.upload_id]
        return self._written(upload.key, data, failure)

    async def abort_upload(self, upload: Upload) -> None:
        failure = await self._step("abort_upload", upload.key)
        self._uploads.pop(upload.upload_id, None)
        if failure:
            raise failure

    async def uploads(self, prefix: str) -> AsyncIterator[UnfinishedUpload]:
        await self._step("uploads", prefix)
        for unfinished in [self._unfinished[upload_id] for upload_id in self._uploads]:
            if unfinished.upload.key.startswith(prefix):
                yield unfinished

    async def close(self) -> None:
        self.is_closed = True

    def _info(self, key: str) -> ObjectInfo:
        if key not in self._objects:
            raise KeyNotFoundError(key)
        found = self._objects[key]
        return ObjectInfo(key=key, size_bytes=len(found.data), etag=found.etag)

    def _written(self, key: str, data: bytes, failure: Exception | None) -> ObjectInfo:
        self._objects[key] = _Object(data, f"etag-{next(self._serial)}")
        if failure:
            raise failure
        return self._info(key)

    def _parts(self, upload: Upload) -> dict[int, _Part]:
        if upload.upload_id not in self._uploads:
            raise UploadNotFoundError(upload.key)
        return self._uploads[upload.upload_id]

    def _joined(self, upload: Upload, receipts: Sequence[str]) -> bytes:
        parts = self._parts(upload)
        chosen = [parts[number] for number in range(1, len(receipts) + 1)]
        if [part.receipt for part in chosen] != list(receipts):
            raise ValueError("a receipt is not that of the last upload of its part")
        data = b""
        for part in chosen:
            if part.offset != len(data):
                raise ValueError(f"a part was said to begin at {part.offset}, not {len(data)}")
            data += part.data
        return data


class _MemoryReader:
    def __init__(self, info: ObjectInfo, chunks: AsyncIterator[Buffer]) -> None:
        self._info = info
        self._chunks = chunks

    @property
    def info(self) -> ObjectInfo:
        return self._info

    def __aiter__(self) -> AsyncIterator[Buffer]:
        return self._chunks


def _rolled_up(key: str, prefix: str) -> str:
    """Returns the key, or the common prefix that tells of it."""
    head, slash, _ = key[len(prefix) :].partition("/")
    return prefix + head + slash
