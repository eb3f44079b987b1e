"""The journal of what is staged: which ranges of which parts are written, with their checksums.

It is a claim, not a proof: nothing here is synced, so whoever reads it compares the bytes
(`cache.kept`). A line for each record, `<crc64nvme of the text> <text>`, the text JSON. The first
says what is being staged, each other `[part, start, length, crc64nvme, etag]`: that range is
written, or `[part]`: what was said of that part before holds no more. A torn or damaged line ends
the journal.
"""

import hashlib
import json
import os
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from awscrt import checksums

from assetd_server.cache.layout import AssetsDir
from assetd_server.cache.linux import write_at
from assetd_server.manifest import Part, encode_parts
from assetd_server.model import AssetKind, PartPath

FORMAT = 1
JOURNAL = "journal"
# A hundred thousand ranges take 15 MiB.
_MAX_JOURNAL_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Written:
    """A range of a part that was written, and the ETag of the object that it came from.

    The ETag is empty where the bytes came from elsewhere in ASSETS_DIR.
    """

    part: PartPath
    start: int
    length: int
    crc64nvme: int
    etag: str = ""

    @property
    def end(self) -> int:
        """The offset behind the range."""
        return self.start + self.length


class Journal:
    """The open journal of one staged version. Safe from several threads."""

    def __init__(
        self,
        assets_dir: AssetsDir,
        folder: str,
        kind: AssetKind,
        parts: Sequence[Part],
        kept: Iterable[Written] = (),
    ) -> None:
        """Begin a journal that says `kept`, in place of any earlier one.

        A kill leaves the earlier one or this one.

        Raises:
            OSError: the folder may hold half of it, under another name.
        """
        self._fs = assets_dir.fs
        self._turn = threading.Lock()
        records = [_record(written) for written in kept]
        self.is_empty = not records
        head = {"format": FORMAT, "identity": identity(kind, parts)}
        lines = b"".join(map(_line, [head, *records]))
        aside = f"{JOURNAL}.new"
        self._fd = -1
        try:
            with assets_dir.folder(folder) as folder_fd:
                flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC
                self._fd = self._fs.open(folder_fd, aside, flags)
                self._end = write_at(self._fs, self._fd, [lines], 0)
                self._fs.rename(folder_fd, aside, folder_fd, JOURNAL)
        except BaseException:
            # Nobody gets a journal to close, and even closing the folder may fail.
            self.close()
            raise

    def add(self, written: Iterable[Written]) -> None:
        """Say that these ranges are written, in one write.

        Raises:
            OSError: what was said before may be torn; the staged version is not to be trusted.
        """
        self._append([_record(range_) for range_ in written])
        self.is_empty = False

    def drop(self, part: PartPath) -> None:
        """Say that what was said of a part holds no more."""
        self._append([[part]])

    def _append(self, records: Sequence[object]) -> None:
        lines = b"".join(map(_line, records))
        with self._turn:
            self._end += write_at(self._fs, self._fd, [lines], self._end)

    def close(self) -> None:
        """Close the file. Idempotent."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            self._fs.close(fd)


def identity(kind: AssetKind, parts: Sequence[Part]) -> str:
    """Return what tells this content from any other that may be staged for the version."""
    document = [kind.value, encode_parts(tuple(parts))]
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def read_journal(
    assets_dir: AssetsDir, folder: str, kind: AssetKind, parts: Sequence[Part]
) -> dict[PartPath, list[Written]]:
    """Return what the journal in `folder` says of each of the parts, in the order of writing.

    Empty where there is none, or it is another format's or about another content.
    """
    raw = assets_dir.read_small(f"{folder}/{JOURNAL}", _MAX_JOURNAL_BYTES)
    head, *records = _decode(raw or b"") or [None]
    if head is None or head != {"format": FORMAT, "identity": identity(kind, parts)}:
        return {}
    known = {str(part.path): part for part in parts}
    found: dict[PartPath, list[Written]] = {}
    for record in records:
        match record:
            case [str(path), int(start), int(length), int(checksum), str(etag)] if path in known:
                written = Written(known[path].path, start, length, checksum, etag)
                if not 0 <= start <= written.end <= (known[path].size_bytes or 0):
                    return {}
                found.setdefault(written.part, []).append(written)
            case [str(path)] if path in known:
                found.pop(known[path].path, None)
            case _:
                return {}
    return found


def _record(written: Written) -> list[object]:
    return [written.part, written.start, written.length, written.crc64nvme, written.etag]


def _line(record: object) -> bytes:
    text = json.dumps(record, separators=(",", ":")).encode()
    return b"%016x %s\n" % (checksums.crc64nvme(text), text)


def _decode(raw: bytes) -> list[Any]:
    """Return the records up to the first line that is torn or damaged."""
    records = []
    # What follows the last line's end is torn, or nothing.
    for line in raw.split(b"\n")[:-1]:
        checksum, _, text = line.partition(b" ")
        if checksum != b"%016x" % checksums.crc64nvme(text):
            break
        try:
            records.append(json.loads(text))
        except (ValueError, RecursionError):
            break
    return records
