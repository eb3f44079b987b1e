"""A daemon that does what a test tells it: real gRPC on a real unix socket, made-up answers.

Each call takes the next script of its method. Without one, a push is followed the way the contract
draws it. Everything that was asked is kept for the test to look at.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NoReturn, TypeVar

import grpc
from assetd.v1 import asset_pb2, asset_service_pb2_grpc, cache_service_pb2_grpc
from assetd.v1.asset_service_pb2 import (
    FetchCompleted,
    FetchRequest,
    FetchResponse,
    FetchStarted,
    ListFilesRequest,
    ListFilesResponse,
    ListRequest,
    ListResponse,
    PushAccepted,
    PushCompleted,
    PushFile,
    PushHeader,
    PushRequest,
    PushResponse,
    PushWanted,
    ResolveVersionRequest,
    ResolveVersionResponse,
)
from assetd.v1.cache_service_pb2 import (
    EvictRequest,
    EvictResponse,
    GetCacheStatusRequest,
    GetCacheStatusResponse,
    PinRequest,
    PinResponse,
    UnpinRequest,
    UnpinResponse,
    VerifyCompleted,
    VerifyProgress,
    VerifyRequest,
    VerifyResponse,
    VerifyResult,
)
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import (
    ErrorInfo,
    RetryInfo,
)
from google.rpc.status_pb2 import Status

# Nothing waits that long: it ends a test that would hang.
GUARD_SECONDS = 60

Response = TypeVar("Response")
Context = grpc.ServicerContext
FetchScript = Callable[[FetchRequest, Context], Iterator[FetchResponse]]
VerifyScript = Callable[[VerifyRequest, Context], Iterator[VerifyResponse]]
PushScript = Callable[[Iterator[PushRequest], Context], Iterator[PushResponse]]

VERSION = asset_pb2.AssetVersion(
    name="nlp/ranker",
    version="1.2",
    kind=asset_pb2.ASSET_KIND_DIRECTORY,
    size_bytes=100,
    file_count=2,
    digest="sha256:" + "ab" * 32,
)
PATH = "/assets/nlp/ranker/1.2"


class Failure:
    """A status that ends a call, as the daemon sends it."""

    def __init__(
        self,
        code: str,
        reason: str = "",
        message: str = "it went wrong",
        *,
        metadata: dict[str, str] | None = None,
        retry_after_seconds: float | None = None,
        details: bool = True,
        domain: str = "assetd.v1",
        trailer: bool = True,
    ) -> None:
        self.code = grpc.StatusCode[code]
        self.message = message
        self.trailers: list[tuple[str, str | bytes]] = []
        if reason and trailer:
            self.trailers.append(("assetd-reason", reason))
        if reason and details:
            info = ErrorInfo(reason=reason, domain=domain, metadata=metadata or {})
            retry = RetryInfo()
            if retry_after_seconds is not None:
                retry.retry_delay.FromNanoseconds(round(retry_after_seconds * 1e9))
            status = Status(
                code=self.code.value[0], message=message, details=[_any(info), _any(retry)]
            )
            self.trailers.append(("grpc-status-details-bin", status.SerializeToString()))

    def end(self, context: Context) -> NoReturn:
        """End the call with it."""
        context.set_trailing_metadata(tuple(self.trailers))
        context.abort(self.code, self.message)


# What a caller sees of a daemon that was killed: a status without a word of assetd's.
CUT = Failure("UNAVAILABLE", message="Socket closed")


def _any(message: Message) -> Any:
    packed = Any()
    packed.Pack(message)
    return packed


def started(
    version: asset_pb2.AssetVersion = VERSION,
    resolution: asset_pb2.Resolution.ValueType = asset_pb2.RESOLUTION_STORE,
) -> FetchResponse:
    """The first event of a fetch."""
    return FetchResponse(
        started=FetchStarted(asset_version=version, resolution=resolution, total_bytes=100)
    )


def progress(
    present_bytes: int,
    attempt: int = 1,
    phase: asset_pb2.FetchPhase.ValueType = asset_pb2.FETCH_PHASE_DOWNLOADING,
    silent_seconds: int = 0,
) -> FetchResponse:
    """An event in the middle of a fetch."""
    return FetchResponse(
        progress=asset_pb2.FetchProgress(
            phase=phase,
            present_bytes=present_bytes,
            total_bytes=100,
            attempt=attempt,
            since_last_byte=Duration(seconds=silent_seconds),
        )
    )


def completed(
    path: str = PATH,
    version: asset_pb2.AssetVersion = VERSION,
    source: asset_pb2.Source.ValueType = asset_pb2.SOURCE_STORE,
) -> FetchResponse:
    """The last event of a fetch."""
    return FetchResponse(
        completed=FetchCompleted(
            path=path,
            relative_path="nlp/ranker/1.2",
            asset_version=version,
            source=source,
            transferred_bytes=90,
            reused_bytes=10,
            elapsed=Duration(seconds=1, nanos=500_000_000),
            verification=asset_pb2.VERIFICATION_CHECKSUM,
        )
    )


def plays(*events: FetchResponse | Failure) -> FetchScript:
    """A fetch that sends these and ends, well or by a failure."""

    def script(_: FetchRequest, context: Context) -> Iterator[FetchResponse]:
        for event in events:
            if isinstance(event, Failure):
                event.end(context)
            yield event

    return script


def checks(*events: VerifyResponse | Failure) -> VerifyScript:
    """A check that sends these and ends, well or by a failure."""

    def script(_: VerifyRequest, context: Context) -> Iterator[VerifyResponse]:
        for event in events:
            if isinstance(event, Failure):
                event.end(context)
            yield event

    return script


def hashed(hashed_bytes: int, total_bytes: int = 100) -> VerifyResponse:
    """An event in the middle of a check."""
    progress = VerifyProgress(hashed_bytes=hashed_bytes, total_bytes=total_bytes)
    return VerifyResponse(progress=progress)


def checked(
    version: str, outcome: "VerifyResult.Outcome.ValueType", *damaged_paths: str
) -> VerifyResponse:
    """One version of a check is done."""
    return VerifyResponse(
        result=VerifyResult(
            asset_version=asset_pb2.AssetVersion(name="nlp/ranker", version=version),
            outcome=outcome,
            damaged_paths=damaged_paths,
        )
    )


def all_checked(sound_count: int = 1, damaged_count: int = 0) -> VerifyResponse:
    """The last event of a check."""
    completed = VerifyCompleted(sound_count=sound_count, damaged_count=damaged_count)
    return VerifyResponse(completed=completed)


class OpenFetch:
    """A fetch that sends some events and stays open until its caller leaves, or `fail`."""

    def __init__(self, *events: FetchResponse) -> None:
        self._events = events
        self._over = threading.Event()
        self._failure: Failure | None = None
        self.began = threading.Event()
        self.left = threading.Event()
        self.time_remaining = 0.0

    def __call__(self, _: FetchRequest, context: Context) -> Iterator[FetchResponse]:
        """Play it: the script of one call."""
        context.add_callback(self._on_end)
        self.time_remaining = context.time_remaining()
        yield from self._events
        self.began.set()
        self._over.wait(GUARD_SECONDS)
        if self._failure is not None:
            self._failure.end(context)

    def fail(self, failure: Failure) -> None:
        """End the call from the daemon's side."""
        self._failure = failure
        self._over.set()

    def end(self) -> None:
        """End the call from the daemon's side as if all were well."""
        self._over.set()

    def _on_end(self) -> None:
        self.left.set()
        self._over.set()


