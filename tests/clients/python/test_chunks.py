"""Chunks as they travel: the bytes that protobuf reads as the message that was meant."""

from assetd._chunks import chunk_request, serialized
from assetd.v1.asset_service_pb2 import PushChunk, PushHeader, PushRequest
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
    request = PushRequest.FromString(chunk_request(path, offset, data))
    assert request == PushRequest(chunk=PushChunk(path=path, offset=offset, data=data))


def test_all_other_steps_are_serialized_by_protobuf() -> None:
    """Chunks alone are bytes before gRPC asks for them."""
    request = PushRequest(header=PushHeader(spec="a"))
    assert serialized(request) == request.SerializeToString()
    assert serialized(b"chunk") == b"chunk"
