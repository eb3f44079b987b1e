"""What surrounds every call: log, bound, cleaning up, and an end in every case."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from assetd.v1 import asset_pb2, cache_service_pb2
from assetd.v1 import asset_service_pb2 as pb
from assetd_server.assets.orders import (
    FetchEvent,
    FetchOrder,
    FetchPhase,
    FetchProgress,
    PushAccepted,
    PushCompleted,
    PushEvent,
    PushPhase,
    PushProgress,
    PushStep,
    Resolved,
    ResolveOrder,
)
from assetd_server.errors import BadIndexError, IoError, VersionNotFoundError
from structlog.testing import capture_logs

from tests.rpc.fakes import COMPLETED, RESOLVED, STARTED, FakeAssets, HoldingAssets
from tests.rpc.serving import Served, serving

RESOLVE = pb.ResolveVersionRequest(spec="nlp/ranker:1")
FETCH = pb.FetchRequest(spec="nlp/ranker:1", caller="test")
HOLD = pb.FetchRequest(spec="nlp/ranker:1", hold=True)


async def fetch(served: Served, request: pb.FetchRequest = FETCH) -> list[str | None]:
    """The kinds of events of a fetch."""
    return [event.WhichOneof("event") async for event in served.assets.Fetch(request)]


def call_lines(lines: list[Any]) -> list[dict[str, Any]]:
    """The lines of calls, among whatever else is logged."""
    return [line for line in lines if line["event"] == "call"]


async def test_a_fetch_has_one_line(tmp_path: Path) -> None:
    """Who fetched what, from where, how much, how long, and how it ended."""
    with capture_logs() as lines:
        async with serving(tmp_path, FakeAssets()) as served:
            await fetch(served)
    [line] = call_lines(lines)
    assert len(line.pop("request_id")) == 32
    assert line == {
        "event": "call",
        "log_level": "info",
        "rpc": "Fetch",
        "spec": "nlp/ranker:1",
        "caller": "test",
        "hold": False,
        "asset": "nlp/ranker",
        "version": "1.2",
        "flight_id": "f1",
        "joined": False,
        "source": "store",
        "transferred_bytes": 5,
        "code": "OK",
        "elapsed_seconds": 1.0,
    }


async def test_a_line_is_of_bounded_length(tmp_path: Path) -> None:
    """A caller who writes megabytes about itself does not fill the log with them."""
    with capture_logs() as lines:
        async with serving(tmp_path, FakeAssets()) as served:
            call = served.assets.Fetch(pb.FetchRequest(spec="nlp/ranker", caller="c" * 2**20))
            assert [event async for event in call]
    [line] = call_lines(lines)
    assert line["caller"] == "c" * 253 + "..."


async def test_a_push_has_one_line(tmp_path: Path) -> None:
    """The bytes that came from the caller are counted."""
    steps = [
        pb.PushRequest(header=pb.PushHeader(spec="nlp/ranker", kind=asset_pb2.ASSET_KIND_FILE)),
        pb.PushRequest(chunk=pb.PushChunk(data=b"hello")),
        pb.PushRequest(chunk=pb.PushChunk(data=b"!", offset=5)),
        pb.PushRequest(commit=pb.PushCommit()),
    ]
    with capture_logs() as lines:
        async with serving(tmp_path, FakeAssets()) as served:
            async for _ in served.assets.Push(iter(steps)):
                pass
    [line] = call_lines(lines)
    assert (line["rpc"], line["log_level"]) == ("Push", "info")
    assert (line["spec"], line["asset"], line["version"]) == ("nlp/ranker", "nlp/ranker", "1.2")
    assert (line["transferred_bytes"], line["already_existed"]) == (6, False)


async def test_what_happens_on_the_way_is_not_in_the_line(tmp_path: Path) -> None:
    """Progress comes and goes; of a push that was accepted its id stays."""
    assets = FakeAssets()
    assets.fetch_events.insert(1, FetchProgress(FetchPhase.DOWNLOADING))
    assets.push_events.insert(0, PushProgress(PushPhase.STORING, 5, 0, 5))
    assets.push_events.insert(0, PushAccepted("p1", "1.2", version_final=False))
    with capture_logs() as lines:
        async with serving(tmp_path, assets) as served:
            assert await fetch(served) == ["started", "progress", "completed"]
            async for _ in served.assets.Push(iter([pb.PushRequest(commit=pb.PushCommit())])):
                pass
    fetched, pushed = call_lines(lines)
    assert "phase" not in fetched
    assert (pushed["push_id"], pushed["version"]) == ("p1", "1.2")


async def test_other_calls_are_told_to_who_wants_details(tmp_path: Path) -> None:
    """A status page that asks every second does not fill the log."""
    with capture_logs() as lines:
        async with serving(tmp_path, FakeAssets()) as served:
            await served.cache.GetCacheStatus(cache_service_pb2.GetCacheStatusRequest())
            await served.assets.ResolveVersion(RESOLVE)
    assert [(line["rpc"], line["log_level"]) for line in call_lines(lines)] == [
        ("GetCacheStatus", "debug"),
        ("ResolveVersion", "debug"),
    ]


async def test_a_failed_fetch_tells_its_reason(tmp_path: Path) -> None:
    """A caller's mistake is no alarm."""
    error = VersionNotFoundError("{name} has no 1.2", name="nlp/ranker")
    with capture_logs() as lines:
        async with serving(tmp_path, FakeAssets(error)) as served:
            with pytest.raises(grpc.aio.AioRpcError):
                await fetch(served)
    [line] = call_lines(lines)
    assert (line["code"], line["reason"]) == ("NOT_FOUND", "VERSION_NOT_FOUND")
    assert line["log_level"] == "info"
    assert "exc_info" not in line


