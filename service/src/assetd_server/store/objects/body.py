"""The body of an upload's part, as botocore wants it. Knows no SDK."""

import bisect
import io
import itertools
from collections.abc import Sequence
from typing import Any

from assetd_server.store.base import Buffer, views_of


class BodyFile(io.RawIOBase):
    """Bytes as a file, so that they are sent in small blocks, and copied nowhere.

    Sent as one buffer they would have to be through within botocore's connect timeout: the timeout
    of a socket bounds a whole `sendall`.
    """

    def __init__(self, data: Sequence[Buffer]) -> None:
        self._views = views_of(data)
        # Where each ends.
        self._ends = list(itertools.accumulate(view.nbytes for view in self._views))
        self._length = self._ends[-1] if self._ends else 0
        self._position = 0
        self._is_cut = False

    def cut(self) -> None:
        """Let the next read fail: the part ends half sent, and no store takes it then.

        Of a part that is read to its end the store may have all: what becomes of it its answer
        tells.
        """
        self._is_cut = True

    def readable(self) -> bool:
        """Say yes."""
        return True

    def seekable(self) -> bool:
        """Say yes."""
        return True

    def tell(self) -> int:
        """Return how many bytes were read."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to `offset` from the start, the position, or the end."""
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._length}
        self._position = origin[whence] + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Fill `buffer`, or what of it there are bytes for."""
        block = self._next(len(buffer))
        buffer[: block.nbytes] = block
        return block.nbytes

    def read(self, size: int = -1) -> Any:
        """Return the next bytes where they lie: who signs and who sends them takes a view."""
        return self.readall() if size < 0 else self._next(size)

    def readall(self) -> bytes:
        """Return all bytes that are left."""
        return b"".join(iter(lambda: self._next(self._length), b""))

    def _next(self, size: int) -> memoryview:
        """Return the next bytes, at most `size`, and none of two buffers."""
        if self._position >= self._length:
            return memoryview(b"")
        if self._is_cut:
            raise OSError("the part is not wanted any more")
        number = bisect.bisect_right(self._ends, self._position)
        view = self._views[number]
        begin = self._position - (self._ends[number] - view.nbytes)
        block = view[begin : begin + size]
        self._position += block.nbytes
        return block
