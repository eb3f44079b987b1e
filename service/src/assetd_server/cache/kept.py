"""What an earlier flight left in staging, kept only as far as its bytes prove it.

A journal says what was written; the bytes are read back and compared, and made durable, before
anything is kept (`layout.md`, "Resume"). All else is deleted. Blocks for as long as reading takes.
"""

import stat
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from functools import cached_property, reduce

from awscrt import checksums

from assetd_server.cache.hashing import checksum_at
from assetd_server.cache.journal import JOURNAL, Written, read_journal
from assetd_server.cache.layout import AssetsDir
from assetd_server.manifest import Part
from assetd_server.model import AssetKind, PartPath


@dataclass(frozen=True)
class KeptPart:
    """A part of which ranges are staged already, proven and durable.

    The ranges are in order and do not overlap; all come from the object that `etag` names.
    """

    part: Part
    ranges: tuple[Written, ...]
    etag: str

    @property
    def byte_count(self) -> int:
        """How many bytes of it are staged."""
        return sum(written.length for written in self.ranges)

    @property
    def is_whole(self) -> bool:
        """Whether no byte is missing."""
        return self.byte_count == self.part.size_bytes

    @property
    def is_confirmed(self) -> bool:
        """Whether it is whole by the manifest's own checksum: nobody has to be asked."""
        return self.is_whole and self.part.crc64nvme is not None

    @cached_property
    def crc64nvme(self) -> int:
        """The checksum of all ranges one behind the other; the part's, where it is whole."""
        return combined(self.ranges)

    def missing(self, range_bytes: int) -> Iterator[tuple[int, int]]:
        """Yield start and length of what is to come, none longer than `range_bytes`."""
        at = 0
        for written in self.ranges:
            yield from ranges_between(at, written.start, range_bytes)
            at = written.end
        yield from ranges_between(at, self.part.size_bytes or 0, range_bytes)


def ranges_between(start: int, end: int, range_bytes: int) -> Iterator[tuple[int, int]]:
    """Yield start and length of the ranges that fill the bytes from `start` to `end`."""
    for at in range(start, end, range_bytes):
        yield at, min(range_bytes, end - at)


def combined(ranges: Sequence[Written]) -> int:
    """Return the crc64nvme of neighbouring ranges, from that of each."""

    def add(total: int, written: Written) -> int:
        both: int = checksums.combine_crc64nvme(total, written.crc64nvme, written.length)
        return both

    return reduce(add, ranges, 0)


def keep_proven(
    assets_dir: AssetsDir, folder: str, data: str, kind: AssetKind, parts: Sequence[Part]
) -> dict[PartPath, KeptPart]:
    """Return what is staged of each part, and delete all else below `folder` but the journal.

    Where nothing is returned, nothing is deleted: what lies there is worth nothing.

    Raises:
        OSError: it cannot be read, or not be made durable: nothing of it may be kept.
    """
    journal = read_journal(assets_dir, folder, kind, parts)
    kept = {}
    for part in parts:
        if part.path in journal:
            path = f"{data}/{part.path}" if part.path else data
            found = _prove(assets_dir, path, part, journal[part.path])
            if found is not None:
                kept[part.path] = found
    if kept:
        _delete_others(assets_dir, folder, data, kept)
    return kept


def _prove(
    assets_dir: AssetsDir, path: str, part: Part, ranges: Sequence[Written]
) -> KeptPart | None:
    try:
        with assets_dir.opened(path) as fd:
            facts = assets_dir.fs.fstat(fd)
            if not stat.S_ISREG(facts.st_mode) or facts.st_size > (part.size_bytes or 0):
                return None
            kept = KeptPart(part, tuple(_sound(assets_dir, fd, ranges)), ranges[-1].etag)
            if not kept.ranges or not _may_be(kept):
                return None
            # A descriptor that is opened now hears of every write error of this file that nobody
            # has heard of. The syncfs at the end may not: another program may have called it.
            assets_dir.fs.fsync(fd)
            return kept
    except FileNotFoundError:
        return None


def _may_be(kept: KeptPart) -> bool:
    """Tell whether it can become the part that the manifest names, or be compared with it."""
    if kept.is_confirmed:
        return kept.crc64nvme == kept.part.crc64nvme
    return bool(kept.etag)


def _sound(assets_dir: AssetsDir, fd: int, ranges: Sequence[Written]) -> Iterator[Written]:
    """Yield, in order, the ranges of the newest object whose bytes are what was written."""
    at = 0
    for written in sorted(ranges, key=lambda written: written.start):
        if written.start < at or written.etag != ranges[-1].etag:
            continue
        if written.crc64nvme == checksum_at(assets_dir.fs, fd, written.start, written.end):
            yield written
            at = written.end


def _delete_others(assets_dir: AssetsDir, folder: str, data: str, kept: Iterable[PartPath]) -> None:
    wanted = {f"{folder}/{JOURNAL}"}
    for part in kept:
        path = f"{data}/{part}" if part else data
        while path != folder:
            wanted.add(path)
            path = path.rpartition("/")[0]
    _delete_below(assets_dir, folder, wanted)


def _delete_below(assets_dir: AssetsDir, folder: str, wanted: Set[str]) -> None:
    with assets_dir.folder(folder) as fd:
        entries = [
            (f"{folder}/{entry.name}", entry.is_dir(follow_symlinks=False))
            for entry in assets_dir.fs.list_names(fd)
        ]
    for path, is_folder in entries:
        if path not in wanted:
            assets_dir.remove_tree(path)
        elif is_folder:
            _delete_below(assets_dir, path, wanted)
