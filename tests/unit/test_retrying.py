"""The layer that repeats: what it repeats, how long, and that nothing comes twice."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from assetd_server.errors import (
    DiskFullError,
    StoreAccessDeniedError,
    StoreUnavailableError,
)
from assetd_server.store.base import (
    CannotCopyError,
    CopySource,
    EtagMismatchError,
    KeyExistsError,
    KeyNotFoundError,
    ObjectStore,
    Upload,
    UploadNotFoundError,
)
from assetd_server.store.retrying import Retry, RetryingStore, RetryPolicy
from hypothesis import given
from hypothesis import strategies as st

from tests.support.memory_store import MemoryStore

UPLOAD = Upload(key="k", upload_id="upload-2")
POLICY = RetryPolicy(
    attempts=4, within_seconds=100.0, base_delay_seconds=1.0, max_delay_seconds=3.0
)


@dataclass
class Time:
    """A clock that only waits make move on, and what the layer did with it."""

    now_seconds: float = 1000.0
    waits: list[float] = field(default_factory=list)
    retries: list[Retry] = field(default_factory=list)

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now_seconds += seconds

    def retrying(
        self, inner: ObjectStore, policy: RetryPolicy = POLICY, draw: float = 1.0
    ) -> RetryingStore:
        return RetryingStore(
            inner,
            policy,
            on_retry=self.retries.append,
            sleep=self.sleep,
            draw=lambda: draw,
            monotonic_seconds=lambda: self.now_seconds,
        )


async def _read(store: ObjectStore, key: str = "k", **arguments: Any) -> bytes:
    reader = await store.read(key, **arguments)
    return b"".join([bytes(chunk) async for chunk in reader])


async def _names(store: ObjectStore, **arguments: Any) -> list[str]:
    pages = [page async for page in store.list("", **arguments)]
    return [name for page in pages for name in (*(o.key for o in page.objects), *page.prefixes)]


async def _filled(**arguments: Any) -> MemoryStore:
    """Returns a store with the object `k`, whose ETag is `etag-1`, and the upload of one part."""
    store = MemoryStore(**arguments)
    await store.put("k", b"0123456789")
    await store.upload_part(await store.start_upload("k"), 1, 0, [b"part"])
    store.steps.clear()
    return store


CALLS: dict[str, Callable[[ObjectStore], Awaitable[object]]] = {
    "head": lambda store: store.head("k"),
    "get": lambda store: store.get("k", 100),
    "read": lambda store: store.read("k"),
    "chunk": _read,
    "page": _names,
    "put": lambda store: store.put("k", b"x"),
    "create": lambda store: store.create("new", b"x"),
    "swap": lambda store: store.swap("k", b"x", "etag-1"),
    "delete": lambda store: store.delete("k"),
    "start_upload": lambda store: store.start_upload("k"),
    "upload_part": lambda store: store.upload_part(UPLOAD, 1, 0, [b"x"]),
    "copy_part": lambda store: store.copy_part(
        Upload(UPLOAD.key, UPLOAD.upload_id, True), 1, 0, 4, CopySource(store.url, "k", "etag-1")
    ),
    "create_from_upload": lambda store: store.create_from_upload(
        Upload(key="new", upload_id=UPLOAD.upload_id), ["part-3"]
    ),
    "put_from_upload": lambda store: store.put_from_upload(UPLOAD, ["part-3"]),
    "abort_upload": lambda store: store.abort_upload(UPLOAD),
}


async def test_an_upload_that_was_begun_twice_says_so() -> None:
    """The store may hold what the first try has begun, and only the caller can tell whose it is."""
    inner = await _filled()
    store = Time().retrying(inner)
    assert not (await store.start_upload("k")).may_have_twins
    inner.fail_next("start_upload")
    assert (await store.start_upload("k")).may_have_twins


@pytest.mark.parametrize("step", CALLS)
async def test_every_call_is_repeated(step: str) -> None:
    """A store that cannot twice and then can is, for the caller, one that can."""
    time, inner = Time(), await _filled()
    inner.fail_next(step, times=2)
    await CALLS[step](time.retrying(inner))
    assert len(inner.operations(step)) == 3
    assert [retry.attempt for retry in time.retries] == [2, 3]


@pytest.mark.parametrize("step", CALLS)
async def test_every_call_is_given_up(step: str) -> None:
    """After the last try with what the store said at last."""
    time, inner = Time(), await _filled()
    errors = [StoreUnavailableError("{number}", number=number) for number in range(1, 6)]
    for error in errors:
        inner.fail_next(step, error)
    with pytest.raises(StoreUnavailableError) as caught:
        await CALLS[step](time.retrying(inner))
    assert caught.value is errors[POLICY.attempts - 1]
    assert len(inner.operations(step)) == POLICY.attempts
    assert len(time.waits) == POLICY.attempts - 1


@pytest.mark.parametrize("step", CALLS)
@pytest.mark.parametrize(
    "error",
    [
        StoreAccessDeniedError("no"),
        DiskFullError("no"),
        KeyNotFoundError("k"),
        KeyExistsError("k"),
        EtagMismatchError("k"),
        UploadNotFoundError("k"),
        CannotCopyError("k"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_an_answer_is_not_repeated(step: str, error: Exception) -> None:
    """A refusal stays one, however often it is asked for."""
    time, inner = Time(), await _filled()
    inner.fail_next(step, error)
    with pytest.raises(type(error)):
        await CALLS[step](time.retrying(inner))
    assert len(inner.operations(step)) == 1
    assert time.waits == []


async def test_waits_double_up_to_a_bound() -> None:
    """And the dice take a share of each: those that failed together must not come back together."""
    policy = RetryPolicy(
        attempts=6, within_seconds=100.0, base_delay_seconds=1, max_delay_seconds=5
    )
    for draw in (1.0, 0.5, 0.0):
        time, inner = Time(), await _filled()
        inner.fail_next("head", times=5)
        await time.retrying(inner, policy, draw).head("k")
        assert time.waits == [draw * bound for bound in (1, 2, 4, 5, 5)]


async def test_no_try_begins_too_late() -> None:
    """The time bounds what attempts would still allow, so that a caller does not wait for ever."""
    policy = RetryPolicy(
        attempts=100, within_seconds=5.0, base_delay_seconds=2, max_delay_seconds=2
    )
    time, inner = Time(), await _filled()
    inner.fail_next("head", times=99)
    with pytest.raises(StoreUnavailableError):
        await time.retrying(inner, policy).head("k")
    assert time.waits == [2, 2]


async def test_each_wait_is_told_of() -> None:
    """With what a log or a progress bar needs."""
    time, inner = Time(), await _filled()
    error = inner.unavailable()
    inner.fail_next("get", error)
    await time.retrying(inner).get("k", 100)
    assert time.retries == [
        Retry(operation="get", key="k", attempt=2, delay_seconds=1.0, error=error)
    ]


async def test_a_cancelled_wait_ends_the_call() -> None:
    """Nothing is tried for a caller that has gone."""
    inner = await _filled()
    waiting = asyncio.Event()

    async def sleep(_: float) -> None:
        waiting.set()
        await asyncio.Event().wait()

    inner.fail_next("head")
    call = asyncio.create_task(RetryingStore(inner, sleep=sleep).head("k"))
    await waiting.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert len(inner.steps) == 1


async def test_the_default_waits_are_real_and_short() -> None:
    """Without seams it works too."""
    inner = await _filled()
    inner.fail_next("head")
    store = RetryingStore(inner, RetryPolicy(base_delay_seconds=0.001))
    assert (await store.head("k")).size_bytes == 10
    await store.close()
    assert inner.is_closed
    assert store.url == inner.url


# Readers


async def test_a_reader_goes_on_where_it_broke_off() -> None:
    """Each byte comes once, and none is asked for again."""
    time, inner = Time(), await _filled(chunk_bytes=3)
    store = time.retrying(inner)
    reader = await store.read("k", start=1, length=8)
    chunks = aiter(reader)
    assert await anext(chunks) == b"123"
    inner.fail_next("chunk")
    assert [chunk async for chunk in chunks] == [b"456", b"78"]
    assert reader.info == await inner.head("k")


async def test_a_reader_goes_on_with_the_same_write_or_not_at_all() -> None:
    """Also where the caller has not pinned it: half of two objects is none of them."""
    time, inner = Time(), await _filled(chunk_bytes=3)
    chunks = aiter(await time.retrying(inner).read("k"))
    await anext(chunks)
    await inner.put("k", b"ABCDEFGHIJ")
    inner.fail_next("chunk")
    with pytest.raises(EtagMismatchError):
        await anext(chunks)


async def test_progress_begins_the_count_anew() -> None:
    """A long download over a bad line may break more often than a call may fail."""
    time, inner = Time(), MemoryStore(chunk_bytes=1)
    await inner.put("k", b"0123456789" * 10)
    store = time.retrying(inner)
    got = b""
    async for chunk in await store.read("k"):
        got += bytes(chunk)
        inner.fail_next("chunk", times=POLICY.attempts - 1)
    assert got == b"0123456789" * 10
    assert len(time.waits) > 100


async def test_without_progress_a_reader_is_given_up() -> None:
    """Opening the range again is no progress."""
    time, inner = Time(), await _filled(chunk_bytes=3)
    chunks = aiter(await time.retrying(inner).read("k"))
    await anext(chunks)
    inner.fail_next("chunk", times=100)
    with pytest.raises(StoreUnavailableError):
        await anext(chunks)
    assert len(inner.operations("chunk")) == 1 + POLICY.attempts


async def test_opening_again_is_repeated_too() -> None:
    """Failures to open and failures to read count together."""
    time, inner = Time(), await _filled(chunk_bytes=3)
    chunks = aiter(await time.retrying(inner).read("k"))
    await anext(chunks)
    inner.fail_next("chunk")
    inner.fail_next("read", times=2)
    assert b"".join([bytes(chunk) async for chunk in chunks]) == b"3456789"
    assert [retry.attempt for retry in time.retries] == [2, 3, 4]


@given(
    data=st.binary(max_size=40),
    chunk_bytes=st.integers(1, 7),
    start=st.integers(0, 45),
    length=st.none() | st.integers(0, 45),
    failing=st.sets(st.integers(1, 60)),
)
async def test_whatever_fails_the_bytes_are_those_of_the_range(
    data: bytes, chunk_bytes: int, start: int, length: int | None, failing: set[int]
) -> None:
    """Wherever the stream breaks, and however often."""
    time, inner = Time(), MemoryStore(chunk_bytes=chunk_bytes)
    await inner.put("k", data)
    inner.steps.clear()
    for number in failing:
        inner.fail_step(number)
    store = time.retrying(inner, RetryPolicy(attempts=100, within_seconds=1e9))
    end = None if length is None else start + length
    assert await _read(store, start=start, length=length) == data[start:end]


# Listings


@given(
    page_keys=st.integers(1, 4),
    delimiter=st.booleans(),
    after=st.sampled_from(["", "b", "b/", "b/2", "c"]),
    failing=st.sets(st.integers(1, 30)),
)
async def test_whatever_fails_a_listing_tells_each_name_once(
    page_keys: int, delimiter: bool, after: str, failing: set[int]
) -> None:
    """Also a prefix, below which there are keys on the next page."""
    time, inner = Time(), MemoryStore(page_keys=page_keys)
    for key in ("a", "b/1", "b/2", "b/3", "c", "d/1", "d/2", "e"):
        await inner.put(key, b"")
    expected = sorted(await _names(inner, after=after, delimiter=delimiter))
    inner.steps.clear()
    for number in failing:
        inner.fail_step(number)
    store = time.retrying(inner, RetryPolicy(attempts=100, within_seconds=1e9))
    assert sorted(await _names(store, after=after, delimiter=delimiter)) == expected


# Lost answers


@pytest.mark.parametrize(
    ("step", "error"),
    [
        ("create", KeyExistsError),
        ("swap", EtagMismatchError),
        ("create_from_upload", UploadNotFoundError),
        ("put_from_upload", UploadNotFoundError),
    ],
)
async def test_our_own_success_shows_as_a_conflict(step: str, error: type[Exception]) -> None:
    """Where the answer was lost; the caller reads, and finds what it wrote."""
    time, inner = Time(), await _filled()
    inner.fail_next(step, after_effect=True)
    before = set(inner.keys)
    with pytest.raises(error):
        await CALLS[step](time.retrying(inner))
    written = (set(inner.keys) - before) or {"k"}
    assert (await inner.get(written.pop(), 100))[1] in (b"x", b"part")


@pytest.mark.parametrize("step", ["put", "delete", "upload_part", "copy_part", "abort_upload"])
async def test_what_may_be_done_twice_is(step: str) -> None:
    """A lost answer to these is no more than a wait."""
    time, inner = Time(), await _filled()
    inner.fail_next(step, after_effect=True)
    await CALLS[step](time.retrying(inner))
    assert len(inner.operations(step)) == 2


def test_the_default_policy_ends() -> None:
    """Within a minute or so: a caller that waits for ever knows less than one that is told."""
    policy = RetryPolicy()
    bounds = [policy.delay_bound_seconds(failures) for failures in range(1, policy.attempts)]
    assert sum(bounds) <= policy.within_seconds
    assert all(a <= b for a, b in itertools.pairwise(bounds))
