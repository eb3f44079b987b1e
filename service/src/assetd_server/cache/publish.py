"""From staging to the final path: fsync and rename, in the order that survives power loss.

The order of the steps is the protocol of `layout.md` ("Fetch", 2 to 5); a model of it was searched
exhaustively, so change the model before the code. The final path never holds partial data, and
nothing at it is ever written in place. Needs modelkit's lock, which `ModelkitLock` takes. All
methods block.
"""

import errno
import fcntl
import os
import uuid

from assetd_server.cache.ingest import DATA, RECEIPT, StagedVersion, write_new
from assetd_server.cache.layout import (
    STAGING,
    TRASH,
    AssetsDir,
    VersionPaths,
    os_errors,
    try_flock,
)
from assetd_server.cache.leases import close_lock, exclusive, same_inode
from assetd_server.cache.linux import is_unknown_call, rename_new
from assetd_server.cache.lookup import Lookup
from assetd_server.cache.receipt import Marker, Receipt
from assetd_server.errors import UnsafePathError
from assetd_server.model import AssetKind


class ModelkitLock:
    """The lock that modelkit holds while it fetches a version of an asset; ours around publish."""

    def __init__(self, assets_dir: AssetsDir, fd: int | None) -> None:
        self._dir = assets_dir
        self._fd = fd

    def release(self) -> None:
        """Let modelkit go on. Idempotent. The file stays: unlinking a lock breaks it."""
        fd, self._fd = self._fd, None
        if fd is not None:
            close_lock(self._dir.fs, fd)


def try_modelkit_lock(assets_dir: AssetsDir, paths: VersionPaths) -> ModelkitLock | None:
    """Return modelkit's lock of the asset, or None where somebody has it.

    Some versions of the filelock library unlink the file on release, so a lock counts only while
    its file is still the one at the path.
    """
    path = paths.modelkit_lock
    if path is None:
        return ModelkitLock(assets_dir, None)
    with os_errors(path):
        with assets_dir.ensured_folder(path.rpartition("/")[0]):
            pass
        while True:
            fd = assets_dir.fs.open(assets_dir.fd, path, os.O_RDWR | os.O_CREAT)
            try:
                locked = try_flock(assets_dir.fs, fd, fcntl.LOCK_EX)
                if locked and same_inode(assets_dir, fd, path):
                    return ModelkitLock(assets_dir, fd)
            except BaseException:
                assets_dir.fs.close(fd)
                raise
            assets_dir.fs.close(fd)
            if not locked:
                return None


