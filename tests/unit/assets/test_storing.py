"""Parts into the store: in pieces, few at once, never over what is there, read back."""

import asyncio

import pytest
from assetd_server.errors import (
    DigestMismatchError,
    DiskFullError,
    StoreAccessDeniedError,
    StoreUnavailableError,
)
from assetd_server.store.base import Buffer, KeyExistsError, ObjectInfo

from tests.support.assets_bench import Bench, Daemon, steps_of
from tests.support.memory_store import MemoryStore
from tests.support.pausing_store import PausingStore

MIB = 2**20
PIECE_BYTES = 16 * MIB
KEY = "x/y/1.0"
LARGE = b"".join(bytes([number]) * MIB for number in range(33))


async def push_large(daemon: Daemon) -> None:
    """Push three pieces' worth of one file."""
    await daemon.push_steps(steps_of("x/y:1.0", LARGE, chunk_bytes=MIB))


async def test_a_large_part_goes_in_pieces(bench: Bench, daemon: Daemon) -> None:
    """More than one piece is one upload, all pieces but the last of one size, none overlapping."""
    await push_large(daemon)
    assert bench.store.count("start_upload", KEY) == 1
    assert bench.store.count("upload_part", KEY) == 3
    assert bench.store.count("create", KEY) == 0
    assert await bench.stored("x/y:1.0") == LARGE


async def test_one_piece_is_one_create(bench: Bench, daemon: Daemon) -> None:
    """What fits in a piece needs no upload."""
    data = LARGE[:PIECE_BYTES]
    await daemon.push_steps(steps_of("x/y:1.0", data, chunk_bytes=MIB))
    assert bench.store.count("start_upload") == 0
    assert await bench.stored("x/y:1.0") == data


@pytest.mark.parametrize("operation", ["start_upload", "upload_part", "create_from_upload"])
async def test_an_upload_that_fails_is_dropped(
    bench: Bench, daemon: Daemon, operation: str
) -> None:
    """Whatever fails, no upload stays, and a repeat succeeds."""
    bench.store.fail(operation, KEY)
    with pytest.raises(StoreUnavailableError):
        await push_large(daemon)
    assert bench.memory.upload_count == 0
    await push_large(daemon)
    assert await bench.stored("x/y:1.0") == LARGE


async def test_an_upload_of_a_caller_who_leaves_is_dropped(bench: Bench, daemon: Daemon) -> None:
    """A cancelled push drops its upload too."""
    gate = bench.store.pause("create_from_upload", KEY)
    pushing = asyncio.create_task(push_large(daemon))
    await gate.reached()
    pushing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await pushing
    assert bench.memory.upload_count == 0


async def test_an_upload_that_is_begun_behind_a_leaving_caller_is_dropped(
    bench: Bench, daemon: Daemon
) -> None:
    """Who leaves before the store has said the upload's name leaves no upload either."""
    gate = bench.store.hold_answer("start_upload", KEY)
    pushing = asyncio.create_task(push_large(daemon))
    await gate.reached()
    pushing.cancel()
    for _ in range(100):
        await asyncio.sleep(0)
    gate.open()
    with pytest.raises(asyncio.CancelledError):
        await pushing
    assert bench.memory.upload_count == 0


async def test_the_failure_counts_not_the_cleaning_up(bench: Bench, daemon: Daemon) -> None:
    """Where dropping the upload fails as well, the caller hears of what went wrong first."""
    error = StoreAccessDeniedError("the store refuses")
    bench.store.fail("create_from_upload", KEY, error=error)
    bench.store.fail("abort_upload", KEY)
    with pytest.raises(StoreAccessDeniedError):
        await push_large(daemon)
    # It is found again before the claim is released.
    assert bench.memory.upload_count == 0


async def test_an_equal_left_over_is_kept(bench: Bench, daemon: Daemon) -> None:
    """What an earlier push left whole is not stored again, and its upload is dropped."""
    await bench.memory.put(KEY, LARGE)
    before = await bench.memory.head(KEY)
    await push_large(daemon)
    assert await bench.memory.head(KEY) == before
    assert bench.memory.upload_count == 0


