"""The client for asyncio: the same surface, the same promises, and none of asyncio's traps."""

import asyncio
import inspect
import logging
import math
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import assetd
import assetd.aio
import pytest
from assetd import PushPhase, PushProgress, RetryPolicy, Source
from assetd.v1.asset_service_pb2 import (
    FetchResponse,
    ListFilesResponse,
    ListResponse,
    ResolveVersionResponse,
)
from assetd.v1.cache_service_pb2 import EvictResponse, GetCacheStatusResponse, VerifyResult

from tests.clients.python.conftest import EAGER
from tests.clients.python.scripted import (
    CUT,
    GUARD_SECONDS,
    VERSION,
    Failure,
    OpenFetch,
    ScriptedDaemon,
    all_checked,
    checked,
    checks,
    completed,
    hashed,
    hold,
    plays,
    progress,
    started,
)
from tests.clients.python.test_fast_path import is_locked, put_directory

SOON = RetryPolicy(patience_seconds=60, connect_patience_seconds=60, stall_timeout_seconds=0.02)
AT_ONCE = 0.05
# In which a call reaches the daemon, also where the machine is busy.
SOON_SECONDS = 1.0


@pytest.fixture
async def client(daemon: ScriptedDaemon) -> AsyncIterator[assetd.aio.Client]:
    """A client of the daemon that repeats at once; afterwards no task of its is left."""
    before = asyncio.all_tasks()
    async with assetd.aio.Client(daemon.address, caller="test", retry=EAGER) as client:
        yield client
    left = [task for task in asyncio.all_tasks() - before if "assetd" in task.get_name()]
    await asyncio.wait_for(asyncio.gather(*left, return_exceptions=True), GUARD_SECONDS)


async def left(stream: OpenFetch) -> bool:
    """Wait until the caller of a stream is gone."""
    return await asyncio.to_thread(stream.left.wait, GUARD_SECONDS)


async def began(stream: OpenFetch) -> bool:
    """Wait until all of a stream's events are sent."""
    return await asyncio.to_thread(stream.began.wait, GUARD_SECONDS)


def public(client: type) -> dict[str, list[tuple[str, object, object]]]:
    """The public methods of a client, and of each the arguments with their defaults."""
    return {
        name: [(p.name, p.kind, p.default) for p in inspect.signature(method).parameters.values()]
        for name, method in inspect.getmembers(client, inspect.isfunction)
        if not name.startswith("_") or name == "__init__"
    }


def test_the_surface_is_that_of_the_blocking_client() -> None:
    """What one learns, the other does."""
    assert public(assetd.aio.Client) == public(assetd.Client)


async def test_a_fetch_returns_where_the_version_is(
    daemon: ScriptedDaemon, client: assetd.aio.Client
) -> None:
    """With progress, and with all events."""
    daemon.fetches.append(plays(started(), progress(10), progress(60), completed()))
    figures: list[int] = []
    events: list[FetchResponse] = []
    asset = await client.fetch(
        "nlp/ranker", on_progress=lambda p: figures.append(p.present_bytes), on_event=events.append
    )
    assert (asset.name, asset.version, asset.source) == ("nlp/ranker", "1.2", Source.STORE)
    assert figures == [10, 60]
    assert [event.WhichOneof("event") for event in events] == [
        *("started", "progress", "progress", "completed")
    ]
    assert not asset.is_held


async def test_a_fetch_is_a_coroutine(daemon: ScriptedDaemon, client: assetd.aio.Client) -> None:
    """Whatever takes one takes it."""
    daemon.fetches.extend([plays(started(), completed())] * 4)
    first = await asyncio.create_task(client.fetch("nlp/ranker"))
    async with asyncio.TaskGroup() as group:
        second = group.create_task(client.fetch("nlp/ranker"))
    third, fourth = await asyncio.gather(
        client.fetch("nlp/ranker"), asyncio.wait_for(client.fetch("nlp/ranker"), GUARD_SECONDS)
    )
    assert first == second.result() == third == fourth
    client.fetch("nlp/ranker").close()


