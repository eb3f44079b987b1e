"""Chunks as they travel: the bytes that protobuf reads as the message that was meant."""

import itertools

from assetd._chunks import Chunk, chunk_request, packed, serialized
from assetd.v1.asset_service_pb2 import PushChunk, PushChunks, PushHeader, PushRequest
from hypothesis import example, given
from hypothesis import strategies as st


@given(
    path=st.text(max_size=300),
    offset=st.integers(0, 2**63 - 1),
    data=st.binary(max_size=300) | st.integers(0, 70_000).map(bytes),
)
@example(path="", offset=0, data=b"")
@example(path="a", offset=0, data=bytes(1 << 20))
def test_a_chunk_is_read_as_it_was_meant(path: str, offset: int, data: bytes) -> None:
    """By the library that every other client and the daemon use; nothing is left over."""
    request = PushRequest.FromString(chunk_request(Chunk(path, offset, data)))
    assert request == PushRequest(chunk=PushChunk(path=path, offset=offset, data=data))


@given(lengths=st.lists(st.sampled_from([0, 1, 300, 100_000, 600_000, 2**20]), max_size=30))
@example(lengths=[0] * 2500)
@example(lengths=[2**20, 2**20])
@example(lengths=[2**19, 2**19, 1])
def test_chunks_are_packed_in_their_order(lengths: list[int]) -> None:
    """Each message has as many as the contract allows, and one that is alone travels as ever."""
    sent = [Chunk(f"f{n}", n, bytes(length)) for n, length in enumerate(lengths)]
    requests = [PushRequest.FromString(request) for request in packed(sent)]
    packs = [list(one.chunks.chunks) or [one.chunk] for one in requests]
    came = [chunk for pack in packs for chunk in pack]
    assert came == [PushChunk(path=one.path, offset=one.offset, data=one.data) for one in sent]
    for pack, request in zip(packs, requests, strict=True):
        expected = PushRequest(chunks=PushChunks(chunks=pack))
        assert request == (expected if len(pack) > 1 else PushRequest(chunk=pack[0]))
        assert len(pack) <= 1000
        assert sum(len(chunk.data) for chunk in pack) <= 2**20
    for pack, following in itertools.pairwise(packs):
        more = sum(len(chunk.data) for chunk in [*pack, following[0]])
        assert len(pack) == 1000 or more > 2**20, "one more had fitted"


def test_all_other_steps_are_serialized_by_protobuf() -> None:
    """Chunks alone are bytes before gRPC asks for them."""
    request = PushRequest(header=PushHeader(spec="a"))
    assert serialized(request) == request.SerializeToString()
    assert serialized(b"chunk") == b"chunk"
