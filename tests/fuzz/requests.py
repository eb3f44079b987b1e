"""The target that is the wire: every request message, from any bytes to an order of the assets.

The first byte says which message the rest is.
"""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from assetd.v1 import asset_service_pb2 as assets
from assetd.v1 import cache_service_pb2 as cache
from assetd_server.errors import (
    InvalidFieldError,
    InvalidNameError,
    InvalidPartError,
    InvalidPushStreamError,
    InvalidSpecError,
    InvalidVersionError,
    NotBuiltError,
    SourceNotAllowedError,
)
from assetd_server.rpc.arrived_chunk import read_push_request
from assetd_server.rpc.cache_convert import evict_order, exact_spec, verify_order
from assetd_server.rpc.convert import (
    fetch_order,
    list_files_order,
    list_order,
    resolve_order,
)
from assetd_server.rpc.push_convert import step_of
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError, Message

from tests.fuzz.mutating import PIECES
from tests.fuzz.target import Havoc, Target, as_bytes

_KINDS: Final[list[tuple[type[Message], Callable[[Any], object]]]] = [
    (assets.ResolveVersionRequest, resolve_order),
    (assets.FetchRequest, fetch_order),
    (assets.PushRequest, step_of),
    (assets.ListRequest, list_order),
    (assets.ListFilesRequest, list_files_order),
    (cache.EvictRequest, evict_order),
    (cache.VerifyRequest, verify_order),
    (cache.PinRequest, lambda request: exact_spec(request.spec)),
    (cache.UnpinRequest, lambda request: exact_spec(request.spec)),
]
_READERS: Final[dict[type[Message], Callable[[bytes], object]]] = {
    assets.PushRequest: read_push_request
}
_SEEDS: Final[list[Message]] = [
    assets.ResolveVersionRequest(spec="some/asset:1", store_timeout=Duration(seconds=1)),
    assets.FetchRequest(spec="a:0.1[b]", part_only=True, progress_interval=Duration(nanos=1)),
    assets.FetchRequest(spec="a", include=["*.bin"], exclude=["**/x"], expected_digest="sha256:"),
    assets.PushRequest(header=assets.PushHeader(spec="some/asset", kind=1, bump=1, mode=1)),  # type: ignore[arg-type]
    assets.PushRequest(header=assets.PushHeader(spec="some/asset", staged_path="a/../../b")),
    assets.PushRequest(header=assets.PushHeader(spec="some/asset", source_uri="s3://b/a/%2e%2e")),
    assets.PushRequest(files=assets.PushFiles(files=[assets.PushFile(path="a", size_bytes=1)])),
    assets.PushRequest(chunk=assets.PushChunk(path="a", offset=1, data=b"data")),
    assets.PushRequest(
        chunks=assets.PushChunks(chunks=[assets.PushChunk(path="a", data=b"x")] * 2)
    ),
    assets.PushRequest(commit=assets.PushCommit(digest="sha256:" + "0" * 64)),
    assets.ListRequest(name_prefix="some/", page_size=10, page_token="x"),
    assets.ListFilesRequest(spec="a:0.1", include=["*"], page_size=1),
    cache.EvictRequest(selector=cache.CacheSelector(spec="a:0.1"), dry_run=True),
    cache.VerifyRequest(selector=cache.CacheSelector(name_prefix="a"), repair=True),
    cache.EvictRequest(selector=cache.CacheSelector(all=True)),
    cache.PinRequest(spec="a:0.1"),
    cache.UnpinRequest(spec="a:0.1"),
]
_NUMBERS: Final = (0, 1, -1, 2**31 - 1, -(2**31), 99)
_TYPES: Final = [kind for kind, _ in _KINDS]
_REFUSALS: Final = (
    *(DecodeError, InvalidFieldError, InvalidNameError, InvalidPartError, InvalidPushStreamError),
    *(InvalidSpecError, InvalidVersionError, NotBuiltError, SourceNotAllowedError),
)


@dataclass(frozen=True)
class Ordered:
    """What became of a request."""

    order: object


def request_target() -> Target:
    """Return it."""
    seeds = tuple(_spelled(message) for message in _SEEDS)
    return Target(
        "request", read_request, _REFUSALS, judge_order, seeds, mutate_request, as_bytes, 10_000
    )


def _spelled(message: Message) -> bytes:
    return bytes([_TYPES.index(type(message))]) + message.SerializeToString()


def read_request(raw: bytes) -> Ordered:
    """Return what a handler would have handed on."""
    message_type, convert = _KINDS[raw[0] % len(_KINDS) if raw else 0]
    read = _READERS.get(message_type, message_type.FromString)
    return Ordered(convert(read(raw[1:])))


def judge_order(_raw: bytes, ordered: Ordered | None) -> None:
    """It can be told: whatever stands in it is written into logs and errors."""
    if ordered is not None:
        repr(ordered.order).encode()


def mutate_request(data: bytes, max_size: int, dice: Random, havoc: Havoc) -> bytes:
    """Change the bytes, or a field by its type."""
    if not data or dice.random() < 0.5:
        return havoc(data, max_size)
    message = _TYPES[data[0] % len(_TYPES)]()
    try:
        message.MergeFromString(data[1:])
    except DecodeError:
        return _spelled(dice.choice(_SEEDS))
    _change(message, dice)
    return _spelled(message)[:max_size]


def _change(message: Message, dice: Random) -> None:
    field = dice.choice(message.DESCRIPTOR.fields)
    if field.type == FieldDescriptor.TYPE_MESSAGE:
        inner = getattr(message, field.name)
        if field.message_type.GetOptions().map_entry:
            inner["stage"] = "test"
        elif field.is_repeated:
            _change(inner.add(), dice)
        else:
            inner.SetInParent()
            _change(inner, dice)
        return
    value = _value_for(field, dice)
    if field.is_repeated:
        getattr(message, field.name).append(value)
    else:
        setattr(message, field.name, value)


def _value_for(field: FieldDescriptor, dice: Random) -> object:
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_STRING if field.type == FieldDescriptor.TYPE_BYTES:
            return dice.choice(PIECES)
        case FieldDescriptor.CPPTYPE_STRING:
            return "".join(
                dice.choice(PIECES).decode(errors="replace") for _ in range(dice.randrange(4))
            )
        case FieldDescriptor.CPPTYPE_BOOL:
            return dice.random() < 0.5
        case FieldDescriptor.CPPTYPE_ENUM:
            return dice.choice((0, 1, 2, 3, 99))
        case _:
            return dice.choice(_NUMBERS)
