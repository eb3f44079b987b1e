"""A span for each call: in the caller's trace, and with what the log says."""

from collections.abc import AsyncGenerator
from pathlib import Path

import grpc
import pytest
from assetd.v1 import asset_service_pb2 as pb
from assetd.v1 import cache_service_pb2
from assetd_server.assets.orders import FetchEvent, FetchOrder
from assetd_server.errors import DigestMismatchError, VersionNotFoundError
from assetd_server.telemetry import Telemetry
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.rpc.fakes import COMPLETED, STARTED, FakeAssets
from tests.rpc.serving import serving

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
FETCH = pb.FetchRequest(spec="nlp/ranker:1", caller="test")


@pytest.fixture
def recorded() -> InMemorySpanExporter:
    """Where the spans of a test go."""
    return InMemorySpanExporter()


@pytest.fixture
def telemetry(recorded: InMemorySpanExporter) -> Telemetry:
    """Telemetry as the daemon has it, but for its exporter."""
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(recorded))
    return Telemetry(provider.get_tracer("test"))


def only(recorded: InMemorySpanExporter) -> ReadableSpan:
    """The one span."""
    [span] = recorded.get_finished_spans()
    return span


async def test_a_call_has_a_span_with_its_facts(
    tmp_path: Path, telemetry: Telemetry, recorded: InMemorySpanExporter
) -> None:
    """What an operator searches traces by."""
    async with serving(tmp_path, FakeAssets(), telemetry) as served:
        async for _ in served.assets.Fetch(FETCH):
            pass
    span = only(recorded)
    assert span.name == "assetd.v1.AssetService/Fetch"
    attributes = dict(span.attributes or {})
    assert len(str(attributes.pop("assetd.request_id"))) == 32
    assert attributes == {
        "rpc.system": "grpc",
        "rpc.service": "assetd.v1.AssetService",
        "rpc.method": "Fetch",
        "rpc.grpc.status_code": 0,
        "assetd.spec": "nlp/ranker:1",
        "assetd.asset": "nlp/ranker",
        "assetd.caller": "test",
        "assetd.flight_id": "f1",
        "assetd.source": "store",
        "assetd.transferred_bytes": 5,
    }
    assert span.status.is_unset


async def test_the_callers_trace_goes_on(
    tmp_path: Path, telemetry: Telemetry, recorded: InMemorySpanExporter
) -> None:
    """W3C headers come as metadata."""
    async with serving(tmp_path, FakeAssets(), telemetry) as served:
        request = cache_service_pb2.GetCacheStatusRequest()
        metadata = (("traceparent", CALLER), ("tracestate", "a=b"))
        await served.cache.GetCacheStatus(request, metadata=metadata)
    span = only(recorded)
    assert span.parent is not None
    assert span.parent.span_id == 0xB7AD6B7169203331
    assert span.context is not None
    assert span.context.trace_id == 0x0AF7651916CD43DD8448EB211C80319C
    assert span.context.trace_state.get("a") == "b"


async def test_the_assets_work_within_the_span(
    tmp_path: Path, telemetry: Telemetry, recorded: InMemorySpanExporter
) -> None:
    """What a handler does is a child of its call, and of no other."""

    class Downloads(FakeAssets):
        async def fetch(self, _order: FetchOrder) -> AsyncGenerator[FetchEvent, None]:
            yield STARTED
            with telemetry.download_span("nlp/ranker:1.2", "f1", [telemetry.current()]):
                pass
            yield COMPLETED

    async with serving(tmp_path, Downloads(), telemetry) as served:
        async for _ in served.assets.Fetch(FETCH):
            pass
    download, call = recorded.get_finished_spans()
    assert call.context is not None
    assert download.parent is not None
    assert download.parent.span_id == call.context.span_id
    assert [link.context.span_id for link in download.links] == [call.context.span_id]


async def test_a_failure_of_ours_is_one_of_the_span(
    tmp_path: Path, telemetry: Telemetry, recorded: InMemorySpanExporter
) -> None:
    """By its reason; its text stays out of the trace."""
    error = DigestMismatchError("{key} is damaged", key="a/0.0")
    async with serving(tmp_path, FakeAssets(error), telemetry) as served:
        with pytest.raises(grpc.aio.AioRpcError):
            await served.assets.ResolveVersion(pb.ResolveVersionRequest(spec="a"))
    span = only(recorded)
    assert (span.status.is_ok, span.status.description) == (False, "DIGEST_MISMATCH")
    attributes = dict(span.attributes or {})
    assert attributes["assetd.reason"] == "DIGEST_MISMATCH"
    assert attributes["rpc.grpc.status_code"] == grpc.StatusCode.DATA_LOSS.value[0]
    assert span.events == ()


async def test_a_mistake_of_the_callers_is_no_failure(
    tmp_path: Path, telemetry: Telemetry, recorded: InMemorySpanExporter
) -> None:
    """Who asks for what is not there should not wake anybody."""
    error = VersionNotFoundError("none")
    async with serving(tmp_path, FakeAssets(error), telemetry) as served:
        with pytest.raises(grpc.aio.AioRpcError):
            await served.assets.ResolveVersion(pb.ResolveVersionRequest(spec="a"))
    span = only(recorded)
    assert span.status.is_unset
    assert dict(span.attributes or {})["assetd.reason"] == "VERSION_NOT_FOUND"