async def test_a_cut_fetch_is_joined_again(
    daemon: ScriptedDaemon, client: assetd.aio.Client
) -> None:
    """For the version that it had begun with, and as one fetch."""
    daemon.fetches.append(plays(started(), progress(10), CUT))
    daemon.fetches.append(plays(CUT))
    daemon.fetches.append(plays(started(), progress(60), completed()))
    events: list[str | None] = []
    await client.fetch("nlp/ranker[vocab]", on_event=lambda e: events.append(e.WhichOneof("event")))
    assert events == ["started", "progress", "progress", "completed"]
    specs = [request.spec for request in daemon.fetch_requests]
    assert specs == ["nlp/ranker[vocab]", *["nlp/ranker:1.2[vocab]"] * 2]


async def test_a_failure_is_typed(daemon: ScriptedDaemon, client: assetd.aio.Client) -> None:
    """By the same classes, with the same fields."""
    daemon.fetches.append(plays(Failure("NOT_FOUND", "VERSION_NOT_FOUND", metadata={"a": "b"})))
    with pytest.raises(assetd.VersionNotFoundError) as raised:
        await client.fetch("nlp/ranker:7")
    assert raised.value.metadata == {"a": "b"}
    daemon.fetches.append(plays(started()))
    with pytest.raises(assetd.InternalError):
        await client.fetch("nlp/ranker")
    daemon.fetches.append(plays(started(), completed(), Failure("INTERNAL", "INTERNAL")))
    assert (await client.fetch("nlp/ranker")).version == "1.2"


@pytest.mark.parametrize("with_hold", [False, True])
async def test_a_timeout_ends_a_fetch(
    daemon: ScriptedDaemon, client: assetd.aio.Client, with_hold: bool
) -> None:
    """Also where a hold would have to outlive it."""
    daemon.resolves.append(ResolveVersionResponse())
    await client.resolve("nlp/ranker")  # connected: that is not to take the time
    stuck = OpenFetch(started(), progress(10))
    daemon.fetches.append(stuck)
    with pytest.raises(assetd.CallTimeoutError):
        await client.fetch("nlp/ranker", hold=with_hold, timeout=SOON_SECONDS)
    assert await left(stuck)


async def test_a_timeout_may_be_endless(daemon: ScriptedDaemon, client: assetd.aio.Client) -> None:
    """As `math.inf` says, and not over at once."""
    daemon.fetches.append(plays(started(), completed()))
    await client.fetch("nlp/ranker", timeout=math.inf)
    await client.status(timeout=1e10)


async def test_a_silent_stream_is_joined_again(daemon: ScriptedDaemon) -> None:
    """As the blocking client does it."""
    silent, stuck = OpenFetch(), OpenFetch(started(), progress(10))
    daemon.fetches.extend([silent, stuck, plays(started(), completed())])
    async with assetd.aio.Client(daemon.address, retry=SOON) as client:
        await client.fetch("nlp/ranker", progress_interval=AT_ONCE)
    assert await left(silent)
    assert await left(stuck)


async def test_silence_that_lasts_is_believed(daemon: ScriptedDaemon) -> None:
    """With a failure that says what to look at."""
    daemon.fetches.extend([OpenFetch(started()), OpenFetch(started())])
    policy = RetryPolicy(patience_seconds=0.1, stall_timeout_seconds=0.2)
    async with assetd.aio.Client(daemon.address, retry=policy) as client:
        with pytest.raises(assetd.DaemonUnavailableError, match="said nothing for"):
            await client.fetch("nlp/ranker", progress_interval=AT_ONCE)
    daemon.fetches.clear()


@pytest.mark.parametrize("error", [ZeroDivisionError, TimeoutError])
async def test_a_faulty_callback_ends_the_fetch(
    daemon: ScriptedDaemon, client: assetd.aio.Client, error: type[Exception]
) -> None:
    """By its own exception, taken for nothing else, and without leaving a stream."""
    fetch = OpenFetch(started(), progress(10))
    daemon.fetches.append(fetch)

    def fail(_: object) -> None:
        raise error

    with pytest.raises(error):
        await client.fetch("nlp/ranker", on_progress=fail)
    assert await left(fetch)


async def test_a_cancelled_fetch_leaves_nothing(
    daemon: ScriptedDaemon, client: assetd.aio.Client
) -> None:
    """The call ends, and the task is cancelled, as asyncio wants it."""
    fetch = OpenFetch(started(), progress(10))
    daemon.fetches.append(fetch)
    task = asyncio.create_task(client.fetch("nlp/ranker"))
    assert await began(fetch)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await left(fetch)


