"""No upload stays of a push, though the answer that told its name was lost."""

import asyncio
import json

import pytest
from assetd_server.assets.part_upload import PIECE_BYTES
from assetd_server.errors import (
    AssetError,
    PushInProgressError,
    StoreAccessDeniedError,
    StoreUnavailableError,
    UnsafeStoreError,
)
from assetd_server.store.base import Upload
from assetd_server.store.retrying import RetryingStore

from tests.support.assets_bench import Bench, Daemon, steps_of

TREE = {"a": b"data", "sub/b": b"more"}
KEY = "x/d/1.0/a"
CLAIM = ".assetd/claims/x/d/1.0"
LARGE = bytes(PIECE_BYTES + 1)


@pytest.fixture
def daemon(bench: Bench) -> Daemon:
    """A daemon that repeats what its store could not do, without waiting."""
    return bench.daemon(store=RetryingStore(bench.store, draw=lambda: 0.0))


async def uploads(bench: Bench) -> list[Upload]:
    """The uploads under way."""
    return [found.upload async for found in bench.memory.uploads("")]


async def test_a_beginning_that_is_repeated_leaves_no_twin(bench: Bench, daemon: Daemon) -> None:
    """An upload whose answer was lost is ended once the version is committed."""
    await bench.memory.put(KEY, b"left over")
    bench.store.lose_answer("start_upload", KEY, times=2)
    await daemon.push("x/d:1.0", TREE)
    assert bench.store.count("start_upload", KEY) == 3
    assert await bench.stored("x/d:1.0") == TREE
    assert await uploads(bench) == []


async def test_an_upload_that_is_never_heard_of_is_ended(bench: Bench, daemon: Daemon) -> None:
    """Where no try is answered the push fails, and ends what they began before its claim."""
    bench.store.lose_answer("start_upload", "x/y/1.0", times=6)
    with pytest.raises(StoreUnavailableError):
        await daemon.push_steps(steps_of("x/y:1.0", LARGE, chunk_bytes=PIECE_BYTES))
    assert bench.store.count("start_upload") == 6
    assert await uploads(bench) == []
    assert await bench.claim_states() == {"released"}


async def test_a_push_that_lost_no_answer_asks_nothing(bench: Bench, daemon: Daemon) -> None:
    """The look costs a request, so it is taken where there may be something to find."""
    await bench.memory.put(KEY, b"left over")
    await daemon.push("x/d:1.0", TREE)
    assert bench.store.count("uploads") == 0


async def test_other_versions_keep_theirs(bench: Bench, daemon: Daemon) -> None:
    """What is below another version, or of another asset, is somebody else's work."""
    keys = ("x/d/1.00/a", "x/d/1.01", "x/d/1.0.5/a", "x/d2/1.0/a")
    others = [await bench.memory.start_upload(key) for key in keys]
    await bench.memory.put(KEY, b"left over")
    bench.store.lose_answer("start_upload", KEY)
    await daemon.push("x/d:1.0", TREE)
    assert await uploads(bench) == others
    for upload in others:
        await bench.memory.abort_upload(upload)


async def test_a_successor_keeps_its_upload(bench: Bench, daemon: Daemon) -> None:
    """Who has lost the claim ends nothing that it did not begin: it may be the next one's.

    An operator released the claim here, and another push, which has it now, is at its upload.
    """
    await bench.memory.put(KEY, b"left over")
    bench.store.lose_answer("start_upload", KEY)
    gate = bench.store.pause("upload_part", KEY)
    pushing = asyncio.create_task(daemon.push("x/d:1.0", TREE))
    await gate.reached()
    claim = json.loads(await bench.store.bytes_of(CLAIM))
    others = claim | {"id": "f" * 32, "push_id": "another", "digest": "sha256:" + "0" * 64}
    await bench.memory.put(CLAIM, json.dumps(others).encode())
    theirs = await bench.memory.start_upload(KEY)
    gate.open()
    with pytest.raises(PushInProgressError):
        await pushing
    assert theirs in await uploads(bench)
    for upload in await uploads(bench):
        await bench.memory.abort_upload(upload)
    await bench.memory.delete(CLAIM)


@pytest.mark.parametrize("refusal", [StoreAccessDeniedError("no"), UnsafeStoreError("no")])
async def test_who_cannot_list_uploads_pushes_all_the_same(
    bench: Bench, daemon: Daemon, refusal: AssetError
) -> None:
    """The list is for tidiness: without it `assetd doctor`, or a rule, ends what is left."""
    await bench.memory.put(KEY, b"left over")
    bench.store.lose_answer("start_upload", KEY)
    bench.store.fail("uploads", error=refusal, times=9)
    await daemon.push("x/d:1.0", TREE)
    assert await bench.claims() == {}
    [left] = await uploads(bench)
    await bench.memory.abort_upload(left)


async def test_what_cannot_be_looked_for_now_is_ended_later(bench: Bench, daemon: Daemon) -> None:
    """The version is committed and answered; what may be left of it is settled with the next."""
    await bench.memory.put(KEY, b"left over")
    bench.store.lose_answer("start_upload", KEY)
    bench.store.fail("uploads", times=6)
    await daemon.push("x/d:1.0", TREE)
    assert len(await uploads(bench)) == 1
    await daemon.assets.settle_pushes()
    assert await uploads(bench) == []
    assert await bench.stored("x/d:1.0") == TREE
    journal = daemon.root / ".assetd/push/.journal"
    assert list(journal.iterdir()) == []