@pytest.mark.parametrize(
    ("error", "traceback"),
    [(RuntimeError("secret"), True), (IoError("disk"), True), (BadIndexError("index"), False)],
    ids=["defect", "disk", "damage"],
)
async def test_alarms_are_errors(tmp_path: Path, error: Exception, traceback: bool) -> None:
    """What somebody must look at is an error, also of a call that has no line otherwise."""
    with capture_logs() as lines:
        async with serving(tmp_path, FakeAssets(error)) as served:
            with pytest.raises(grpc.aio.AioRpcError):
                await served.assets.ResolveVersion(RESOLVE)
    [line] = call_lines(lines)
    assert line["log_level"] == "error"
    assert (line.get("exc_info") is error) is traceback


async def test_a_defect_tells_its_caller_nothing_but_an_id(tmp_path: Path) -> None:
    """The words of a defect may be secret; under its request id the log has them."""
    with capture_logs() as lines:
        async with serving(tmp_path, FakeAssets(RuntimeError("/root/key: secret"))) as served:
            with pytest.raises(grpc.aio.AioRpcError) as failed:
                await fetch(served)
    [line] = call_lines(lines)
    assert failed.value.code() is grpc.StatusCode.INTERNAL
    assert line["request_id"] in (failed.value.details() or "")
    assert "secret" not in str(failed.value)


async def test_a_hold_is_told_of_before_it_ends(tmp_path: Path) -> None:
    """Nobody waits for weeks to read of a fetch; its end is a detail."""
    assets = HoldingAssets()
    with capture_logs() as lines:
        async with serving(tmp_path, assets) as served:
            call = served.assets.Fetch(HOLD)
            events = aiter(call)
            await anext(events)
            await anext(events)
            await assets.holding.wait()
            assert [line["code"] for line in call_lines(lines)] == ["OK"]
            call.cancel()
            await assets.released.wait()
    assert [(line["code"], line["log_level"]) for line in call_lines(lines)] == [
        ("OK", "info"),
        ("CANCELLED", "debug"),
    ]


async def test_a_caller_that_leaves_is_cleaned_up_after(tmp_path: Path) -> None:
    """The generators of a cancelled call are closed at once, not by the garbage collector."""
    assets = HoldingAssets()
    async with serving(tmp_path, assets) as served:
        call = served.assets.Fetch(HOLD)
        await anext(aiter(call))
        call.cancel()
        await assets.released.wait()


async def test_a_caller_that_does_not_read_is_cleaned_up_after(tmp_path: Path) -> None:
    """A handler that waits for its caller to read is closed by the call itself.

    Left to the garbage collector it would be closed by a task that nobody waits for.
    """
    closed: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    class Endless(FakeAssets):
        async def fetch(self, _order: FetchOrder) -> AsyncGenerator[FetchEvent, None]:
            call = asyncio.current_task()
            try:
                while True:
                    yield STARTED
            finally:
                closed.set_result(asyncio.current_task() is call)

    async with serving(tmp_path, Endless()) as served:
        call = served.assets.Fetch(FETCH)
        await anext(aiter(call))
        call.cancel()
        assert await closed


async def test_a_deadline_is_told_apart_from_leaving(tmp_path: Path) -> None:
    """The log says whether a caller gave up or had set a limit."""
    assets = HoldingAssets()
    with capture_logs() as lines:
        async with serving(tmp_path, assets) as served:
            with pytest.raises(grpc.aio.AioRpcError) as failed:
                async for _ in served.assets.Fetch(HOLD, timeout=0.2):
                    pass
            await assets.released.wait()
    assert failed.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert call_lines(lines)[-1]["code"] == "DEADLINE_EXCEEDED"


