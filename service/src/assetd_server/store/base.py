"""The object store as assetd sees it: a flat map from key to bytes with two conditional writes.

This is a contract in prose. `tests/conformance` runs one suite over every implementation; what the
suite does not check is not promised. Nothing here knows assets, versions or gRPC.

**Keys** are relative to the store's root, `/`-separated, non-empty, without a leading or trailing
`/`, `.` or `..` segments; implementations may trust that. A key holds bytes or it does not; there
are no folders. A directory on disk cannot hold both `a` and `a/b`: there creating the second fails
with `KeyExistsError`.

**ETags** are opaque, and differ whenever other bytes are written under a key. Equal bytes may bring
an earlier one back: who must tell two equal writes apart puts something new into each.

**Failures**, the same from every method: `StoreUnavailableError` where the store did not answer or
answered that it cannot now; `StoreAccessDeniedError` where it refused our credentials;
`DiskFullError` where it has no room; `UnsafeStoreError` where it says that it does not know such a
call, or such a condition. Only a store's own word that a key is absent is `KeyNotFoundError`: a
refusal or a failure never means absent.

**Lost answers.** A call that changes something and fails with `StoreUnavailableError`, or whose
task is cancelled, may have taken effect, or may take effect later. Callers settle that by reading
again.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

Buffer = bytes | bytearray | memoryview


def views_of(data: Sequence[Buffer]) -> list[memoryview]:
    """Return views of buffers that count bytes, whatever else the buffers count."""
    return [memoryview(buffer).cast("B") for buffer in data]


class StoreSignalError(Exception):
    """What a store says of a key. Never reaches a caller: the catalog gives it meaning."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


class KeyNotFoundError(StoreSignalError):
    """The store says that the key is absent."""


class KeyExistsError(StoreSignalError):
    """A create found the key present; it may be our own earlier create whose answer was lost."""


class EtagMismatchError(StoreSignalError):
    """The object is not, or no longer, the one that the ETag names."""


class UploadNotFoundError(StoreSignalError):
    """The multipart upload was completed or aborted by somebody."""


class CannotCopyError(StoreSignalError):
    """The store cannot copy from there by itself: read the bytes, and upload them."""


@dataclass(frozen=True)
class ObjectInfo:
    """What a store tells of an object without its bytes.

    `md5_hex`, where a store tells one, is what it says that the bytes hash to. Where it is equal to
    that of other bytes, they are the same; where it is not, it may be something else. `is_compared`
    where the store has itself compared what it took with the hash of what was sent: see
    `ObjectStore.refuses_damage`.
    """

    key: str
    size_bytes: int
    etag: str
    md5_hex: str | None = field(default=None, compare=False)
    is_compared: bool = field(default=False, compare=False)


@dataclass(frozen=True)
class Listing:
    """One page of a listing: objects, and the prefixes (ending in `/`) of what lies deeper.

    `strays` are objects of other people's making whose names are no keys, such as `a//b` or `a/`:
    no method takes them, and whoever must not overlook them finds them here.
    """

    objects: Sequence[ObjectInfo]
    prefixes: Sequence[str] = ()
    strays: Sequence[ObjectInfo] = ()


@dataclass(frozen=True)
class Upload:
    """A multipart upload under way; `upload_id` is the store's own name for it.

    `for_copies` where the store itself fills parts of it. `may_have_twins` where it took more than
    one call to begin it: the store may hold another of the same key, whose name nobody was told.
    """

    key: str
    upload_id: str
    for_copies: bool = field(default=False, compare=False)
    may_have_twins: bool = field(default=False, compare=False)


@dataclass(frozen=True)
class CopySource:
    """The very write of an object that a store is to copy from; `url` is that of its own store.

    All S3 stores of one daemon share an endpoint, so that a bucket means the same to each of them.
    """

    url: str
    key: str
    etag: str


@dataclass(frozen=True)
class UnfinishedUpload:
    """An upload that was neither completed nor aborted, and when the store says that it began."""

    upload: Upload
    start_time: datetime


class ObjectReader(Protocol):
    """The bytes of one object, or of a range of it, as they arrive."""

    @property
    def info(self) -> ObjectInfo:
        """The whole object's facts, as the answer states them."""

    def __aiter__(self) -> AsyncIterator[Buffer]:
        """Yield the bytes in order, once. Fails like every method; short answers are failures."""


