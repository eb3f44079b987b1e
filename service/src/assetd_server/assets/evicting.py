"""One eviction, from the questions that have to be asked to the version in the trash.

The store confirms that it could give the version back, nobody in the daemon uses it, it is not
pinned; then `cache.evict` does the rest under its locks. Which versions go is decided elsewhere.
"""

import asyncio

from assetd_server.assets.ledger import Ledger
from assetd_server.assets.shielding import to_the_end
from assetd_server.assets.threads import Threads
from assetd_server.assets.uses import Uses
from assetd_server.cache.evict import Evicted, Outcome, empty_trash, evict
from assetd_server.cache.layout import AssetsDir, PartialPaths, VersionPaths
from assetd_server.cache.lookup import Lookup
from assetd_server.cache.partial import PartialVersions
from assetd_server.cache.pins import Pins
from assetd_server.cache.receipt import Receipt
from assetd_server.errors import (
    AssetNotFoundError,
    BadManifestError,
    UnsafePathError,
    VersionNotFoundError,
)
from assetd_server.manifest import Manifest
from assetd_server.store.catalog import Catalog


class Evictions:
    """Evicts versions of one ASSETS_DIR that `catalog`'s store can give back."""

    def __init__(
        self,
        catalog: Catalog,
        assets_dir: AssetsDir,
        lookup: Lookup,
        partial: PartialVersions,
        ledger: Ledger,
        pins: Pins,
        uses: Uses,
        disk: Threads,
    ) -> None:
        self._catalog = catalog
        self._dir = assets_dir
        self._lookup = lookup
        self._partial = partial
        self._ledger = ledger
        self._pins = pins
        self._uses = uses
        self._disk = disk
        self._emptying: set[asyncio.Task[None]] = set()

    def may_go(self, key: str) -> bool:
        """Tell whether nothing that this daemon knows of keeps the version."""
        paths = self._ledger.paths(key)
        pinned = paths is not None and self._pins.is_pinned(paths.final)
        return not pinned and not self._uses.in_use(key)

    async def confirmed(self, paths: VersionPaths) -> Receipt | None:
        """Return the version's receipt where the store says that it could give that very one back.

        None where it could not, or where what stands there is not by our receipt.

        Raises:
            StoreUnavailableError, StoreAccessDeniedError: it says nothing.
        """
        receipt = await self._confirmed(paths)
        self._ledger.asked(paths, in_store=receipt is not None)
        return receipt

    async def _confirmed(self, paths: VersionPaths) -> Receipt | None:
        try:
            receipt = await self._disk.run(self._receipt, paths)
        except UnsafePathError:
            return None
        if receipt is None:
            return None
        try:
            stored = await self._catalog.manifest(paths.name, paths.version)
        except (AssetNotFoundError, VersionNotFoundError, BadManifestError):
            return None
        if not _is_same(stored, receipt.manifest):
            return None
        found = await self._catalog.parts_in_store(paths.name, paths.version, stored.kind)
        there = all(
            part.path in found and found[part.path].size_bytes == part.size_bytes
            for part in stored.parts
        )
        return receipt if there else None

    def _receipt(self, paths: VersionPaths) -> Receipt | None:
        if not isinstance(paths, PartialPaths):
            return self._lookup.look(paths).receipt
        parts = self._partial.look(paths)
        return parts.receipt if parts else None

    async def evict(self, paths: VersionPaths, receipt: Receipt) -> Outcome:
        """Evict the version that has this confirmed receipt; its files go in the background.

        Raises:
            ReadOnlyError, UnsafePathError, IoError.
        """
        return await to_the_end(self._evict_and_empty_later(paths, receipt))

    async def _evict_and_empty_later(self, paths: VersionPaths, receipt: Receipt) -> Outcome:
        outcome, trash = await self._evict(paths, receipt)
        if trash:
            task = asyncio.create_task(self._empty(trash))
            self._emptying.add(task)
            task.add_done_callback(self._emptying.discard)
        return outcome

    async def evict_now(self, paths: VersionPaths, receipt: Receipt) -> Outcome:
        """Evict the version as `evict` does, and return when the disk has its bytes back."""
        return await to_the_end(self._evict_and_empty(paths, receipt))

    async def _evict_and_empty(self, paths: VersionPaths, receipt: Receipt) -> Outcome:
        outcome, trash = await self._evict(paths, receipt)
        await self._empty(trash)
        return outcome

    async def _evict(self, paths: VersionPaths, receipt: Receipt) -> tuple[Outcome, str]:
        with self._uses.exclusive(paths.data) as ours:
            if not ours:
                return Outcome.LEASED, ""
            # Now that nobody in this daemon can begin to keep it.
            if self._pins.is_pinned(paths.final):
                return Outcome.KEPT, ""
            evicted = await self._disk.run(self._move_away, paths, receipt)
            if evicted.outcome is Outcome.EVICTED:
                self._ledger.gone(paths)
            return evicted.outcome, evicted.trash

    def _move_away(self, paths: VersionPaths, receipt: Receipt) -> Evicted:
        if isinstance(paths, PartialPaths):
            return self._partial.evict(
                paths, lambda parts: bool(parts and parts.receipt == receipt)
            )
        return evict(self._dir, self._lookup, paths, lambda standing: standing.receipt == receipt)

    async def _empty(self, trash: str) -> None:
        if trash:
            await self._disk.run(empty_trash, self._dir, trash)

    async def close(self) -> None:
        """Return when what was evicted is deleted."""
        if self._emptying:
            await asyncio.wait(self._emptying)


def _is_same(stored: Manifest, receipt: Manifest) -> bool:
    """Compare what is known on both sides: modelkit's manifests have sizes only."""
    if stored.kind is not receipt.kind or len(stored.parts) != len(receipt.parts):
        return False
    known = {part.path: part for part in receipt.parts}
    for part in stored.parts:
        ours = known.get(part.path)
        if ours is None or ours.size_bytes != part.size_bytes:
            return False
        if part.sha256_hex and ours.sha256_hex and part.sha256_hex != ours.sha256_hex:
            return False
    return True
