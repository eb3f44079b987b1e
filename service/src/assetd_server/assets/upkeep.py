"""A store as who looks after it sees it: one object, one method per thing that can be asked.

Works on the store itself, with no daemon, and beside any number of them. Puts the parts together;
decides nothing itself.
"""

from collections.abc import AsyncIterator

from assetd_server.assets.clock import Clock
from assetd_server.assets.inspection import Inspection, Inspector
from assetd_server.assets.mending import Mended, Mender
from assetd_server.assets.shielding import to_the_end
from assetd_server.model import NamePrefix
from assetd_server.store.base import ObjectStore
from assetd_server.store.catalog import Catalog
from assetd_server.store.claims import Claims
from assetd_server.store.commits import Commits
from assetd_server.store.index_repair import IndexRepair
from assetd_server.store.probe import ProbeReport, probe


class Upkeep:
    """What can be asked of a store past its daemons. Owns `store`, and closes it."""

    def __init__(self, store: ObjectStore, clock: Clock) -> None:
        self._store = store
        catalog = Catalog(store, clock.sleep, clock.now)
        claims = Claims(store)
        self._commits = Commits(catalog, clock.sleep)
        indexes = IndexRepair(catalog, clock.sleep)
        self._inspector = Inspector(store, catalog, claims, indexes, clock)
        self._mender = Mender(store, claims, self._commits, indexes)

    @property
    def url(self) -> str:
        """Where the store is, for people."""
        return self._store.url

    async def probe(self) -> ProbeReport:
        """Try the store; a caller who is cancelled waits until nothing of it is left. See `probe`.

        Raises:
            StoreUnavailableError, StoreAccessDeniedError, DiskFullError.
        """
        return await to_the_end(probe(self._store))

    async def inspect(self, prefix: NamePrefix) -> Inspection:
        """Return what there is below a prefix of names; see `Inspector.inspect`."""
        return await self._inspector.inspect(prefix)

    def repair(self, found: Inspection) -> AsyncIterator[Mended]:
        """Mend indexes, remove litter, and tell each deed; see `Mender.repair`."""
        return self._mender.repair(found)

    def release(self, found: Inspection, older_than_seconds: float) -> AsyncIterator[Mended]:
        """End old pushes and uploads, and tell each deed; see `Mender.release`."""
        return self._mender.release(found, older_than_seconds)

    async def close(self) -> None:
        """Release everything. Idempotent."""
        await self._commits.close()
        await self._store.close()