class ObjectStore(ABC):
    """A flat map from key to bytes. All methods may be called at once from one event loop."""

    @property
    @abstractmethod
    def url(self) -> str:
        """Where the store is, for people: `s3://bucket/prefix`. Holds no credentials."""

    @abstractmethod
    async def head(self, key: str) -> ObjectInfo:
        """Return the facts of the object under `key`.

        Raises:
            KeyNotFoundError: the key is absent.
        """

    @abstractmethod
    async def checksum(self, key: str) -> tuple[ObjectInfo, int | None]:
        """Return the facts of an object and its CRC-64/NVME, as the store keeps it.

        That is what the store computed over the bytes that it took; None where it keeps none.

        Raises:
            KeyNotFoundError: the key is absent.
        """

    @abstractmethod
    async def get(self, key: str, max_bytes: int) -> tuple[ObjectInfo, bytes]:
        """Return a small object whole, with facts and bytes of one and the same write.

        Raises:
            KeyNotFoundError: the key is absent.
            ObjectTooLargeError: it is longer than `max_bytes`; no more than that was read.
        """

    @abstractmethod
    async def read(
        self, key: str, *, start: int = 0, length: int | None = None, etag: str | None = None
    ) -> ObjectReader:
        """Open the bytes `start` to `start + length` of an object; to its end without `length`.

        Yields exactly the bytes asked for, cut at the object's end, or fails. With `etag` they are
        those of that very write. An empty range, or one beyond the end, yields nothing.

        Raises:
            KeyNotFoundError: the key is absent.
            EtagMismatchError: the object is another one by now.
        """

    @abstractmethod
    def list(
        self, prefix: str, *, after: str = "", delimiter: bool = False
    ) -> AsyncIterator[Listing]:
        """Yield the keys that begin with `prefix`, in bytewise order, page by page.

        `prefix` is empty or ends in `/`. Keys and prefixes not greater than `after` are left out.
        With `delimiter` what lies below the next `/` is told as a prefix only. What is written
        while the listing runs may be in it or not; what was there before and stays is in it.
        """

    @abstractmethod
    async def put(self, key: str, data: Buffer) -> ObjectInfo:
        """Write an object whole, over whatever is there. Readers see the old bytes or the new."""

    @abstractmethod
    async def create(self, key: str, data: Buffer) -> ObjectInfo:
        """Write an object whole where the key is absent. Of any number of racers one succeeds.

        Raises:
            KeyExistsError: the key is present.
        """

    @abstractmethod
    async def swap(self, key: str, data: Buffer, etag: str) -> ObjectInfo:
        """Write an object over the very write that `etag` names. Of any number of racers one wins.

        Raises:
            EtagMismatchError: the object is another one, or is gone.
        """

    async def refuses_damage(self, key: str) -> bool:  # noqa: ARG002 - for those who can ask
        """Tell whether the store refuses an object that arrives other than it was sent.

        Found out by sending one so, to a key that is absent, and may hold it afterwards. Where it
        was refused, what is written from then on is told as `is_compared`. A store that does not
        answer, or answers anything else, does not refuse: nothing is believed without being seen.
        """
        return False

    @abstractmethod
    async def delete(self, key: str) -> None:
        """Remove the object, if there is one. Idempotent."""

    @abstractmethod
    async def start_upload(self, key: str, *, for_copies: bool = False) -> Upload:
        """Begin an object too large for one call. Nothing is visible until it is completed.

        `copy_part` needs one that is begun `for_copies`; parts may be sent to it as well.
        """

    @abstractmethod
    async def upload_part(
        self, upload: Upload, number: int, offset: int, data: Sequence[Buffer]
    ) -> str:
        """Send part `number` (from 1), which begins at `offset` of the object; return its receipt.

        All parts but the last are of one size, 5 MiB to 5 GiB, whichever buffers make them up. In
        any order, at once, repeatable.

        Raises:
            UploadNotFoundError: the upload was completed or aborted.
        """

    @abstractmethod
    async def copy_part(
        self, upload: Upload, number: int, offset: int, length: int, source: CopySource
    ) -> str:
        """Fill part `number` with the range that `source` has at `offset`; return its receipt.

        The bytes do not travel through the caller. The range, which is not empty, lies within the
        source, and comes to lie at the same `offset` of the object. Otherwise as `upload_part`.
        Whoever does not trust the store to compare the ETag reads back what it has copied.

        Raises:
            CannotCopyError: this store cannot copy from there; `upload_part` goes on to work.
            KeyNotFoundError: the source is absent.
            EtagMismatchError: the source is another write by now; the part is undefined then.
            UploadNotFoundError: the upload was completed or aborted.
        """

    @abstractmethod
    async def create_from_upload(self, upload: Upload, receipts: Sequence[str]) -> ObjectInfo:
        """Show the uploaded object where the key is absent; `receipts` in order of part numbers.

        Called again after its own success it fails either way, or succeeds again.

        Raises:
            KeyExistsError: the key is present. The upload is left; abort it.
            UploadNotFoundError: the upload was completed or aborted.
        """

    @abstractmethod
    async def put_from_upload(
        self, upload: Upload, receipts: Sequence[str], *, within: str = ""
    ) -> ObjectInfo:
        """Show the uploaded object over whatever is there.

        In a store where keys are paths no object can stand above or below another. What is in the
        way so, at `within` or below it, goes; `within` is the key, or a folder of it.

        Raises:
            UploadNotFoundError: the upload was completed or aborted.
        """

    @abstractmethod
    async def abort_upload(self, upload: Upload) -> None:
        """Drop an upload. Idempotent; after it the upload can no longer be completed.

        Nor does a part arrive, and stay, whose task was cancelled and has ended before: it took
        effect by then, or never will.
        """

    @abstractmethod
    def uploads(self, prefix: str) -> AsyncIterator[UnfinishedUpload]:
        """Yield the uploads under way whose keys begin with `prefix`, each once, in any order.

        `prefix` is empty or ends in `/`. What begins or ends meanwhile may be among them or not.
        """

    @abstractmethod
    async def close(self) -> None:
        """Release what the store holds open. Idempotent."""


class ObjectTooLargeError(StoreSignalError):
    """The object is longer than the reader was ready to hold."""
