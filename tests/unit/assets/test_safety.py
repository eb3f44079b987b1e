"""The refusal of unsafe stores: when the store is tried, and what pushes wait for."""

import asyncio

import pytest
from assetd_server.assets.safety import StoreSafety
from assetd_server.errors import StoreUnavailableError, UnsafeStoreError
from assetd_server.store.probe import PROBE_PREFIX

from tests.support.assets_bench import Bench
from tests.support.lax_store import DenyingStore, LaxStore
from tests.support.memory_store import MemoryStore


def probes(store: MemoryStore) -> int:
    """How many runs of the probe have begun."""
    return len({key for key in store.operations("head") if key.endswith(".absent")})


async def test_the_first_push_tries_the_store(bench: Bench) -> None:
    """A daemon tries its store before its first push, and only then: others write nothing.

    It is tried once: later pushes find it tried.
    """
    daemon = bench.daemon(probes=True)
    await daemon.assets.load()
    assert bench.store.calls == []
    await daemon.push("a/file", b"first")
    assert bench.store.count("create", ".assetd/probe/") > 0
    tried = bench.store.count("*", ".assetd/probe/")
    await daemon.push("a/file", b"second")
    assert bench.store.count("*", ".assetd/probe/") == tried
    assert not any(key.startswith(PROBE_PREFIX) for key in bench.memory.keys)


async def test_a_store_that_is_not_atomic_is_refused(bench: Bench) -> None:
    """A push to a store whose conditional writes are not atomic is `UNSAFE_STORE`.

    It names what failed, creates nothing, and is refused again without another try.
    """
    store = LaxStore("create")
    daemon = bench.daemon(store=store, probes=True)
    for _ in range(2):
        with pytest.raises(UnsafeStoreError) as refused:
            await daemon.push("a/file", b"content")
        assert refused.value.metadata["failed"] == "create twice, create race, mixed race"
        assert "If-None-Match is ignored" in refused.value.metadata["detail"]
        assert "ASSETD_PUSH_SINGLE_PUSHER" in str(refused.value)
    assert store.keys == []
    assert probes(store) == 1


async def test_a_single_pusher_is_believed(bench: Bench) -> None:
    """With `ASSETD_PUSH_SINGLE_PUSHER` the store is never tried, and nothing is refused."""
    store = LaxStore("create")
    daemon = bench.daemon(store=store)
    await daemon.push("a/file", b"content")
    assert probes(store) == 0


async def test_pushes_at_once_share_one_try() -> None:
    """All that come while it runs wait for it, and get the same answer."""
    for store, expected in ((MemoryStore(), type(None)), (LaxStore("swap"), UnsafeStoreError)):
        safety = StoreSafety(store, single_pusher=False)
        results = await asyncio.gather(
            *(safety.require() for _ in range(8)), return_exceptions=True
        )
        assert {type(result) for result in results} == {expected}
        assert probes(store) == 1


async def test_a_store_that_did_not_answer_is_tried_again() -> None:
    """A failure is no verdict: whoever pushes next tries anew."""
    store = MemoryStore()
    store.fail_next("create")
    safety = StoreSafety(store, single_pusher=False)
    with pytest.raises(StoreUnavailableError):
        await safety.require()
    await safety.require()
    assert probes(store) == 2


async def test_a_caller_who_leaves_disturbs_nobody() -> None:
    """The try goes on for the others, and to its end: it removes what it wrote."""
    store = MemoryStore()
    gate = store.pause_next("create")
    safety = StoreSafety(store, single_pusher=False)
    leaving = asyncio.create_task(safety.require())
    staying = asyncio.create_task(safety.require())
    await gate.reached()
    leaving.cancel()
    gate.open()
    await staying
    assert leaving.cancelled()
    assert (probes(store), store.keys) == (1, [])


async def test_the_end_of_the_daemon_waits_for_the_try() -> None:
    """What it wrote is removed before the store is closed."""
    store = MemoryStore()
    gate = store.pause_next("create")
    safety = StoreSafety(store, single_pusher=False)
    leaving = asyncio.create_task(safety.require())
    await gate.reached()
    leaving.cancel()
    closing = asyncio.create_task(safety.close())
    await asyncio.sleep(0)
    assert not closing.done()
    gate.open()
    await closing
    assert (store.keys, store.upload_count) == ([], 0)


async def test_the_missing_right_is_named_to_the_pusher() -> None:
    """An operator reads in the refusal what to allow."""
    with pytest.raises(UnsafeStoreError, match="s3:ListBucket"):
        await StoreSafety(DenyingStore(), single_pusher=False).require()
