"""Bytes from the store into staging: ranges, tries, bounded memory, what a failure names."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence

import pytest
from assetd_server.assets.byte_budget import ByteBudget
from assetd_server.assets.orders import FetchCompleted, FetchProgress
from assetd_server.assets.settings import AssetsSettings
from assetd_server.cache.linux import Buffer
from assetd_server.errors import (
    AssetError,
    BadManifestError,
    DigestMismatchError,
    DiskFullError,
    StoreAccessDeniedError,
    StoreUnavailableError,
)
from assetd_server.model import Verification
from assetd_server.store.base import ObjectInfo, ObjectReader

from tests.support.assets_bench import RANGE_BYTES, Bench, Daemon
from tests.support.file_systems import FaultyFileSystem
from tests.support.memory_store import MemoryStore
from tests.support.trees import read_tree
from tests.support.versions import Content, by_path

SIZES = [0, 1, RANGE_BYTES - 1, RANGE_BYTES, RANGE_BYTES + 1, 3 * RANGE_BYTES, 3 * RANGE_BYTES + 5]


def random_bytes(size: int, seed: int = 1) -> bytes:
    """Bytes of which no two ranges are equal."""
    return random.Random(seed).randbytes(size)


def standing(daemon: Daemon, spec: str = "x/y/0.0") -> dict[str, bytes]:
    """What stands at the final path."""
    return read_tree(daemon.root / spec)


# Sizes


@pytest.mark.parametrize("size", SIZES)
async def test_a_file_of_any_size(bench: Bench, daemon: Daemon, size: int) -> None:
    """A file arrives whole, in ranges of which none is longer than the setting."""
    data = random_bytes(size)
    await daemon.push("x/y", data)
    bench.store.read_ranges.clear()
    completed = await daemon.fetched("x/y")
    assert standing(daemon) == {"": data}
    assert completed.transferred_bytes == size
    assert completed.verification is Verification.CHECKSUM
    ranges = sorted((start, length) for _, start, length in bench.store.read_ranges)
    starts = range(0, max(size, 1), RANGE_BYTES)
    assert ranges == [(start, min(RANGE_BYTES, size - start)) for start in starts]


async def test_a_tree_of_all_sizes(daemon: Daemon) -> None:
    """Small and large parts of one version arrive beside each other."""
    tree = {f"{size}/{n}": random_bytes(size, n) for n in range(3) for size in SIZES}
    await daemon.push("x/y", tree)
    await daemon.fetch("x/y")
    assert standing(daemon) == tree


async def test_many_small_parts(daemon: Daemon) -> None:
    """Hundreds of files arrive whole, more than any batch holds."""
    tree = {f"{number % 7}/{number}": b"%d" % number for number in range(300)}
    await daemon.push("x/y", tree)
    await daemon.fetch("x/y")
    assert standing(daemon) == tree


@pytest.mark.parametrize("size", SIZES)
async def test_modelkits_files_arrive_too(bench: Bench, daemon: Daemon, size: int) -> None:
    """Without a known checksum the size is what is compared, and the answer says so."""
    tree = {"a": random_bytes(size), "b/c": b"1"}
    await bench.modelkit_pushes("x/y:0.0", tree)
    completed = await daemon.fetched("x/y")
    assert completed.verification is Verification.SIZE
    assert standing(daemon) == tree


# Damage


@pytest.mark.parametrize("size", [1, RANGE_BYTES, RANGE_BYTES + 1, 3 * RANGE_BYTES])
async def test_a_byte_that_flips_once(bench: Bench, daemon: Daemon, size: int) -> None:
    """Damage on the way costs one clean retry, which the progress tells."""
    data = random_bytes(size)
    await daemon.push("x/y", data)
    bench.store.damage("x/y/0.0", times=1)
    events = await daemon.fetch("x/y", progress_interval_seconds=0.001)
    completed = events[-1]
    assert isinstance(completed, FetchCompleted)
    assert completed.transferred_bytes == 2 * size
    assert standing(daemon) == {"": data}
    figures = [(e.attempt, e.present_bytes) for e in events if isinstance(e, FetchProgress)]
    assert figures == sorted(figures)


@pytest.mark.parametrize("size", [1, 3 * RANGE_BYTES])
async def test_a_byte_that_flips_twice(bench: Bench, daemon: Daemon, size: int) -> None:
    """A checksum that is wrong twice is `DIGEST_MISMATCH`, names the key, and nothing is shown."""
    await daemon.push("x/y", random_bytes(size))
    bench.store.damage("x/y/0.0", times=2 * -(-size // RANGE_BYTES))
    with pytest.raises(DigestMismatchError) as failure:
        await daemon.fetch("x/y")
    assert failure.value.metadata["key"] == "x/y/0.0"
    assert not (daemon.root / "x/y/0.0").exists()
    await daemon.fetch("x/y")


async def test_one_damaged_file_of_many(bench: Bench, daemon: Daemon) -> None:
    """Only the damaged file comes again."""
    tree = {f"{number:03}": b"%d" % number for number in range(50)}
    await daemon.push("x/y", tree)
    for number in range(0, 50, 3):
        bench.store.damage(f"x/y/0.0/{number:03}", times=1)
    bench.store.calls.clear()
    await daemon.fetch("x/y")
    assert standing(daemon) == tree
    assert bench.store.count("read") == 50 + 17


@pytest.mark.parametrize("size", [10, 3 * RANGE_BYTES])
@pytest.mark.parametrize("other", [9, 11, 3 * RANGE_BYTES - 1, 3 * RANGE_BYTES + 1])
async def test_an_object_of_another_size(
    bench: Bench, daemon: Daemon, size: int, other: int
) -> None:
    """An object that is shorter or longer than its manifest says is never shown."""
    await daemon.push("x/y", random_bytes(size))
    await bench.memory.put("x/y/0.0", random_bytes(other))
    with pytest.raises(DigestMismatchError) as failure:
        await daemon.fetch("x/y")
    assert failure.value.metadata["expected_bytes"] == str(size)
    assert not (daemon.root / "x/y/0.0").exists()


async def test_an_object_replaced_between_its_ranges(bench: Bench) -> None:
    """Ranges of two writes of an object are never mixed.

    The part begins again, from the new write alone.
    """
    first, second = random_bytes(3 * RANGE_BYTES, 1), random_bytes(3 * RANGE_BYTES, 2)
    await bench.modelkit_pushes("x/y:0.0", first)
    one_at_a_time = bench.daemon(AssetsSettings(range_bytes=RANGE_BYTES, connection_count=1))
    gates = [bench.store.pause("read", "x/y/0.0") for _ in range(2)]
    gates[0].open()
    fetching = asyncio.create_task(one_at_a_time.fetched("x/y"))
    await gates[1].reached()
    await bench.memory.put("x/y/0.0", second)
    gates[1].open()
    await fetching
    assert standing(one_at_a_time) == {"": second}


async def test_an_object_that_keeps_being_replaced(bench: Bench, daemon: Daemon) -> None:
    """A second replacement is an alarm, not a third try."""
    await daemon.push("x/y", random_bytes(3 * RANGE_BYTES))
    await bench.memory.put("x/y/0.0", random_bytes(3 * RANGE_BYTES, 2))
    with pytest.raises(DigestMismatchError):
        await daemon.fetch("x/y")


# What the store lacks


@pytest.mark.parametrize("part", ["a", "b"])
async def test_a_missing_part_is_named(bench: Bench, daemon: Daemon, part: str) -> None:
    """A part that the manifest names and the store lacks is `BAD_MANIFEST` with its key."""
    await daemon.push("x/y", {"a": b"1", "b": random_bytes(3 * RANGE_BYTES)})
    await bench.memory.delete(f"x/y/0.0/{part}")
    with pytest.raises(BadManifestError) as failure:
        await daemon.fetch("x/y")
    assert failure.value.metadata["key"] == f"x/y/0.0/{part}"
    assert not (daemon.root / "x/y/0.0").exists()


@pytest.mark.parametrize("content", [b"1", {"a": b"1", "b": b"2"}])
async def test_a_missing_part_of_modelkits(bench: Bench, daemon: Daemon, content: Content) -> None:
    """Of what modelkit pushed the sizes are asked for first, and that finds the gap."""
    await bench.modelkit_pushes("x/y:0.0", content)
    key = "x/y/0.0" + ("/b" if len(by_path(content)) > 1 else "")
    await bench.memory.delete(key)
    with pytest.raises(BadManifestError) as failure:
        await daemon.fetch("x/y")
    assert failure.value.metadata["key"] == key


class VanishingStore(MemoryStore):
    """Loses an object while it is read: a resumed read finds nothing."""

    async def read(
        self, key: str, *, start: int = 0, length: int | None = None, etag: str | None = None
    ) -> ObjectReader:
        reader = await super().read(key, start=start, length=length, etag=etag)
        return _VanishingReader(self, reader)


class _VanishingReader:
    def __init__(self, store: MemoryStore, inner: ObjectReader) -> None:
        self._store = store
        self._inner = inner

    @property
    def info(self) -> ObjectInfo:
        return self._inner.info

    async def __aiter__(self) -> AsyncIterator[Buffer]:
        async for chunk in self._inner:
            await self._store.delete(self.info.key)
            await self._store.head(self.info.key)
            yield chunk


async def test_a_part_that_vanishes_while_it_is_read(bench: Bench) -> None:
    """The store's word that a key is gone is BAD_MANIFEST also in the middle of its bytes."""
    store = VanishingStore()
    await bench.modelkit_pushes("x/y:0.0", b"data")
    for key in bench.memory.keys:
        await store.put(key, await bench.store.bytes_of(key))
    daemon = bench.daemon(store=store)
    with pytest.raises(BadManifestError) as failure:
        await daemon.fetch("x/y:0.0")
    assert failure.value.metadata["key"] == "x/y/0.0"


