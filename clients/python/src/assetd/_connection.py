"""The channel to one daemon, and what every call on it carries.

Imports grpc, which takes 55 ms and 21 MiB: whoever wants to stay light imports this late. Knows
nothing of what the calls are about.
"""

from collections.abc import Callable, Iterator
from typing import Protocol, TypeVar

import grpc

from assetd._address import Address
from assetd._channel import channel_options, failure, trace_context
from assetd._chunks import serialized
from assetd._failure import EndedCall
from assetd._holds import Holds
from assetd._retry import Deadline, Retry, RetryPolicy
from assetd._watchdog import Watchdog
from assetd.errors import AssetdError
from assetd.v1.asset_service_pb2 import (
    ListFilesRequest,
    ListFilesResponse,
    ListRequest,
    ListResponse,
    PushResponse,
)
from assetd.v1.asset_service_pb2_grpc import AssetServiceStub
from assetd.v1.cache_service_pb2_grpc import CacheServiceStub

PUSH_METHOD = "/assetd.v1.AssetService/Push"

Request = TypeVar("Request")
Response = TypeVar("Response")
Started = TypeVar("Started")
Received_co = TypeVar("Received_co", covariant=True)
PagedRequest = TypeVar("PagedRequest", ListRequest, ListFilesRequest)
PagedResponse = TypeVar("PagedResponse", ListResponse, ListFilesResponse)


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

    def __init__(self, address: Address, policy: RetryPolicy, holds: Holds) -> None:
        self._channel = grpc.insecure_channel(address.target, options=channel_options(address))
        self.address = address
        self.policy = policy
        self.holds = holds
        self.watchdog = Watchdog()
        self.assets = AssetServiceStub(self._channel)
        self.cache = CacheServiceStub(self._channel)
        # As the stub has it, but for chunks, which are bytes already.
        self.push = self._channel.stream_stream(
            PUSH_METHOD,
            request_serializer=serialized,
            response_deserializer=PushResponse.FromString,
        )

    def close(self) -> None:
        """End all calls, those of other threads included. Holds are closed before it."""
        self._channel.close()
        self.watchdog.close()

    def error_from(self, call: EndedCall | grpc.RpcError, deadline: Deadline) -> AssetdError:
        """Return what ended the call."""
        return failure(call, self.address, deadline)

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
        """Make a call that may be made twice, repeating it while the daemon is UNAVAILABLE.

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
