"""What lies among the parts of a partial version and counts for nothing: its deletion.

Knows no receipt: whoever calls says which paths they are, and that nobody uses them.
"""

import errno
from collections.abc import Callable

from assetd_server.cache.layout import AssetsDir


def delete_below(assets_dir: AssetsDir, folder: str, is_litter: Callable[[str], bool]) -> None:
    """Delete the files below `folder` whose path from there is litter, and folders that are empty.

    A folder that is not there has none. Never follows a link. Blocks.

    Raises:
        OSError: some of it stays.
    """
    _delete(assets_dir, folder, "", is_litter)


def _delete(
    assets_dir: AssetsDir, folder: str, below: str, is_litter: Callable[[str], bool]
) -> None:
    try:
        with assets_dir.folder(f"{folder}/{below}".rstrip("/")) as fd:
            for entry in assets_dir.fs.list_names(fd):
                path = f"{below}{entry.name}"
                if entry.is_dir(follow_symlinks=False):
                    _delete(assets_dir, folder, f"{path}/", is_litter)
                    _remove_empty(assets_dir, fd, entry.name)
                elif is_litter(path):
                    assets_dir.fs.unlink(fd, entry.name)
    except FileNotFoundError:
        return  # somebody deleted by hand


def _remove_empty(assets_dir: AssetsDir, dir_fd: int, leaf: str) -> None:
    try:
        assets_dir.fs.rmdir(dir_fd, leaf)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT, errno.EROFS):
            raise
