"""Traces of a real daemon, as a real collector gets them: the tree of a fetch."""

from collections.abc import Iterator

import grpc
import pytest
from assetd.v1.asset_service_pb2 import FetchRequest
from assetd.v1.asset_service_pb2_grpc import AssetServiceStub
from opentelemetry.sdk.trace import TracerProvider

from tests.support.daemon import Daemon, Daemons, running_daemons
from tests.support.otlp_receiver import OtlpReceiver, ReceivedSpan, otlp_receiver
from tests.support.ports import LOOPBACK, free_port
from tests.support.proxied_store import ProxiedStore, proxied_store
from tests.support.trees import write_random_file, write_tree

pytestmark = [pytest.mark.needs_program("versitygw"), pytest.mark.xdist_group("traces")]

RANGE_BYTES = 4 << 20
SIZE_BYTES = 3 * RANGE_BYTES + 1000
TREE = {"one": b"1", "sub/two": b"22", "empty": b""}
FETCH = "assetd.v1.AssetService/Fetch"


@pytest.fixture(scope="module")
def receiver() -> Iterator[OtlpReceiver]:
    """A collector."""
    with otlp_receiver() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProxiedStore]:
    """S3 with a file of four ranges and a folder of three files."""
    folder = tmp_path_factory.mktemp("store")
    write_random_file(folder / "file", SIZE_BYTES, seed=4)
    write_tree(folder / "folder", TREE)
    with proxied_store(folder / "s3") as store, running_daemons(folder) as daemons:
        sources = {"traced/file": folder / "file", "traced/folder": folder / "folder"}
        store.fill(daemons, folder / "filler", sources)
        yield store


def traced(daemons: Daemons, store: ProxiedStore, endpoint: str) -> Daemon:
    """A daemon that exports to a collector."""
    return daemons(
        store=store.url,
        variables={
            **store.through_proxy,
            "ASSETD_RANGE_BYTES": str(RANGE_BYTES),
            "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
            "OTEL_BSP_SCHEDULE_DELAY": "50",
        },
    )


class TracedCaller:
    """A fetch with the headers of a caller who is traced, in ids that say which caller it is."""

    def __init__(self, channel: grpc.Channel, number: int) -> None:
        self.trace_id, self.span_id = f"{number:032x}", f"{number:016x}"
        self._events = AssetServiceStub(channel).Fetch(
            FetchRequest(spec="traced/file"),
            metadata=(("traceparent", f"00-{self.trace_id}-{self.span_id}-01"),),
        )

    def wait_for_start(self) -> None:
        """Wait until it waits for the download, with everybody else."""
        assert next(self._events).HasField("started")

    def wait_for_end(self) -> None:
        """Read to the end."""
        assert [event for event in self._events if event.HasField("completed")]


def named(spans: list[ReceivedSpan], name: str) -> list[ReceivedSpan]:
    """The spans of that name."""
    return [span for span in spans if span.name == name]


def test_the_tree_of_a_shared_fetch(
    daemons: Daemons, store: ProxiedStore, receiver: OtlpReceiver
) -> None:
    """A call is a child of its caller's span; the download is linked to all who waited for it."""
    daemon = traced(daemons, store, receiver.endpoint)
    store.proxy.rate_bytes_per_second = 8 << 20
    with daemon.channel() as channel:
        callers = []
        for number in (0xA, 0xB, 0xC):
            callers.append(TracedCaller(channel, number))
            callers[-1].wait_for_start()
        for caller in callers:
            caller.wait_for_end()
    store.proxy.rate_bytes_per_second = None
    daemon.stop()
    spans = receiver.wait_until(lambda spans: len(named(spans, FETCH)) == 3)

    calls = {span.trace_id: span for span in named(spans, FETCH)}
    for caller in callers:
        assert calls[caller.trace_id].parent_id == caller.span_id
        assert calls[caller.trace_id].kind == "server"
        assert calls[caller.trace_id].attributes["assetd.asset"] == "traced/file"
    first = calls[callers[0].trace_id]
    (download,) = named(spans, "download")
    assert (download.trace_id, download.parent_id) == (first.trace_id, first.span_id)
    assert download.links == {call.span_id for call in calls.values()}
    flights = {call.attributes["assetd.flight_id"] for call in calls.values()}
    assert flights == {download.attributes["assetd.flight_id"]}

    reads = named(spans, "object read")
    assert {read.parent_id for read in reads} == {download.span_id}
    ranges = sorted(
        (read.attributes["assetd.offset_bytes"], read.attributes["assetd.length_bytes"])
        for read in reads
    )
    starts = range(0, SIZE_BYTES, RANGE_BYTES)
    assert ranges == [(start, min(RANGE_BYTES, SIZE_BYTES - start)) for start in starts]
    assert {span.resource["service.name"] for span in spans} == {"assetd"}
    assert not any(span.failed for span in spans)


def test_the_python_client_passes_its_span_on(
    daemons: Daemons, store: ProxiedStore, receiver: OtlpReceiver
) -> None:
    """A program that is traced finds the daemon's work in its own trace; each file is a read."""
    daemon = traced(daemons, store, receiver.endpoint)
    tracer = TracerProvider().get_tracer("a model server")
    with daemon.client() as client, tracer.start_as_current_span("load the model") as span:
        client.fetch("traced/folder")
    own = span.get_span_context()
    daemon.stop()
    spans = [
        received
        for received in receiver.wait_until(
            lambda spans: any(
                span.trace_id == f"{own.trace_id:032x}" for span in named(spans, FETCH)
            )
        )
        if received.trace_id == f"{own.trace_id:032x}"
    ]
    (call,) = named(spans, FETCH)
    assert call.parent_id == f"{own.span_id:016x}"
    (download,) = named(spans, "download")
    reads = named(spans, "object read")
    assert {read.parent_id for read in reads} == {download.span_id}
    keys = sorted(str(read.attributes["assetd.object_key"]) for read in reads)
    assert keys == sorted(f"traced/folder/0.0/{part}" for part in TREE)


def test_a_hit_reads_nothing(daemons: Daemons, store: ProxiedStore, receiver: OtlpReceiver) -> None:
    """The span of the call, and nothing below it."""
    daemon = traced(daemons, store, receiver.endpoint)
    tracer = TracerProvider().get_tracer("a model server")
    with daemon.client() as client:
        client.fetch("traced/folder")
        with tracer.start_as_current_span("load the model again") as span:
            client.fetch("traced/folder:0.0")
    daemon.stop()
    trace_id = f"{span.get_span_context().trace_id:032x}"
    spans = receiver.wait_until(lambda spans: any(s.trace_id == trace_id for s in spans))
    assert [s.name for s in spans if s.trace_id == trace_id] == [FETCH]


def test_a_collector_that_is_down_costs_nothing(daemons: Daemons, store: ProxiedStore) -> None:
    """Fetches go on and the daemon stops well; its log says nothing of defects."""
    daemon = traced(daemons, store, f"http://{LOOPBACK}:{free_port()}")
    with daemon.client() as client:
        assert client.fetch("traced/file").transferred_bytes == SIZE_BYTES
    assert daemon.stop() == 0
