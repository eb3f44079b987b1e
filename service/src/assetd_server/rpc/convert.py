"""Requests, as they came over the wire, into the orders that the assets understand.

Checks what the form of one message can tell: ranges, enums, what contradicts itself, what is not
built yet. What depends on the store, the cache or an earlier message is not known here.
"""

import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

from assetd.v1 import asset_pb2, asset_service_pb2
from google.protobuf.duration_pb2 import Duration

from assetd_server.assets.orders import (
    Bump,
    FetchOrder,
    ListFilesOrder,
    ListOrder,
    PushChunk,
    PushChunks,
    PushCommit,
    PushFiles,
    PushHeader,
    PushMode,
    PushStep,
    ResolveOrder,
    Scope,
)
from assetd_server.assets.selection import Selection
from assetd_server.assets.source_uris import SourceUri, StagedPath
from assetd_server.errors import (
    AssetError,
    InvalidFieldError,
    InvalidPushStreamError,
)
from assetd_server.manifest import Part
from assetd_server.model import AssetKind, Digest, Freshness, PartPath
from assetd_server.rpc.labels import checked_labels
from assetd_server.rpc.later_fields import require_built
from assetd_server.rpc.status import cut
from assetd_server.spec import Spec
from assetd_server.versioning import NEWEST

T = TypeVar("T")

DEFAULT_PAGE_SIZE = 100
MAX_PAGE_SIZE = 1000
DEFAULT_PROGRESS_INTERVAL_SECONDS = 0.5
MIN_PROGRESS_INTERVAL_SECONDS = 0.05
MAX_PROGRESS_INTERVAL_SECONDS = 5.0
MAX_CALLER_BYTES = 256
MAX_CHUNK_BYTES = 2**20
MAX_FILES_A_MESSAGE = 1000


_FRESHNESS: Mapping[int, Freshness | None] = {
    asset_pb2.FRESHNESS_UNSPECIFIED: None,
    asset_pb2.FRESHNESS_STORE: Freshness.STORE,
    asset_pb2.FRESHNESS_STORE_OR_CACHE: Freshness.STORE_OR_CACHE,
    asset_pb2.FRESHNESS_CACHE: Freshness.CACHE,
}
_KINDS: Mapping[int, AssetKind] = {
    asset_pb2.ASSET_KIND_FILE: AssetKind.FILE,
    asset_pb2.ASSET_KIND_DIRECTORY: AssetKind.DIRECTORY,
}
_BUMPS: Mapping[int, Bump | None] = {
    asset_service_pb2.PushHeader.BUMP_UNSPECIFIED: None,
    asset_service_pb2.PushHeader.BUMP_MINOR: Bump.MINOR,
    asset_service_pb2.PushHeader.BUMP_MAJOR: Bump.MAJOR,
}
_MODES: Mapping[int, PushMode | None] = {
    asset_service_pb2.PushHeader.MODE_UNSPECIFIED: None,
    asset_service_pb2.PushHeader.MODE_NEW: PushMode.NEW,
    asset_service_pb2.PushHeader.MODE_UPDATE: PushMode.UPDATE,
}
_SCOPES: Mapping[int, Scope] = {
    asset_service_pb2.ListRequest.SCOPE_UNSPECIFIED: Scope.ALL,
    asset_service_pb2.ListRequest.SCOPE_ALL: Scope.ALL,
    asset_service_pb2.ListRequest.SCOPE_STORE: Scope.STORE,
    asset_service_pb2.ListRequest.SCOPE_CACHE: Scope.CACHE,
}
_IS_FULL_VIEW: Mapping[int, bool] = {
    asset_service_pb2.ListRequest.VIEW_UNSPECIFIED: False,
    asset_service_pb2.ListRequest.VIEW_BASIC: False,
    asset_service_pb2.ListRequest.VIEW_FULL: True,
}


def resolve_order(request: asset_service_pb2.ResolveVersionRequest) -> ResolveOrder:
    """Return what the request asks.

    Raises:
        NotBuiltError: a field of a later release is set.
        InvalidSpecError, InvalidNameError, InvalidVersionError, InvalidPartError: the spec is none.
        InvalidFieldError: a field is out of its range.
    """
    require_built(request)
    return ResolveOrder(
        spec=Spec.parse(request.spec),
        freshness=_choice("freshness", request.freshness, _FRESHNESS),
        store_timeout_seconds=_store_timeout_seconds(request),
    )


