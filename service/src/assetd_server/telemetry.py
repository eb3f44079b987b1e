"""Traces: every span and attribute name of the service, once, and how spans leave the process.

A leaf: knows no other module of the service, and nobody else makes spans. The SDK and its exporter
are imported only where an endpoint is configured; without one every span is one shared object that
does nothing.

Spans of one fetch::

    assetd.v1.AssetService/Fetch     one a call, a child of the caller's own span
        download                     one a flight, linked to every call that waits for it
            object read              one a ranged read of the store

Never let an async generator yield inside one of these spans: whoever consumes it would get the span
as its own current one.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

DOWNLOAD_SPAN: Final = "download"
OBJECT_READ_SPAN: Final = "object read"

# OpenTelemetry's names for remote procedure calls.
RPC_SYSTEM: Final = "rpc.system"
RPC_SERVICE: Final = "rpc.service"
RPC_METHOD: Final = "rpc.method"
RPC_STATUS_CODE: Final = "rpc.grpc.status_code"
# Ours; a unit is the last word of the name.
ASSET: Final = "assetd.asset"
CALLER: Final = "assetd.caller"
FLIGHT_ID: Final = "assetd.flight_id"
LENGTH_BYTES: Final = "assetd.length_bytes"
OBJECT_KEY: Final = "assetd.object_key"
OFFSET_BYTES: Final = "assetd.offset_bytes"
REASON: Final = "assetd.reason"
REQUEST_ID: Final = "assetd.request_id"
SOURCE: Final = "assetd.source"
SPEC: Final = "assetd.spec"
TRANSFERRED_BYTES: Final = "assetd.transferred_bytes"

EXPORT_TIMEOUT_SECONDS = 2.0

AttributeValue = str | bool | int | float
SpanLink = SpanContext


class Span:
    """One span, whether it is recorded or not."""

    __slots__ = ("_span",)

    def __init__(self, span: trace.Span) -> None:
        self._span = span

    def set(self, name: str, value: AttributeValue) -> None:
        """Note `value` under one of the names above."""
        self._span.set_attribute(name, value)

    def add_link(self, link: SpanLink) -> None:
        """Note that the call behind `link` waits for this span's work as well."""
        self._span.add_link(link)

    def fail(self, why: str) -> None:
        """Mark the work as failed; `why` is a reason or a class, no text that may hold paths."""
        self._span.set_status(Status(StatusCode.ERROR, why))


_NO_SPAN: AbstractContextManager[Span] = nullcontext(Span(trace.INVALID_SPAN))


class Telemetry:
    """Makes spans. One for the whole daemon; safe for threads."""

    def __init__(
        self, tracer: Tracer | None = None, flush: Callable[[], None] = lambda: None
    ) -> None:
        """Make spans by `tracer`; without one nothing is recorded, at hardly any cost.

        `flush` blocks until the spans that have ended are sent; no span is made after it.
        """
        self._tracer = tracer
        self._flush = flush

    @classmethod
    def exporting(cls, service_version: str) -> "Telemetry":
        """Return telemetry that exports over OTLP/HTTP, as the standard `OTEL_*` variables say.

        Spans wait in a bounded queue for a thread of the exporter's own: a collector that is slow
        or down costs spans, never a call's time.
        """
        # Late: most daemons have no collector, and these take longer than the rest of the start.
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        ours = Resource.create({"service.name": "assetd", "service.version": service_version})
        provider = TracerProvider(
            # An operator's OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES win.
            resource=ours.merge(OTELResourceDetector().detect()),
            # At exit it would wait for half a minute; `shutdown` has a bound.
            shutdown_on_exit=False,
        )
        exporter = OTLPSpanExporter(timeout=EXPORT_TIMEOUT_SECONDS)
        provider.add_span_processor(BatchSpanProcessor(exporter))
        return cls(provider.get_tracer("assetd", service_version), provider.shutdown)

    def rpc_span(
        self, service: str, method: str, headers: Mapping[str, str]
    ) -> AbstractContextManager[Span]:
        """Span one call; `headers` may hold the caller's W3C `traceparent` and `tracestate`."""
        if self._tracer is None:
            return _NO_SPAN
        return _current_span(
            self._tracer,
            f"{service}/{method}",
            {RPC_SYSTEM: "grpc", RPC_SERVICE: service, RPC_METHOD: method},
            kind=SpanKind.SERVER,
            parent=TraceContextTextMapPropagator().extract(headers, Context()),
        )

    def download_span(
        self, asset: str, flight_id: str, links: Iterable[SpanLink] = ()
    ) -> AbstractContextManager[Span]:
        """Span one flight. A child of the call that began it; `links` are the calls that wait.

        Whoever joins later is added by `Span.add_link`.
        """
        if self._tracer is None:
            return _NO_SPAN
        return _current_span(
            self._tracer, DOWNLOAD_SPAN, {ASSET: asset, FLIGHT_ID: flight_id}, links=links
        )

    def object_read_span(
        self, key: str, offset_bytes: int, length_bytes: int
    ) -> AbstractContextManager[Span]:
        """Span one ranged read of an object of the store."""
        if self._tracer is None:
            return _NO_SPAN
        return _current_span(
            self._tracer,
            OBJECT_READ_SPAN,
            {OBJECT_KEY: key, OFFSET_BYTES: offset_bytes, LENGTH_BYTES: length_bytes},
            kind=SpanKind.CLIENT,
        )

    def current(self) -> SpanLink:
        """Return the link to the span that the running task is in; linking to none is harmless."""
        return trace.get_current_span().get_span_context()

    def shutdown(self, timeout_seconds: float = 3.0) -> None:
        """Send what is left, within that time. Blocks: not for the event loop. Idempotent."""
        # The SDK would wait for half a minute for a collector that is down.
        sender = threading.Thread(target=self._flush, name="telemetry shutdown", daemon=True)
        sender.start()
        sender.join(timeout_seconds)


def current_trace() -> tuple[str, str] | None:
    """Return trace id and span id of the running task in hex, as logs name them."""
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return None
    return trace.format_trace_id(context.trace_id), trace.format_span_id(context.span_id)


@contextmanager
def _current_span(
    tracer: Tracer,
    name: str,
    attributes: Mapping[str, AttributeValue],
    *,
    kind: SpanKind = SpanKind.INTERNAL,
    parent: Context | None = None,
    links: Iterable[SpanLink] = (),
) -> Iterator[Span]:
    with tracer.start_as_current_span(
        name,
        parent,
        kind,
        attributes,
        [Link(link) for link in links],
        # An exception's text may hold paths or an SDK's words: the log has it, traces do not.
        record_exception=False,
        set_status_on_exception=False,
    ) as recorded:
        span = Span(recorded)
        try:
            yield span
        except BaseException as error:
            span.fail(type(error).__name__)
            raise
