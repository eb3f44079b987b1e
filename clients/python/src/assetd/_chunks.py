"""Chunks of a push as they travel: one of a large file, or several of small ones, in a message.

protobuf copies the data of a chunk four times on their way into a message and out of it as bytes;
half of what it costs to send a large file is that. Here they are copied once. What comes out is
what protobuf reads as the same message, which a test holds it to.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from assetd.v1.asset_service_pb2 import PushChunk, PushChunks, PushRequest

# What a message may hold.
_MAX_BYTES = 2**20
_MAX_CHUNKS = 1000


@dataclass(frozen=True)
class Chunk:
    """Some bytes of a file."""

    path: str
    offset: int
    data: bytes


def _tag(number: int) -> bytes:
    """Return what stands before a field of that number that has a length."""
    return bytes([number << 3 | 2])


_CHUNK_TAG = _tag(PushRequest.CHUNK_FIELD_NUMBER)
_CHUNKS_TAG = _tag(PushRequest.CHUNKS_FIELD_NUMBER)
_ONE_OF_CHUNKS_TAG = _tag(PushChunks.CHUNKS_FIELD_NUMBER)
_DATA_TAG = _tag(PushChunk.DATA_FIELD_NUMBER)


def chunk_request(chunk: Chunk) -> bytes:
    """Return `PushRequest(chunk=…)` as protobuf would serialize it."""
    return b"".join(_field(_CHUNK_TAG, chunk))


def chunks_request(chunks: Iterable[Chunk]) -> bytes:
    """Return `PushRequest(chunks=…)` as protobuf would serialize it."""
    fields = [piece for chunk in chunks for piece in _field(_ONE_OF_CHUNKS_TAG, chunk)]
    return b"".join((_CHUNKS_TAG, _varint(sum(map(len, fields))), *fields))


def packed(chunks: Iterable[Chunk]) -> Iterator[bytes]:
    """Give requests with the chunks in their order, in as few as the contract allows."""
    pack: list[Chunk] = []
    pack_bytes = 0
    for chunk in chunks:
        if pack and (pack_bytes + len(chunk.data) > _MAX_BYTES or len(pack) == _MAX_CHUNKS):
            yield _request(pack)
            pack, pack_bytes = [], 0
        pack.append(chunk)
        pack_bytes += len(chunk.data)
    if pack:
        yield _request(pack)


def _request(pack: list[Chunk]) -> bytes:
    return chunks_request(pack) if len(pack) > 1 else chunk_request(pack[0])


def _field(tag: bytes, chunk: Chunk) -> tuple[bytes, ...]:
    """Return the field of a message that is that chunk, in pieces."""
    before = PushChunk(path=chunk.path, offset=chunk.offset).SerializeToString()
    before += _DATA_TAG + _varint(len(chunk.data))
    return tag, _varint(len(before) + len(chunk.data)), before, chunk.data


def serialized(request: PushRequest | bytes) -> bytes:
    """Return the bytes of a request; those of a chunk already are."""
    return request if isinstance(request, bytes) else request.SerializeToString()


def _varint(number: int) -> bytes:
    groups = bytearray()
    while number > 0x7F:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    groups.append(number)
    return bytes(groups)
