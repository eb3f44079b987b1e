"""Chunks of large files as they arrive: the bytes stay where gRPC has put them.

protobuf copies the data of a chunk into the message, and out of it at every look.
"""

from dataclasses import dataclass
from typing import Final

from assetd.v1.asset_service_pb2 import PushChunk, PushRequest

# Of a field that has a length, and of one that is a number.
_WITH_LENGTH, _NUMBER = 2, 0
_CHUNK: Final = PushRequest.CHUNK_FIELD_NUMBER << 3 | _WITH_LENGTH
_PATH: Final = PushChunk.PATH_FIELD_NUMBER << 3 | _WITH_LENGTH
_OFFSET: Final = PushChunk.OFFSET_FIELD_NUMBER << 3 | _NUMBER
_DATA: Final = PushChunk.DATA_FIELD_NUMBER << 3 | _WITH_LENGTH

# More bytes make a negative number, or one that protobuf refuses.
_OFFSET_BYTES = 9
_LENGTH_BYTES = 4


@dataclass(frozen=True)
class ArrivedChunk:
    """What `PushRequest(chunk=…)` says."""

    path: str
    offset: int
    data: memoryview


def read_push_request(raw: bytes) -> PushRequest | ArrivedChunk:
    """Return the message that the bytes are.

    A chunk alone is `ArrivedChunk`, where its fields stand in the order in which each library of
    protobuf writes them. All else is left to protobuf.

    Raises:
        DecodeError: they are none.
    """
    chunk = _chunk(raw)
    return PushRequest.FromString(raw) if chunk is None else chunk


def _chunk(raw: bytes) -> ArrivedChunk | None:
    fields = _Fields(raw)
    try:
        if not fields.begins_last(_CHUNK):
            return None
        path = fields.text() if fields.begins(_PATH) else ""
        offset = fields.number(_OFFSET_BYTES) if fields.begins(_OFFSET) else 0
        if not fields.begins_last(_DATA):
            return None
    except (IndexError, ValueError):
        return None
    return ArrivedChunk(path, offset, fields.rest())


class _Fields:
    """Reads fields one behind the other; IndexError or ValueError: they are spelled otherwise."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._position = 0

    def begins(self, tag: int) -> bool:
        """Step over the tag, if it is next."""
        is_next = self._raw[self._position] == tag
        self._position += is_next
        return is_next

    def begins_last(self, tag: int) -> bool:
        """Step over the tag and the length, if they are next and all that follows is the field."""
        if not self.begins(tag):
            return False
        return self.number(_LENGTH_BYTES) == len(self._raw) - self._position

    def number(self, max_bytes: int) -> int:
        """Take a number of no more bytes than that, seven bits each, the lowest first."""
        number = 0
        for shift in range(0, 7 * max_bytes, 7):
            byte = self._raw[self._position]
            self._position += 1
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                return number
        raise ValueError

    def text(self) -> str:
        """Take a text, its length first."""
        length = self.number(_LENGTH_BYTES)
        begin = self._position
        self._position += length
        return self._raw[begin : self._position].decode()

    def rest(self) -> memoryview:
        """Return all that follows, without copying it."""
        return memoryview(self._raw)[self._position :]
