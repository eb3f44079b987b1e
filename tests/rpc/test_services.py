"""Every method over a real channel: the order reaches the assets, their answer the caller."""

import grpc
import pytest
from assetd.v1 import asset_pb2, cache_service_pb2
from assetd.v1 import asset_service_pb2 as pb
from assetd.v1.cache_service_pb2 import CacheSelector
from assetd_server.assets.cache_orders import EvictOrder, Selector, VerifyOrder
from assetd_server.assets.orders import (
    FetchOrder,
    ListFilesOrder,
    ListOrder,
    PushCommit,
    PushHeader,
    ResolveOrder,
)
from assetd_server.model import AssetKind, NamePrefix
from assetd_server.spec import Spec

from tests.rpc.fakes import NOW, FakeAssets
from tests.rpc.serving import Served

SPEC = Spec.parse("nlp/ranker:1")


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


async def test_evict(served: Served, assets: FakeAssets) -> None:
    """What becomes of each version, and the sum of what they gave back."""
    request = cache_service_pb2.EvictRequest(
        selector=CacheSelector(name_prefix="nlp/"), dry_run=True
    )
    answer = await served.cache.Evict(request)
    assert assets.asked == [EvictOrder(Selector(name_prefix=NamePrefix("nlp/")), dry_run=True)]
    [entry] = answer.entries
    assert entry.outcome == cache_service_pb2.EvictResponse.Entry.OUTCOME_EVICTED
    assert (entry.freed_bytes, answer.freed_bytes) == (5, 5)


async def test_pin_and_unpin(served: Served, assets: FakeAssets) -> None:
    """One version, and what the cache holds of it afterwards."""
    pinned = await served.cache.Pin(cache_service_pb2.PinRequest(spec="nlp/ranker:1.2"))
    unpinned = await served.cache.Unpin(cache_service_pb2.UnpinRequest(spec="nlp/ranker:1.2"))
    spec = Spec.parse("nlp/ranker:1.2")
    assert assets.asked == [("pin", spec), ("unpin", spec)]
    assert (pinned.cache_state.pinned, unpinned.cache_state.pinned) == (True, False)
    assert pinned.asset_version.version == unpinned.asset_version.version == "1.2"


async def test_verify(served: Served, assets: FakeAssets) -> None:
    """A stream of progress, results and one end, with the daemon's time."""
    request = cache_service_pb2.VerifyRequest(selector=CacheSelector(all=True), repair=True)
    events = [event async for event in served.cache.Verify(request)]
    assert assets.asked == [VerifyOrder(Selector(), repair=True)]
    assert [event.WhichOneof("event") for event in events] == ["progress", "result", "completed"]
    assert {event.event_time.ToDatetime(NOW.tzinfo) for event in events} == {NOW}
    assert list(events[1].result.damaged_paths) == ["a", "b"]
    assert events[2].completed.damaged_count == 1


@pytest.mark.parametrize(
    ("selector", "field"),
    [
        (CacheSelector(), "selector"),
        (CacheSelector(name_prefix=""), "selector"),
        (CacheSelector(all=False), "selector"),
        (CacheSelector(spec="nlp/ranker"), "selector.spec"),
        (CacheSelector(spec="nlp/ranker:1"), "selector.spec"),
        (CacheSelector(spec="nlp/ranker:1.2[a]"), "selector.spec"),
        (CacheSelector(spec="../x:1.2"), "selector.spec"),
        (CacheSelector(name_prefix="/"), "selector.name_prefix"),
        (CacheSelector(name_prefix="../"), "selector.name_prefix"),
    ],
)
async def test_a_selector_is_exact_and_never_empty(
    served: Served, assets: FakeAssets, selector: CacheSelector, field: str
) -> None:
    """A forgotten field never means everything, and an open version never means the newest."""
    for call in (
        served.cache.Evict(cache_service_pb2.EvictRequest(selector=selector)),
        served.cache.Verify(cache_service_pb2.VerifyRequest(selector=selector)).read(),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await call
        assert failed.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert field in str(failed.value.trailing_metadata())
    assert assets.asked == []
