"""Parts that need not be downloaded: equal ones stand elsewhere in ASSETS_DIR.

Equal is what has the same size and SHA-256 by two manifests. The bytes are shared where the file
system can, else copied, never linked: modelkit may open a version for writing. What was copied is
read and compared before it counts. All functions block.
"""

import errno
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from assetd_server.cache.hashing import CHUNK_BYTES, checksum_at
from assetd_server.cache.ingest import StagedPart, StagedVersion
from assetd_server.cache.journal import Written
from assetd_server.cache.kept import KeptPart
from assetd_server.cache.layout import AssetsDir, VersionPaths
from assetd_server.cache.linux import write_at
from assetd_server.cache.lookup import Lookup
from assetd_server.errors import AssetError
from assetd_server.manifest import Part
from assetd_server.model import PartPath
from assetd_server.versioning import Version, newest_first

# Of an asset with hundreds of versions the newest are likely to share the most.
_VERSIONS_LOOKED_AT = 8
# Short enough that a caller who leaves, or a stop, does not wait long for a copy of gigabytes.
STEP_BYTES = 64 * 2**20
_CANNOT = (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOTTY, errno.ENOSYS, errno.EXDEV, errno.EPERM)


@dataclass(frozen=True)
class Copy:
    """A part that is wanted, and the path below ASSETS_DIR where an equal one may stand."""

    part: Part
    source: str


def find_in_versions(
    lookup: Lookup, paths: VersionPaths, parts: Sequence[Part]
) -> dict[PartPath, str]:
    """Return where parts equal to these stand: in the version itself, or in others of the asset.

    By the receipts of the newest few, so that it costs little however many versions there are.
    """
    # Unmarked ones count as well here: to leave them out, the receipts of all would be read.
    versions = candidates(paths.version, lambda: lookup.versions(paths.name, unmarked=True))
    # Of a partial version, too, what is whole: the version itself, and the others.
    places = (VersionPaths(paths.name, version) for version in versions)
    return find_equal(parts, ((place, _receipted_parts(lookup, place)) for place in places))


def find_equal(
    parts: Sequence[Part], standing: Iterable[tuple[VersionPaths, Iterable[Part]]]
) -> dict[PartPath, str]:
    """Return where parts equal to these stand, of versions and what they hold, the best first.

    No more of `standing` is asked for once all are found.
    """
    wanted: dict[tuple[int | None, str], list[PartPath]] = {}
    for part in parts:
        if part.sha256_hex is not None:
            wanted.setdefault((part.size_bytes, part.sha256_hex), []).append(part.path)
    found: dict[PartPath, str] = {}
    for place, held in standing if wanted else ():
        for part in held:
            for path in wanted.pop((part.size_bytes, part.sha256_hex or ""), ()):
                found[path] = place.part(part.path)
        if not wanted:
            break
    return found


def candidates(version: Version, standing: Callable[[], Iterable[Version]]) -> Iterator[Version]:
    """Yield the version, then the newest few of the others that stand, of the same system."""
    yield version
    others = [other for other in standing() if other.system is version.system and other != version]
    yield from newest_first(others)[:_VERSIONS_LOOKED_AT]


def _receipted_parts(lookup: Lookup, paths: VersionPaths) -> tuple[Part, ...]:
    with suppress(AssetError):
        receipt = lookup.look(paths).receipt
        if receipt is not None:
            return receipt.manifest.parts
    return ()


class PartCopy:
    """One part that is copied into staging, a step at a time."""

    def __init__(
        self,
        assets_dir: AssetsDir,
        staged: StagedVersion,
        copy: Copy,
        step_bytes: int = STEP_BYTES,
    ) -> None:
        self._dir = assets_dir
        self._fs = assets_dir.fs
        self._staged = staged
        self._part = copy.part
        self._source = copy.source
        self._size_bytes = copy.part.size_bytes or 0
        self._step_bytes = step_bytes
        self._target: StagedPart | None = None
        self._is_shared = False
        self._at = 0
        self._checksum: int | None = 0

    def advance(self) -> bool:
        """Copy the next `step_bytes` and read them back; tell whether there are more.

        Raises:
            DiskFullError, IoError: the staged version is to be discarded.
        """
        length = min(self._step_bytes, self._size_bytes - self._at)
        try:
            with self._dir.opened(self._source) as source:
                self._advance(source, length)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                with self._staged.condemning():
                    raise
            # It vanished or cannot be read: what was copied goes, and the part is downloaded.
            self._checksum = None
        return self._checksum is not None and self._at < self._size_bytes

    def _advance(self, source: int, length: int) -> None:
        facts = self._fs.fstat(source)
        if not stat.S_ISREG(facts.st_mode) or facts.st_size != self._size_bytes:
            self._checksum = None
            return
        if self._target is None:
            self._target = self._staged.add_part(self._part)
            self._is_shared = self._share(source, self._target)
        if not self._is_shared:
            self._copy(source, self._target, length)
        end = self._at + length
        self._checksum = checksum_at(self._fs, self._target.fd, self._at, end, self._checksum or 0)
        self._at = end

    def _share(self, source: int, target: StagedPart) -> bool:
        try:
            self._fs.clone(source, target.fd)
        except OSError as error:
            if error.errno not in _CANNOT:
                raise
            return False
        return True

    def _copy(self, source: int, target: StagedPart, length: int) -> None:
        at, end = self._at, self._at + length
        while at < end:
            copied = self._copy_some(source, target, at, end - at)
            if copied == 0:
                return  # somebody cut it: reading back tells
            at += copied
        target.start_writeback(self._at, length)

    def _copy_some(self, source: int, target: StagedPart, at: int, length: int) -> int:
        try:
            return self._fs.copy_range(source, target.fd, length, at)
        except OSError as error:
            if error.errno not in _CANNOT:
                raise
        data = self._fs.pread(source, min(length, CHUNK_BYTES), at)
        return write_at(self._fs, target.fd, [data], at)

    def end(self) -> bool:
        """Keep the part where it is the one that the manifest names; tell whether it is.

        Raises:
            DiskFullError, IoError: the staged version is to be discarded.
        """
        if self._target is None:
            return False
        if self._checksum is None or self._checksum != self._part.crc64nvme:
            self._staged.drop_part(self._target)
            return False
        self._staged.end_part(self._target)
        written = Written(self._part.path, 0, self._size_bytes, self._checksum)
        self._staged.keep(KeptPart(self._part, (written,), written.etag))
        return True


def copy_small(assets_dir: AssetsDir, staged: StagedVersion, copies: Sequence[Copy]) -> int:
    """Copy parts of a step or less, each as `PartCopy` does; return how many bytes are kept.

    Raises:
        DiskFullError, IoError: the staged version is to be discarded.
    """
    kept_bytes = 0
    for copy in copies:
        part_copy = PartCopy(assets_dir, staged, copy)
        while part_copy.advance():
            pass
        if part_copy.end():
            kept_bytes += copy.part.size_bytes or 0
    return kept_bytes
