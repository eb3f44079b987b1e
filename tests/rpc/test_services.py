"""Every method over a real channel: the order reaches the assets, their answer the caller."""

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from assetd.v1 import asset_pb2, cache_service_pb2
from assetd.v1 import asset_service_pb2 as pb
from assetd_server.assets.orders import (
    FetchOrder,
    ListFilesOrder,
    ListOrder,
    PushCommit,
    PushHeader,
    ResolveOrder,
)
from assetd_server.model import AssetKind
from assetd_server.spec import Spec

from tests.rpc.fakes import NOW, FakeAssets
from tests.rpc.serving import Served, serving

SPEC = Spec.parse("nlp/ranker:1")


@pytest.fixture
def assets() -> FakeAssets:
    """What the server serves."""
    return FakeAssets()


@pytest.fixture
async def served(tmp_path: Path, assets: FakeAssets) -> AsyncIterator[Served]:
    """The server."""
    async with serving(tmp_path, assets) as served:
        yield served


async def test_resolve(served: Served, assets: FakeAssets) -> None:
    """One question, one answer."""
    answer = await served.assets.ResolveVersion(pb.ResolveVersionRequest(spec="nlp/ranker:1"))
    assert assets.asked == [ResolveOrder(SPEC)]
    assert answer.asset_version.version == "1.2"


async def test_fetch(served: Served, assets: FakeAssets) -> None:
    """One question, a stream of events with the daemon's time."""
    call = served.assets.Fetch(pb.FetchRequest(spec="nlp/ranker:1"))
    events = [event async for event in call]
    assert assets.asked == [FetchOrder(SPEC)]
    assert [event.WhichOneof("event") for event in events] == ["started", "completed"]
    assert {event.event_time.ToDatetime(NOW.tzinfo) for event in events} == {NOW}
    assert events[-1].completed.path == "/assets/nlp/ranker/1.2"


async def test_push(served: Served, assets: FakeAssets) -> None:
    """A stream of steps, a stream of events."""
    kind = asset_pb2.ASSET_KIND_FILE
    steps = [
        pb.PushRequest(header=pb.PushHeader(spec="nlp/ranker:1", kind=kind)),
        pb.PushRequest(commit=pb.PushCommit()),
    ]
    events = [event async for event in served.assets.Push(iter(steps))]
    assert assets.asked == [PushHeader(SPEC, AssetKind.FILE), PushCommit()]
    assert [event.WhichOneof("event") for event in events] == ["completed"]
    assert events[0].event_time.ToDatetime(NOW.tzinfo) == NOW


async def test_list(served: Served, assets: FakeAssets) -> None:
    """One question, one page."""
    await served.assets.List(pb.ListRequest(name_prefix="nlp/"))
    assert assets.asked == [ListOrder("nlp/")]


async def test_list_files(served: Served, assets: FakeAssets) -> None:
    """One question, one page."""
    answer = await served.assets.ListFiles(pb.ListFilesRequest(spec="nlp/ranker:1"))
    assert assets.asked == [ListFilesOrder(SPEC)]
    assert answer.asset_version.name == "nlp/ranker"


async def test_cache_status(served: Served) -> None:
    """The state of the cache, and which daemon says so."""
    request = cache_service_pb2.GetCacheStatusRequest()
    answer = await served.cache.GetCacheStatus(request)
    assert (answer.assets_dir, answer.server_version) == ("/assets", "1.2.3")
    assert not answer.HasField("limit_bytes")


async def test_a_bad_request_asks_nothing(served: Served, assets: FakeAssets) -> None:
    """What is refused by its form never reaches the assets."""
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await served.assets.ResolveVersion(pb.ResolveVersionRequest(spec="../etc/passwd"))
    assert failed.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert assets.asked == []


@pytest.mark.parametrize("method", ["Evict", "Pin", "Unpin", "Verify"])
async def test_methods_of_a_later_release(served: Served, method: str) -> None:
    """They are refused by name, and not as if nobody had heard of them."""
    request = getattr(cache_service_pb2, f"{method}Request")()
    call = getattr(served.cache, method)(request)
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await (call.read() if method == "Verify" else call)
    assert failed.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert failed.value.details() == f"{method} comes in a later release of assetd"
    trailers = failed.value.trailing_metadata()
    assert trailers is not None
    assert trailers["assetd-reason"] == "NOT_BUILT"