async def test_closing_the_client_is_told_from_a_cancellation(
    daemon: ScriptedDaemon, client: assetd.aio.Client
) -> None:
    """A task that waits for a call of a client that was closed is not cancelled by that."""
    fetch = OpenFetch(started(), progress(10))
    daemon.fetches.append(fetch)
    task = asyncio.create_task(client.fetch("nlp/ranker"))
    assert await began(fetch)
    await client.close()
    with pytest.raises(RuntimeError, match="closed"):
        await task
    for call in (client.fetch("nlp/ranker"), client.status(), client.push("/", "a")):
        with pytest.raises(RuntimeError, match="closed"):
            await call


async def test_a_hold_lasts_as_long_as_its_scope(
    daemon: ScriptedDaemon, client: assetd.aio.Client
) -> None:
    """Entered, or awaited and closed; whatever door the block is left by."""
    holds = [hold(), hold(), hold()]
    daemon.fetches.extend(holds)
    async with client.fetch("nlp/ranker", hold=True) as asset:
        states = [asset.is_held]
        assert await began(holds[0])
        assert not holds[0].left.is_set()
    assert await left(holds[0])
    assert [*states, asset.is_held] == [True, False]

    async def fail() -> None:
        async with client.fetch("nlp/ranker", hold=True):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert await left(holds[1])
    with await client.fetch("nlp/ranker", hold=True):
        assert not holds[2].left.is_set()
    assert await left(holds[2])


async def test_a_fetch_that_is_entered_without_hold(
    daemon: ScriptedDaemon, client: assetd.aio.Client
) -> None:
    """Is a scope around nothing; one that fails is left by its failure."""
    daemon.fetches.append(plays(started(), completed()))
    async with client.fetch("nlp/ranker") as asset:
        assert not asset.is_held
    daemon.fetches.append(plays(Failure("NOT_FOUND", "ASSET_NOT_FOUND")))
    with pytest.raises(assetd.AssetNotFoundError):
        async with client.fetch("nlp/ranker"):
            pytest.fail("entered")


async def test_closing_the_client_ends_its_holds(daemon: ScriptedDaemon) -> None:
    """Also those whose asset nobody kept."""
    held = hold()
    daemon.fetches.append(held)
    async with assetd.aio.Client(daemon.address) as client:
        await client.fetch("nlp/ranker", hold=True)
    assert await left(held)


@pytest.mark.parametrize(
    "ending",
    [Failure("UNAVAILABLE", "SHUTTING_DOWN", retry_after_seconds=0.001), CUT, None],
    ids=["drain", "cut", "ended"],
)
async def test_a_daemon_that_ends_a_hold_is_asked_again(
    daemon: ScriptedDaemon, client: assetd.aio.Client, ending: Failure | None
) -> None:
    """For exactly that version, and without downloading it once more."""
    first, second = hold(), hold()
    daemon.fetches.extend([first, plays(CUT), plays(started()), second])
    async with client.fetch("nlp/ranker:1", hold=True, force_download=True) as asset:
        assert await began(first)
        if ending is None:
            first.end()
        else:
            first.fail(ending)
        assert await began(second)
        assert asset.is_held
    assert await left(second)
    again = daemon.fetch_requests[-1]
    assert (again.spec, again.hold, again.force_download) == ("nlp/ranker:1.2", True, False)


async def test_a_hold_that_is_lost_is_told(
    daemon: ScriptedDaemon, client: assetd.aio.Client
) -> None:
    """In the loop, once, with the daemon's reason; one that was closed is none that was lost."""
    first, closed = hold(), hold()
    daemon.fetches.extend([closed, first, plays(Failure("NOT_FOUND", "VERSION_NOT_FOUND"))])
    lost: asyncio.Queue[assetd.AssetdError] = asyncio.Queue()
    async with client.fetch("nlp/ranker", hold=True, on_hold_lost=lost.put_nowait):
        assert await began(closed)
    async with client.fetch("nlp/ranker", hold=True, on_hold_lost=lost.put_nowait) as asset:
        assert await began(first)
        first.fail(CUT)
        assert (await lost.get()).reason == "VERSION_NOT_FOUND"
        assert not asset.is_held
    assert lost.empty()


async def test_a_hold_survives_silence_while_it_is_taken_again(daemon: ScriptedDaemon) -> None:
    """A daemon that comes back frozen is asked once more."""
    first, silent, second = hold(), OpenFetch(started()), hold()
    daemon.fetches.extend([first, silent, second])
    async with (
        assetd.aio.Client(daemon.address, retry=SOON) as client,
        client.fetch("nlp/ranker", hold=True, progress_interval=AT_ONCE),
    ):
        assert await began(first)
        first.end()
        assert await began(second)
    assert await left(silent)


