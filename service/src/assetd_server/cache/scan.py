"""What takes room in ASSETS_DIR: a walk that reads as little as it can, for the ledger.

A version costs two calls, and a folder whose receipt has changed since it was last read the first
bytes of that; no data is read. What is found may be stale a moment later: whoever acts on it looks
again, under a lock. Knows no policy. All functions block, for one folder or one batch of versions
at a time.
"""

import errno
import os
import re
import stat
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from types import MappingProxyType

from assetd_server.cache.budget import Disk
from assetd_server.cache.layout import (
    PARTIAL,
    PARTIAL_RECEIPT,
    AssetsDir,
    PartialPaths,
    VersionPaths,
    os_errors,
)
from assetd_server.errors import AssetError, InvalidNameError, InvalidVersionError
from assetd_server.model import MARKER_NAME, AssetName
from assetd_server.versioning import Version

# Where the receipt of a folder says how large it is: `receipt.encode` writes that first, and
# `partial.encode` what is here of it.
_RECEIPT_HEAD = re.compile(rb'\{"format":\d+,"kind":"directory","size":(\d{1,18}),')
_PARTIAL_HEAD = re.compile(rb'\{"format":\d+,"present_size":(\d{1,18}),')
_RECEIPT_HEAD_BYTES = 128
_NOT_OURS = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EACCES, errno.EPERM)


@dataclass(frozen=True)
class Known:
    """What the receipt of a folder says, by an earlier look at the marker with that mtime."""

    marker_time_ns: int
    size_bytes: int
    # The mtime that the asset's folder had then; None where that is not known to have settled.
    folder_time_ns: int | None = None


_NOTHING_KNOWN: Mapping[str, Known] = MappingProxyType({})


@dataclass(frozen=True)
class Found:
    """One version that stands there. `marker_time_ns` is None where nothing marks it complete."""

    paths: VersionPaths
    size_bytes: int
    has_receipt: bool
    marked: bool
    marker_time_ns: int | None

    @property
    def key(self) -> str:
        """What the ledger knows the version by."""
        return self.paths.data


@dataclass(frozen=True)
class Folder:
    """What one folder holds: versions still to be looked at, and folders still to be walked."""

    path: str
    versions: Sequence[VersionPaths] = ()
    folders: Sequence[str] = ()
    # The mtime of the folder before it was read, and which of the versions are folders.
    mtime_ns: int = 0
    trees: Collection[str] = ()


def list_folder(assets_dir: AssetsDir, path: str) -> Folder:
    """Return what lies in a folder of ASSETS_DIR; nothing where it is gone.

    In the order of the inodes: so most file systems have them on the disk, and read them sooner.

    "" is the top of the versions, `PARTIAL` that of the partial ones.

    A folder that we may not read, such as `lost+found`, or that is a link by now holds nothing of
    ours either.

    Raises:
        IoError: the disk fails; or ASSETS_DIR itself cannot be read.
    """
    with os_errors(path or "."):
        try:
            with assets_dir.folder(path or ".") as fd:
                mtime_ns = assets_dir.fs.fstat(fd).st_mtime_ns
                entries = [
                    (entry.name, entry.is_dir(follow_symlinks=False))
                    for entry in sorted(assets_dir.fs.list_names(fd), key=os.DirEntry.inode)
                    if not entry.name.startswith(".")
                ]
        except OSError as error:
            if path and error.errno in _NOT_OURS:
                return Folder(path)
            raise
    kind, name = _asset_at(path)
    versions, folders = [], []
    for entry, is_folder in entries:
        version = _version(entry)
        if version is None and is_folder:
            folders.append(f"{path}/{entry}" if path else entry)
        elif version is not None and name is not None:
            versions.append(kind(name, version))
    trees = {entry for entry, is_folder in entries if is_folder}
    return Folder(path, versions, folders, mtime_ns, trees)


def versions_in(path: str, leaves: Iterable[str]) -> list[VersionPaths]:
    """Return the versions that `list_folder` found as these entries of the folder, in order."""
    kind, name = _asset_at(path)
    return [kind(name, Version.parse(leaf)) for leaf in leaves] if name is not None else []


def recall(folder: Folder, known: Mapping[str, Known]) -> tuple[list[Found], Folder]:
    """Return those versions that were known when the folder had the mtime that it has now.

    Nothing was added to it, removed or replaced since. Whether somebody removed the marker of a
    version that is a folder, or cut a file where it stands, only a look would tell. What is left to
    be looked at is returned as the folder's own.
    """
    found, rest = [], []
    for paths in folder.versions:
        one = known.get(paths.data)
        if one is not None and one.folder_time_ns == folder.mtime_ns:
            marked = not isinstance(paths, PartialPaths)
            found.append(Found(paths, one.size_bytes, True, marked, one.marker_time_ns))
        else:
            rest.append(paths)
    return found, replace(folder, versions=rest)


def unchanged_folders(assets_dir: AssetsDir, times: Mapping[str, int]) -> dict[str, int]:
    """Return the mtimes of those folders that have the one that is given still."""
    unchanged = {}
    for path, mtime_ns in times.items():
        with suppress(AssetError), os_errors(path or "."):
            facts = assets_dir.stat(path) if path else None
            if facts is not None and facts.st_mtime_ns == mtime_ns:
                unchanged[path] = mtime_ns
    return unchanged


def look_at(
    assets_dir: AssetsDir,
    path: str,
    versions: Sequence[VersionPaths],
    known: Mapping[str, Known] = _NOTHING_KNOWN,
    trees: Collection[str] = (),
) -> list[Found]:
    """Return what stands of these versions of one folder; what cannot be read is left out.

    The receipt of a folder that is `known`, by its key, is read only where its mtime has changed.
    Those whose names are in `trees` were folders a moment ago, which saves a look.
    """
    with (
        suppress(AssetError),
        os_errors(path),
        suppress(FileNotFoundError),
        assets_dir.folder(path) as fd,
    ):
        return list(_look(assets_dir, fd, versions, known, trees))
    return []


