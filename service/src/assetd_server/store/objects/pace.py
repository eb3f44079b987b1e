"""How large the chunks of a body should be: large enough to be cheap, small enough to be in time.

A chunk is handed on, and so counted as progress, only once it is whole; and each costs a turn of
the event loop. A fixed size is either: 1 MiB on each of 32 connections of a slow line is 32 MiB
that nobody hears of for seconds, and 64 KiB on a fast one costs a fifth more CPU. Pure, no I/O.
"""

from typing import Final

MIN_CHUNK_BYTES: Final = 64 << 10
# Well below the shortest interval at which a caller may want progress.
_CHUNK_SECONDS: Final = 0.03


class Pace:
    """The size of chunks for the next body, by the rate at which the last ones came."""

    def __init__(self, max_chunk_bytes: int) -> None:
        self._min_bytes = min(MIN_CHUNK_BYTES, max_chunk_bytes)
        self._max_bytes = max_chunk_bytes
        self.chunk_bytes = self._min_bytes

    def note(self, byte_count: int, seconds: float) -> None:
        """Take note of a body, or of what came of it. Short ones tell of latency, not of a rate."""
        if byte_count < self._max_bytes:
            return
        in_time = self._max_bytes if seconds <= 0 else int(byte_count / seconds * _CHUNK_SECONDS)
        self.chunk_bytes = min(max(in_time, self._min_bytes), self._max_bytes)
