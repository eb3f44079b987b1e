"""The bodies of all flights: those of whole versions, and those of some parts.

One transfer moves the bytes of both, so that its bounds are the daemon's, and each finds in the
other's place what need not be moved. Decides nothing else.
"""

from functools import partial

from assetd_server.assets.clock import Clock
from assetd_server.assets.landing import FetchFlight, Landed, Landing
from assetd_server.assets.ledger import Ledger
from assetd_server.assets.partial_landing import PartialLanding
from assetd_server.assets.reusing import Reuse
from assetd_server.assets.room import Room
from assetd_server.assets.settings import AssetsSettings
from assetd_server.assets.threads import Threads
from assetd_server.assets.tidying import Tidying
from assetd_server.assets.transfer import Transfer
from assetd_server.assets.turns import Turns
from assetd_server.assets.uses import Uses
from assetd_server.cache.layout import AssetsDir, PartialPaths
from assetd_server.cache.lookup import Lookup
from assetd_server.cache.partial import PartialVersions, find_in_parts
from assetd_server.cache.publish import Publisher
from assetd_server.cache.reuse import find_in_versions
from assetd_server.store.catalog import Catalog
from assetd_server.telemetry import Telemetry


class Landings:
    """Flies: `land` is the body of every flight."""

    def __init__(
        self,
        catalog: Catalog,
        assets_dir: AssetsDir,
        lookup: Lookup,
        versions: PartialVersions,
        room: Room,
        ledger: Ledger,
        uses: Uses,
        tidying: Tidying,
        disk: Threads,
        telemetry: Telemetry,
        clock: Clock,
        settings: AssetsSettings,
    ) -> None:
        self._uses = uses
        self._tidying = tidying
        transfer = Transfer(
            catalog.store,
            disk,
            telemetry,
            connection_count=settings.connection_count,
            memory_bytes=settings.transfer_memory_bytes,
            range_bytes=settings.range_bytes,
        )
        finders = [partial(find_in_parts, versions), partial(find_in_versions, lookup)]
        reuse = Reuse(assets_dir, disk, finders)
        turns = Turns()
        self._whole = Landing(
            catalog,
            transfer,
            reuse,
            assets_dir,
            lookup,
            Publisher(assets_dir, lookup),
            room,
            ledger,
            turns,
            disk,
            telemetry,
            clock,
            settings.lock_timeout_seconds,
        )
        self._parts = PartialLanding(
            catalog,
            transfer,
            reuse,
            assets_dir,
            lookup,
            versions,
            room,
            turns,
            disk,
            telemetry,
            clock,
            # What one request brings is not worth the wait for a whole version.
            little_bytes=settings.range_bytes,
        )

    async def land(self, flight: FetchFlight) -> Landed:
        """Return when the version, or what is selected of it, stands.

        Raises: as `Landing.land` and `PartialLanding.land`.
        """
        if flight.state.selection is not None:
            return await self._parts.land(flight)
        # What is here in part is taken over: until then it makes room for nobody, itself included.
        async with self._uses.shared(PartialPaths.of(flight.state.paths).data):
            landed = await self._whole.land(flight)
        await self._tidying.give_way(flight.state.paths)
        return landed
