"""What a channel to a daemon is told, and what its calls carry; for both colours of gRPC.

Imports grpc, which takes 55 ms and 21 MiB: whoever wants to stay light imports this late.
"""

import sys
from typing import cast

import grpc

from assetd._address import Address
from assetd._failure import EndedCall, error_from
from assetd._retry import Deadline, RetryPolicy
from assetd.errors import AssetdError, DaemonUnavailableError
from assetd.v1.asset_service_pb2 import FetchRequest

Metadata = tuple[tuple[str, str | bytes], ...]

CHANNEL_OPTIONS = [
    # Retried in one layer only, and that is the helper.
    ("grpc.enable_retries", 0),
    # gRPC waits a second, then up to two minutes, before it dials again. That would outlast the
    # helper's pauses, and calls would fail long after the daemon is back. (Its *minimum* stays as
    # it is: that is how long a busy daemon may take to answer the dialling.)
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 500),
    # A daemon is on this node: `http_proxy` in the environment is not about it.
    ("grpc.enable_http_proxy", 0),
    # A hold is silent by design. These notice a daemon that is frozen, or out of reach, and the
    # hold is then taken again. The daemon allows a ping every 5 s.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.ping_timeout_ms", 20_000),
    ("grpc.http2.max_pings_without_data", 0),
]
# Without it the socket's path becomes `:authority`, which HTTP/2 servers may refuse.
UNIX_SOCKET_OPTIONS = [("grpc.default_authority", "localhost")]

# The daemon's own, where a fetch asks for none.
PROGRESS_INTERVAL_SECONDS = 0.5
MAX_PROGRESS_INTERVAL_SECONDS = 5.0
# A stream may miss so many reports before it counts as silent.
MISSED_REPORTS = 3


def channel_options(address: Address) -> list[tuple[str, int | str]]:
    """Return what a channel to the address is told."""
    return [*CHANNEL_OPTIONS, *(UNIX_SOCKET_OPTIONS if address.is_unix_socket else [])]


def trace_context() -> Metadata:
    """Return the W3C headers of the program's current span, if the program is traced.

    Whatever propagators it has for others: the daemon reads these. A program that has not imported
    OpenTelemetry has no span, and does not pay for the import.
    """
    if "opentelemetry" not in sys.modules:
        return ()
    try:
        from opentelemetry.baggage.propagation import W3CBaggagePropagator
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
    except ImportError:
        return ()
    headers: dict[str, str] = {}
    for propagator in (TraceContextTextMapPropagator(), W3CBaggagePropagator()):
        propagator.inject(headers)
    return tuple(headers.items())


def failure(call: EndedCall | grpc.RpcError, address: Address, deadline: Deadline) -> AssetdError:
    """Return what ended the call."""
    # What gRPC raises is the failed call itself, which its type does not say.
    ended = cast(EndedCall, call)
    # A deadline ends a call by gRPC's own means, or where a hold must outlive it by cancelling.
    if ended.code().name in {"DEADLINE_EXCEEDED", "CANCELLED"} and deadline.passes_within(0):
        return deadline.error()
    return error_from(ended, address)


def silence_seconds(policy: RetryPolicy, request: FetchRequest) -> float:
    """Return how long the stream of a fetch may say nothing before it is given up."""
    interval = PROGRESS_INTERVAL_SECONDS
    if request.HasField("progress_interval"):
        asked = request.progress_interval.ToTimedelta().total_seconds()
        interval = min(asked, MAX_PROGRESS_INTERVAL_SECONDS)
    return policy.stall_timeout_seconds + MISSED_REPORTS * interval


def stalled(address: Address, silent_seconds: float) -> DaemonUnavailableError:
    """Return the failure of a stream that fell silent."""
    seconds = f"{silent_seconds:g}"
    return DaemonUnavailableError(
        f"the assetd daemon at {address.target} said nothing for {seconds} seconds, though it "
        "tells of every fetch how far it is: look whether its process is stopped or its node hangs",
        metadata={"address": address.target, "silent_seconds": seconds},
    )