@pytest.mark.parametrize("operation", ["upload_part", "swap", "get", "put_from_upload"])
async def test_a_replacement_that_fails_is_dropped(
    bench: Bench, daemon: Daemon, operation: str
) -> None:
    """An unequal left-over is replaced by an upload; where that fails, none stays."""
    await bench.memory.put(KEY, b"left over")
    gate = bench.store.pause("start_upload", KEY)
    pushing = asyncio.create_task(daemon.push("x/y:1.0", b"data"))
    await gate.reached()
    key = {"swap": ".assetd/claims/x/y/1.0", "get": "x/y/1.0.meta"}.get(operation, KEY)
    bench.store.fail(operation, key)
    gate.open()
    with pytest.raises(StoreUnavailableError):
        await pushing
    assert bench.memory.upload_count == 0
    await daemon.push("x/y:1.0", b"data")
    assert await bench.stored("x/y:1.0") == b"data"


async def test_what_is_of_another_kind_is_not_replaced(bench: Bench, daemon: Daemon) -> None:
    """Where keys are paths, a late call of another push can be in the way: that is no defect."""
    await bench.memory.put(KEY, b"left over")
    bench.store.fail("put_from_upload", KEY, error=KeyExistsError(KEY))
    with pytest.raises(StoreUnavailableError, match="of another kind is in its way"):
        await daemon.push("x/y:1.0", b"data")
    assert bench.memory.upload_count == 0


@pytest.mark.parametrize("data", [b"data", LARGE[: PIECE_BYTES + 1]])
async def test_what_reads_back_otherwise_is_not_committed(
    bench: Bench, daemon: Daemon, data: bytes
) -> None:
    """Every part is read back before the commit: one with another byte is `DIGEST_MISMATCH`.

    No version exists then.
    """
    bench.store.damage(KEY, times=1)
    with pytest.raises(DigestMismatchError) as failure:
        await daemon.push_steps(steps_of("x/y:1.0", data, chunk_bytes=MIB))
    assert failure.value.metadata["key"] == KEY
    assert "x/y/1.0.meta" not in bench.memory.keys
    await daemon.push("x/y:1.0", b"data" if data == b"data" else b"other")


@pytest.mark.parametrize("refuses", [False, True])
async def test_a_store_that_compares_is_not_asked_again(bench: Bench, *, refuses: bool) -> None:
    """Where the store was seen to refuse what arrives damaged, its answer proves a small part."""
    bench.memory.refuses = refuses
    daemon = bench.daemon(probes=True)
    await daemon.push("x/y:1.0", b"data")
    asked = bench.store.count("checksum", KEY) + bench.store.count("read", KEY)
    assert (asked == 0) is refuses
    await daemon.push_steps(steps_of("x/y:2.0", LARGE, chunk_bytes=MIB))
    assert bench.store.count("checksum", "x/y/2.0") == 1


async def test_a_part_that_vanishes_is_not_committed(bench: Bench, daemon: Daemon) -> None:
    """A part that somebody deletes before it was read back is noticed."""
    gate = bench.store.pause("read", KEY)
    pushing = asyncio.create_task(daemon.push("x/y:1.0", b"data"))
    await gate.reached()
    await bench.memory.delete(KEY)
    gate.open()
    with pytest.raises(DigestMismatchError):
        await pushing
    assert "x/y/1.0.meta" not in bench.memory.keys


async def test_a_full_store_is_told(bench: Bench, daemon: Daemon) -> None:
    """A store without room is DISK_FULL, and the claim is given up."""
    bench.store.fail("create", KEY, error=DiskFullError("the store is full"))
    with pytest.raises(DiskFullError):
        await daemon.push("x/y:1.0", b"data")
    assert await bench.claim_states() == {"released"}


class CrowdedStore(MemoryStore):
    """Lets the first writes of parts wait until 32 of them have come; counts how many do."""

    def __init__(self) -> None:
        super().__init__()
        self.busy = 0
        self.most = 0
        self._crowd = asyncio.Event()

    async def create(self, key: str, data: Buffer) -> ObjectInfo:
        if key.startswith("."):
            return await super().create(key, data)
        self.busy += 1
        self.most = max(self.most, self.busy)
        if self.busy == 32:
            self._crowd.set()
        await self._crowd.wait()
        for _ in range(5):
            await asyncio.sleep(0)
        self.busy -= 1
        return await super().create(key, data)


async def test_few_parts_are_in_memory_at_once(bench: Bench) -> None:
    """However many files a push has, thirty-two are stored at once, and no more."""
    store = CrowdedStore()
    daemon = bench.daemon(store=PausingStore(store))
    tree = {f"{number:03}": b"%d" % number for number in range(100)}
    await daemon.push("x/d", tree)
    assert store.most == 32
