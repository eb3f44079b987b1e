"""The messages of a push into the steps that the assets understand; see `rpc.convert`."""

import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Mapping

from assetd.v1 import asset_pb2
from assetd.v1 import asset_service_pb2 as pb

from assetd_server.assets.orders import (
    Bump,
    PushChunk,
    PushChunks,
    PushCommit,
    PushFiles,
    PushHeader,
    PushMode,
    PushStep,
)
from assetd_server.assets.source_uris import SourceUri, StagedPath
from assetd_server.errors import InvalidFieldError, InvalidPushStreamError
from assetd_server.manifest import Part
from assetd_server.model import AssetKind, PartPath
from assetd_server.rpc.arrived_chunk import ArrivedChunk
from assetd_server.rpc.fields import (
    choice,
    field_named,
    not_negative,
    optional_digest,
    out_of_range,
)
from assetd_server.rpc.labels import checked_labels
from assetd_server.rpc.later_fields import require_built
from assetd_server.spec import Spec
from assetd_server.versioning import NEWEST

MAX_CHUNK_BYTES = 2**20
MAX_FILES_A_MESSAGE = 1000

_KINDS: Mapping[int, AssetKind] = {
    asset_pb2.ASSET_KIND_FILE: AssetKind.FILE,
    asset_pb2.ASSET_KIND_DIRECTORY: AssetKind.DIRECTORY,
}
_BUMPS: Mapping[int, Bump | None] = {
    pb.PushHeader.BUMP_UNSPECIFIED: None,
    pb.PushHeader.BUMP_MINOR: Bump.MINOR,
    pb.PushHeader.BUMP_MAJOR: Bump.MAJOR,
}
_MODES: Mapping[int, PushMode | None] = {
    pb.PushHeader.MODE_UNSPECIFIED: None,
    pb.PushHeader.MODE_NEW: PushMode.NEW,
    pb.PushHeader.MODE_UPDATE: PushMode.UPDATE,
}


async def push_steps(
    requests: AsyncIterator[pb.PushRequest | ArrivedChunk],
) -> AsyncGenerator[PushStep, None]:
    """Yield the steps of a push as they arrive. Close it when done.

    Raises:
        AssetError: see `step_of`.
    """
    async for request in requests:
        yield step_of(request)


def step_of(request: pb.PushRequest | ArrivedChunk) -> PushStep:
    """Return the step that one message of a push stands for.

    Raises:
        InvalidPushStreamError: the message has no step.
        NotBuiltError: a field of a later release is set.
        InvalidSpecError, InvalidNameError, InvalidVersionError, InvalidPartError: a name is none.
        InvalidFieldError: a field is out of its range.
    """
    if isinstance(request, ArrivedChunk):
        return _push_chunk("chunk", request, request.data)
    require_built(request)
    match request.WhichOneof("step"):
        case "header":
            return _push_header(request.header)
        case "files":
            return _push_files(request.files)
        case "chunk":
            return _built_chunk("chunk", request.chunk, request.chunk.data)
        case "chunks":
            return _push_chunks(request.chunks)
        case "commit":
            require_built(request.commit)
            return PushCommit(digest=optional_digest("commit.digest", request.commit.digest))
    raise InvalidPushStreamError(
        "a message of the push has no step: set header, files, chunk, chunks or commit",
        field="step",
    )


def _push_header(header: pb.PushHeader) -> PushHeader:
    require_built(header)
    with field_named("header.spec"):
        spec = Spec.parse(header.spec)
    if spec.part is not None:
        raise InvalidFieldError(
            "{spec!r} names a part: a version is pushed whole", field="header.spec", spec=spec
        )
    bump = choice("header.bump", header.bump, _BUMPS)
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
        mode=choice("header.mode", header.mode, _MODES),
        labels=checked_labels(header.labels),
        validate_only=header.validate_only,
        push_id=_push_id(header.push_id),
        digest=optional_digest("header.digest", header.digest),
    )


def _push_kind(header: pb.PushHeader) -> AssetKind | None:
    if header.kind == asset_pb2.ASSET_KIND_UNSPECIFIED and header.WhichOneof("content"):
        return None
    return choice("header.kind", header.kind, _KINDS)


def _push_content(header: pb.PushHeader) -> StagedPath | SourceUri | None:
    match header.WhichOneof("content"):
        case "staged_path":
            return StagedPath.parse(header.staged_path)
        case "source_uri":
            return SourceUri.parse(header.source_uri)
    return None


def _push_files(files: pb.PushFiles) -> PushFiles:
    require_built(files)
    _require_few("files.files", len(files.files), "names {count} files")
    return PushFiles([_push_file(f"files.files[{i}]", file) for i, file in enumerate(files.files)])


def _push_file(field: str, file: pb.PushFile) -> Part:
    require_built(file)
    digest = optional_digest(f"{field}.digest", file.digest)
    return Part(
        path=_part_path(f"{field}.path", file.path),
        size_bytes=not_negative(f"{field}.size_bytes", file.size_bytes),
        sha256_hex=digest and digest.hex,
    )


def _push_chunks(chunks: pb.PushChunks) -> PushChunks:
    require_built(chunks)
    _require_few("chunks.chunks", len(chunks.chunks), "has {count} chunks")
    data = [chunk.data for chunk in chunks.chunks]
    _require_bytes("chunks.chunks", sum(map(len, data)), MAX_CHUNK_BYTES)
    each = enumerate(zip(chunks.chunks, data, strict=True))
    return PushChunks([_built_chunk(f"chunks.chunks[{i}]", *one) for i, one in each])


def _built_chunk(field: str, chunk: pb.PushChunk, data: bytes) -> PushChunk:
    """Return the step; `data` is the chunk's, which protobuf copies at every look."""
    require_built(chunk)
    return _push_chunk(field, chunk, data)


def _push_chunk(
    field: str, chunk: pb.PushChunk | ArrivedChunk, data: bytes | memoryview
) -> PushChunk:
    _require_bytes(f"{field}.data", len(data), MAX_CHUNK_BYTES)
    return PushChunk(
        path=_part_path(f"{field}.path", chunk.path),
        offset=not_negative(f"{field}.offset", chunk.offset),
        data=data,
    )


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
        raise out_of_range(field, f"{length} bytes long", f"at most {limit} are allowed")