@pytest.mark.parametrize("error", [StoreUnavailableError("down"), StoreAccessDeniedError("no")])
@pytest.mark.parametrize("key", ["x/y/0.0/a", "x/y/0.0/b", "x/y/0.0/z"])
async def test_a_store_that_fails_in_the_middle(
    bench: Bench, daemon: Daemon, error: AssetError, key: str
) -> None:
    """One part that fails ends the download with that failure; a repeat works."""
    tree = {"a": b"1", "b": random_bytes(5 * RANGE_BYTES), "z": b"2"}
    await daemon.push("x/y", tree)
    bench.store.fail("read", key, error=error)
    with pytest.raises(type(error)):
        await daemon.fetch("x/y")
    await daemon.require_idle()
    await daemon.fetch("x/y")
    assert standing(daemon) == tree


# Disk


@pytest.mark.parametrize("number", [1, 2, 5])
async def test_a_disk_that_fills_up_in_the_middle(
    bench: Bench, daemon: Daemon, number: int
) -> None:
    """DISK_FULL leaves nothing of the download behind, and the next try begins anew."""
    tree = {"a": b"1", "b": random_bytes(5 * RANGE_BYTES), "z": b"2"}
    await bench.daemon().push("x/y", tree)
    daemon.fs.fail(number, 28, "pwritev")
    with pytest.raises(DiskFullError):
        await daemon.fetch("x/y")
    await daemon.require_idle()
    assert not (daemon.root / "x/y/0.0").exists()
    await daemon.fetch("x/y")
    assert standing(daemon) == tree