async def test_a_write_to_nobody_is_no_defect(tmp_path: Path) -> None:
    """Where a caller has just left, gRPC may fail a write before it cancels the call."""
    error = grpc.aio.InternalError("Failed to execute batch")
    with capture_logs() as lines:
        async with serving(tmp_path, FakeAssets(error)) as served:
            with pytest.raises(grpc.aio.AioRpcError):
                await fetch(served)
    [line] = call_lines(lines)
    assert (line["code"], line["log_level"]) == ("CANCELLED", "info")


async def test_awaiting_something_cancelled_ends_the_call(tmp_path: Path) -> None:
    """A CancelledError that is not the call's own gets no status from gRPC, but from us."""

    class Cancelled(FakeAssets):
        async def resolve(self, _order: ResolveOrder) -> Resolved:
            shared: asyncio.Future[Resolved] = asyncio.get_running_loop().create_future()
            shared.cancel()
            return await shared

        async def fetch(self, order: FetchOrder) -> AsyncGenerator[FetchEvent, None]:
            yield STARTED
            await self.resolve(ResolveOrder(order.spec))

    async with serving(tmp_path, Cancelled()) as served:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await served.assets.ResolveVersion(RESOLVE)
        assert failed.value.code() is grpc.StatusCode.INTERNAL
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await fetch(served)
        assert failed.value.code() is grpc.StatusCode.INTERNAL


async def test_bytes_that_are_no_message_are_a_bad_request(tmp_path: Path) -> None:
    """The code is not UNKNOWN, and the text not Python's, as gRPC by itself would have it."""
    async with serving(tmp_path, FakeAssets()) as served:
        for method in ("ResolveVersion", "Fetch", "Push"):
            send: grpc.aio.StreamStreamMultiCallable[bytes, bytes]
            send = served.channel.stream_stream(f"/assetd.v1.AssetService/{method}")
            call = send(iter([b"\xff\xff\xff"]))
            with pytest.raises(grpc.aio.AioRpcError) as failed:
                async for _ in call:
                    pass
            assert failed.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert method in (failed.value.details() or "")


async def test_an_unknown_method_is_gone_grpcs_way(tmp_path: Path) -> None:
    """There is nothing of ours to surround."""
    async with serving(tmp_path, FakeAssets()) as served:
        forget: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]
        forget = served.channel.unary_unary("/assetd.v1.AssetService/Forget")
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await forget(b"")
    assert failed.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def is_let_in(served: Served) -> bool:
    """Whether there is a place for one more call."""
    try:
        await served.assets.ResolveVersion(RESOLVE)
    except grpc.aio.AioRpcError as refused:
        if refused.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
            raise
        return False
    return True


async def test_calls_beyond_the_limit_are_refused(tmp_path: Path) -> None:
    """Calls beyond `ASSETD_MAX_CALLS` are `TOO_MANY_REQUESTS`, and told when to come again.

    A place that is left is free.
    """
    assets = HoldingAssets()
    async with serving(tmp_path, assets, max_calls=1) as served:
        hold = served.assets.Fetch(HOLD)
        await anext(aiter(hold))
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await served.assets.ResolveVersion(RESOLVE)
        assert failed.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        trailers = failed.value.trailing_metadata()
        assert trailers is not None
        assert trailers["assetd-reason"] == "TOO_MANY_REQUESTS"
        hold.cancel()
        # The place is free once the handler's task has ended, a moment after it let go.
        while not await is_let_in(served):
            pass


async def test_a_push_is_read_step_by_step(tmp_path: Path) -> None:
    """Lock-step: an answer goes out before the next message has come."""
    answered = asyncio.Event()

    class Echo(FakeAssets):
        async def push(self, steps: AsyncIterator[PushStep]) -> AsyncGenerator[PushEvent, None]:
            async for _ in steps:
                yield PushCompleted(RESOLVED.asset_version, False, COMPLETED.elapsed)

    async def steps() -> AsyncIterator[pb.PushRequest]:
        yield pb.PushRequest(commit=pb.PushCommit())
        await answered.wait()
        yield pb.PushRequest(commit=pb.PushCommit())

    async with serving(tmp_path, Echo()) as served:
        responses = aiter(served.assets.Push(steps()))
        await anext(responses)
        answered.set()
        await anext(responses)
        with pytest.raises(StopAsyncIteration):
            await anext(responses)


async def test_a_pusher_that_leaves_is_cleaned_up_after(tmp_path: Path) -> None:
    """The push is given up when its caller is gone, also while it waits for the next message."""
    given_up = asyncio.Event()

    class Waits(FakeAssets):
        async def push(self, steps: AsyncIterator[PushStep]) -> AsyncGenerator[PushEvent, None]:
            try:
                async for _ in steps:
                    yield PushCompleted(RESOLVED.asset_version, False, COMPLETED.elapsed)
            finally:
                given_up.set()

    async with serving(tmp_path, Waits()) as served:
        call = served.assets.Push()
        await call.write(pb.PushRequest(commit=pb.PushCommit()))
        await call.read()
        call.cancel()
        await given_up.wait()
