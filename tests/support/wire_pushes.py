"""Pushes spoken over the wire without a helper: with a `push_id` of one's own, and no repeats.

Every end is an outcome, good or bad: a test of faults looks at what came of a push, and the helper
would go on until it is well.
"""

import hashlib
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from queue import SimpleQueue

import grpc
from assetd.v1.asset_pb2 import AssetKind
from assetd.v1.asset_service_pb2 import (
    PushChunk,
    PushCommit,
    PushFile,
    PushFiles,
    PushHeader,
    PushRequest,
    PushWanted,
)
from assetd.v1.asset_service_pb2_grpc import AssetServiceStub
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from tests.support.buckets import digest_of
from tests.support.versions import Content, by_path

_CHUNK_BYTES = 1 << 20
# Ends what hangs.
_TIMEOUT_SECONDS = 240.0


@dataclass(frozen=True)
class Outcome:
    """How a push ended: with a version, or with a code, a reason and its values."""

    version: str = ""
    already_existed: bool = False
    code: str = "OK"
    reason: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_ok(self) -> bool:
        """Whether the version was acknowledged."""
        return self.code == "OK"

    def __str__(self) -> str:
        return self.version or f"{self.code} {self.reason} {dict(self.metadata)}"


def new_push_id() -> str:
    """Return a name for a push, like no other."""
    return str(uuid.uuid4())


def push(
    channel: grpc.Channel,
    spec: str,
    content: Content,
    *,
    push_id: str = "",
    cut_after: int | None = None,
) -> Outcome:
    """Push a content, hashed beforehand, in turns with the daemon; return how it ended.

    With `cut_after` the caller is gone when so many answers have come, whatever they said.
    """
    turns: SimpleQueue[Iterable[PushRequest] | None] = SimpleQueue()
    turns.put([PushRequest(header=_header(spec, content, push_id or new_push_id()))])
    call = AssetServiceStub(channel).Push(_requests(turns), timeout=_TIMEOUT_SECONDS)
    completed = None
    try:
        for number, response in enumerate(call):
            if number == cut_after:
                call.cancel()
            if response.HasField("accepted"):
                turns.put([PushRequest(files=_files(content))])
            elif response.HasField("wanted"):
                turns.put(_last_turn(content, response.wanted))
            elif response.HasField("completed"):
                completed = response.completed
    except grpc.RpcError:
        return _failed(call)
    finally:
        turns.put(None)
    if cut_after is not None:
        return Outcome(code=grpc.StatusCode.CANCELLED.name)
    assert completed is not None, "the stream ended well, and without an answer"
    return Outcome(completed.asset_version.version, completed.already_existed)


def _requests(turns: "SimpleQueue[Iterable[PushRequest] | None]") -> Iterator[PushRequest]:
    for turn in iter(turns.get, None):
        yield from turn


def _header(spec: str, content: Content, push_id: str) -> PushHeader:
    is_file = isinstance(content, bytes)
    kind = AssetKind.ASSET_KIND_FILE if is_file else AssetKind.ASSET_KIND_DIRECTORY
    return PushHeader(spec=spec, kind=kind, push_id=push_id, digest=digest_of(content))


def _files(content: Content) -> PushFiles:
    return PushFiles(
        files=[
            PushFile(
                path=path,
                size_bytes=len(data),
                digest=f"sha256:{hashlib.sha256(data).hexdigest()}",
            )
            for path, data in by_path(content).items()
        ]
    )


def _last_turn(content: Content, wanted: PushWanted) -> Iterator[PushRequest]:
    data_by_path = by_path(content)
    for part in wanted.parts:
        data = data_by_path[part.path]
        for offset in range(part.offset, len(data), _CHUNK_BYTES):
            sent = data[offset : offset + _CHUNK_BYTES]
            yield PushRequest(chunk=PushChunk(path=part.path, offset=offset, data=sent))
    yield PushRequest(commit=PushCommit(digest=digest_of(content)))


def _failed(call: grpc.Call) -> Outcome:
    trailers = dict(call.trailing_metadata() or ())
    info = ErrorInfo()
    raw = trailers.get("grpc-status-details-bin")
    if isinstance(raw, bytes):
        status = Status.FromString(raw)
        if status.details:
            status.details[0].Unpack(info)
    return Outcome(code=call.code().name, reason=info.reason, metadata=dict(info.metadata))
