"""The start of a run: take the directory, finish what a dead run left half done.

Trash is emptied. Staging keeps what a later flight can go on from, until it is swept by age; the
tree itself is the state, and is not walked (`layout.md`, "Start"). Knows no store.
"""

from contextlib import suppress

from assetd_server.cache.layout import PUSH, STAGING, TRASH, AssetsDir, os_errors
from assetd_server.cache.staging import delete_worthless
from assetd_server.errors import DiskFullError, ReadOnlyError


def recover(assets_dir: AssetsDir) -> bool:
    """Make ASSETS_DIR ready for a run and tell whether it can be written.

    Runs once, under the instance lock, before the first request. What a dead run published but did
    not sync becomes durable; of what it staged interrupted downloads stay. On a read-only
    ASSETS_DIR nothing is done: hits work, misses are refused with READ_ONLY.
    """
    with suppress(ReadOnlyError), os_errors("."):
        assets_dir.fs.syncfs(assets_dir.fd)
        delete_worthless(assets_dir)
        for folder in (TRASH, PUSH):
            assets_dir.remove_tree(folder)
        # On a full disk there is no room for these either; hits work, and deleting may help.
        with suppress(DiskFullError):
            for folder in (STAGING, TRASH, PUSH):
                _make(assets_dir, folder)
        return True
    return False


def _make(assets_dir: AssetsDir, folder: str) -> None:
    with os_errors(folder), assets_dir.ensured_folder(folder):
        pass
