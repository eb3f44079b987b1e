"""The daemon without fsync, to see what durability costs. Never for use.

Run as `python -m bench.undurable` in the environment of a daemon. Its answers do not survive a
power cut, as those of any downloader do not that never syncs.
"""

from assetd_server.app import serve
from assetd_server.cache.linux import FileSystem


class UndurableFileSystem(FileSystem):
    """The real calls, but nothing is ever waited for to reach the disk."""

    def fsync(self, fd: int) -> None:
        """Return at once."""

    def syncfs(self, fd: int) -> None:
        """Return at once."""


if __name__ == "__main__":
    serve({}, UndurableFileSystem())
