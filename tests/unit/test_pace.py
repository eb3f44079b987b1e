"""The size of an S3 body's chunks follows the line."""

import pytest
from assetd_server.store.objects.pace import MIN_CHUNK_BYTES, Pace

MIB = 1 << 20


def test_the_first_chunks_are_small() -> None:
    """Nothing is known of the line yet, and the first progress is the one that people watch."""
    assert Pace(MIB).chunk_bytes == MIN_CHUNK_BYTES


@pytest.mark.parametrize(
    ("seconds", "chunk_bytes"),
    [
        (0.0, MIB),  # too fast for the clock
        (0.01, MIB),
        (1.0, 8 * MIB * 3 // 100),
        (60.0, MIN_CHUNK_BYTES),
    ],
)
def test_a_chunk_takes_the_line_a_moment(seconds: float, chunk_bytes: int) -> None:
    """Some thirty milliseconds, within the bounds."""
    pace = Pace(MIB)
    pace.note(8 * MIB, seconds)
    assert pace.chunk_bytes == pytest.approx(chunk_bytes, abs=1)


def test_the_last_body_counts() -> None:
    """A line that becomes slow, or fast, is followed at once."""
    pace = Pace(MIB)
    sizes = []
    for seconds in (0.01, 60.0, 0.01):
        pace.note(8 * MIB, seconds)
        sizes.append(pace.chunk_bytes)
    assert sizes == [MIB, MIN_CHUNK_BYTES, MIB]


def test_short_bodies_tell_nothing() -> None:
    """What they take is the store's latency."""
    pace = Pace(MIB)
    pace.note(1000, 0.0)
    assert pace.chunk_bytes == MIN_CHUNK_BYTES


def test_a_small_bound_is_the_size() -> None:
    """Never more than the operator of the store allows."""
    pace = Pace(100)
    assert pace.chunk_bytes == 100
    pace.note(MIB, 100.0)
    assert pace.chunk_bytes == 100