def hold() -> OpenFetch:
    """A hit that is held."""
    return OpenFetch(started(), completed())


class PushRecord:
    """What came of one push: `steps` has both sides' messages in their order."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.header = PushHeader()
        self.batches: list[list[PushFile]] = []
        self.contents: dict[str, bytearray] = {}
        self.largest_chunk_bytes = 0
        self.commit_digest = ""

    @property
    def files(self) -> list[PushFile]:
        """All that was announced."""
        return [file for batch in self.batches for file in batch]


def wants_all(files: list[PushFile]) -> list[PushWanted.Part]:
    """What a daemon wants whose store has nothing."""
    return [PushWanted.Part(path=file.path) for file in files if file.size_bytes]


class ScriptedDaemon(
    asset_service_pb2_grpc.AssetServiceServicer, cache_service_pb2_grpc.CacheServiceServicer
):
    """Both services on one socket, from `start` to `stop`, as often as the test likes."""

    def __init__(self, socket: Path) -> None:
        self.address = f"unix://{socket}"
        self.fetches: deque[FetchScript] = deque()
        self.fetch_requests: list[FetchRequest] = []
        self.pushes: deque[PushScript] = deque()
        self.push_records: list[PushRecord] = []
        self.wants: Callable[[list[PushFile]], list[PushWanted.Part]] = wants_all
        self.resolves: deque[ResolveVersionResponse | Failure] = deque()
        self.resolve_requests: list[ResolveVersionRequest] = []
        self.list_pages: deque[ListResponse | Failure] = deque()
        self.list_requests: list[ListRequest] = []
        self.file_pages: deque[ListFilesResponse | Failure] = deque()
        self.file_requests: list[ListFilesRequest] = []
        self.status = GetCacheStatusResponse()
        self.evicts: deque[EvictResponse | Failure] = deque()
        self.evict_requests: list[EvictRequest] = []
        self.pin_failures: dict[str, Failure] = {}
        self.pin_requests: list[PinRequest | UnpinRequest] = []
        self.verifies: deque[VerifyScript] = deque()
        self.verify_requests: list[VerifyRequest] = []
        self.headers: list[dict[str, str | bytes]] = []
        self.authority = ""
        self._server: grpc.Server | None = None

    def start(self, address: str | None = None) -> int:
        """Listen; returns the port, for an address that has one."""
        self._server = grpc.server(
            ThreadPoolExecutor(max_workers=16), options=[("grpc.so_reuseport", 0)]
        )
        asset_service_pb2_grpc.add_AssetServiceServicer_to_server(self, self._server)
        cache_service_pb2_grpc.add_CacheServiceServicer_to_server(self, self._server)
        port = self._server.add_insecure_port(address or self.address)
        self._server.start()
        return port

    def stop(self) -> None:
        """Cut all calls and be gone."""
        if self._server is not None:
            self._server.stop(None).wait(GUARD_SECONDS)
            self._server = None

    def ResolveVersion(  # noqa: N802 - gRPC finds a handler by the RPC's name
        self, request: ResolveVersionRequest, context: Context
    ) -> ResolveVersionResponse:
        self._note_headers(context)
        self.resolve_requests.append(request)
        return _answer(self.resolves.popleft(), context)

    def Fetch(  # noqa: N802
        self, request: FetchRequest, context: Context
    ) -> Iterator[FetchResponse]:
        self._note_headers(context)
        self.fetch_requests.append(request)
        yield from self.fetches.popleft()(request, context)

    def Push(  # noqa: N802
        self, request_iterator: Iterator[PushRequest], context: Context
    ) -> Iterator[PushResponse]:
        script = self.pushes.popleft() if self.pushes else self.take_push
        yield from script(request_iterator, context)

    def List(self, request: ListRequest, context: Context) -> ListResponse:  # noqa: N802
        self.list_requests.append(request)
        return _answer(self.list_pages.popleft(), context)

    def ListFiles(  # noqa: N802
        self, request: ListFilesRequest, context: Context
    ) -> ListFilesResponse:
        self.file_requests.append(request)
        return _answer(self.file_pages.popleft(), context)

    def GetCacheStatus(  # noqa: N802
        self, _: GetCacheStatusRequest, context: Context
    ) -> GetCacheStatusResponse:
        self._note_headers(context)
        return self.status

    def Evict(self, request: EvictRequest, context: Context) -> EvictResponse:  # noqa: N802
        self.evict_requests.append(request)
        return _answer(self.evicts.popleft(), context)

    def Pin(self, request: PinRequest, context: Context) -> PinResponse:  # noqa: N802
        version, state = self._pinned(request, context)
        return PinResponse(asset_version=version, cache_state=state)

    def Unpin(self, request: UnpinRequest, context: Context) -> UnpinResponse:  # noqa: N802
        version, state = self._pinned(request, context)
        return UnpinResponse(asset_version=version, cache_state=state)

    def _pinned(
        self, request: PinRequest | UnpinRequest, context: Context
    ) -> tuple[asset_pb2.AssetVersion, asset_pb2.CacheState]:
        self.pin_requests.append(request)
        if request.spec in self.pin_failures:
            self.pin_failures[request.spec].end(context)
        name, _, version = request.spec.partition(":")
        is_pinned = isinstance(request, PinRequest)
        return (
            asset_pb2.AssetVersion(name=name, version=version),
            asset_pb2.CacheState(pinned=is_pinned),
        )

    def Verify(  # noqa: N802
        self, request: VerifyRequest, context: Context
    ) -> Iterator[VerifyResponse]:
        self.verify_requests.append(request)
        yield from self.verifies.popleft()(request, context)

    def take_push(
        self, requests: Iterator[PushRequest], context: Context
    ) -> Iterator[PushResponse]:
        """Take turns with the client, and create what it pushes."""
        record = PushRecord()
        self.push_records.append(record)
        for request in requests:
            step = str(request.WhichOneof("step"))
            record.steps.append(step)
            for response in self._push_turn(record, step, request):
                record.steps.append(str(response.WhichOneof("event")))
                yield response
            if step == "commit":
                return
        Failure("ABORTED", "PUSH_NOT_COMMITTED").end(context)

    def _push_turn(
        self, record: PushRecord, step: str, request: PushRequest
    ) -> Iterator[PushResponse]:
        match step:
            case "header":
                record.header = request.header
                accepted = PushAccepted(push_id=request.header.push_id, version="1.3")
                yield PushResponse(accepted=accepted)
            case "files":
                batch = list(request.files.files)
                record.batches.append(batch)
                yield PushResponse(wanted=PushWanted(parts=self.wants(batch)))
            case "chunk":
                _take_chunk(record, request)
            case "commit":
                record.commit_digest = request.commit.digest
                created = asset_pb2.AssetVersion(name=record.header.spec, version="1.3")
                yield PushResponse(completed=PushCompleted(asset_version=created))

    def _note_headers(self, context: Context) -> None:
        self.headers.append(dict(context.invocation_metadata()))
        # gRPC has no public word for it.
        self.authority = context._rpc_event.call_details.host.decode()  # type: ignore[attr-defined]  # noqa: SLF001


def _take_chunk(record: PushRecord, request: PushRequest) -> None:
    chunk = request.chunk
    content = record.contents.setdefault(chunk.path, bytearray(chunk.offset))
    assert chunk.offset == len(content), "the chunks of a file come in order and without gaps"
    content += chunk.data
    record.largest_chunk_bytes = max(record.largest_chunk_bytes, len(chunk.data))


def _answer(answer: Response | Failure, context: Context) -> Response:
    if isinstance(answer, Failure):
        answer.end(context)
    return answer