async def test_a_hold_that_cannot_be_taken_again_is_told(
    daemon: ScriptedDaemon, client: assetd.aio.Client, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is tried for ever."""
    first = hold()
    daemon.fetches.extend([first, plays(Failure("NOT_FOUND", "VERSION_NOT_FOUND", "gone"))])
    with caplog.at_level(logging.WARNING, "assetd"):
        asset = await client.fetch("nlp/ranker", hold=True)
        (task,) = [task for task in asyncio.all_tasks() if task.get_name() == "assetd-hold"]
        first.fail(CUT)
        with suppress(asyncio.CancelledError):
            await task
    assert not asset.is_held
    # gRPC's poller complains of itself where a process has had several event loops.
    told = [record.getMessage() for record in caplog.records if record.name.startswith("assetd")]
    assert told == ["cannot hold nlp/ranker:1.2 any more: gone"]


async def test_hits_need_no_call(tmp_path: Path, socket: Path) -> None:
    """By the same looks as in the blocking client, with a lease of the same kind."""
    path = put_directory(tmp_path, "nlp/ranker", "1.2")
    async with assetd.aio.Client(f"unix://{socket}", assets_dir=tmp_path) as client:
        assert (await client.fetch("nlp/ranker:1.2")).path == path
        async with client.fetch("nlp/ranker:1.2", hold=True) as asset:
            assert asset.is_held
            assert is_locked(path)
        assert not is_locked(path)


async def test_the_calls_that_only_ask(daemon: ScriptedDaemon, client: assetd.aio.Client) -> None:
    """Repeated while the daemon is UNAVAILABLE, answered by the contract's messages."""
    resolved = ResolveVersionResponse(asset_version=VERSION)
    daemon.resolves.extend([CUT, resolved])
    daemon.status = GetCacheStatusResponse(assets_dir="/assets")
    daemon.evicts.append(EvictResponse(freed_bytes=7))
    assert await client.resolve("nlp/ranker:1", freshness="cache") == resolved
    assert await client.status() == daemon.status
    assert (await client.evict(everything=True)).freed_bytes == 7
    assert (await client.pin("nlp/ranker:1.2")).cache_state.pinned
    assert not (await client.unpin("nlp/ranker:1.2")).cache_state.pinned
    daemon.resolves.append(Failure("NOT_FOUND", "ASSET_NOT_FOUND"))
    with pytest.raises(assetd.AssetNotFoundError):
        await client.resolve("nlp/ranker")
    with pytest.raises(ValueError, match="everything=True"):
        await client.evict()


async def test_pages_are_taken_one_by_one(
    daemon: ScriptedDaemon, client: assetd.aio.Client
) -> None:
    """Each is asked for when it is wanted."""
    pages = [ListResponse(next_page_token="one"), ListResponse()]
    daemon.list_pages.extend(pages)
    listing = client.list("nlp/")
    assert await anext(listing) == pages[0]
    assert len(daemon.list_requests) == 1
    assert [page async for page in listing] == pages[1:]
    daemon.file_pages.append(ListFilesResponse(asset_version=VERSION))
    assert [page async for page in client.list_files("nlp/ranker")] == [
        ListFilesResponse(asset_version=VERSION)
    ]
    with pytest.raises(ValueError, match="disk"):
        client.list(scope="disk")


async def test_verify_gives_each_result_once(
    daemon: ScriptedDaemon, client: assetd.aio.Client
) -> None:
    """However often the check is cut; and stops when nobody follows it."""
    sound = VerifyResult.OUTCOME_SOUND
    daemon.verifies.append(checks(hashed(40), checked("1.2", sound), CUT))
    daemon.verifies.append(checks(checked("1.2", sound), checked("1.1", sound), all_checked(2)))
    figures: list[int] = []
    results = client.verify(everything=True, on_progress=lambda p: figures.append(p.hashed_bytes))
    assert [result.asset_version.version async for result in results] == ["1.2", "1.1"]
    assert figures == [40]
    daemon.verifies.append(checks(checked("1.2", sound), checked("1.1", sound), all_checked(2)))
    results = client.verify(everything=True)
    await anext(results)
    await results.aclose()
    daemon.verifies.append(checks(Failure("DATA_LOSS", "BAD_MANIFEST")))
    with pytest.raises(assetd.BadManifestError):
        await anext(client.verify(everything=True))


async def test_push_returns_the_version(client: assetd.aio.Client, tmp_path: Path) -> None:
    """Its callbacks are called in the loop."""
    (tmp_path / "weights").write_bytes(b"w" * 100)
    phases: list[PushPhase] = []
    events: list[str | None] = []
    loop = asyncio.get_running_loop()

    def note(figures: PushProgress) -> None:
        assert asyncio.get_running_loop() is loop
        phases.append(figures.phase)

    version = await client.push(
        tmp_path / "weights",
        "nlp/weights:1",
        update=True,
        on_progress=note,
        on_event=lambda e: events.append(e.WhichOneof("event")),
    )
    assert version == "1.3"
    assert phases == [PushPhase.HASHING, PushPhase.SENDING, PushPhase.STORING]
    assert events == ["accepted", "wanted", "completed"]
    with pytest.raises(ValueError, match="both"):
        await client.push(tmp_path, "a", new=True, update=True)


async def test_every_way_to_push_has_its_fields(
    daemon: ScriptedDaemon, client: assetd.aio.Client, tmp_path: Path
) -> None:
    """The same as from the blocking client, to which all is handed on."""
    (tmp_path / "weights").write_bytes(b"w")
    (tmp_path / "link").symlink_to("weights")
    push_id = "4fb0a3e2-3a1c-4d5e-8f60-718293a4b5c6"
    labels = {"git": "a1b2"}
    await client.push(
        tmp_path,
        "nlp/ranker",
        exclude=["link"],
        labels=labels,
        validate_only=True,
        push_id=push_id,
    )
    await client.push_staged("model", "nlp/ranker", labels=labels, push_id=push_id)
    await client.push_from("file:///srv/model", "nlp/ranker", labels=labels, validate_only=True)
    folder, staged, found = daemon.push_records
    assert [dict(record.header.labels) for record in daemon.push_records] == [labels] * 3
    assert [file.path for file in folder.files] == ["weights"]
    assert (folder.header.push_id, staged.header.push_id) == (push_id, push_id)
    assert (folder.header.validate_only, found.header.validate_only) == (True, True)
    assert staged.header.staged_path == "model"
    assert found.header.source_uri == "file:///srv/model"


async def test_what_a_callback_of_a_push_raises_ends_it(
    daemon: ScriptedDaemon, client: assetd.aio.Client, tmp_path: Path
) -> None:
    """Before anything is sent, if it is that early."""
    (tmp_path / "weights").write_bytes(b"w")

    def fail(_: object) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await client.push(tmp_path / "weights", "nlp/weights", on_progress=fail)
    assert daemon.push_records == []


async def test_a_cancelled_push_has_ended(
    daemon: ScriptedDaemon, client: assetd.aio.Client, tmp_path: Path
) -> None:
    """When the caller goes on, no thread of it is at work, and the daemon has been told."""
    (tmp_path / "weights").write_bytes(b"w")
    under_way = OpenFetch()
    daemon.pushes.append(lambda _, context: under_way(None, context))  # type: ignore[arg-type,return-value]
    task = asyncio.create_task(client.push(tmp_path / "weights", "nlp/weights"))
    assert await began(under_way)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await left(under_way)


async def test_a_push_that_is_cancelled_while_it_hashes_has_ended(
    daemon: ScriptedDaemon, client: assetd.aio.Client, tmp_path: Path
) -> None:
    """It does not hash to the end first, and it sends nothing."""
    folder = tmp_path / "folder"
    folder.mkdir()
    for number in range(50):
        (folder / f"{number}").write_bytes(b"w")
    task: asyncio.Task[str] | None = None
    figures: list[int] = []

    def cancel(now: PushProgress) -> None:
        figures.append(now.done_bytes)
        assert task is not None
        task.cancel()

    task = asyncio.create_task(client.push(folder, "nlp/weights", on_progress=cancel))
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(figures) < 50
    assert daemon.push_records == []


def test_importing_it_imports_no_grpc() -> None:
    """As for the blocking client."""
    code = "import sys, assetd.aio; print(sorted({'grpc', 'google.protobuf'} & set(sys.modules)))"
    environment = {**os.environ, "PYTHONWARNINGS": "error"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment)
    assert done.stdout == b"[]\n"
