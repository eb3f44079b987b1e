"""What stands in ASSETS_DIR: look, decide whether it is a hit, list versions and names.

A hit is our receipt with data of the receipt's sizes (`layout.md`, "A hit"). Only reads, but for
the fsync that makes a hit durable before its first answer in a run. Knows no store.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache

from assetd_server.cache.hashing import files_below
from assetd_server.cache.layout import AssetsDir, VersionPaths, os_errors
from assetd_server.cache.receipt import MAX_RECEIPT_BYTES, Marker, Receipt, decode_marker
from assetd_server.errors import InvalidNameError, InvalidVersionError, ReadOnlyError
from assetd_server.manifest import Manifest, Part
from assetd_server.model import MARKER_NAME, AssetKind, AssetName, PartPath
from assetd_server.versioning import Version

# Each folder of a directory with its inode and mtime; of a file none.
Stamps = frozenset[tuple[str, tuple[int, int]]]
_RECEIPTS_KEPT = 256
_WHOLE_FILE = Part(PartPath.of_file())


@dataclass(frozen=True)
class Standing:
    """What stands at a version's final path. `kind` is None where no data stands there."""

    kind: AssetKind | None
    marker: Marker
    receipt: Receipt | None = None
    marker_time_ns: int = 0

    @property
    def complete(self) -> bool:
        """Whether modelkit would serve it: data and a marker, its own or ours."""
        return self.kind is not None and self.marker is not Marker.ABSENT


ABSENT = Standing(None, Marker.ABSENT)


class Lookup:
    """Answers what the cache holds; remembers, for one run, which versions it has checked."""

    def __init__(self, assets_dir: AssetsDir) -> None:
        self._dir = assets_dir
        self._checked: dict[str, Stamps] = {}
        # The receipt of a folder of thousands of files takes longer to read than all else of a hit.
        self._decoded = lru_cache(_RECEIPTS_KEPT)(self._decode)

    def look(self, paths: VersionPaths) -> Standing:
        """Return what stands there now, sizes unchecked.

        Raises:
            UnsafePathError: a link or a special file stands there, or on the way.
        """
        with os_errors(paths.data):
            kind = self._kind(paths)
            if kind is None:
                return ABSENT
            marker, receipt = self._marker(paths.marker(kind))
            if receipt is not None and receipt.manifest.kind is not kind:
                marker, receipt = Marker.FOREIGN, None
            return Standing(kind, marker, receipt)

    def _marker(self, path: str) -> tuple[Marker, Receipt | None]:
        facts = self._dir.stat(path)
        if facts is None:
            return Marker.ABSENT, None
        # A marker is only ever replaced as a whole, by another inode.
        return self._decoded(path, facts.st_ino, facts.st_mtime_ns, facts.st_size)

    def _decode(self, path: str, *_stamp: int) -> tuple[Marker, Receipt | None]:
        return decode_marker(self._dir.read_small(path, MAX_RECEIPT_BYTES))

    def hit(self, paths: VersionPaths) -> Receipt | None:
        """Return the receipt where the version is whole by it, durable; else None.

        The first hit of a version in a run syncs marker and folders before it returns: the run
        before this one may have died between its rename and its sync.

        Raises:
            UnsafePathError: a link stands there, or ASSETS_DIR was taken away.
        """
        self._dir.require_in_place()
        receipt = self.look(paths).receipt
        with os_errors(paths.data):
            if receipt is None or not self._stands_checked(paths, receipt):
                self._checked.pop(paths.data, None)
                return None
        return receipt

    def is_whole(self, paths: VersionPaths, kind: AssetKind, parts: tuple[Part, ...]) -> bool:
        """Tell whether data of this kind stands there with each part of the size that it states."""
        with os_errors(paths.data):
            if self._kind(paths) is not kind:
                return False
            return all(
                has_size(self._dir, paths.part(part.path), part.size_bytes) for part in parts
            )

    def stands(self, path: str) -> bool:
        """Tell whether a plain file or folder stands at `path` below ASSETS_DIR.

        Raises:
            UnsafePathError: a link or a special file stands there, or on the way.
        """
        with os_errors(path):
            facts = self._dir.stat(path)
            if facts is not None:
                _is_folder(facts)
            return facts is not None

    def stamps(self, data: str, receipt: Receipt) -> Stamps:
        """Return the stamps of a version at `data`: deleting or adding an entry changes one."""
        if receipt.manifest.kind is AssetKind.FILE:
            return frozenset()
        stamps = set()
        for folder in _folders(receipt.manifest.parts):
            facts = self._dir.stat(f"{data}/{folder}" if folder else data)
            stamps.add((str(folder), (facts.st_ino, facts.st_mtime_ns) if facts else (0, 0)))
        return frozenset(stamps)

    def trust(self, paths: VersionPaths, stamps: Stamps) -> None:
        """Remember a version that was published and synced a moment ago.

        The stamps are from before it was shown: what was deleted in it since then is noticed.
        """
        self._checked[paths.data] = stamps

    def versions(self, name: AssetName, *, unmarked: bool) -> list[Version]:
        """Return the versions that stand in the asset's folder, in no order.

        With `unmarked` data without a marker counts too, as modelkit counts it without a store.
        """
        with os_errors(name):
            versions = versions_in(self._dir, name)
        if unmarked:
            return versions
        return [v for v in versions if self.look(VersionPaths(name, v)).complete]

    def unmarked_manifest(self, paths: VersionPaths) -> Manifest:
        """Return what stands at the final path as a manifest, for a version without our receipt.

        Its push time is the mtime of the data; no part has a checksum.

        Raises:
            UnsafePathError: nothing, a link or a special file stands there.
        """
        with os_errors(paths.data):
            facts = self._dir.stat(paths.data)
            if facts is None:
                raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
            is_folder = _is_folder(facts)
            files = files_below(self._dir, paths.data) if is_folder else (_WHOLE_FILE,)
            return Manifest(
                kind=AssetKind.DIRECTORY if is_folder else AssetKind.FILE,
                push_time=datetime.fromtimestamp(facts.st_mtime, UTC),
                parts=tuple(self._with_size(paths, part) for part in files),
            )

    def _with_size(self, paths: VersionPaths, part: Part) -> Part:
        facts = self._dir.stat(paths.part(part.path))
        return replace(part, size_bytes=facts.st_size if facts else 0)

    def names(self, prefix: str = "") -> Iterator[AssetName]:
        """Yield the names of all assets of which data stands here, in bytewise order."""
        with os_errors(prefix or "."):
            yield from sorted(name for name in names_in(self._dir) if name.startswith(prefix))

    def _kind(self, paths: VersionPaths) -> AssetKind | None:
        facts = self._dir.stat(paths.data)
        if facts is None:
            return None
        return AssetKind.DIRECTORY if _is_folder(facts) else AssetKind.FILE

    def _stands_checked(self, paths: VersionPaths, receipt: Receipt) -> bool:
        manifest = receipt.manifest
        if manifest.kind is AssetKind.FILE:
            if not self.is_whole(paths, manifest.kind, manifest.parts):
                return False
            if paths.data not in self._checked:
                self._settle(paths, receipt)
                self._checked[paths.data] = frozenset()
            return True
        # Before the sizes are looked at: what is deleted after that look changes a stamp.
        stamps = self.stamps(paths.data, receipt)
        if self._checked.get(paths.data) == stamps:
            return True
        if not self.is_whole(paths, manifest.kind, manifest.parts):
            return False
        self._settle(paths, receipt)
        self._checked[paths.data] = stamps
        return True

    def _settle(self, paths: VersionPaths, receipt: Receipt) -> None:
        # On a read-only mount nothing can be pending of ours, and fsync may be refused.
        with suppress(ReadOnlyError), os_errors(paths.data):
            self._dir.fsync(paths.marker(receipt.manifest.kind))
            if receipt.manifest.kind is AssetKind.DIRECTORY:
                self._dir.fsync(paths.data)
            self._dir.fsync(paths.folder)


