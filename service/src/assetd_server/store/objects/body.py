"""The body of an upload's part, as botocore wants it. Knows no SDK."""

import io
from typing import Any

from assetd_server.store.base import Buffer


class BodyFile(io.RawIOBase):
    """Bytes as a file, so that they are sent in small blocks, and not copied whole.

    Sent as one buffer they would have to be through within botocore's connect timeout: the timeout
    of a socket bounds a whole `sendall`.
    """

    def __init__(self, data: Buffer) -> None:
        self._view = memoryview(data).cast("B")
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
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._view.nbytes}
        self._position = origin[whence] + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Fill `buffer`, or what of it there are bytes for."""
        block = self._next(len(buffer))
        buffer[: block.nbytes] = block
        return block.nbytes

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes, copied once; what is inherited copies them twice."""
        return bytes(self._next(self._view.nbytes if size < 0 else size))

    def _next(self, size: int) -> memoryview:
        if self._is_cut and self._position < self._view.nbytes:
            raise OSError("the part is not wanted any more")
        block = self._view[self._position : self._position + size]
        self._position += block.nbytes
        return block
