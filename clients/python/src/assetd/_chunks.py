"""Chunks of a push as they travel.

protobuf copies the data of a chunk four times on their way into a message and out of it as bytes;
half of what it costs to send a large file is that. Here they are copied once. What comes out is
what protobuf reads as the same message, which a test holds it to.
"""

from assetd.v1.asset_service_pb2 import PushChunk, PushRequest


def _tag(number: int) -> bytes:
    """Return what stands before a field of that number that has a length."""
    return bytes([number << 3 | 2])


_CHUNK_TAG = _tag(PushRequest.CHUNK_FIELD_NUMBER)
_DATA_TAG = _tag(PushChunk.DATA_FIELD_NUMBER)


def chunk_request(path: str, offset: int, data: bytes) -> bytes:
    """Return `PushRequest(chunk=PushChunk(path, offset, data))` as protobuf would serialize it."""
    before = PushChunk(path=path, offset=offset).SerializeToString()
    before += _DATA_TAG + _varint(len(data))
    return b"".join((_CHUNK_TAG, _varint(len(before) + len(data)), before, data))


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
