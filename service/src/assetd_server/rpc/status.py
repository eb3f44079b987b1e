"""The one table from the domain's errors to what a caller of gRPC sees of them.

Decides nothing but the form: which code, which details, and how much of it fits. Text that is not
an `AssetError`'s own (a traceback, an SDK's words) never passes through here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import (
    BadRequest,
    ErrorInfo,
    PreconditionFailure,
    QuotaFailure,
    ResourceInfo,
    RetryInfo,
)
from google.rpc.status_pb2 import Status
from grpc import StatusCode

from assetd_server import errors
from assetd_server.errors import AssetError

DOMAIN: Final = "assetd.v1"
REASON_TRAILER: Final = "assetd-reason"
DETAILS_TRAILER: Final = "grpc-status-details-bin"

MAX_VALUE_BYTES = 200
MAX_MESSAGE_BYTES = 512
# Larger trailers make grpc-java drop the connection, with every hold on it.
MAX_TRAILERS_BYTES = 4096 - 1


@dataclass(frozen=True)
class Told:
    """What may be said of an error: its message and values, cut to size."""

    reason: str
    message: str
    metadata: Mapping[str, str]

    @property
    def resource(self) -> str:
        """The name of what the error is about: a key, else a version or one of its parts."""
        told = self.metadata
        if key := told.get("key"):
            return key
        version = f":{told['version']}" if told.get("version") else ""
        part = f"[{told['part']}]" if told.get("part") else ""
        return told["name"] + version + part if told.get("name") else told.get("spec", "")


@dataclass(frozen=True)
class Row:
    """How one class of error looks on the wire; `detail` makes the message beside `ErrorInfo`."""

    code: StatusCode
    detail: Callable[[Told], Message] | None = None
    retry_after_seconds: int | None = None


@dataclass(frozen=True)
class WireStatus:
    """The end of a call, ready to be sent."""

    code: StatusCode
    reason: str
    message: str
    trailers: tuple[tuple[str, str | bytes], ...]


def _invalid(field: str) -> Row:
    """`field` is what is at fault where the error itself does not name it."""
    return Row(
        StatusCode.INVALID_ARGUMENT,
        lambda told: BadRequest(
            field_violations=[
                BadRequest.FieldViolation(
                    field=told.metadata.get("field", field), description=told.message
                )
            ]
        ),
    )


def _resource(code: StatusCode, resource_type: str) -> Row:
    return Row(
        code,
        lambda told: ResourceInfo(
            resource_type=resource_type,
            resource_name=told.resource,
            owner=told.metadata.get("owner", ""),
            description=told.message,
        ),
    )


def _precondition() -> Row:
    return Row(
        StatusCode.FAILED_PRECONDITION,
        lambda told: PreconditionFailure(
            violations=[
                PreconditionFailure.Violation(
                    type=told.reason,
                    subject=told.resource or told.metadata.get("path", ""),
                    description=told.message,
                )
            ]
        ),
    )


def _exhausted(subject: str, retry_after_seconds: int) -> Row:
    return Row(
        StatusCode.RESOURCE_EXHAUSTED,
        lambda told: QuotaFailure(
            violations=[QuotaFailure.Violation(subject=subject, description=told.message)]
        ),
        retry_after_seconds,
    )


def _unavailable(retry_after_seconds: int) -> Row:
    return Row(StatusCode.UNAVAILABLE, None, retry_after_seconds)


_FAILED_PRECONDITION = _precondition()
_ABORTED = Row(StatusCode.ABORTED)
_DENIED = Row(StatusCode.PERMISSION_DENIED)
_INTERNAL = Row(StatusCode.INTERNAL)

TABLE: Mapping[type[AssetError], Row] = {
    errors.InvalidSpecError: _invalid("spec"),
    errors.InvalidNameError: _invalid("spec"),
    errors.InvalidVersionError: _invalid("spec"),
    errors.InvalidPartError: _invalid("spec"),
    errors.InvalidFieldError: _invalid(""),
    errors.InvalidPageTokenError: _invalid("page_token"),
    errors.InvalidPushStreamError: _invalid("step"),
    errors.PushMismatchError: _invalid("commit.digest"),
    errors.AssetNotFoundError: _resource(StatusCode.NOT_FOUND, "asset"),
    errors.VersionNotFoundError: _resource(StatusCode.NOT_FOUND, "version"),
    errors.PartNotFoundError: _resource(StatusCode.NOT_FOUND, "part"),
    errors.NotCachedError: _resource(StatusCode.NOT_FOUND, "cached version"),
    errors.VersionExistsError: _resource(StatusCode.ALREADY_EXISTS, "version"),
    errors.AssetExistsError: _resource(StatusCode.ALREADY_EXISTS, "asset"),
    errors.PushInProgressError: _ABORTED,
    errors.PushNotCommittedError: _ABORTED,
    errors.SourceChangedError: _ABORTED,
    errors.AssetInUseError: _FAILED_PRECONDITION,
    errors.AssetExceedsCacheError: _FAILED_PRECONDITION,
    errors.UnsafeStoreError: _FAILED_PRECONDITION,
    errors.NoStoreError: _FAILED_PRECONDITION,
    errors.ReadOnlyError: _FAILED_PRECONDITION,
    errors.UnsafePathError: _FAILED_PRECONDITION,
    errors.UnsupportedFileError: _FAILED_PRECONDITION,
    errors.MixedVersioningError: _FAILED_PRECONDITION,
    errors.CacheFullError: _exhausted("cache", retry_after_seconds=30),
    errors.DiskFullError: _exhausted("disk", retry_after_seconds=60),
    errors.TooManyRequestsError: _exhausted("daemon", retry_after_seconds=1),
    errors.StoreUnavailableError: _unavailable(retry_after_seconds=5),
    errors.LockBusyError: _unavailable(retry_after_seconds=10),
    errors.ShuttingDownError: _unavailable(retry_after_seconds=1),
    errors.StoreAccessDeniedError: _DENIED,
    errors.SourceNotAllowedError: _DENIED,
    errors.AccessDeniedError: _DENIED,
    errors.UnauthenticatedError: Row(StatusCode.UNAUTHENTICATED),
    errors.DigestMismatchError: _resource(StatusCode.DATA_LOSS, "object"),
    errors.BadManifestError: _resource(StatusCode.DATA_LOSS, "object"),
    errors.BadIndexError: _resource(StatusCode.DATA_LOSS, "object"),
    errors.NotBuiltError: Row(StatusCode.UNIMPLEMENTED),
    errors.IoError: _INTERNAL,
    errors.InternalError: _INTERNAL,
}


def status_of(error: BaseException, request_id: str) -> WireStatus:
    """Return the status that tells `error` to a caller.

    Anything but an `AssetError` is a defect: its caller learns the request id, and nothing else.
    All trailers together stay below `MAX_TRAILERS_BYTES`; the details that matter least go first.
    """
    if not isinstance(error, AssetError):
        error = errors.InternalError(
            "the daemon has a defect: report it with the request id {request_id}, under which its"
            " log tells the rest",
            request_id=request_id,
        )
    row = TABLE[type(error)]
    told = _tell(error, {"request_id": request_id} if row is _INTERNAL else {})
    details = [detail for detail in (_retry(row), row.detail and row.detail(told)) if detail]
    metadata = dict(told.metadata)
    while _wire_bytes(status := _pack(row.code, told, metadata, details)) > MAX_TRAILERS_BYTES:
        # At the latest without either it fits: message and reason have their bounds.
        if details:
            details.pop()
        else:
            metadata.popitem()
    return status


def _tell(error: AssetError, extra: Mapping[str, str]) -> Told:
    message, metadata = str(error), dict(extra)
    for name, value in error.metadata.items():
        metadata[name] = short = cut(value, MAX_VALUE_BYTES)
        if short != value:
            # What a caller sent comes back in the message too, as it is or quoted.
            message = message.replace(repr(value), repr(short)).replace(value, short)
    return Told(error.reason, cut(message, MAX_MESSAGE_BYTES), metadata)


def cut(text: str, max_bytes: int) -> str:
    """Return `text`, cut to `max_bytes` of UTF-8 between two characters, and always encodable."""
    encoded = text.encode(errors="backslashreplace")
    if len(encoded) <= max_bytes:
        return encoded.decode()
    return encoded[: max_bytes - 3].decode(errors="ignore") + "..."


def _retry(row: Row) -> RetryInfo | None:
    if row.retry_after_seconds is None:
        return None
    return RetryInfo(retry_delay=Duration(seconds=row.retry_after_seconds))


def _pack(
    code: StatusCode, told: Told, metadata: Mapping[str, str], details: list[Message]
) -> WireStatus:
    status = Status(code=code.value[0], message=told.message)
    status.details.add().Pack(ErrorInfo(reason=told.reason, domain=DOMAIN, metadata=metadata))
    for detail in details:
        status.details.add().Pack(detail)
    trailers = (
        (DETAILS_TRAILER, status.SerializeToString()),
        (REASON_TRAILER, told.reason),
    )
    return WireStatus(code, told.reason, told.message, trailers)


def _wire_bytes(status: WireStatus) -> int:
    """Count as HTTP/2 does for its limit on headers: 32 bytes an entry beside name and value."""
    entries = [("grpc-status", 2), ("grpc-message", _percent_encoded_bytes(status.message))]
    for name, value in status.trailers:
        # Binary values travel in base 64, padded by some.
        length = 4 * -(-len(value) // 3) if isinstance(value, bytes) else len(value)
        entries.append((name, length))
    return sum(len(name) + length + 32 for name, length in entries)


def _percent_encoded_bytes(message: str) -> int:
    return sum(1 if 0x20 <= byte < 0x7F and byte != 0x25 else 3 for byte in message.encode())