def fetch_order(request: asset_service_pb2.FetchRequest) -> FetchOrder:
    """Return what the request asks.

    Raises:
        NotBuiltError: a field of a later release is set.
        InvalidSpecError, InvalidNameError, InvalidVersionError, InvalidPartError: the spec is none.
        InvalidFieldError: a field is out of its range, or contradicts another.
    """
    require_built(request)
    spec = Spec.parse(request.spec)
    return FetchOrder(
        spec=spec,
        freshness=_choice("freshness", request.freshness, _FRESHNESS),
        store_timeout_seconds=_store_timeout_seconds(request),
        expected_digest=_digest("expected_digest", request.expected_digest),
        selection=_selection(request, spec),
        verify=request.verify,
        force_download=request.force_download,
        hold=request.hold,
        progress_interval_seconds=_progress_interval_seconds(request),
        # A note for people: too long a one is no reason to go without the asset.
        caller=cut(request.caller, MAX_CALLER_BYTES),
    )


def _selection(request: asset_service_pb2.FetchRequest, spec: Spec) -> Selection | None:
    has_globs = bool(request.include or request.exclude)
    if not request.part_only:
        return Selection.of_globs(request.include, request.exclude) if has_globs else None
    if has_globs:
        raise InvalidFieldError(
            "part_only fetches the part that the spec names: leave it unset, or include and"
            " exclude out",
            field="part_only",
        )
    if spec.part is None:
        raise InvalidFieldError(
            "part_only needs a part, and {spec!r} names none: write name:version[sub/part]",
            field="part_only",
            spec=spec,
        )
    return Selection(folder=spec.part)


async def push_steps(
    requests: AsyncIterator[asset_service_pb2.PushRequest],
) -> AsyncGenerator[PushStep, None]:
    """Yield the steps of a push as they arrive. Close it when done.

    Raises:
        AssetError: see `step_of`.
    """
    async for request in requests:
        yield step_of(request)


def step_of(request: asset_service_pb2.PushRequest) -> PushStep:
    """Return the step that one message of a push stands for.

    Raises:
        InvalidPushStreamError: the message has no step.
        NotBuiltError: a field of a later release is set.
        InvalidSpecError, InvalidNameError, InvalidVersionError, InvalidPartError: a name is none.
        InvalidFieldError: a field is out of its range.
    """
    require_built(request)
    match request.WhichOneof("step"):
        case "header":
            return _push_header(request.header)
        case "files":
            return _push_files(request.files)
        case "chunk":
            return _push_chunk("chunk", request.chunk, request.chunk.data)
        case "chunks":
            return _push_chunks(request.chunks)
        case "commit":
            require_built(request.commit)
            return PushCommit(digest=_digest("commit.digest", request.commit.digest))
    raise InvalidPushStreamError(
        "a message of the push has no step: set header, files, chunk, chunks or commit",
        field="step",
    )


def list_order(request: asset_service_pb2.ListRequest) -> ListOrder:
    """Return what the request asks.

    Raises:
        NotBuiltError: a field of a later release is set.
        InvalidFieldError: a field is out of its range.
    """
    require_built(request)
    return ListOrder(
        name_prefix=request.name_prefix,
        scope=_choice("scope", request.scope, _SCOPES),
        latest_only=request.latest_only,
        full=_choice("view", request.view, _IS_FULL_VIEW),
        page_size=_page_size(request.page_size),
        page_token=request.page_token,
    )


def list_files_order(request: asset_service_pb2.ListFilesRequest) -> ListFilesOrder:
    """Return what the request asks.

    Raises:
        NotBuiltError: a field of a later release is set.
        InvalidSpecError, InvalidNameError, InvalidVersionError, InvalidPartError: the spec is none.
        InvalidFieldError: a field is out of its range.
    """
    require_built(request)
    return ListFilesOrder(
        spec=Spec.parse(request.spec),
        freshness=_choice("freshness", request.freshness, _FRESHNESS),
        include=tuple(request.include),
        exclude=tuple(request.exclude),
        page_size=_page_size(request.page_size),
        page_token=request.page_token,
    )


def _push_header(header: asset_service_pb2.PushHeader) -> PushHeader:
    require_built(header)
    with field_named("header.spec"):
        spec = Spec.parse(header.spec)
    if spec.part is not None:
        raise InvalidFieldError(
            "{spec!r} names a part: a version is pushed whole", field="header.spec", spec=spec
        )
    bump = _choice("header.bump", header.bump, _BUMPS)
    if bump is not None and spec.selector != NEWEST:
        raise InvalidFieldError(
            "{spec!r} says which number comes next: leave bump unset, or the version out",
            field="header.bump",
            spec=spec,
        )
    return PushHeader(
        spec=spec,
        kind=_push_kind(header),
        content=_push_content(header),
        bump=bump,
        mode=_choice("header.mode", header.mode, _MODES),
        labels=checked_labels(header.labels),
        validate_only=header.validate_only,
        push_id=_push_id(header.push_id),
        digest=_digest("header.digest", header.digest),
    )


def _push_kind(header: asset_service_pb2.PushHeader) -> AssetKind | None:
    if header.kind == asset_pb2.ASSET_KIND_UNSPECIFIED and header.WhichOneof("content"):
        return None
    return _choice("header.kind", header.kind, _KINDS)


