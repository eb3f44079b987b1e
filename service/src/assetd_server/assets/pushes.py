"""All that has to do with pushes, put together: the pusher, and what looks after its work.

Decides nothing itself.
"""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from assetd_server.assets.claimed import ClaimedVersions
from assetd_server.assets.claiming import Claiming
from assetd_server.assets.clock import Clock
from assetd_server.assets.kept_uploads import KeptUploads
from assetd_server.assets.lost_uploads import LostUploads
from assetd_server.assets.orders import PushEvent, PushStep
from assetd_server.assets.push import Pusher
from assetd_server.assets.push_records import PushRecords
from assetd_server.assets.push_settling import PushSettling
from assetd_server.assets.relisting import Relisting, Watch
from assetd_server.assets.safety import StoreSafety
from assetd_server.assets.settings import AssetsSettings
from assetd_server.assets.sources import Sources
from assetd_server.assets.surveys import Surveys
from assetd_server.assets.threads import Threads
from assetd_server.cache.layout import AssetsDir
from assetd_server.cache.push_journal import PushJournal
from assetd_server.store.catalog import Catalog
from assetd_server.store.claims import Claims
from assetd_server.store.commits import Commits
from assetd_server.store.known_versions import KnownVersions


class Pushes:
    """The pushes of one daemon to its store."""

    def __init__(
        self,
        catalog: Catalog,
        assets_dir: AssetsDir,
        disk: Threads,
        clock: Clock,
        sources: Sources | None,
        settings: AssetsSettings,
    ) -> None:
        self._safety = StoreSafety(catalog.store, single_pusher=settings.single_pusher)
        claims = Claims(catalog.store)
        records = PushRecords(PushJournal(assets_dir), disk)
        watch = Watch(clock)
        self._commits = Commits(catalog, clock.sleep, on_listed=watch.listed)
        self._relisting = Relisting(catalog, self._commits, watch)
        versions = KnownVersions(catalog)
        self._surveys = Surveys(catalog, claims, versions, clock)
        lost = LostUploads(catalog.store, claims, self._commits)
        claimed = ClaimedVersions(claims, self._commits, records, lost)
        claiming = Claiming(catalog, claims, self._commits, claimed, self._surveys, records, clock)
        self._kept = KeptUploads(records, clock, settings.push_resume_max_age_seconds)
        self._pusher = Pusher(
            catalog,
            versions,
            claiming,
            claimed,
            self._kept,
            self._safety,
            assets_dir,
            disk,
            clock,
            sources,
            settings,
        )
        self._settling = PushSettling(records, claimed, lost, catalog.store)

    async def push(self, steps: AsyncIterator[PushStep]) -> AsyncGenerator[PushEvent, None]:
        """Create a version and tell the progress; see `Pusher.push`."""
        async with aclosing(self._pusher.push(steps)) as events:
            async for event in events:
                yield event

    async def settle(self) -> None:
        """Finish or release what pushes have left; see `PushSettling.settle`."""
        await self._settling.settle()

    async def look_again(self) -> None:
        """List again what others have dropped from indexes; see `Relisting.look_again`."""
        await self._relisting.look_again()

    async def close(self) -> None:
        """Return when nothing is under way any more that pushes shared, or could go on with."""
        await self._kept.close()
        await self._commits.close()
        await self._surveys.close()
        await self._safety.close()
