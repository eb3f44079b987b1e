"""The channel to one daemon for asyncio, and what every call on it carries.

Imports grpc: whoever wants to stay light imports this late. Belongs to one event loop.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Generic, TypeVar

import grpc
import grpc.aio

from assetd._address import Address
from assetd._channel import channel_options, failure, trace_context
from assetd._connection import PagedRequest, PagedResponse
from assetd._holds import Holds
from assetd._retry import Deadline, Retry, RetryPolicy
from assetd._watchdog import GRACE_SECONDS
from assetd.errors import AssetdError
from assetd.v1.asset_service_pb2_grpc import AssetServiceStub
from assetd.v1.cache_service_pb2_grpc import CacheServiceStub

Request = TypeVar("Request")
Response = TypeVar("Response")
Started = TypeVar("Started", bound=grpc.aio.Call)


class CutError(Exception):
    """A stream ended too early: `error` says why."""

    def __init__(self, error: AssetdError) -> None:
        super().__init__(error)
        self.error = error


class SilentError(Exception):
    """A stream said nothing for as long as it was listened to."""


class Stream(Generic[Response]):
    """The answers of one call, in their order."""

    def __init__(self, call: "grpc.aio.UnaryStreamCall[Any, Response]", address: Address) -> None:
        self._call = call
        # Not `read`, which loses what had arrived when the call ended.
        self._answers = aiter(call)
        self._address = address

    async def next(self, deadline: Deadline, limit_seconds: float | None = None) -> Response | None:
        """Return the next answer; None once the call ended well.

        Raises:
            CutError: it ended otherwise.
            SilentError: nothing came for `limit_seconds`; the call is over.
            RuntimeError: the client was closed.
        """
        try:
            async with _listening(deadline, limit_seconds):
                return await anext(self._answers, None)
        except TimeoutError:
            raise SilentError from None
        except grpc.aio.AioRpcError as cut:
            raise CutError(failure(cut, self._address, deadline)) from None
        except asyncio.CancelledError:
            # gRPC cancels whoever waits for a call that somebody else has cancelled.
            raise_if_not_ours()
            raise

    def cancel(self) -> None:
        """End the call, if it has not ended."""
        self._call.cancel()


@asynccontextmanager
async def _listening(deadline: Deadline, limit_seconds: float | None) -> AsyncIterator[None]:
    """End the block when it has taken so long, and then some, unless the call itself has to end.

    Raises:
        TimeoutError: it did.
    """
    if limit_seconds is None or deadline.passes_within(limit_seconds):
        async with asyncio.timeout(limit_seconds):
            yield
        return
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(limit_seconds + GRACE_SECONDS) as waiting:
        # Where the loop stood still, what came meanwhile has only to be read.
        grace = loop.call_later(
            limit_seconds, lambda: waiting.reschedule(loop.time() + GRACE_SECONDS)
        )
        try:
            yield
        finally:
            grace.cancel()


class Connection:
    """A channel, dialled by its first call."""

    def __init__(self, address: Address, policy: RetryPolicy, holds: Holds) -> None:
        self._channel = grpc.aio.insecure_channel(address.target, options=channel_options(address))
        self.address = address
        self.policy = policy
        self.holds = holds
        self.assets = AssetServiceStub(self._channel)
        self.cache = CacheServiceStub(self._channel)
        self._calls: set[grpc.aio.Call] = set()

    async def close(self) -> None:
        """End all calls, those of other tasks included. Holds are closed before it."""
        # gRPC would look for them in the frames of all tasks, and miss some.
        for call in list(self._calls):
            call.cancel()
        await self._channel.close()

    def stream(
        self,
        method: "grpc.aio.UnaryStreamMultiCallable[Request, Response]",
        request: Request,
        timeout: float | None = None,
    ) -> Stream[Response]:
        """Call a method whose answer is a stream.

        Raises:
            RuntimeError: the client was closed, by another task it seems.
        """
        return Stream(self._start(method, request, timeout), self.address)

    async def ask(
        self,
        method: "grpc.aio.UnaryUnaryMultiCallable[Request, Response]",
        request: Request,
        timeout: float | None,
    ) -> Response:
        """Make a call that may be made twice, repeating it while the daemon is UNAVAILABLE.

        Raises:
            AssetdError: the call failed, or `timeout` seconds have passed.
            RuntimeError: the client was closed.
        """
        deadline = Deadline(timeout)
        retry = Retry(self.policy, deadline)
        while True:
            try:
                return await self._start(method, request, deadline.remaining_seconds())
            except grpc.aio.AioRpcError as failed:
                error = failure(failed, self.address, deadline)
            except asyncio.CancelledError:
                raise_if_not_ours()
                raise
            await asyncio.sleep(retry.delay_or_raise(error))

    async def pages(
        self,
        method: "grpc.aio.UnaryUnaryMultiCallable[PagedRequest, PagedResponse]",
        request: PagedRequest,
        timeout: float | None,
    ) -> AsyncIterator[PagedResponse]:
        """Give page after page, each asked for when it is taken.

        Raises:
            AssetdError: a page could not be had.
        """
        while True:
            page = await self.ask(method, request, timeout)
            yield page
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def _start(
        self, method: Callable[..., Started], request: object, timeout: float | None
    ) -> Started:
        try:
            call = method(request, timeout=timeout, metadata=trace_context())
        except grpc.aio.UsageError:
            # gRPC's word for a channel that is closed.
            raise closed() from None
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)
        return call


def raise_if_not_ours() -> None:
    """Raise why a call was cancelled, unless it was because this task is.

    Raises:
        RuntimeError: the client was closed.
    """
    task = asyncio.current_task()
    if task is not None and not task.cancelling():
        raise closed() from None


def closed() -> RuntimeError:
    """Return the failure of whoever still uses a client that is closed."""
    return RuntimeError("this client was closed while it called")
