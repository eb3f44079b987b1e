"""The spool of one push: bytes that a caller sends, hashed as they come.

It lies below `.assetd/push/.spool`. A file's bytes come in order. Nothing here is ever served; the
start of a run deletes what is left.
All methods block, and are called one at a time.
"""

import hashlib
import os
from collections.abc import Sequence

from awscrt import checksums

from assetd_server.cache.layout import PUSH_SPOOL, AssetsDir, os_errors
from assetd_server.cache.linux import Buffer, write_at
from assetd_server.manifest import Part
from assetd_server.model import PartPath


class _Incoming:
    """One file of a push: its length and hashes so far."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.length = 0
        self.sha256 = hashlib.sha256()
        self.crc64nvme = 0


class Spool:
    """The files of one push, by their path in the asset."""

    def __init__(self, assets_dir: AssetsDir, push_id: str) -> None:
        """Make the push's folder.

        Raises:
            ReadOnlyError, DiskFullError, IoError.
        """
        self._dir = assets_dir
        self._folder = f"{PUSH_SPOOL}/{push_id}"
        self._files: dict[PartPath, _Incoming] = {}
        self._open: tuple[PartPath, int] | None = None
        with os_errors(self._folder):
            assets_dir.remove_tree(self._folder)
            try:
                with assets_dir.ensured_folder(self._folder):
                    pass
            except OSError:
                # Nobody gets a spool to discard, where this fails half-way.
                assets_dir.remove_tree(self._folder)
                raise

    def length(self, path: PartPath) -> int:
        """Return how many bytes of a file have come."""
        incoming = self._files.get(path)
        return incoming.length if incoming else 0

    def append(self, path: PartPath, data: Buffer) -> None:
        """Take the next bytes of a file.

        Raises:
            DiskFullError, IoError: the push cannot go on.
        """
        incoming = self._files.setdefault(path, _Incoming(len(self._files)))
        with os_errors(self._folder):
            fd = self._descriptor(path, incoming)
            incoming.length += write_at(self._dir.fs, fd, [data], incoming.length)
        incoming.sha256.update(data)
        incoming.crc64nvme = checksums.crc64nvme(data, incoming.crc64nvme)

    def part(self, path: PartPath) -> Part:
        """Return what has come of a file, as a part with size and checksums."""
        incoming = self._files.get(path) or _Incoming(0)
        return Part(path, incoming.length, incoming.sha256.hexdigest(), incoming.crc64nvme)

    def read(self, path: PartPath, offset: int, length: int) -> bytes:
        """Return a range of a file that has come whole."""
        incoming = self._files.get(path)
        if incoming is None:
            return b""
        with os_errors(self._folder), self._dir.opened(self._path(incoming)) as fd:
            return self._dir.fs.pread(fd, length, offset)

    def paths(self) -> Sequence[PartPath]:
        """Return the files of which bytes have come."""
        return list(self._files)

    def discard(self) -> None:
        """Delete the spool. Idempotent."""
        with os_errors(self._folder):
            try:
                self._close()
            finally:
                self._dir.remove_tree(self._folder)

    def _descriptor(self, path: PartPath, incoming: _Incoming) -> int:
        # Files come one behind the other, so one open descriptor is enough for any number of them.
        if self._open is None or self._open[0] != path:
            self._close()
            flags = os.O_RDWR | os.O_CREAT
            self._open = (path, self._dir.fs.open(self._dir.fd, self._path(incoming), flags))
        return self._open[1]

    def _path(self, incoming: _Incoming) -> str:
        return f"{self._folder}/{incoming.number}"

    def _close(self) -> None:
        # Forgotten first: Linux drops the descriptor even where closing it fails.
        was_open, self._open = self._open, None
        if was_open is not None:
            self._dir.fs.close(was_open[1])
