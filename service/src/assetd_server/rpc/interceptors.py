"""What surrounds each call of ours: a bound, a request id, a span, a log line, and its status.

The only place where an error becomes a status. Knows no method in particular; the calls of gRPC's
own services pass untouched.
"""

import asyncio
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import ExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self, TypeAlias

import grpc
from google.protobuf.message import DecodeError, Message
from grpc import HandlerCallDetails, RpcMethodHandler, StatusCode
from grpc.aio import ServerInterceptor, ServicerContext
from structlog.contextvars import bound_contextvars
from structlog.typing import FilteringBoundLogger

from assetd_server.errors import (
    InvalidFieldError,
    NotBuiltError,
    ShuttingDownError,
    TooManyRequestsError,
)
from assetd_server.rpc.call_log import CallLog
from assetd_server.rpc.status import MAX_VALUE_BYTES, WireStatus, cut, status_of
from assetd_server.telemetry import Telemetry

Context = ServicerContext[Any, Any]
# Quoted: gRPC's class takes parameters in its types alone.
Handler: TypeAlias = "RpcMethodHandler[Any, Any]"

_OUR_PACKAGE: Final = "/assetd.v1."
_TRACE_HEADERS: Final = ("traceparent", "tracestate")
# Stands for a request whose bytes are no message.
_UNREADABLE: Final = object()
# What gRPC gets to tell a stream that broke off from one that its caller has ended.
_BREAK_SECONDS: Final = 0.1
# What a message gets that a stop finds on its way; a caller that reads needs no time at all.
_WRITE_SECONDS: Final = 1.0


@dataclass(frozen=True)
class Surroundings:
    """What calls are noted by, and how many of them may run at once."""

    telemetry: Telemetry
    log: FilteringBoundLogger
    monotonic: Callable[[], float]
    max_calls: int


class CallInterceptor(ServerInterceptor):
    """Surrounds each call of our services. One for a whole server."""

    def __init__(
        self, surroundings: Surroundings, readers: Mapping[str, Callable[[bytes], Any]]
    ) -> None:
        """Surround the calls; `readers` read the requests of methods instead of protobuf."""
        self._surroundings = surroundings
        self._readers = readers
        self._running: dict[asyncio.Task[Any], _Call] = {}
        self._handlers: dict[str, Handler] = {}

    async def intercept_service(
        self,
        continuation: Callable[[HandlerCallDetails], "Awaitable[Handler | None]"],
        handler_call_details: HandlerCallDetails,
    ) -> "Handler | None":
        """Return the handler of the call, within its surroundings if the method is ours.

        A method of ours that this release does not know is answered by one that says so.
        """
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if not method.startswith(_OUR_PACKAGE):
            return handler
        if handler is None:
            return self._refuse(method)
        if method not in self._handlers:
            self._handlers[method] = self._surround(handler, method)
        return self._handlers[method]

    async def wait_until_idle(self, timeout_seconds: float) -> int:
        """Wait until the handlers of all calls have cleaned up; return how many have not."""
        if self._running:
            await asyncio.wait(self._running, timeout=timeout_seconds)
        return len(self._running)

    def cut_all(self) -> None:
        """Cancel the handlers of all calls; their callers are told SHUTTING_DOWN."""
        for call in self._running.values():
            call.cut()

    def _surround(self, handler: Handler, method: str) -> Handler:
        behaviours: Any = handler

        async def unary(request: object, context: Context) -> Message:
            async with self._call(method, context) as call:
                return await call.answer_one_by_one(behaviours.unary_unary, request)

        # Coroutines that write, where gRPC also takes generators: it does not close a generator
        # when the caller leaves, so that cleaning up would wait for the garbage collector.
        async def server_stream(request: object, context: Context) -> None:
            async with self._call(method, context) as call:
                await call.answer_one_by_many(behaviours.unary_stream, request)

        async def both_stream(requests: AsyncIterator[object], context: Context) -> None:
            async with self._call(method, context) as call:
                await call.answer_many_by_many(behaviours.stream_stream, requests)

        read = _tolerant(self._readers.get(method, handler.request_deserializer))
        write = handler.response_serializer
        if handler.request_streaming:
            return grpc.stream_stream_rpc_method_handler(both_stream, read, write)
        if handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(server_stream, read, write)
        return grpc.unary_unary_rpc_method_handler(unary, read, write)

    def _refuse(self, method: str) -> Handler:
        # Not kept: callers think of any number of names.
        named = cut(method.removeprefix("/"), MAX_VALUE_BYTES)

        async def refuse(_requests: AsyncIterator[object], context: Context) -> None:
            async with self._call(f"/{named}", context):
                raise NotBuiltError(
                    "{field} is no method of this release of assetd: call another one, or upgrade"
                    " the daemon",
                    field=named,
                )

        # On the wire a stream of one message looks like a message alone, so this fits all kinds.
        return grpc.stream_stream_rpc_method_handler(refuse)

    @asynccontextmanager
    async def _call(self, method: str, context: Context) -> AsyncIterator["_Call"]:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - gRPC runs each call as a task of its own
        call = self._running[task] = _Call(self._surroundings, method, context, task)
        task.add_done_callback(self._running.pop)
        async with call:
            limit = self._surroundings.max_calls
            if len(self._running) > limit:
                raise TooManyRequestsError(
                    "the daemon serves {limit} calls at once and has as many: call again later, or"
                    " raise ASSETD_MAX_CALLS",
                    limit=limit,
                )
            yield call