def _push_content(header: asset_service_pb2.PushHeader) -> StagedPath | SourceUri | None:
    match header.WhichOneof("content"):
        case "staged_path":
            return StagedPath.parse(header.staged_path)
        case "source_uri":
            return SourceUri.parse(header.source_uri)
    return None


def _push_files(files: asset_service_pb2.PushFiles) -> PushFiles:
    require_built(files)
    _require_few("files.files", len(files.files), "names {count} files")
    return PushFiles([_push_file(f"files.files[{i}]", file) for i, file in enumerate(files.files)])


def _push_file(field: str, file: asset_service_pb2.PushFile) -> Part:
    require_built(file)
    digest = _digest(f"{field}.digest", file.digest)
    return Part(
        path=_part_path(f"{field}.path", file.path),
        size_bytes=_not_negative(f"{field}.size_bytes", file.size_bytes),
        sha256_hex=digest and digest.hex,
    )


def _push_chunks(chunks: asset_service_pb2.PushChunks) -> PushChunks:
    require_built(chunks)
    _require_few("chunks.chunks", len(chunks.chunks), "has {count} chunks")
    data = [chunk.data for chunk in chunks.chunks]
    _require_bytes("chunks.chunks", sum(map(len, data)), MAX_CHUNK_BYTES)
    each = enumerate(zip(chunks.chunks, data, strict=True))
    return PushChunks([_push_chunk(f"chunks.chunks[{i}]", *one) for i, one in each])


def _push_chunk(field: str, chunk: asset_service_pb2.PushChunk, data: bytes) -> PushChunk:
    """Return the step; `data` is the chunk's, which protobuf copies at every look."""
    require_built(chunk)
    _require_bytes(f"{field}.data", len(data), MAX_CHUNK_BYTES)
    return PushChunk(
        path=_part_path(f"{field}.path", chunk.path),
        offset=_not_negative(f"{field}.offset", chunk.offset),
        data=data,
    )


@contextmanager
def field_named(field: str) -> Iterator[None]:
    """Have a failure of the block name the field of the request that its value came from."""
    try:
        yield
    except AssetError as error:
        error.metadata["field"] = field
        raise


def _choice(field: str, value: int, meanings: Mapping[int, T]) -> T:
    if value not in meanings:
        # Also 0 where it has no meaning: the field is required.
        raise InvalidFieldError(
            "{field} cannot be {value}: set one of the values that the API names",
            field=field,
            value=value,
        )
    return meanings[value]


def _digest(field: str, text: str) -> Digest | None:
    return Digest(text, field) if text else None


def _part_path(field: str, text: str) -> PartPath:
    with field_named(field):
        return PartPath(text) if text else PartPath.of_file()


def _push_id(text: str) -> str | None:
    if not text:
        return None
    try:
        parsed = uuid.UUID(text)
    except ValueError:
        parsed = None
    # UUID() also reads braces, upper case and `urn:`: one push must not have two names.
    if parsed is None or parsed.version != 4 or str(parsed) != text:
        raise InvalidFieldError(
            "{push_id!r} is no UUID4 in its canonical form", field="header.push_id", push_id=text
        )
    return text


def _store_timeout_seconds(
    request: asset_service_pb2.ResolveVersionRequest | asset_service_pb2.FetchRequest,
) -> float | None:
    if not request.HasField("store_timeout"):
        return None
    seconds = _seconds(request.store_timeout)
    if seconds <= 0:
        raise _out_of_range("store_timeout", f"{seconds} s", "it must be positive")
    return seconds


def _progress_interval_seconds(request: asset_service_pb2.FetchRequest) -> float:
    if not request.HasField("progress_interval"):
        return DEFAULT_PROGRESS_INTERVAL_SECONDS
    seconds = _seconds(request.progress_interval)
    return min(max(seconds, MIN_PROGRESS_INTERVAL_SECONDS), MAX_PROGRESS_INTERVAL_SECONDS)


def _seconds(duration: Duration) -> float:
    return duration.seconds + duration.nanos / 1e9


def _page_size(page_size: int) -> int:
    return min(_not_negative("page_size", page_size) or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)


def _not_negative(field: str, value: int) -> int:
    if value < 0:
        raise _out_of_range(field, str(value), "it must not be negative")
    return value


def _require_few(field: str, count: int, holds: str) -> None:
    if count > MAX_FILES_A_MESSAGE:
        raise InvalidFieldError(
            f"a message {holds}: send at most {{limit}} at once",
            field=field,
            count=count,
            limit=MAX_FILES_A_MESSAGE,
        )


def _require_bytes(field: str, length: int, limit: int) -> None:
    if length > limit:
        raise _out_of_range(field, f"{length} bytes long", f"at most {limit} are allowed")


def _out_of_range(field: str, value: str, rule: str) -> InvalidFieldError:
    return InvalidFieldError("{field} is {value}: {rule}", field=field, value=value, rule=rule)
