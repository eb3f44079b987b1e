"""The start of a run: take the directory, finish what a dead run left half done.

What an eviction had begun is finished, the trash emptied. Staging keeps what a later flight can go
on from, until it is swept by age; the tree itself is the state, and is not walked (`layout.md`,
"Start"). Knows no store.
"""

from contextlib import suppress
from dataclasses import dataclass

from assetd_server.cache.evict import finish_evictions
from assetd_server.cache.layout import (
    PARTIAL,
    PUSH,
    PUSH_SPOOL,
    STAGING,
    TRASH,
    AssetsDir,
    os_errors,
)
from assetd_server.cache.leases import leases_are_kept
from assetd_server.cache.lookup import Lookup
from assetd_server.cache.scan import list_folder
from assetd_server.cache.staging import delete_worthless
from assetd_server.errors import DiskFullError, ReadOnlyError


@dataclass(frozen=True)
class Recovered:
    """What a run may count on: a directory that can be written, locks that others see."""

    writable: bool
    leases_trusted: bool


def recover(assets_dir: AssetsDir, *, with_store: bool = True) -> Recovered:
    """Make ASSETS_DIR ready for a run and tell what may be done with it.

    Runs once, under the instance lock, before the first request. What a dead run published but did
    not sync becomes durable; of what it staged interrupted downloads stay; what it was about to
    evict goes, where a store could give it back (`with_store`). On a read-only ASSETS_DIR nothing
    is done: hits work, misses are refused with READ_ONLY.
    """
    with suppress(ReadOnlyError), os_errors("."):
        assets_dir.fs.syncfs(assets_dir.fd)
        if with_store:
            finish_evictions(assets_dir, Lookup(assets_dir))
        delete_worthless(assets_dir)
        for folder in (TRASH, PUSH_SPOOL):
            assets_dir.remove_tree(folder)
        _remove_empty_folders(assets_dir, PARTIAL)
        # On a full disk there is no room for these either; hits work, and deleting may help.
        with suppress(DiskFullError):
            for folder in (STAGING, TRASH, PUSH):
                _make(assets_dir, folder)
        return Recovered(True, leases_are_kept(assets_dir))
    return Recovered(False, False)


def _remove_empty_folders(assets_dir: AssetsDir, path: str) -> None:
    """Remove the folders of assets below `path` that have no partial version any more.

    Only here: later somebody who fetches may be about to use one.
    """
    folders = list_folder(assets_dir, path).folders
    for folder in folders:
        _remove_empty_folders(assets_dir, folder)
    if folders:
        with os_errors(path), assets_dir.folder(path) as fd:
            for folder in folders:
                with suppress(OSError):
                    assets_dir.fs.rmdir(fd, folder.rpartition("/")[2])


def _make(assets_dir: AssetsDir, folder: str) -> None:
    with os_errors(folder), assets_dir.ensured_folder(folder):
        pass
