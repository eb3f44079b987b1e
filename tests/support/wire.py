"""What a caller without a helper sees on the wire: codes, trailers, details."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status


@dataclass(frozen=True)
class Failure:
    """The end of a call that failed."""

    code: str
    reason: str
    message: str
    metadata: Mapping[str, str]


def failure_of(call: Callable[[], Any]) -> Failure:
    """Makes a call that has to fail, a stream to its end, and returns how it did."""

    def read_to_the_end() -> None:
        answer = call()
        if isinstance(answer, Iterable):
            list(answer)

    with pytest.raises(grpc.RpcError) as raised:
        read_to_the_end()
    # What gRPC raises is the failed call itself, which its type does not say.
    ended = cast(grpc.Call, raised.value)
    trailers = dict(ended.trailing_metadata() or ())
    status = Status.FromString(cast(bytes, trailers["grpc-status-details-bin"]))
    info = ErrorInfo()
    assert status.details[0].Unpack(info)
    assert (info.domain, info.reason) == ("assetd.v1", trailers["assetd-reason"])
    message = ended.details() or ""
    assert status.message == message
    return Failure(ended.code().name, info.reason, message, info.metadata)