class _Call:
    """One call of ours, from its first message to its status."""

    def __init__(
        self,
        surroundings: Surroundings,
        method: str,
        context: Context,
        task: "asyncio.Task[Any]",
    ) -> None:
        self._surroundings = surroundings
        self._service, _, self._method = method.removeprefix("/").partition("/")
        self._context = context
        self._task = task
        # A stop has ended the call before it had.
        self._is_cut = False
        # A message is on its way; also where that was given up.
        self._is_writing = False
        self._request_id = uuid.uuid4().hex
        self._stack = ExitStack()

    async def __aenter__(self) -> Self:
        with ExitStack() as stack:
            span = stack.enter_context(
                self._surroundings.telemetry.rpc_span(
                    self._service, self._method, self._trace_headers()
                )
            )
            stack.enter_context(bound_contextvars(request_id=self._request_id))
            self._log = CallLog(
                self._surroundings.log,
                span,
                self._surroundings.monotonic,
                self._method,
                self._request_id,
            )
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None
    ) -> None:
        with self._stack:
            status = self._end(error)
        if status is not None and not self._is_writing:
            await self._context.abort(status.code, status.message, status.trailers)

    def cut(self) -> None:
        """Cancel the handler, and tell the caller SHUTTING_DOWN.

        A message that is on its way gets a moment: gRPC refuses a status before it is through.
        """
        self._is_cut = True
        if self._is_writing:
            asyncio.get_running_loop().call_later(_WRITE_SECONDS, self._cancel_write)
        else:
            self._task.cancel()

    def _cancel_write(self) -> None:
        if self._is_writing:
            self._task.cancel()

    async def answer_one_by_one(
        self, behaviour: Callable[[Any, Context], Awaitable[Message]], request: object
    ) -> Message:
        """Answer one request by one response."""
        self._arrived(request)
        response = await behaviour(request, self._context)
        self._log.saw(response)
        return response

    async def answer_one_by_many(
        self, behaviour: Callable[[Any, Context], AsyncGenerator[Message, None]], request: object
    ) -> None:
        """Answer one request by a stream."""
        self._arrived(request)
        await self._send(behaviour(request, self._context))

    async def answer_many_by_many(
        self,
        behaviour: Callable[[Any, Context], AsyncGenerator[Message, None]],
        requests: AsyncIterator[object],
    ) -> None:
        """Answer a stream by a stream."""
        async with aclosing(self._read(requests)) as readable:
            await self._send(behaviour(readable, self._context))

    async def _read(self, requests: AsyncIterator[object]) -> AsyncGenerator[Any, None]:
        async for request in requests:
            self._arrived(request)
            yield request
        # gRPC gives a stream that broke off as one that ended, and a moment later cancels the call.
        await asyncio.sleep(_BREAK_SECONDS)

    async def _send(self, responses: AsyncGenerator[Message, None]) -> None:
        async with aclosing(responses):
            async for response in responses:
                self._is_writing = True
                await self._context.write(response)
                self._is_writing = False
                self._log.saw(response)
                if self._is_cut:
                    raise asyncio.CancelledError

    def _arrived(self, request: Any) -> None:
        if request is _UNREADABLE:
            raise InvalidFieldError(
                "the {field} is no message of {method}: its bytes cannot be read",
                field="request",
                method=self._method,
            )
        self._log.saw(request)

    def _end(self, error: BaseException | None) -> WireStatus | None:
        """Note how the call ended; return the status, where there is one to be sent."""
        if isinstance(error, asyncio.CancelledError) and self._is_cut:
            error = ShuttingDownError("the daemon is shutting down, and waits no longer")
        if error is None or self._is_over(error):
            self._log.end(StatusCode.OK if error is None else self._why_over())
            return None
        status = status_of(error, self._request_id)
        shown = error if status.code is StatusCode.INTERNAL else None
        self._log.end(status.code, status.reason, shown)
        return status

    def _is_over(self, error: BaseException) -> bool:
        """Tell whether gRPC ended the call before us, so that nobody waits for a status."""
        if isinstance(error, asyncio.CancelledError):
            # Else a handler awaited something that was cancelled: gRPC would send no status at all,
            # and the caller would wait for ever.
            return self._task.cancelling() > 0
        if isinstance(error, grpc.aio.BaseError):
            return not isinstance(error, grpc.aio.UsageError)
        return not isinstance(error, Exception)

    def _why_over(self) -> StatusCode:
        # None without a deadline, whatever the type says.
        remaining: float | None = self._context.time_remaining()
        return StatusCode.DEADLINE_EXCEEDED if remaining == 0 else StatusCode.CANCELLED

    def _trace_headers(self) -> dict[str, str]:
        metadata = self._context.invocation_metadata() or ()
        return {key: str(value) for key, value in metadata if key in _TRACE_HEADERS}


def _tolerant(deserialize: Callable[[bytes], Any] | None) -> Callable[[bytes], Any]:
    """Have bytes that are no message answered like any bad request.

    gRPC itself would answer UNKNOWN, with Python's own words.
    """
    assert deserialize is not None  # noqa: S101 - all generated handlers have one

    def tolerant(raw: bytes) -> Any:
        try:
            return deserialize(raw)
        except DecodeError:
            return _UNREADABLE

    return tolerant
