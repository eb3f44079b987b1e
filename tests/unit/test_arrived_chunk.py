"""A chunk is read where it lies, and as protobuf would read it."""

import pytest
from assetd.v1.asset_service_pb2 import PushChunk, PushChunks, PushCommit, PushRequest
from assetd_server.rpc.arrived_chunk import ArrivedChunk, read_push_request
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

PATHS = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
OFFSETS = st.one_of(st.integers(0, 300), st.integers(0, 2**63 - 1))
DATA = st.binary(min_size=1, max_size=300)
CHUNKS = st.builds(PushChunk, path=PATHS, offset=OFFSETS, data=DATA)


def spelled(chunk: PushChunk) -> bytes:
    """The message of that chunk, as a library of protobuf writes it."""
    return PushRequest(chunk=chunk).SerializeToString()


@given(CHUNKS)
def test_a_chunk_says_what_it_said(chunk: PushChunk) -> None:
    """Path, offset and data, of any length that a number of protobuf has."""
    assert read_push_request(spelled(chunk)) == ArrivedChunk(
        chunk.path, chunk.offset, memoryview(chunk.data)
    )


def test_the_bytes_of_a_chunk_are_not_copied() -> None:
    """They are those that arrived."""
    raw = spelled(PushChunk(path="a", offset=7, data=b"data"))
    arrived = read_push_request(raw)
    assert isinstance(arrived, ArrivedChunk)
    assert arrived.data.obj is raw


@given(CHUNKS, st.data())
def test_whatever_else_arrives_is_what_protobuf_says(chunk: PushChunk, data: st.DataObject) -> None:
    """Cut, changed, doubled: it is never read as another chunk, nor as one where there is none."""
    raw = bytearray(spelled(chunk))
    for _ in range(data.draw(st.integers(1, 3))):
        position = data.draw(st.integers(0, len(raw)))
        end = position + data.draw(st.integers(0, 3))
        raw[position:end] = data.draw(st.binary(max_size=3))
    try:
        said = PushRequest.FromString(bytes(raw))
    except DecodeError:
        with pytest.raises(DecodeError):
            read_push_request(bytes(raw))
        return
    arrived = read_push_request(bytes(raw))
    if isinstance(arrived, ArrivedChunk):
        arrived = PushRequest(
            chunk=PushChunk(path=arrived.path, offset=arrived.offset, data=bytes(arrived.data))
        )
    assert arrived == said


FIELDS = PushChunk(path="a").SerializeToString(), PushChunk(offset=1).SerializeToString()
DATA_FIELD = PushChunk(data=b"x").SerializeToString()


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        PushRequest(commit=PushCommit()).SerializeToString(),
        PushRequest(chunks=PushChunks(chunks=[PushChunk(data=b"x")])).SerializeToString(),
        spelled(PushChunk()),
        spelled(PushChunk(path="a")),
        spelled(PushChunk(offset=-1, data=b"x")),
        # A field of a later release, which must not go unseen.
        bytes([0x1A, 3 + 2]) + b"\x20\x01" + DATA_FIELD,
        spelled(PushChunk(data=b"x")) + PushRequest(commit=PushCommit()).SerializeToString(),
        # In another order.
        bytes([0x1A, 3 + 3 + 2]) + FIELDS[1] + FIELDS[0] + DATA_FIELD,
        bytes([0x1A, 3 + 3]) + DATA_FIELD + FIELDS[0],
    ],
)
def test_all_else_is_left_to_protobuf(raw: bytes) -> None:
    """What is no chunk alone, or spelled in another order than libraries do."""
    assert read_push_request(raw) == PushRequest.FromString(raw)


def test_a_path_that_is_not_utf_8_is_no_message() -> None:
    """As protobuf has it."""
    raw = spelled(PushChunk(path="ab", data=b"x")).replace(b"ab", b"\xff\xfe")
    with pytest.raises(DecodeError):
        read_push_request(raw)
