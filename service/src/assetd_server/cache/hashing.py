"""Reading what stands or is staged in ASSETS_DIR, to hash it. Blocks for as long as that takes."""

import hashlib
from collections.abc import Callable

from awscrt import checksums

from assetd_server.cache.layout import AssetsDir, os_errors
from assetd_server.cache.linux import Buffer, FileSystem
from assetd_server.cache.scan import paths_below
from assetd_server.errors import InvalidPartError, UnsafePathError
from assetd_server.manifest import Manifest, Part
from assetd_server.model import AssetKind, PartPath

CHUNK_BYTES = 4 * 2**20


def _ignore(_count: int) -> None:
    """Tell nobody."""


class RunningHashes:
    """Length, SHA-256 and crc64nvme of bytes that come one behind the other."""

    def __init__(self) -> None:
        self.size_bytes = 0
        self._sha256 = hashlib.sha256()
        self._crc64nvme = 0

    def update(self, data: Buffer) -> None:
        """Take the next bytes. Other threads run meanwhile."""
        self._sha256.update(data)
        self._crc64nvme = checksums.crc64nvme(data, self._crc64nvme)
        self.size_bytes += len(data)

    def part(self, path: PartPath) -> Part:
        """Return what has come so far, as a part with that path."""
        return Part(path, self.size_bytes, self._sha256.hexdigest(), self._crc64nvme)


def hash_parts(
    assets_dir: AssetsDir,
    data: str,
    parts: tuple[Part, ...],
    on_bytes: Callable[[int], None] = _ignore,
) -> tuple[Part, ...]:
    """Return the parts below `data` with the size, SHA-256 and crc64nvme that their bytes have.

    `on_bytes` is told how many have just been hashed; what it raises ends the reading.

    Raises:
        UnsafePathError: a part is missing, or is not a plain file.
        IoError: it cannot be read.
    """
    return tuple(_hash_part(assets_dir, data, part, on_bytes) for part in parts)


def damaged_parts(
    assets_dir: AssetsDir,
    data: str,
    parts: tuple[Part, ...],
    on_bytes: Callable[[int], None] = _ignore,
) -> list[PartPath]:
    """Return the parts whose size or any known hash is not what it should be, or that are missing.

    Raises:
        IoError: a part cannot be read.
    """
    return [part.path for part in parts if not _is_sound(assets_dir, data, part, on_bytes)]


def _is_sound(
    assets_dir: AssetsDir, data: str, part: Part, on_bytes: Callable[[int], None]
) -> bool:
    try:
        found = _hash_part(assets_dir, data, part, on_bytes)
    except UnsafePathError:
        return False
    return (
        part.size_bytes in (None, found.size_bytes)
        and part.sha256_hex in (None, found.sha256_hex)
        and part.crc64nvme in (None, found.crc64nvme)
    )


def _hash_part(
    assets_dir: AssetsDir, data: str, part: Part, on_bytes: Callable[[int], None]
) -> Part:
    path = f"{data}/{part.path}" if part.path else data
    hashes = RunningHashes()
    with os_errors(path):
        try:
            with assets_dir.opened(path) as fd:
                while chunk := assets_dir.fs.pread(fd, CHUNK_BYTES, hashes.size_bytes):
                    hashes.update(chunk)
                    on_bytes(len(chunk))
        except FileNotFoundError:
            raise UnsafePathError(
                "{path} vanished from ASSETS_DIR while it was read: fetch it again", path=path
            ) from None
    return hashes.part(part.path)


def checksum_at(fs: FileSystem, fd: int, start: int, end: int, checksum: int = 0) -> int | None:
    """Return the crc64nvme of the bytes from `start` to `end`, continuing `checksum`.

    None where the file ends before they do.

    Raises:
        OSError: it cannot be read.
    """
    while start < end:
        chunk = fs.pread(fd, min(CHUNK_BYTES, end - start), start)
        if not chunk:
            return None
        checksum = checksums.crc64nvme(chunk, checksum)
        start += len(chunk)
    return checksum


def files_below(assets_dir: AssetsDir, data: str) -> tuple[Part, ...]:
    """Return the files of a version as they stand, for one that has no receipt; sizes unknown."""
    with os_errors(data):
        parts = [Part(PartPath(path)) for path in paths_below(assets_dir, data)]
    return tuple(sorted(parts, key=lambda part: part.path.encode()))


def strangers(assets_dir: AssetsDir, data: str, manifest: Manifest) -> list[PartPath]:
    """Return the files below `data` that are none of the manifest's: a program may load those too.

    Of one whose name no part may have, the folder in which it lies. A file asset has none.

    Raises:
        UnsafePathError, IoError: it cannot be read.
    """
    if manifest.kind is AssetKind.FILE:
        return []
    known = {str(part.path) for part in manifest.parts}
    with os_errors(data):
        strange = [path for path in paths_below(assets_dir, data) if path not in known]
    return sorted(set(map(_nearest, strange)), key=str.encode)


def _nearest(path: str) -> PartPath:
    while path:
        try:
            return PartPath(path)
        except InvalidPartError:
            path = path.rpartition("/")[0]
    return PartPath.of_file()
