"""Deletes what of partial versions is of no use: torn growths, and what is here a second time.

A growth that was killed, or failed, leaves parts that count for nothing; a whole version that comes
has all parts itself. Nobody waits for either: all they cost is their bytes. Blocking work runs in
threads.
"""

from contextlib import suppress

from assetd_server.assets.ledger import Ledger
from assetd_server.assets.shielding import to_the_end
from assetd_server.assets.threads import Threads
from assetd_server.assets.uses import Uses
from assetd_server.cache.evict import Outcome, empty_trash
from assetd_server.cache.layout import AssetsDir, PartialPaths, VersionPaths
from assetd_server.cache.lookup import Lookup
from assetd_server.cache.partial import PartialVersions
from assetd_server.errors import AssetError, UnsafePathError


class Tidying:
    """Tidies the partial versions of one ASSETS_DIR. `alone`: no store could give them back."""

    def __init__(
        self,
        assets_dir: AssetsDir,
        lookup: Lookup,
        versions: PartialVersions,
        ledger: Ledger,
        uses: Uses,
        disk: Threads,
        *,
        alone: bool,
    ) -> None:
        self._dir = assets_dir
        self._lookup = lookup
        self._versions = versions
        self._ledger = ledger
        self._uses = uses
        self._disk = disk
        self._alone = alone

    async def run(self) -> None:
        """Tidy what nobody uses and was not tidied since it last grew.

        Raises:
            ReadOnlyError, IoError: the rest is left to the next call.
        """
        for paths in await self._disk.run(self._versions.untidied):
            await to_the_end(self._tidy(paths))
        if not self._alone:
            await self._end_overtaken()

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

    async def _end_overtaken(self) -> None:
        """Remove what could not give way when the whole version landed: it was in use then."""
        for paths in await self._disk.run(self._overtaken):
            if self._ledger.is_unused(PartialPaths.of(paths)):
                async with self._uses.shared(paths.data):
                    if await self._disk.run(self._lookup.hit, paths):
                        await self.give_way(paths)

    def _overtaken(self) -> list[VersionPaths]:
        found = (
            VersionPaths(name, version)
            for name in self._versions.names()
            for version in self._versions.versions(name)
        )
        return [paths for paths in found if self._lookup.hit(paths)]

    async def give_way(self, paths: VersionPaths) -> None:
        """Remove the parts of a version that stands whole; they stay where they are in use."""
        # The version itself stands, whatever becomes of this.
        with suppress(AssetError):
            await to_the_end(self._give_way(PartialPaths.of(paths)))

    async def _give_way(self, paths: PartialPaths) -> None:
        with self._uses.exclusive(paths.data) as ours:
            evicted = await self._disk.run(self._versions.evict, paths) if ours else None
            if evicted is None or evicted.outcome is not Outcome.EVICTED:
                return
            self._ledger.gone(paths)
        await self._disk.run(empty_trash, self._dir, evicted.trash)
