"""Bytes from the store into staging: ranges, in parallel, in bounded memory, each one checked.

The schedule is ours; what fetches one range is `ObjectStore.read`, which retries and resumes. The
checksum of a part is combined from those of its ranges, so that order and retries do not matter and
no file is read twice. What an earlier flight left of a part is gone on with, by the ETag of the
object that it came from. Knows nothing of versions, indexes or final paths.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

from assetd_server.assets.byte_budget import ByteBudget
from assetd_server.assets.progress import ProgressMeter
from assetd_server.assets.threads import Threads
from assetd_server.cache.ingest import SmallPart, StagedPart, StagedVersion, write_range
from assetd_server.cache.kept import KeptPart, combined, ranges_between
from assetd_server.errors import BadManifestError, DigestMismatchError
from assetd_server.manifest import Part, encode_crc64nvme
from assetd_server.store.base import Buffer, EtagMismatchError, KeyNotFoundError, ObjectStore
from assetd_server.telemetry import Telemetry

_TRIES = 2  # a checksum that is wrong twice is not the network
_BATCH_BYTES = 4 * 2**20
_BATCH_FILES = 128


@dataclass(frozen=True)
class StoredPart:
    """A part and the key under which the store holds it. Its size is known."""

    part: Part
    key: str

    @property
    def size_bytes(self) -> int:
        """The length that the object must have."""
        if self.part.size_bytes is None:
            raise ValueError("a part is transferred only when its size is known")
        return self.part.size_bytes


class _Large:
    """One try at a part in several ranges: those that are `kept`, and those that are to come.

    Who opens the file first, and so pins the ETag, says so in `opened`.
    """

    def __init__(
        self,
        stored: StoredPart,
        kept: KeptPart | None,
        range_bytes: int,
        tries_left: int,
        meter: ProgressMeter,
    ) -> None:
        self.stored = stored
        self.tries_left = tries_left
        self.arrived = _ArrivedBytes(meter, kept.byte_count if kept else 0)
        self.missing = list(
            kept.missing(range_bytes) if kept else ranges_between(0, stored.size_bytes, range_bytes)
        )
        self.written = list(kept.ranges) if kept else []
        self.left_count = len(self.missing)
        self.opened: asyncio.Future[tuple[StagedPart, str]] = (
            asyncio.get_running_loop().create_future()
        )
        self.changed = False

    def checksum(self) -> int:
        """Combine the ranges' checksums in order."""
        return combined(sorted(self.written, key=lambda written: written.start))


class Transfer:
    """Moves objects into staging. One for the whole daemon, so that its bounds are the daemon's."""

    def __init__(
        self,
        store: ObjectStore,
        disk: Threads,
        telemetry: Telemetry,
        *,
        connection_count: int,
        memory_bytes: int,
        range_bytes: int,
    ) -> None:
        self.store = store
        self.disk = disk
        self.telemetry = telemetry
        self.range_bytes = min(range_bytes, memory_bytes)
        self.connection_count = connection_count
        self.connections = asyncio.Semaphore(connection_count)
        self.memory = ByteBudget(memory_bytes)

    async def download(
        self, parts: Sequence[StoredPart], staged: StagedVersion, meter: ProgressMeter
    ) -> None:
        """Write every part into `staged`, each compared with its size and its checksum, if known.

        On failure nothing of it is under way any more when this raises.

        Raises:
            BadManifestError: the store lacks a part that the manifest names.
            DigestMismatchError: an object has another size or checksum, twice.
            StoreUnavailableError, StoreAccessDeniedError, DiskFullError, IoError.
        """
        try:
            await _Download(self, staged, meter).run(parts)
        except BaseExceptionGroup as group:
            raise first_error(group) from group