class SmallDisk(FaultyFileSystem):
    """A disk with little room."""

    def free_bytes(self, fd: int) -> int:
        return min(super().free_bytes(fd), 1000)


async def test_what_cannot_fit_is_refused_before_the_first_byte(bench: Bench) -> None:
    """Where the disk has not the room for it, a version is DISK_FULL without a read."""
    daemon = bench.daemon(fs=SmallDisk())
    await bench.daemon().push("x/y", b"d" * 1001)
    bench.store.calls.clear()
    with pytest.raises(DiskFullError) as failure:
        await daemon.fetch("x/y")
    assert failure.value.metadata["needed_bytes"] == "1001"
    assert failure.value.metadata["free_bytes"] == "1000"
    assert bench.store.count("read") == 0


# Memory


class Meter(FaultyFileSystem):
    """Knows how many bytes were asked of the store and are not on the disk yet."""

    def __init__(self) -> None:
        super().__init__()
        self.held = 0
        self.most = 0

    def asked(self, count: int) -> None:
        """Count bytes that are on their way."""
        self.held += count
        self.most = max(self.most, self.held)

    def pwritev(self, fd: int, buffers: Sequence[Buffer], offset: int) -> int:
        written = super().pwritev(fd, buffers, offset)
        self.held -= written
        return written


class MeteredStore(MemoryStore):
    """Tells the meter of each range that is asked for."""

    def __init__(self, meter: Meter) -> None:
        super().__init__(chunk_bytes=512)
        self._meter = meter

    async def read(
        self, key: str, *, start: int = 0, length: int | None = None, etag: str | None = None
    ) -> ObjectReader:
        reader = await super().read(key, start=start, length=length, etag=etag)
        self._meter.asked(min(length or 0, reader.info.size_bytes - start))
        return reader


