"""The asynchronous face of a store in a directory: hands the work to threads.

The key `a/b/0.0` is the file `a/b/0.0` below the root, so that modelkit's local driver reads and
writes the same store. This module only hands work to threads; what is done there, and why it is
atomic and durable, stands in `files.py` and `uploads.py`. Knows no asset, no version.
"""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import ParamSpec, TypeVar

from assetd_server.store.base import (
    Buffer,
    CannotCopyError,
    CopySource,
    EtagMismatchError,
    Listing,
    ObjectInfo,
    ObjectReader,
    ObjectStore,
    UnfinishedUpload,
    Upload,
)
from assetd_server.store.local.files import LocalFiles, OpenObject
from assetd_server.store.local.root import LocalRoot
from assetd_server.store.local.uploads import LocalUploads

DEFAULT_THREADS = 16
DEFAULT_CHUNK_BYTES = 1 << 20
PAGE_ENTRIES = 1000

P = ParamSpec("P")
T = TypeVar("T")


class LocalStore(ObjectStore):
    """The directory `root`, an absolute path, as a store. Where it is missing every call fails.

    Blocking work runs in `executor`, which stays the caller's, or in 16 threads of the store's own.
    Readers yield chunks of `chunk_bytes`. `now_ns` is the wall clock in nanoseconds.
    """

    def __init__(
        self,
        root: Path,
        *,
        executor: Executor | None = None,
        chunk_bytes: int = DEFAULT_CHUNK_BYTES,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._root = LocalRoot(root, now_ns)
        self._files = LocalFiles(self._root)
        self._uploads = LocalUploads(self._root, self._files)
        self._owns_executor = executor is None
        self._executor = executor or _make_executor()
        self._chunk_bytes = chunk_bytes

    @property
    def url(self) -> str:
        """The directory as `file://` and its path."""
        return self._root.url

    async def head(self, key: str) -> ObjectInfo:
        """Look at the file; see `ObjectStore.head`."""
        return (await self._run(self._files.open, key)).info

    async def checksum(self, key: str) -> tuple[ObjectInfo, int | None]:
        """Look at the file: nothing keeps a checksum of it; see `ObjectStore.checksum`."""
        return await self.head(key), None

    async def get(self, key: str, max_bytes: int) -> tuple[ObjectInfo, bytes]:
        """Read the file whole; see `ObjectStore.get`."""
        return await self._run(self._files.get, key, max_bytes)

    async def read(
        self, key: str, *, start: int = 0, length: int | None = None, etag: str | None = None
    ) -> ObjectReader:
        """Open the file, and read on from that one descriptor; see `ObjectStore.read`."""
        source = await self._run(self._files.open, key)
        if etag is not None and source.info.etag != etag:
            raise EtagMismatchError(key)
        size_bytes = source.info.size_bytes
        end = size_bytes if length is None else min(start + length, size_bytes)
        return _LocalReader(source, range(start, end, self._chunk_bytes), self._read_chunk)

    async def _read_chunk(self, source: OpenObject, offset: int, end: int) -> bytes:
        size_bytes = min(self._chunk_bytes, end - offset)
        is_last = offset + size_bytes == end
        return await self._run(self._files.read, source, offset, size_bytes, is_last=is_last)

    async def list(
        self, prefix: str, *, after: str = "", delimiter: bool = False
    ) -> AsyncIterator[Listing]:
        """Walk the folders, a page of entries at a time; see `ObjectStore.list`."""
        entries = self._files.walk(prefix, after, delimiter)
        while page := await self._run(lambda: list(itertools.islice(entries, PAGE_ENTRIES))):
            yield Listing(
                objects=[entry for entry in page if isinstance(entry, ObjectInfo)],
                prefixes=[entry for entry in page if isinstance(entry, str)],
            )

    async def put(self, key: str, data: Buffer) -> ObjectInfo:
        """Rename a new file over the old one; see `ObjectStore.put`."""
        return await self._run(self._files.put, key, data)

    async def create(self, key: str, data: Buffer) -> ObjectInfo:
        """Link a new file; see `ObjectStore.create`."""
        return await self._run(self._files.create, key, data)

    async def swap(self, key: str, data: Buffer, etag: str) -> ObjectInfo:
        """Compare and rename under the key's lock; see `ObjectStore.swap`."""
        return await self._run(self._files.swap, key, data, etag)

    async def delete(self, key: str) -> None:
        """Unlink the file; see `ObjectStore.delete`."""
        await self._run(self._files.delete, key)

    async def start_upload(self, key: str, *, for_copies: bool = False) -> Upload:
        """Make an empty file aside; see `ObjectStore.start_upload`."""
        return await self._run(self._uploads.start, key, for_copies)

    async def upload_part(
        self,
        upload: Upload,
        number: int,  # noqa: ARG002 - the offset says it
        offset: int,
        data: Sequence[Buffer],
    ) -> str:
        """Write into the file at `offset`; see `ObjectStore.upload_part`."""
        return await self._run(self._uploads.write_part, upload, offset, data)

    async def copy_part(
        self,
        upload: Upload,
        number: int,  # noqa: ARG002 - the offset says it
        offset: int,
        length: int,
        source: CopySource,
    ) -> str:
        """Copy inside the kernel, from this very store only; see `ObjectStore.copy_part`."""
        if source.url != self.url:
            raise CannotCopyError(source.key)
        return await self._run(self._uploads.copy_part, upload, offset, length, source)

    async def create_from_upload(self, upload: Upload, receipts: Sequence[str]) -> ObjectInfo:
        """Link the file; see `ObjectStore.create_from_upload`."""
        return await self._run(self._uploads.create, upload, receipts)

    async def put_from_upload(
        self, upload: Upload, receipts: Sequence[str], *, within: str = ""
    ) -> ObjectInfo:
        """Rename the file over the old one; see `ObjectStore.put_from_upload`."""
        return await self._run(self._uploads.put, upload, receipts, within)

    async def abort_upload(self, upload: Upload) -> None:
        """Unlink the file; see `ObjectStore.abort_upload`."""
        await self._run(self._uploads.abort, upload)

    async def uploads(self, prefix: str) -> AsyncIterator[UnfinishedUpload]:
        """Look into the folder of uploads; see `ObjectStore.uploads`."""
        for upload in await self._run(self._uploads.unfinished, prefix):
            yield upload

    async def close(self) -> None:
        """End the store's own threads, after what they are doing; see `ObjectStore.close`."""
        if self._owns_executor:
            await asyncio.to_thread(self._executor.shutdown)

    async def _run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, lambda: work(*args, **kwargs))


class _LocalReader:
    """The bytes of one write from the first of `offsets` to their end, a chunk at each."""

    def __init__(
        self,
        source: OpenObject,
        offsets: range,
        read_chunk: Callable[[OpenObject, int, int], Awaitable[bytes]],
    ) -> None:
        self._source = source
        self._offsets = offsets
        self._read_chunk = read_chunk

    @property
    def info(self) -> ObjectInfo:
        return self._source.info

    async def __aiter__(self) -> AsyncIterator[Buffer]:
        for offset in self._offsets:
            yield await self._read_chunk(self._source, offset, self._offsets.stop)


def _make_executor() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(DEFAULT_THREADS, thread_name_prefix="assetd-store")