class _Download:
    """One call of `Transfer.download`: its units of work, and the writer of small parts."""

    def __init__(self, transfer: Transfer, staged: StagedVersion, meter: ProgressMeter) -> None:
        self._transfer = transfer
        self._staged = staged
        self._meter = meter
        self._units: deque[Callable[[], Awaitable[None]]] = deque()
        self._arrived: asyncio.Queue[_SmallArrival | None] = asyncio.Queue()
        self._small_bytes = 0

    async def run(self, parts: Sequence[StoredPart]) -> None:
        """Move all parts; whatever the end, all memory is given back."""
        try:
            await self._run(parts)
        finally:
            self._release_small(self._small_bytes)

    async def _run(self, parts: Sequence[StoredPart]) -> None:
        for stored in parts:
            self._plan(stored, self._staged.kept.get(stored.part.path))
        async with asyncio.TaskGroup() as group:
            group.create_task(self._write_small_parts())
            async with asyncio.TaskGroup() as workers:
                for _ in range(min(self._transfer.connection_count, len(self._units))):
                    workers.create_task(self._work())
            self._arrived.put_nowait(None)

    def _plan(self, stored: StoredPart, kept: KeptPart | None) -> None:
        if kept is not None and kept.is_confirmed:
            self._meter.add_file()
        elif kept is not None and kept.is_whole:
            self._units.append(partial(self._confirm, stored, kept))
        elif kept is not None:
            # That the store has another object by now costs a try that no damage has to pay for.
            self._enqueue_large(stored, _TRIES + 1, kept)
        elif stored.size_bytes <= self._transfer.range_bytes:
            self._units.append(partial(self._small, stored))
        else:
            self._enqueue_large(stored, _TRIES)

    async def _confirm(self, stored: StoredPart, kept: KeptPart) -> None:
        """Ask the store whether a whole part that no checksum proves is still the one it has."""
        try:
            async with self._transfer.connections:
                info = await self._transfer.store.head(stored.key)
        except KeyNotFoundError:
            raise _lacks(stored) from None
        if (info.etag, info.size_bytes) == (kept.etag, stored.size_bytes):
            self._meter.add_file()
            return
        _ArrivedBytes(self._meter, kept.byte_count).start_over()
        await self._transfer.disk.run(self._staged.drop_kept, kept)
        self._plan(stored, None)

    async def _work(self) -> None:
        while self._units:
            await self._units.popleft()()

    async def _small(self, stored: StoredPart) -> None:
        await self._transfer.memory.acquire(stored.size_bytes)
        self._small_bytes += stored.size_bytes
        self._arrived.put_nowait(await self._fetch_small(stored, _TRIES))

    def _release_small(self, count: int) -> None:
        self._small_bytes -= count
        self._transfer.memory.release(count)

    async def _fetch_small(self, stored: StoredPart, tries_left: int) -> "_SmallArrival":
        """Fetch a part whole. The memory that it takes is given back once it is written."""
        for left in reversed(range(tries_left)):
            count = _ArrivedBytes(self._meter)
            try:
                etag, data = await self._read(stored, 0, stored.size_bytes, count)
            except EtagMismatchError:
                if not left:
                    raise _mismatch(stored, None) from None
                count.start_over()
            else:
                return _SmallArrival(stored, data, etag, count, left)
        raise AssertionError("the last try returns or raises")

    async def _write_small_parts(self) -> None:
        # While one batch is being written the next one gathers: the faster the store, the larger
        # the batches, and the fewer the hops into a thread.
        while (first := await self._arrived.get()) is not None:
            batch = [first]
            size = first.stored.size_bytes
            while not self._arrived.empty() and len(batch) < _BATCH_FILES and size < _BATCH_BYTES:
                following = self._arrived.get_nowait()
                if following is None:
                    self._arrived.put_nowait(None)
                    break
                batch.append(following)
                size += following.stored.size_bytes
            await self._write_batch(batch)

    async def _write_batch(self, batch: Sequence["_SmallArrival"]) -> None:
        small = [SmallPart(arrival.stored.part, arrival.data, arrival.etag) for arrival in batch]
        found = await self._transfer.disk.run(self._staged.write_small, small)
        damaged = []
        for arrival, checksum in zip(batch, found, strict=True):
            if arrival.stored.part.crc64nvme in (None, checksum):
                self._release_small(arrival.stored.size_bytes)
                self._meter.add_file()
            elif arrival.tries_left:
                damaged.append(arrival)
            else:
                raise _mismatch(arrival.stored, checksum)
        # In the memory that they hold: more may not come free before the writer goes on.
        for arrival in damaged:
            arrival.count.start_over()
            again = await self._fetch_small(arrival.stored, arrival.tries_left)
            await self._write_batch([again])

    def _enqueue_large(
        self, stored: StoredPart, tries_left: int, kept: KeptPart | None = None
    ) -> None:
        range_bytes = self._transfer.range_bytes
        large = _Large(stored, kept, range_bytes, tries_left - 1, self._meter)
        self._units.append(partial(self._first_range, large, kept))
        self._units += [partial(self._later_range, large, *range_) for range_ in large.missing[1:]]

    async def _first_range(self, large: _Large, kept: KeptPart | None) -> None:
        disk, (start, length) = self._transfer.disk, large.missing[0]
        if kept is not None:
            staged = await disk.run(self._staged.resume_part, kept)
            large.opened.set_result((staged, kept.etag))
            await self._range(large, staged, start, length, etag=kept.etag)
            return
        staged = await disk.run(self._staged.add_part, large.stored.part)
        await self._range(
            large,
            staged,
            start,
            length,
            on_open=lambda etag: large.opened.set_result((staged, etag)),
        )

    async def _later_range(self, large: _Large, start: int, length: int) -> None:
        staged, etag = await asyncio.shield(large.opened)
        await self._range(large, staged, start, length, etag=etag)

    async def _range(
        self,
        large: _Large,
        staged: StagedPart,
        start: int,
        length: int,
        *,
        etag: str | None = None,
        on_open: Callable[[str], None] | None = None,
    ) -> None:
        async with self._transfer.memory.hold(length):
            try:
                if not large.changed:
                    of_etag, data = await self._read(
                        large.stored, start, length, large.arrived, etag=etag, on_open=on_open
                    )
                    written = await self._transfer.disk.run(
                        write_range, staged, start, data, of_etag
                    )
                    large.written.append(written)
            except EtagMismatchError:
                large.changed = True
        large.left_count -= 1
        if not large.left_count:
            await self._end_large(large, staged)

    async def _end_large(self, large: _Large, staged: StagedPart) -> None:
        """Check a part of which no range is under way any more; once, start it over."""
        found = None if large.changed else large.checksum()
        if found is not None and large.stored.part.crc64nvme in (None, found):
            await self._transfer.disk.run(self._staged.end_part, staged)
            self._meter.add_file()
            return
        if not large.tries_left:
            raise _mismatch(large.stored, found)
        large.arrived.start_over()
        await self._transfer.disk.run(self._staged.drop_part, staged)
        self._enqueue_large(large.stored, large.tries_left)

    async def _read(
        self,
        stored: StoredPart,
        start: int,
        length: int,
        arrived: "_ArrivedBytes",
        *,
        etag: str | None = None,
        on_open: Callable[[str], None] | None = None,
    ) -> tuple[str, list[Buffer]]:
        """Return the range's bytes as they came, and the ETag of the object that they are of.

        Raises:
            EtagMismatchError: it is another object than it should be.
        """
        data: list[Buffer] = []
        telemetry = self._transfer.telemetry
        async with self._transfer.connections:
            with telemetry.object_read_span(stored.key, start, length):
                try:
                    reader = await self._transfer.store.read(
                        stored.key, start=start, length=length, etag=etag
                    )
                    if on_open is not None:
                        on_open(reader.info.etag)
                    if reader.info.size_bytes != stored.size_bytes:
                        raise EtagMismatchError(stored.key)
                    async for chunk in reader:
                        data.append(chunk)
                        arrived.add(len(chunk))
                except KeyNotFoundError:
                    raise _lacks(stored) from None
        return reader.info.etag, data


