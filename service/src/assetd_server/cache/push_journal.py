"""What pushes of this node were about to do, as small files below `.assetd/push/.journal`.

A push that dies leaves its entry: the next run finishes or releases what it had claimed. An entry
is one durable line, and more lines that may be lost. What the lines say is the pusher's business.
All methods block.
"""

import os
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress

from assetd_server.cache.ingest import write_new
from assetd_server.cache.layout import PUSH_JOURNAL, AssetsDir, os_errors
from assetd_server.cache.linux import write_at

# A claim, and an upload for each of ten thousand large parts.
_MAX_ENTRY_BYTES = 16 * 2**20


class PushJournal:
    """The entries of one ASSETS_DIR, by keys that are names of files."""

    def __init__(self, assets_dir: AssetsDir) -> None:
        self._dir = assets_dir
        # A push notes uploads from many threads, each of which writes where the file ends.
        self._appending = threading.Lock()

    def add(self, key: str, line: bytes) -> None:
        """Make an entry; on return it survives a power cut.

        Raises:
            ReadOnlyError, DiskFullError, IoError: there may be none, or one that is cut short.
        """
        with os_errors(PUSH_JOURNAL), self._dir.durable_folder(PUSH_JOURNAL) as fd:
            write_new(self._dir, self._path(key), line + b"\n")
            self._dir.fs.fsync(fd)

    def append(self, key: str, line: bytes) -> None:
        """Add a line, which a power cut may take away again.

        Raises:
            DiskFullError, IoError: it may be there in part.
        """
        with (
            os_errors(PUSH_JOURNAL),
            self._dir.opened(self._path(key), os.O_RDWR) as fd,
            self._appending,
        ):
            end = self._dir.fs.fstat(fd).st_size
            write_at(self._dir.fs, fd, [line + b"\n"], end)

    def remove(self, key: str) -> None:
        """Delete an entry. Idempotent; a power cut may bring it back, which is harmless.

        Raises:
            ReadOnlyError, IoError: it may be there still.
        """
        with (
            os_errors(PUSH_JOURNAL),
            suppress(FileNotFoundError),
            self._dir.folder(PUSH_JOURNAL) as fd,
        ):
            self._dir.fs.unlink(fd, key)

    def entries(self) -> Mapping[str, Sequence[bytes]]:
        """Return the whole lines of every entry; a line that was cut short is left out.

        Raises:
            UnsafePathError, IoError: they cannot be read.
        """
        with os_errors(PUSH_JOURNAL):
            try:
                with self._dir.folder(PUSH_JOURNAL) as fd:
                    keys = [entry.name for entry in self._dir.fs.list_names(fd)]
            except FileNotFoundError:
                return {}
            return {key: self._lines(key) for key in keys}

    def _lines(self, key: str) -> Sequence[bytes]:
        content = self._dir.read_small(self._path(key), _MAX_ENTRY_BYTES) or b""
        return content.split(b"\n")[:-1]

    def _path(self, key: str) -> str:
        return f"{PUSH_JOURNAL}/{key}"
