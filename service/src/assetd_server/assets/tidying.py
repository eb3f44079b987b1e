"""Deletes from partial versions what growths have left there that were killed, or failed.

Nobody waits for it: a start walks no version, and what lies there counts for nothing meanwhile but
its bytes. Blocking work runs in threads.
"""

from assetd_server.assets.ledger import Ledger
from assetd_server.assets.shielding import to_the_end
from assetd_server.assets.threads import Threads
from assetd_server.assets.uses import Uses
from assetd_server.cache.layout import PartialPaths
from assetd_server.cache.partial import PartialVersions
from assetd_server.errors import UnsafePathError


class Tidying:
    """Tidies the partial versions of one ASSETS_DIR."""

    def __init__(
        self, versions: PartialVersions, ledger: Ledger, uses: Uses, disk: Threads
    ) -> None:
        self._versions = versions
        self._ledger = ledger
        self._uses = uses
        self._disk = disk

    async def run(self) -> None:
        """Tidy what nobody uses and was not tidied since it last grew.

        Raises:
            ReadOnlyError, IoError: the rest is left to the next call.
        """
        for paths in await self._disk.run(self._versions.untidied):
            await to_the_end(self._tidy(paths))

    async def _tidy(self, paths: PartialPaths) -> None:
        with self._uses.exclusive(paths.data) as ours:
            if not ours:
                return
            try:
                stands = await self._disk.run(self._versions.tidy, paths)
            except UnsafePathError:
                return  # a link: whoever fetches is told so, and others wait for no operator
            if not stands:
                self._ledger.gone(paths)
