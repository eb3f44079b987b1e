"""gRPC's failures, read into the errors of `assetd.errors`.

The only module that looks at status codes and trailers. It finds the details itself, since
grpcio-status cannot be installed beside every protobuf that the stubs run under.
"""

import re
from collections.abc import Iterable
from typing import Protocol

import grpc
from google.protobuf.message import DecodeError
from google.rpc import (
    error_details_pb2,
    status_pb2,
)

from assetd._address import Address
from assetd.errors import BY_REASON, AssetdError, CallTimeoutError, DaemonUnavailableError

DOMAIN = "assetd.v1"
DETAILS_TRAILER = "grpc-status-details-bin"
# For languages without the details, and for us should something strip them on the way.
REASON_TRAILER = "assetd-reason"


class EndedCall(Protocol):
    """What gRPC tells of a call that has ended; a failed one is raised as such."""

    def code(self) -> grpc.StatusCode:
        """The status."""
        ...

    def details(self) -> str | None:
        """The message of the status."""
        ...

    def trailing_metadata(self) -> Iterable[tuple[str, str | bytes]] | None:
        """The trailers."""
        ...


def error_from(call: EndedCall, address: Address) -> AssetdError:
    """Return what ended the call, in the words of the contract.

    A status without a reason comes from gRPC itself: the daemon could not be reached, or the
    call's own deadline passed. A call that was on its way while the daemon began to stop is
    CANCELLED by gRPC; the caller's own cancelling is not told as a failure.
    """
    code, message = call.code().name, call.details() or "the daemon gave no message"
    trailers = _trailers(call)
    info, retry_after_seconds = _details(trailers.get(DETAILS_TRAILER, b""))
    reason = info.reason or trailers.get(REASON_TRAILER, b"").decode("ascii", "replace")
    if not reason and code in {"UNAVAILABLE", "CANCELLED"}:
        return _unreachable(message, address)
    if not reason and code == "DEADLINE_EXCEEDED":
        return CallTimeoutError(message)
    error = BY_REASON.get(reason, AssetdError)(
        message, metadata=info.metadata, retry_after_seconds=retry_after_seconds
    )
    # The wire knows best: a newer daemon has reasons that no class above stands for.
    error.reason, error.code = reason, code
    return error


def _trailers(call: EndedCall) -> dict[str, bytes]:
    pairs = call.trailing_metadata() or ()
    return {key: v if isinstance(v, bytes) else v.encode("ascii", "replace") for key, v in pairs}


def _details(serialized: bytes) -> tuple[error_details_pb2.ErrorInfo, float | None]:
    """Return our `ErrorInfo`, empty if there is none, and the seconds of `RetryInfo`."""
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    try:
        for detail in status_pb2.Status.FromString(serialized).details:
            if detail.Is(retry.DESCRIPTOR):
                detail.Unpack(retry)
            elif detail.Is(info.DESCRIPTOR):
                detail.Unpack(info)
    except DecodeError:
        return error_details_pb2.ErrorInfo(), None
    if info.domain != DOMAIN:
        # Somebody else's reason, such as a proxy's on the way: none of our words.
        info = error_details_pb2.ErrorInfo()
    seconds = retry.retry_delay.ToTimedelta().total_seconds()
    return info, seconds if retry.HasField("retry_delay") else None


def _unreachable(message: str, address: Address) -> DaemonUnavailableError:
    # gRPC puts the system's own words last: "...; last error: ...: No such file or directory (2)".
    cause = re.sub(r" \(\d+\)$", "", message.rpartition(": ")[2])
    return DaemonUnavailableError(
        f"no assetd daemon answers at {address.target} ({cause}): start one with `assetd serve`, "
        "or name another address by ASSETD_ADDRESS",
        metadata={"address": address.target, "cause": cause},
    )
