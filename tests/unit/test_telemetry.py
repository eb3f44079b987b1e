"""Spans: nothing without a collector; with one the tree of a fetch, and never a call's time."""

import socket
import threading
from collections.abc import Iterator

import pytest
from assetd_server import telemetry
from assetd_server.telemetry import Telemetry, current_trace

from tests.support.otlp_receiver import OtlpReceiver, otlp_receiver

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
NOT_SAMPLED = CALLER[:-2] + "00"


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[OtlpReceiver]:
    """A collector, named as the standard has it."""
    with otlp_receiver() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint)
        yield receiver


def fetch(spans: Telemetry, headers: dict[str, str] | None = None) -> None:
    """The spans of a fetch of one object in two ranges."""
    with (
        spans.rpc_span("assetd.v1.AssetService", "Fetch", headers or {}),
        spans.download_span("nlp/ranker:1.2", "f1", [spans.current()]),
    ):
        for offset in (0, 8):
            with spans.object_read_span("nlp/ranker/1.2", offset, 8):
                pass


def test_a_fetch_is_a_tree(receiver: OtlpReceiver) -> None:
    """The call, in it the download, in it the reads; with the caller's trace around them."""
    spans = Telemetry.exporting("1.2.3")
    fetch(spans, {"traceparent": CALLER})
    spans.shutdown()
    [tree] = receiver.trees()
    assert tree.outline().splitlines() == [
        "assetd.v1.AssetService/Fetch",
        "  download",
        "    object read",
        "    object read",
    ]
    assert tree.span.parent_id == "b7ad6b7169203331"
    assert {span.trace_id for span in receiver.spans()} == {"0af7651916cd43dd8448eb211c80319c"}
    [download] = tree.children
    assert download.span.links == {tree.span.span_id}


def test_spans_say_what_they_are(receiver: OtlpReceiver) -> None:
    """By OpenTelemetry's names where it has one."""
    spans = Telemetry.exporting("1.2.3")
    fetch(spans)
    spans.shutdown()
    by_name = {span.name: span for span in receiver.spans()}
    call = by_name["assetd.v1.AssetService/Fetch"]
    assert (call.kind, call.parent_id, call.failed) == ("server", "", False)
    assert call.attributes == {
        "rpc.system": "grpc",
        "rpc.service": "assetd.v1.AssetService",
        "rpc.method": "Fetch",
    }
    assert by_name["download"].attributes == {
        "assetd.asset": "nlp/ranker:1.2",
        "assetd.flight_id": "f1",
    }
    read = by_name["object read"]
    assert read.kind == "client"
    assert read.attributes == {
        "assetd.object_key": "nlp/ranker/1.2",
        "assetd.offset_bytes": 8,
        "assetd.length_bytes": 8,
    }
    assert call.resource["service.name"] == "assetd"
    assert call.resource["service.version"] == "1.2.3"


def test_an_operator_names_the_service(
    receiver: OtlpReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenTelemetry's own variables win over ours."""
    monkeypatch.setenv("OTEL_SERVICE_NAME", "assetd-gpu")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=prod")
    spans = Telemetry.exporting("1.2.3")
    fetch(spans)
    spans.shutdown()
    resource = receiver.spans()[0].resource
    assert resource["service.name"] == "assetd-gpu"
    assert resource["deployment.environment"] == "prod"


def test_later_calls_are_linked(receiver: OtlpReceiver) -> None:
    """Whoever joins a download finds it from its own call."""
    spans = Telemetry.exporting("1.2.3")
    with (
        spans.download_span("nlp/ranker:1.2", "f1") as download,
        spans.rpc_span("assetd.v1.AssetService", "Fetch", {}),
    ):
        download.add_link(spans.current())
    spans.shutdown()
    joined, flight = receiver.spans()
    assert flight.links == {joined.span_id}
    assert joined.parent_id == ""


def test_a_call_is_never_a_child_of_another(receiver: OtlpReceiver) -> None:
    """Whatever context the handler happens to run in, only the caller's headers count."""
    spans = Telemetry.exporting("1.2.3")
    with spans.rpc_span("a", "Outer", {}), spans.rpc_span("a", "Inner", {}):
        pass
    spans.shutdown()
    assert [span.parent_id for span in receiver.spans()] == ["", ""]


def test_failures_show_a_class_and_no_text(receiver: OtlpReceiver) -> None:
    """The text of an exception may hold paths or an SDK's words."""
    spans = Telemetry.exporting("1.2.3")
    with pytest.raises(RuntimeError), spans.object_read_span("key", 0, 1):
        raise RuntimeError("secret")
    with spans.rpc_span("a", "Fetch", {}) as span:
        span.set(telemetry.REASON, "IO_ERROR")
        span.fail("IO_ERROR")
    spans.shutdown()
    read, call = receiver.spans()
    assert (read.failed, read.status_message) == (True, "RuntimeError")
    assert (call.failed, call.status_message) == (True, "IO_ERROR")
    assert call.attributes["assetd.reason"] == "IO_ERROR"


def test_a_caller_that_does_not_sample_is_not_traced(receiver: OtlpReceiver) -> None:
    """The caller's choice holds for everything below it."""
    spans = Telemetry.exporting("1.2.3")
    fetch(spans, {"traceparent": NOT_SAMPLED})
    fetch(spans)
    spans.shutdown()
    assert len(receiver.trees()) == 1


@pytest.mark.parametrize("headers", [{"traceparent": "nonsense"}, {"tracestate": "a=b"}, {}])
def test_headers_that_make_no_sense_begin_a_trace(
    receiver: OtlpReceiver, headers: dict[str, str]
) -> None:
    """A caller's mistake is not ours."""
    spans = Telemetry.exporting("1.2.3")
    fetch(spans, headers)
    spans.shutdown()
    [tree] = receiver.trees()
    assert tree.span.parent_id == ""


def test_without_a_collector_nothing_is_made() -> None:
    """One object serves for every span, and can be told anything."""
    spans = Telemetry()
    with spans.rpc_span("a", "Fetch", {"traceparent": CALLER}) as call:
        assert current_trace() is None
        with spans.download_span("a", "f1", [spans.current()]) as download:
            download.add_link(spans.current())
            download.set(telemetry.ASSET, "a")
            download.fail("IO_ERROR")
        with spans.object_read_span("key", 0, 1) as read:
            pass
    assert call is download is read
    spans.shutdown()


def test_logs_can_name_the_span(receiver: OtlpReceiver) -> None:
    """The ids are those that the collector shows."""
    spans = Telemetry.exporting("1.2.3")
    with spans.rpc_span("a", "Fetch", {}):
        ids = current_trace()
    spans.shutdown()
    [span] = receiver.spans()
    assert ids == (span.trace_id, span.span_id)


def test_a_collector_that_hangs_costs_no_call_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes connections and never answers: were spans sent by who makes them, each took 2 s."""
    with socket.socket() as hanging:
        hanging.bind(("127.0.0.1", 0))
        hanging.listen()
        endpoint = f"http://127.0.0.1:{hanging.getsockname()[1]}"
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        spans = Telemetry.exporting("1.2.3")
        for _ in range(3000):
            fetch(spans)
        spans.shutdown(timeout_seconds=0)


def test_the_end_does_not_wait_for_ever() -> None:
    """A stop has a grace of its own; traces get a few seconds of it."""
    may_end, ended = threading.Event(), threading.Event()

    def flush() -> None:
        may_end.wait()
        ended.set()

    Telemetry(flush=flush).shutdown(timeout_seconds=0.01)
    assert not ended.is_set()
    may_end.set()
    ended.wait()