def has_size(assets_dir: AssetsDir, path: str, size_bytes: int | None) -> bool:
    """Tell whether a plain file of that size stands at `path`."""
    facts = assets_dir.stat(path)
    return facts is not None and stat.S_ISREG(facts.st_mode) and facts.st_size == size_bytes


def names_in(assets_dir: AssetsDir, root: str = "", folder: str = "") -> Iterator[AssetName]:
    """Yield the names of all assets of which versions stand below `root`, in no order."""
    try:
        with assets_dir.folder("/".join(filter(None, (root, folder))) or ".") as fd:
            entries = [
                (entry.name, entry.is_dir(follow_symlinks=False))
                for entry in assets_dir.fs.list_names(fd)
                if not entry.name.startswith(".")
            ]
    except (FileNotFoundError, NotADirectoryError):
        # An operator may delete by hand at any time.
        return
    except PermissionError:
        # `lost+found`, or another folder that is none of ours; but ASSETS_DIR has to be readable.
        if folder:
            return
        raise
    if folder and any(_version(name) for name, _ in entries):
        with suppress(InvalidNameError):
            yield AssetName(folder)
    for name, is_folder in entries:
        if is_folder and _version(name) is None:
            yield from names_in(assets_dir, root, f"{folder}/{name}" if folder else name)


def versions_in(assets_dir: AssetsDir, folder: str) -> list[Version]:
    """Return the versions that have an entry in an asset's folder, in no order."""
    try:
        with assets_dir.folder(folder) as fd:
            # A link or a device is no version; whoever asks for it by name is told so.
            names = [
                entry.name
                for entry in assets_dir.fs.list_names(fd)
                if entry.is_dir(follow_symlinks=False) or entry.is_file(follow_symlinks=False)
            ]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [version for text in names if (version := _version(text))]


def _folders(parts: tuple[Part, ...]) -> set[PartPath]:
    folders = {PartPath.of_file()}
    for part in parts:
        above = part.path
        while "/" in above:
            above = PartPath(above.rpartition("/")[0])
            folders.add(above)
    return folders


def _is_folder(facts: os.stat_result) -> bool:
    if stat.S_ISREG(facts.st_mode) or stat.S_ISDIR(facts.st_mode):
        return stat.S_ISDIR(facts.st_mode)
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))


def _version(text: str) -> Version | None:
    if text == MARKER_NAME:
        return None
    try:
        return Version.parse(text)
    except InvalidVersionError:
        return None
