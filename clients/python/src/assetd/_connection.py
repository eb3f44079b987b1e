"""The channel to one daemon, and what every call on it carries.

Imports grpc, which takes 55 ms and 21 MiB: whoever wants to stay light imports this late. Knows
nothing of what the calls are about.
"""

import sys
import threading
from collections.abc import Callable, Iterator
from typing import Protocol, TypeVar, cast

import grpc

from assetd._address import Address
from assetd._failure import EndedCall, error_from
from assetd._retry import Deadline, Retry, RetryPolicy
from assetd.asset import Holding
from assetd.errors import AssetdError
from assetd.v1.asset_service_pb2 import (
    ListFilesRequest,
    ListFilesResponse,
    ListRequest,
    ListResponse,
)
from assetd.v1.asset_service_pb2_grpc import AssetServiceStub
from assetd.v1.cache_service_pb2_grpc import CacheServiceStub

Request = TypeVar("Request")
Response = TypeVar("Response")
Started = TypeVar("Started")
Received_co = TypeVar("Received_co", covariant=True)
PagedRequest = TypeVar("PagedRequest", ListRequest, ListFilesRequest)
PagedResponse = TypeVar("PagedResponse", ListResponse, ListFilesResponse)
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
]
# Without it the socket's path becomes `:authority`, which HTTP/2 servers may refuse.
UNIX_SOCKET_OPTIONS = [("grpc.default_authority", "localhost")]


class Stream(EndedCall, Protocol[Received_co]):
    """What gRPC gives for a call that streams its answer."""

    def __iter__(self) -> Iterator[Received_co]: ...

    def __next__(self) -> Received_co: ...

    def cancel(self) -> bool:
        """End the call, if it has not ended."""
        ...

    def add_callback(self, callback: Callable[[], None]) -> bool:
        """Have it called when the call ends; False if it has."""
        ...


class Connection:
    """A channel, dialled by its first call. Safe for threads."""

    def __init__(self, address: Address, policy: RetryPolicy) -> None:
        options = CHANNEL_OPTIONS + (UNIX_SOCKET_OPTIONS if address.is_unix_socket else [])
        self._channel = grpc.insecure_channel(address.target, options=options)
        self._address = address
        self._lock = threading.Lock()
        self._holds: set[Holding] = set()
        self._closed = False
        self.policy = policy
        self.assets = AssetServiceStub(self._channel)
        self.cache = CacheServiceStub(self._channel)

    def add_hold(self, hold: Holding) -> None:
        """Have it closed before the channel, and keep it alive until then."""
        with self._lock:
            self._holds.add(hold)
            closed = self._closed
        if closed:
            # Another thread closed the client while this one's fetch completed.
            hold.close()

    def drop_hold(self, hold: Holding) -> None:
        """Forget what was closed by itself."""
        with self._lock:
            self._holds.discard(hold)

    def close(self) -> None:
        """End all calls, those of other threads included."""
        with self._lock:
            self._closed = True
            holds = list(self._holds)
        for hold in holds:
            hold.close()
        self._channel.close()

    def error_from(self, call: EndedCall | grpc.RpcError, deadline: Deadline) -> AssetdError:
        """Return what ended the call."""
        # What gRPC raises is the failed call itself, which its type does not say.
        error = error_from(cast(EndedCall, call), self._address)
        # A deadline ends a call by gRPC's own means, or where a hold must outlive it by cancelling.
        if error.code in {"DEADLINE_EXCEEDED", "CANCELLED"} and deadline.passes_within(0):
            return deadline.error()
        return error

    def start(
        self, method: Callable[..., Started], request: object, timeout: float | None = None
    ) -> Started:
        """Call a method of a stub, with what every call carries.

        Raises:
            RuntimeError: the client was closed, by another thread it seems.
            grpc.RpcError: the call failed; of a stream, only when it is read.
        """
        try:
            return method(request, timeout=timeout, metadata=trace_context())
        except ValueError:
            # gRPC's word for a channel that is closed.
            raise RuntimeError("this client was closed while it called") from None

    def ask(
        self,
        method: "grpc.UnaryUnaryMultiCallable[Request, Response]",
        request: Request,
        timeout: float | None,
    ) -> Response:
        """Make a call that has no side effects, repeating it while the daemon is UNAVAILABLE.

        Raises:
            AssetdError: the call failed, or `timeout` seconds have passed.
        """
        deadline = Deadline(timeout)
        retry = Retry(self.policy, deadline)
        while True:
            try:
                return self.start(method, request, deadline.remaining_seconds())
            except grpc.RpcError as failed:
                retry.wait_or_raise(self.error_from(failed, deadline))

    def pages(
        self,
        method: "grpc.UnaryUnaryMultiCallable[PagedRequest, PagedResponse]",
        request: PagedRequest,
        timeout: float | None,
    ) -> Iterator[PagedResponse]:
        """Give page after page, each asked for when it is taken.

        Raises:
            AssetdError: a page could not be had.
        """
        while True:
            page = self.ask(method, request, timeout)
            yield page
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token


def drain(call: Stream[Response]) -> None:
    """Read a stream that has answered to its end, so that it ends well on the other side too."""
    try:
        for _ in call:
            pass
    except grpc.RpcError:
        return


def trace_context() -> Metadata:
    """Return the W3C headers of the program's current span, if the program is traced.

    A program that has not imported OpenTelemetry has no span, and does not pay for the import.
    """
    if "opentelemetry" not in sys.modules:
        return ()
    try:
        from opentelemetry.propagate import inject
    except ImportError:
        return ()
    headers: dict[str, str] = {}
    inject_headers: Callable[[dict[str, str]], None] = inject
    inject_headers(headers)
    return tuple(headers.items())
