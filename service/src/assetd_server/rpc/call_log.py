"""The one line that the log holds of a call, and the same facts on the call's span.

Reads the messages as they pass and changes none. Of failures it knows code and reason.
"""

from collections.abc import Callable, Mapping
from typing import Final

from assetd.v1 import asset_pb2
from assetd.v1 import asset_service_pb2 as pb
from google.protobuf.message import Message
from grpc import StatusCode
from structlog.typing import FilteringBoundLogger

from assetd_server import telemetry
from assetd_server.rpc.arrived_chunk import ArrivedChunk
from assetd_server.rpc.convert import MAX_CALLER_BYTES
from assetd_server.rpc.status import MAX_VALUE_BYTES, cut
from assetd_server.telemetry import Span

Facts = Mapping[str, str | int | float | bool]

# These have a line at `info`. The others are asked often: theirs is at `debug`.
_TOLD_METHODS: Final = ("Fetch", "Push")
_ALARMING: Final = (StatusCode.DATA_LOSS, StatusCode.INTERNAL)
# What OpenTelemetry counts as a server's failure; the rest is the caller's.
_FAILURES: Final = (
    *_ALARMING,
    StatusCode.DEADLINE_EXCEEDED,
    StatusCode.UNAVAILABLE,
    StatusCode.UNIMPLEMENTED,
)
_ATTRIBUTES: Final = {
    "asset": telemetry.ASSET,
    "caller": telemetry.CALLER,
    "flight_id": telemetry.FLIGHT_ID,
    "reason": telemetry.REASON,
    "request_id": telemetry.REQUEST_ID,
    "source": telemetry.SOURCE,
    "spec": telemetry.SPEC,
    "transferred_bytes": telemetry.TRANSFERRED_BYTES,
}


class CallLog:
    """Gathers the facts of one call, and writes them once."""

    def __init__(
        self,
        log: FilteringBoundLogger,
        span: Span,
        monotonic: Callable[[], float],
        method: str,
        request_id: str,
    ) -> None:
        """Write to `log` and note on `span`; `monotonic` tells seconds."""
        self._log = log
        self._span = span
        self._monotonic = monotonic
        self._start_seconds = monotonic()
        self._method = method
        self._facts: dict[str, str | int | float | bool] = {
            "rpc": method,
            "request_id": request_id,
        }
        self._pushed_bytes = 0
        self._written = False

    def saw(self, message: Message | ArrivedChunk) -> None:
        """Note what a request that arrived, or a response that was sent, says."""
        self._facts.update(_facts(message))
        if isinstance(message, (pb.PushRequest, ArrivedChunk)):
            self._pushed_bytes += _data_bytes(message)
            self._facts["transferred_bytes"] = self._pushed_bytes
        if self._facts.get("hold") and "source" in self._facts and not self._written:
            # The fetch is done, and the hold may last for weeks.
            self._write(StatusCode.OK)

    def end(self, code: StatusCode, reason: str = "", error: BaseException | None = None) -> None:
        """Note how the call ended; `error` is shown with its traceback."""
        if reason:
            self._facts["reason"] = reason
        for name in self._facts.keys() & _ATTRIBUTES.keys():
            self._span.set(_ATTRIBUTES[name], self._facts[name])
        self._span.set(telemetry.RPC_STATUS_CODE, code.value[0])
        if code in _FAILURES:
            self._span.fail(reason or code.name)
        self._write(code, error)

    def _write(self, code: StatusCode, error: BaseException | None = None) -> None:
        level = self._log.info if self._method in _TOLD_METHODS else self._log.debug
        if self._written:
            # What ends now is a hold.
            level = self._log.debug
        if code in _ALARMING:
            level = self._log.error
        elapsed = round(self._monotonic() - self._start_seconds, 6)
        extra = {"exc_info": error} if error else {}
        level("call", **self._facts, code=code.name, elapsed_seconds=elapsed, **extra)
        self._written = True


def _data_bytes(request: pb.PushRequest | ArrivedChunk) -> int:
    if isinstance(request, ArrivedChunk):
        return len(request.data)
    several = (len(chunk.data) for chunk in request.chunks.chunks)
    return len(request.chunk.data) + sum(several)


def _facts(message: Message | ArrivedChunk) -> Facts:
    match message:
        case pb.FetchRequest():
            return {
                "spec": _short(message.spec),
                "caller": cut(message.caller, MAX_CALLER_BYTES),
                "hold": message.hold,
            }
        case pb.FetchResponse():
            return _fetch_facts(message)
        case pb.PushRequest() if message.HasField("header"):
            return {"spec": _short(message.header.spec)}
        case pb.PushResponse():
            return _push_facts(message)
        case pb.ResolveVersionRequest() | pb.ListFilesRequest():
            return {"spec": _short(message.spec)}
    return {}


def _fetch_facts(response: pb.FetchResponse) -> Facts:
    match response.WhichOneof("event"):
        case "started":
            started = response.started
            return {
                **_version_facts(started.asset_version),
                "flight_id": started.flight_id,
                "joined": started.joined,
            }
        case "completed":
            completed = response.completed
            return {
                "source": asset_pb2.Source.Name(completed.source).removeprefix("SOURCE_").lower(),
                "transferred_bytes": completed.transferred_bytes,
            }
    return {}


def _push_facts(response: pb.PushResponse) -> Facts:
    match response.WhichOneof("event"):
        case "accepted":
            return {"push_id": response.accepted.push_id, "version": response.accepted.version}
        case "completed":
            completed = response.completed
            return {
                **_version_facts(completed.asset_version),
                "already_existed": completed.already_existed,
            }
    return {}


def _version_facts(version: asset_pb2.AssetVersion) -> Facts:
    return {"asset": version.name, "version": version.version}


def _short(text: str) -> str:
    return cut(text, MAX_VALUE_BYTES)