@dataclass(frozen=True)
class _SmallArrival:
    """A part that came in one piece and waits to be checked and written."""

    stored: StoredPart
    data: list[Buffer]
    etag: str
    count: "_ArrivedBytes"
    tries_left: int


class _ArrivedBytes:
    """The bytes of one try, which another try would have to fetch again; some may be kept ones."""

    def __init__(self, meter: ProgressMeter, kept_bytes: int = 0) -> None:
        self._meter = meter
        self._kept_bytes = kept_bytes
        self._byte_count = 0

    def add(self, count: int) -> None:
        self._byte_count += count
        self._meter.add_bytes(count)

    def start_over(self) -> None:
        """Begin another try."""
        self._meter.start_over(self._byte_count, self._kept_bytes)
        self._byte_count = self._kept_bytes = 0


def _lacks(stored: StoredPart) -> BadManifestError:
    return BadManifestError(
        "the store lacks {key}, which the version's manifest names: push the content again as a"
        " new version",
        key=stored.key,
    )


def _mismatch(stored: StoredPart, found: int | None) -> DigestMismatchError:
    if found is None:
        return DigestMismatchError(
            "{key} is not the object that the manifest names: it has another size than"
            " {expected_bytes} bytes, or changed while it was read",
            key=stored.key,
            expected_bytes=stored.size_bytes,
        )
    return DigestMismatchError(
        "{key} is damaged in the store or on the way: its crc64nvme is {found}, and the manifest"
        " says {expected}",
        key=stored.key,
        found=encode_crc64nvme(found),
        expected=encode_crc64nvme(stored.part.crc64nvme or 0),
    )


def first_error(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return one failure of several: the workers fail for one cause."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
