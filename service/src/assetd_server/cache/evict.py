"""From the final path into the trash: the steps of an eviction, in the order that keeps promises.

The order is the protocol of `layout.md` ("Evict"), which `docs/models/cache_model.py` explores:
change the model before the code. Whether a version may go (pins, age, the store's word, a hold
inside the daemon) is decided before; here it is only made sure that nobody holds a lease. All
functions block, and never wait for a lock: flock is not fair.
"""

import os
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum

from assetd_server.cache.layout import TRASH, AssetsDir, VersionPaths, os_errors
from assetd_server.cache.leases import exclusive
from assetd_server.cache.lookup import Lookup, Standing
from assetd_server.cache.publish import ModelkitLock, try_modelkit_lock
from assetd_server.cache.receipt import Marker
from assetd_server.errors import AssetError, AssetInUseError, DiskFullError, UnsafePathError
from assetd_server.model import AssetKind, AssetName
from assetd_server.versioning import Version

# What tells the next start that the data of a file was about to follow its marker.
_INTENT = ".evict"
_MAX_INTENT_BYTES = 4096


class Outcome(Enum):
    """What became of a version."""

    EVICTED = "evicted"
    LEASED = "leased"
    LOCKED = "locked"  # modelkit is at work on the asset
    KEPT = "kept"  # absent, or not ours to remove: no receipt stands there


@dataclass(frozen=True)
class Evicted:
    """The outcome, and what of it lies in the trash now, to be deleted."""

    outcome: Outcome
    trash: str = ""


def evict(
    assets_dir: AssetsDir,
    lookup: Lookup,
    paths: VersionPaths,
    is_wanted: Callable[[Standing], bool] = lambda _standing: True,
) -> Evicted:
    """Move a version into the trash, if nobody holds a lease on it. The caller has it exclusively.

    With EVICTED it is gone for whoever looks, and stays gone after a power cut; files that somebody
    has open can be read on. `is_wanted` has the last word on what stands there.

    Raises:
        ReadOnlyError, UnsafePathError, IoError: the version may be gone or not, never in part.
    """
    lock = try_modelkit_lock(assets_dir, paths)
    if lock is None:
        return Evicted(Outcome.LOCKED)
    try:
        return _evict_locked(assets_dir, lookup, paths, is_wanted)
    finally:
        lock.release()


def _evict_locked(
    assets_dir: AssetsDir,
    lookup: Lookup,
    paths: VersionPaths,
    is_wanted: Callable[[Standing], bool],
) -> Evicted:
    def may_go(standing: Standing) -> bool:
        return standing.marker is Marker.RECEIPT and is_wanted(standing)

    if not may_go(lookup.look(paths)):
        return Evicted(Outcome.KEPT)
    with os_errors(paths.data):
        try:
            with exclusive(assets_dir, paths):
                # Somebody may have put another version there before the lock.
                standing = lookup.look(paths)
                if not may_go(standing):
                    return Evicted(Outcome.KEPT)
                return Evicted(Outcome.EVICTED, _remove(assets_dir, paths, standing.kind))
        except AssetInUseError:
            return Evicted(Outcome.LEASED)


def _remove(assets_dir: AssetsDir, paths: VersionPaths, kind: AssetKind | None) -> str:
    aside = f"{paths.key}.{uuid.uuid4().hex}"
    fs = assets_dir.fs
    with assets_dir.folder(paths.folder) as folder, assets_dir.ensured_folder(TRASH) as trash:
        if kind is AssetKind.FILE:
            # A full disk is what evictions are for: there they have to do without.
            with suppress(DiskFullError), os_errors(TRASH):
                _write_intent(assets_dir, paths, aside)
            try:
                fs.unlink(folder, paths.file_marker_leaf)
            except OSError:
                _drop_intent(assets_dir, trash, aside)
                raise
            # Never a marker without data, whatever part of this a power cut leaves.
            fs.fsync(folder)
        fs.rename(folder, paths.leaf, trash, aside)
        fs.fsync(folder)
        fs.fsync(trash)
        if kind is AssetKind.FILE:
            _drop_intent(assets_dir, trash, aside)
    return f"{TRASH}/{aside}"


def _write_intent(assets_dir: AssetsDir, paths: VersionPaths, aside: str) -> None:
    """Say, unsynced, what is about to happen: after a kill the next start finishes it.

    A power cut may take this away: then the data stays without a marker, until it is fetched.
    """
    facts = assets_dir.stat(paths.data)
    inode = facts.st_ino if facts else 0
    with assets_dir.opened(f"{TRASH}/{aside}{_INTENT}", os.O_WRONLY | os.O_CREAT | os.O_EXCL) as fd:
        text = f"{inode} {paths.version} {paths.name}\n"
        assets_dir.fs.pwritev(fd, [text.encode()], 0)


def _drop_intent(assets_dir: AssetsDir, trash: int, aside: str) -> None:
    # What cannot be deleted now goes at the next start, and misleads nobody there.
    with suppress(OSError):
        assets_dir.fs.unlink(trash, aside + _INTENT)


def finish_evictions(assets_dir: AssetsDir, lookup: Lookup) -> None:
    """Move the data into the trash whose marker an eviction removed before it was killed.

    Runs at the start, before the trash is emptied. What is not exactly what the eviction left
    (somebody wrote there, marked it, or holds it) stays as it is.

    Raises:
        ReadOnlyError, IoError.
    """
    # A link for the trash, or on the way to a version: nothing of ours lies there.
    with suppress(UnsafePathError), os_errors(TRASH):
        try:
            with assets_dir.folder(TRASH) as fd:
                names = [entry.name for entry in assets_dir.fs.list_names(fd)]
        except FileNotFoundError:
            return
        for name in names:
            if name.endswith(_INTENT):
                with suppress(UnsafePathError), os_errors(TRASH):
                    _finish(assets_dir, lookup, f"{TRASH}/{name}")


def _finish(assets_dir: AssetsDir, lookup: Lookup, intent: str) -> None:
    read = _read_intent(assets_dir, intent)
    if read is None:
        return
    paths, inode = read
    lock: ModelkitLock | None = None
    # No room for modelkit's lock is no reason not to start.
    with suppress(DiskFullError):
        lock = try_modelkit_lock(assets_dir, paths)
    if lock is None:
        return
    try:
        facts = assets_dir.stat(paths.data)
        half_done = lookup.look(paths).marker is Marker.ABSENT
        if facts is None or facts.st_ino != inode or not half_done:
            return
        name = intent.rpartition("/")[2].removesuffix(_INTENT)
        with (
            suppress(AssetInUseError),
            exclusive(assets_dir, paths),
            assets_dir.folder(paths.folder) as folder,
            assets_dir.folder(TRASH) as trash,
        ):
            assets_dir.fs.rename(folder, paths.leaf, trash, name)
            assets_dir.fs.fsync(folder)
    finally:
        lock.release()


def _read_intent(assets_dir: AssetsDir, intent: str) -> tuple[VersionPaths, int] | None:
    try:
        content = assets_dir.read_small(intent, _MAX_INTENT_BYTES) or b""
        inode, version, name = content.decode().rstrip("\n").split(" ", 2)
        return VersionPaths(AssetName(name), Version.parse(version)), int(inode)
    except (AssetError, ValueError):
        return None  # torn by a power cut


def empty_trash(assets_dir: AssetsDir, trash: str) -> None:
    """Delete what an eviction put into the trash. What fails is tried again at the next start."""
    with suppress(AssetError), os_errors(trash):
        assets_dir.remove_tree(trash)