def _look(
    assets_dir: AssetsDir,
    folder_fd: int,
    versions: Sequence[VersionPaths],
    known: Mapping[str, Known],
    trees: Collection[str],
) -> Iterator[Found]:
    for paths in versions:
        # A link or the like: who asks for it by name is told so.
        with suppress(AssetError, OSError):
            if paths.leaf in trees and paths.data not in known:
                looked = _directory(assets_dir, folder_fd, paths)
                # Without a marker it may be gone by now.
                if looked.marker_time_ns is not None:
                    yield looked
                    continue
            facts = assets_dir.fs.lstat(folder_fd, paths.leaf)
            if stat.S_ISREG(facts.st_mode):
                yield _file(assets_dir, folder_fd, paths, facts.st_size)
            elif stat.S_ISDIR(facts.st_mode):
                yield _known_directory(
                    assets_dir, folder_fd, paths, known.get(paths.data)
                ) or _directory(assets_dir, folder_fd, paths)


def _file(assets_dir: AssetsDir, folder_fd: int, paths: VersionPaths, size_bytes: int) -> Found:
    try:
        marker = assets_dir.fs.lstat(folder_fd, paths.file_marker_leaf)
    except FileNotFoundError:
        return Found(paths, size_bytes, has_receipt=False, marked=False, marker_time_ns=None)
    return Found(
        paths,
        size_bytes,
        has_receipt=marker.st_size > 0,
        marked=True,
        marker_time_ns=marker.st_mtime_ns,
    )


def _known_directory(
    assets_dir: AssetsDir, folder_fd: int, paths: VersionPaths, known: Known | None
) -> Found | None:
    if known is None:
        return None
    try:
        marker = assets_dir.fs.lstat(folder_fd, f"{paths.leaf}/{MARKER_NAME}")
    except FileNotFoundError:
        return None
    if marker.st_mtime_ns != known.marker_time_ns or not stat.S_ISREG(marker.st_mode):
        return None
    return Found(paths, known.size_bytes, True, True, marker.st_mtime_ns)


def _directory(assets_dir: AssetsDir, folder_fd: int, paths: VersionPaths) -> Found:
    is_partial = isinstance(paths, PartialPaths)
    leaf, head = (PARTIAL_RECEIPT, _PARTIAL_HEAD) if is_partial else (MARKER_NAME, _RECEIPT_HEAD)
    marker, size_bytes = _read_head(assets_dir, folder_fd, f"{paths.leaf}/{leaf}", head)
    has_receipt = size_bytes is not None
    if size_bytes is None:
        size_bytes = _walked_size(assets_dir, paths.data)
    return Found(
        paths,
        size_bytes,
        has_receipt=has_receipt,
        marked=marker is not None and not is_partial,
        marker_time_ns=marker.st_mtime_ns if marker else None,
    )


def _read_head(
    assets_dir: AssetsDir, folder_fd: int, marker: str, expected: re.Pattern[bytes]
) -> tuple[os.stat_result | None, int | None]:
    """Return the marker's facts, and the size that it states where it is a receipt."""
    fs = assets_dir.fs
    try:
        fd = fs.open(folder_fd, marker, os.O_RDONLY)
    except FileNotFoundError:
        return None, None
    try:
        facts = fs.fstat(fd)
        head = fs.pread(fd, _RECEIPT_HEAD_BYTES, 0) if facts.st_size else b""
    finally:
        fs.close(fd)
    match = expected.match(head)
    return facts, int(match[1]) if match else None


def _walked_size(assets_dir: AssetsDir, data: str) -> int:
    total = 0
    for path in paths_below(assets_dir, data):
        facts = assets_dir.stat(f"{data}/{path}")
        total += facts.st_size if facts else 0
    return total


def paths_below(assets_dir: AssetsDir, data: str, below: str = "") -> Iterator[str]:
    """Yield the path of each file below `data`, in no order; names may be such that no part has.

    Raises:
        OSError: it cannot be read.
    """
    try:
        with assets_dir.folder(f"{data}/{below}".rstrip("/")) as fd:
            entries = [
                (entry.name, entry.is_dir(follow_symlinks=False))
                for entry in assets_dir.fs.list_names(fd)
            ]
    except (FileNotFoundError, NotADirectoryError):
        return  # somebody deleted by hand
    for name, is_folder in entries:
        path = f"{below}{name}"
        if is_folder:
            yield from paths_below(assets_dir, data, f"{path}/")
        elif path != MARKER_NAME:
            yield path


def _asset_at(path: str) -> tuple[type[VersionPaths], AssetName | None]:
    """Return whose versions lie in a folder, if anybody's, and where those stand."""
    if path == PARTIAL or path.startswith(f"{PARTIAL}/"):
        return PartialPaths, _asset_name(path.removeprefix(PARTIAL).removeprefix("/"))
    return VersionPaths, _asset_name(path)


def _asset_name(path: str) -> AssetName | None:
    try:
        return AssetName(path) if path else None
    except InvalidNameError:
        return None


def _version(text: str) -> Version | None:
    # Most names are no version, and an error costs more than this look.
    if not text[0].isdigit():
        return None
    try:
        return Version.parse(text)
    except InvalidVersionError:
        return None


def disk_of(assets_dir: AssetsDir) -> Disk:
    """Return what the disk of ASSETS_DIR has and has free now.

    Raises:
        IoError: it cannot be asked.
    """
    with os_errors("."):
        return Disk(assets_dir.total_bytes(), assets_dir.free_bytes())