@pytest.mark.parametrize("ranges", [1, 2, 5])
@pytest.mark.parametrize(
    "tree",
    [
        {f"{number}": random_bytes(RANGE_BYTES, number) for number in range(40)},
        {f"{number}": random_bytes(8 * RANGE_BYTES, number) for number in range(3)},
        {f"{number}": random_bytes(number * 300, number) for number in range(40)},
    ],
    ids=["small", "large", "mixed"],
)
async def test_memory_is_bounded(bench: Bench, tree: dict[str, bytes], ranges: int) -> None:
    """All downloads together hold at most `ASSETD_TRANSFER_MEMORY` bytes in memory.

    What is asked of the store and not written yet uses all of it.
    """
    meter = Meter()
    store = MeteredStore(meter)
    await bench.daemon(store=store).push("x/y", tree)
    settings = AssetsSettings(
        connection_count=16, range_bytes=RANGE_BYTES, transfer_memory_bytes=ranges * RANGE_BYTES
    )
    daemon = bench.daemon(settings, store=store, fs=meter)
    meter.held = meter.most = 0
    await daemon.fetch("x/y")
    assert standing(daemon) == tree
    # Markers and lock files are written as well, but never read from the store.
    assert meter.most <= ranges * RANGE_BYTES
    assert meter.most > (ranges - 1) * RANGE_BYTES / 2


TIGHT = AssetsSettings(
    connection_count=8, range_bytes=RANGE_BYTES, transfer_memory_bytes=2 * RANGE_BYTES
)


async def test_memory_is_given_back_after_every_failure(bench: Bench) -> None:
    """Downloads that fail or are given up hold no memory: the next has all of it."""
    daemon = bench.daemon(TIGHT)
    tree = {f"{number}": random_bytes(RANGE_BYTES, number) for number in range(8)}
    await daemon.push("x/y", {**tree, "large": random_bytes(3 * RANGE_BYTES)})
    for number in range(8):
        bench.store.fail("read", f"0.0/{number}")
        with pytest.raises(StoreUnavailableError):
            await daemon.fetch("x/y")
        gate = bench.store.pause("read", f"0.0/{number}")
        caller = asyncio.create_task(daemon.fetch("x/y"))
        await gate.reached()
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        await daemon.until_waiting(0)
    daemon.fs.fail(2, 28, "pwritev")
    with pytest.raises(DiskFullError):
        await daemon.fetch("x/y")
    async with asyncio.timeout(30):
        await daemon.fetch("x/y")


async def test_damage_in_tight_memory_does_not_hang(bench: Bench) -> None:
    """A part that has to come again needs no more memory than it has already."""
    daemon = bench.daemon(TIGHT)
    tree = {f"{number}": random_bytes(RANGE_BYTES, number) for number in range(12)}
    await daemon.push("x/y", tree)
    for number in range(12):
        bench.store.damage(f"x/y/0.0/{number}", times=1)
    async with asyncio.timeout(30):
        await daemon.fetch("x/y")
    assert standing(daemon) == tree


async def test_a_budget_serves_in_order_and_whole() -> None:
    """Who asks for more than there is waits for all of it; nobody overtakes."""
    budget = ByteBudget(10)
    await budget.acquire(6)
    order: list[str] = []

    async def take(name: str, count: int) -> None:
        async with budget.hold(count):
            order.append(name)

    tasks = [asyncio.create_task(take("large", 100))]
    await asyncio.sleep(0)
    tasks.append(asyncio.create_task(take("small", 1)))
    await asyncio.sleep(0)
    assert order == []
    budget.release(6)
    await asyncio.gather(*tasks)
    assert order == ["large", "small"]


async def test_who_leaves_a_budget_lets_those_behind_through() -> None:
    """A waiter that is cancelled neither keeps bytes nor stands in the way."""
    budget = ByteBudget(10)
    await budget.acquire(6)
    large = asyncio.create_task(budget.acquire(9))
    await asyncio.sleep(0)
    small = asyncio.create_task(budget.acquire(4))
    await asyncio.sleep(0)
    large.cancel()
    await small
    budget.release(6)
    budget.release(4)
    granted = asyncio.create_task(budget.acquire(10))
    await granted
    # Granted and cancelled in one turn of the loop: the bytes come back.
    late = asyncio.create_task(budget.acquire(10))
    await asyncio.sleep(0)
    budget.release(10)
    late.cancel()
    with pytest.raises(asyncio.CancelledError):
        await late
    await budget.acquire(10)