class Publisher:
    """Shows staged versions at their final paths, and marks whole data that stands there."""

    def __init__(self, assets_dir: AssetsDir, lookup: Lookup) -> None:
        self._dir = assets_dir
        self._fs = assets_dir.fs
        self._lookup = lookup

    def adopt(self, paths: VersionPaths, receipt: Receipt) -> None:
        """Mark data that stands whole at the final path as ours. Holds modelkit's lock.

        The first hit looks at all of it: somebody may have deleted in it since it was looked at.

        Raises:
            UnsafePathError: a later release of assetd marked it, or ASSETS_DIR was taken away.
            DiskFullError, IoError: nothing changed.
        """
        self._dir.require_in_place()
        self._refuse_newer(paths)
        with os_errors(paths.data):
            # modelkit does not fsync what it downloads, and we do not know which files it wrote.
            self._fs.syncfs(self._dir.fd)
            self._write_receipt(paths, receipt)

    def publish(self, staged: StagedVersion, receipt: Receipt) -> None:
        """Show a sealed version, in place of whatever stands there. Holds modelkit's lock.

        On return the version survives a power cut.

        Raises:
            AssetInUseError: what stands there is leased; it is untouched.
            UnsafePathError: a link stands there, a later release of assetd marked it, or ASSETS_DIR
                was taken away.
            DiskFullError, IoError: not acknowledged; the next fetch looks anew.
        """
        paths = staged.paths
        self._dir.require_in_place()
        self._refuse_newer(paths)
        staged.close()
        with os_errors(paths.data):
            # Once it is shown, somebody may delete in it. No rename changes what is inside.
            stamps = self._lookup.stamps(staged.data, receipt)
            if staged.kind is AssetKind.FILE and not self._is_folder(paths):
                self._replace_file(staged)
            else:
                self._place(staged)
            if staged.kind is AssetKind.FILE:
                self._rename_receipt(paths, f"{staged.folder}/{RECEIPT}")
            else:
                self._drop_file_marker(paths)
            self._dir.remove_tree(staged.folder)
        self._lookup.trust(paths, stamps)

    def _is_folder(self, paths: VersionPaths) -> bool:
        return self._lookup.look(paths).kind is AssetKind.DIRECTORY

    def _refuse_newer(self, paths: VersionPaths) -> None:
        if self._lookup.look(paths).marker is Marker.NEWER:
            raise UnsafePathError(
                "{name}:{version} was stored by a later release of assetd, and is left alone:"
                " remove it by hand, or run that release",
                name=paths.name,
                version=paths.version,
            )

    def _replace_file(self, staged: StagedVersion) -> None:
        paths = staged.paths
        with (
            self._dir.folder(staged.folder) as source,
            self._dir.durable_folder(paths.folder) as target,
            exclusive(self._dir, paths),
        ):
            self._fs.rename(source, DATA, target, paths.leaf)
            # The receipt comes after, and may survive a power cut that the rename does not.
            self._fs.fsync(target)

    def _place(self, staged: StagedVersion) -> None:
        """Rename a tree (or a file where a tree stands) to the final path, or exchange the two."""
        paths = staged.paths
        aside = f"{paths.key}.{uuid.uuid4().hex}"
        with (
            self._dir.folder(staged.folder) as source,
            self._dir.durable_folder(paths.folder) as target,
        ):
            try:
                rename_new(self._fs, source, DATA, target, paths.leaf)
            except FileExistsError:
                self._exchange(paths, source, target, aside)
            self._fs.fsync(target)
        # Only now: a power cut before the sync can undo the exchange, and brings back the old tree,
        # of which nothing may have been deleted.
        self._dir.remove_tree(f"{TRASH}/{aside}")

    def _exchange(self, paths: VersionPaths, source: int, target: int, aside: str) -> None:
        # By way of the trash: a kill after the exchange leaves the old tree where the next start
        # deletes it, not in staging, where a later fetch might take it for its own.
        with exclusive(self._dir, paths), self._dir.ensured_folder(TRASH) as trash:
            self._fs.rename(source, DATA, trash, aside)
            try:
                self._swap(paths, trash, aside, target)
            except (OSError, UnsafePathError):
                # What lies in the trash is still the staged tree, which nobody else would delete.
                self._dir.remove_tree(f"{TRASH}/{aside}")
                raise

    def _swap(self, paths: VersionPaths, trash: int, aside: str, target: int) -> None:
        try:
            self._fs.rename_exchange(trash, aside, target, paths.leaf)
        except FileNotFoundError:
            rename_new(self._fs, trash, aside, target, paths.leaf)
        except OSError as error:
            if not is_unknown_call(error):
                raise
            # Two renames would show nothing between them, and lose both to a power cut.
            raise UnsafePathError(
                "the file system of ASSETS_DIR cannot replace {path} in one step ({error}): move it"
                " away when nobody uses it, and fetch again; nothing was touched",
                path=paths.data,
                error=errno.errorcode[error.errno or 0],
            ) from error

    def _write_receipt(self, paths: VersionPaths, receipt: Receipt) -> None:
        folder = f"{STAGING}/{paths.key}"
        self._dir.staging_keys.begin(paths.key)
        try:
            with self._dir.ensured_folder(folder):
                write_new(self._dir, f"{folder}/{RECEIPT}", receipt.encode())
            self._rename_receipt(paths, f"{folder}/{RECEIPT}", receipt.manifest.kind)
        finally:
            self._dir.staging_keys.end(paths.key)
            self._dir.remove_tree(folder)

    def _rename_receipt(
        self, paths: VersionPaths, receipt_path: str, kind: AssetKind = AssetKind.FILE
    ) -> None:
        """Put the receipt over whatever marker stands there; never unlink the old one first."""
        from_folder, _, leaf = receipt_path.rpartition("/")
        to_folder, _, marker_leaf = paths.marker(kind).rpartition("/")
        with self._dir.folder(from_folder) as source, self._dir.folder(to_folder) as target:
            self._fs.rename(source, leaf, target, marker_leaf)
            self._fs.fsync(target)
        if to_folder != paths.folder:
            self._dir.fsync(paths.folder)

    def _drop_file_marker(self, paths: VersionPaths) -> None:
        """Remove the marker of a file that stood where a directory stands now."""
        with self._dir.folder(paths.folder) as fd:
            try:
                self._fs.unlink(fd, paths.file_marker_leaf)
            except FileNotFoundError:
                return
            self._fs.fsync(fd)
