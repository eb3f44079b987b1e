"""A collector of traces: receives OTLP over HTTP as protobuf, and shows the spans as trees.

Speaks the real protocol on a free loopback port, so that what a daemon in another process exports
can be looked at. Point `OTEL_EXPORTER_OTLP_ENDPOINT` at its `endpoint`.
"""

import gzip
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2

_TRACES_PATH = "/v1/traces"


@dataclass(frozen=True)
class ReceivedSpan:
    """One span as it arrived; ids in hex, `links` are span ids."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    kind: str
    failed: bool
    status_message: str
    attributes: Mapping[str, object]
    links: frozenset[str]
    resource: Mapping[str, object]


@dataclass(frozen=True)
class SpanTree:
    """A span and what was done within it, in the order in which it ended."""

    span: ReceivedSpan
    children: tuple["SpanTree", ...]

    def outline(self, depth: int = 0) -> str:
        """Return the names, one a line, indented by their depth."""
        lines = ["  " * depth + self.span.name]
        lines += [child.outline(depth + 1) for child in self.children]
        return "\n".join(lines)


class OtlpReceiver:
    """What has been received so far. Safe for threads."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self._spans: list[ReceivedSpan] = []
        self._arrived = threading.Condition()

    def spans(self) -> list[ReceivedSpan]:
        """Return all spans, in the order of their arrival: children before their parents."""
        with self._arrived:
            return list(self._spans)

    def wait_until(
        self, enough: Callable[[list[ReceivedSpan]], bool], timeout_seconds: float = 60
    ) -> list[ReceivedSpan]:
        """Return the spans as soon as they are `enough`; the timeout ends what would hang."""
        with self._arrived:
            assert self._arrived.wait_for(lambda: enough(self._spans), timeout_seconds), self._spans
            return list(self._spans)

    def trees(self) -> list[SpanTree]:
        """Return the spans whose parents are not among what was received, with all below them."""
        spans = self.spans()
        ids = {span.span_id for span in spans}
        return [_tree(span, spans) for span in spans if span.parent_id not in ids]

    def _receive(self, body: bytes) -> None:
        request = ExportTraceServiceRequest.FromString(body)
        received = [
            _received(span, _values(group.resource.attributes))
            for group in request.resource_spans
            for scope in group.scope_spans
            for span in scope.spans
        ]
        with self._arrived:
            self._spans += received
            self._arrived.notify_all()


@contextmanager
def otlp_receiver() -> Iterator[OtlpReceiver]:
    """Receive traces for the length of the block."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            known = self.path == _TRACES_PATH
            if known:
                receiver._receive(body)  # noqa: SLF001 - one thing in two classes
            self.send_response(200 if known else 404)
            self.send_header("Content-Type", "application/x-protobuf")
            self.end_headers()
            self.wfile.write(ExportTraceServiceResponse().SerializeToString())

        def log_message(self, *_: object) -> None:
            """Say nothing: a test shows what it needs."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        receiver = OtlpReceiver(f"http://127.0.0.1:{server.server_port}")
        # How often it looks whether it is to end.
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), name="otlp receiver")
        thread.start()
        try:
            yield receiver
        finally:
            server.shutdown()
            thread.join()


def _received(span: trace_pb2.Span, resource: Mapping[str, object]) -> ReceivedSpan:
    return ReceivedSpan(
        name=span.name,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        kind=trace_pb2.Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower(),
        failed=span.status.code == trace_pb2.Status.STATUS_CODE_ERROR,
        status_message=span.status.message,
        attributes=_values(span.attributes),
        links=frozenset(link.span_id.hex() for link in span.links),
        resource=resource,
    )


def _values(pairs: Iterable[KeyValue]) -> dict[str, object]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> object:
    kind = value.WhichOneof("value")
    return getattr(value, kind) if kind else None


def _tree(root: ReceivedSpan, spans: list[ReceivedSpan]) -> SpanTree:
    children = [span for span in spans if span.parent_id == root.span_id]
    return SpanTree(root, tuple(_tree(child, spans) for child in children))
