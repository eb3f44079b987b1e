"""The probe: what it believes, what it finds, and that it leaves nothing."""

import asyncio

import pytest
from assetd_server.errors import StoreAccessDeniedError, StoreUnavailableError, UnsafeStoreError
from assetd_server.store.base import ObjectStore
from assetd_server.store.probe import PROBE_PREFIX, probe
from assetd_server.store.retrying import RetryingStore, RetryPolicy

from tests.support.lax_store import (
    DenyingStore,
    FailingOnAbortedStore,
    KeepingStore,
    LaxStore,
    OverwritingStore,
    SwappingNothingStore,
    UnlistedStore,
)
from tests.support.memory_store import MemoryStore

CREATES = {"create twice", "create race", "mixed race"}
SWAPS = {"stale swap", "swap of nothing", "swap race"}
UPLOADS = {"upload over a key", "upload race", "mixed race"}
UNSAFE: list[tuple[MemoryStore, set[str]]] = [
    (LaxStore("create"), CREATES),
    (LaxStore("swap"), SWAPS),
    (LaxStore("create_from_upload"), UPLOADS),
    (LaxStore("create", window=True), {"create race"}),
    (LaxStore("swap", window=True), {"swap race"}),
    (LaxStore("create_from_upload", window=True), {"upload race", "mixed race"}),
    (OverwritingStore(), {"upload race", "mixed race"}),
    (SwappingNothingStore(), {"swap of nothing"}),
    (KeepingStore(), {"aborted upload"}),
    (DenyingStore(), {"absent key", "swap of nothing", "aborted upload"}),
    (UnlistedStore(), {"listing"}),
]


async def failed(store: ObjectStore) -> dict[str, str]:
    """What the store does not pass, each with its detail."""
    return {check.name: check.detail for check in (await probe(store)).failed}


async def test_a_store_that_keeps_its_promises_passes() -> None:
    """Every check tells what was seen, and nothing is left of it."""
    store = MemoryStore()
    report = await probe(store)
    assert report.failed == ()
    assert len(report.checks) == 12
    assert all(check.detail for check in report.checks)
    assert (store.keys, store.upload_count) == ([], 0)


@pytest.mark.parametrize("refuses", [False, True])
async def test_damage_on_the_way_is_no_broken_promise(*, refuses: bool) -> None:
    """It is told whether the store refuses it: else pushes compare by themselves."""
    store = MemoryStore()
    store.refuses = refuses
    report = await probe(store)
    assert report.failed == ()
    [check] = [check for check in report.checks if check.name == "damaged object"]
    assert check.detail.startswith("it was refused") is refuses


async def test_all_that_it_writes_is_its_own() -> None:
    """Nothing is touched but new keys below one prefix; other runs are not disturbed."""
    store = MemoryStore()
    await store.put("a.versions", b"{}")
    await asyncio.gather(probe(store), probe(store))
    written = set(store.operations("create") + store.operations("start_upload"))
    assert all(key.startswith(PROBE_PREFIX) for key in written)
    assert store.keys == ["a.versions"]


@pytest.mark.parametrize(("store", "expected"), UNSAFE, ids=lambda value: type(value).__name__)
async def test_a_broken_promise_is_found(store: MemoryStore, expected: set[str]) -> None:
    """By the checks that are about it, and by no other; the keys are removed all the same."""
    assert set(await failed(store)) == expected
    assert store.keys == []


async def test_several_winners_are_counted() -> None:
    """So that an operator sees how wide the window is."""
    found = await failed(LaxStore("create", window=True))
    assert "16 of 16 racers for one key won" in found["create race"]


async def test_the_missing_right_to_list_is_named() -> None:
    """Nobody can tell absent from forbidden without it."""
    found = await failed(DenyingStore())
    assert "s3:ListBucket" in found["absent key"]
    assert "HTTP 403 AccessDenied" in found["absent key"]


async def test_lost_answers_are_no_broken_promise() -> None:
    """A repeated call may be refused because of its own first try: what stands there tells."""

    async def sleep(_: float) -> None:
        """Waits for nothing."""

    for operation in ("create", "swap", "create_from_upload", "start_upload", "abort_upload"):
        store = MemoryStore()
        store.fail_next(operation, times=40, after_effect=True)
        repeating = RetryingStore(store, RetryPolicy(attempts=100), sleep=sleep)
        assert await failed(repeating) == {}
        assert (store.keys, store.upload_count) == ([], 0), operation


async def test_a_store_that_fails_cannot_be_judged() -> None:
    """Whichever call fails, it is the store's failure, and all that was written is removed."""
    whole = MemoryStore()
    await probe(whole)
    # The last check tells a failure that stays from the store's answer: see below.
    last = next(number for number, step in enumerate(whole.steps) if step.key.endswith(".aborted"))
    for number in range(1, last, 5):
        store = MemoryStore()
        store.fail_step(number)
        with pytest.raises(StoreUnavailableError):
            await probe(store)
        assert (store.keys, store.upload_count) == ([], 0)


async def test_what_cannot_be_removed_does_not_change_the_verdict() -> None:
    """The keys are left for `assetd doctor` to list."""
    store = MemoryStore()
    store.fail_next("delete", StoreAccessDeniedError("no"), times=100)
    with pytest.raises(StoreAccessDeniedError):
        await probe(store)
    store = MemoryStore()
    await probe(store)
    removals = len(store.operations("delete"))
    store = MemoryStore()
    gate = store.pause_next("delete")
    running = asyncio.create_task(probe(store))
    await gate.reached()
    store.fail_next("delete", times=removals)
    gate.open()
    assert (await running).failed == ()
    assert all(key.startswith(PROBE_PREFIX) for key in store.keys)


async def test_a_store_that_is_unsafe_and_fails_is_unsafe() -> None:
    """What it cannot answer does not make up for what it did."""
    store = LaxStore("create")
    store.fail_next("swap")
    found = await failed(store)
    assert set(found) == {"create twice", "stale swap"}


async def test_refused_credentials_are_no_verdict() -> None:
    """Who may not write learns nothing of the store."""
    store = MemoryStore()
    store.fail_next("create", StoreAccessDeniedError("no"))
    with pytest.raises(StoreAccessDeniedError):
        await probe(store)


async def test_a_call_that_the_store_does_not_know_is_told() -> None:
    """It is as good as a promise that is not kept."""
    store = MemoryStore()
    store.fail_next("swap", UnsafeStoreError("the store does not know {what}", what="If-Match"))
    assert (await failed(store))["stale swap"] == "the store does not know If-Match"


async def test_an_aborted_upload_has_to_be_told_as_gone() -> None:
    """A failure that stays is the store's answer, while it answers other calls."""
    found = await failed(FailingOnAbortedStore())
    assert "HTTP 500" in found["aborted upload"]
