"""Whether indexes go on listing what this daemon has listed in them.

A pusher that writes an index blindly, as modelkit does, drops what was listed since it has read it.
That may be as long ago as its upload takes, and nobody can see it coming: so the daemon looks
again, soon, and then less and less often. What is dropped after so many seconds is back after twice
as many.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import structlog

from assetd_server.assets.clock import Clock
from assetd_server.errors import AssetError, StoreUnavailableError
from assetd_server.model import AssetName
from assetd_server.store.catalog import Catalog
from assetd_server.store.commits import Commits
from assetd_server.versioning import Version, newest_first

_FIRST_LOOK_SECONDS: Final = 5.0
# No upload of modelkit's should take longer.
_LAST_LOOK_SECONDS: Final = 2 * 3600.0


@dataclass
class _Watched:
    """When a version was listed, and after how long the next look at it is due."""

    listed_seconds: float
    look_after_seconds: float = _FIRST_LOOK_SECONDS

    def is_due(self, now: float) -> bool:
        return now - self.listed_seconds >= self.look_after_seconds

    def goes_on(self, now: float) -> bool:
        """Count the looks that are due; tell whether there are more."""
        while self.is_due(now):
            self.look_after_seconds *= 2
        return self.look_after_seconds <= _LAST_LOOK_SECONDS


class Watch:
    """The versions that are looked at again, by their assets. Knows no store."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._watched: dict[AssetName, dict[Version, _Watched]] = {}

    def listed(self, name: AssetName, versions: Iterable[Version]) -> None:
        """Look at these versions from now on."""
        now = self._clock.monotonic()
        of_asset = self._watched.setdefault(name, {})
        of_asset.update((version, _Watched(now)) for version in versions)

    def due(self) -> list[AssetName]:
        """Return the assets of which a version is to be looked at."""
        now = self._clock.monotonic()
        return [
            name
            for name, of_asset in self._watched.items()
            if any(one.is_due(now) for one in of_asset.values())
        ]

    def looked(self, name: AssetName) -> set[Version]:
        """Count a look at an asset; return the versions for which it is meant."""
        now = self._clock.monotonic()
        of_asset = self._watched.pop(name)
        left = {version: one for version, one in of_asset.items() if one.goes_on(now)}
        if left:
            self._watched[name] = left
        return set(of_asset)


class Relisting:
    """Lists again what others have dropped."""

    def __init__(self, catalog: Catalog, commits: Commits, watch: Watch) -> None:
        self._catalog = catalog
        self._commits = commits
        self._watch = watch
        self._log = structlog.get_logger()

    async def look_again(self) -> None:
        """Look at the assets that are due, and list what their indexes have lost.

        What cannot be looked at now is looked at when it is due again. A version that was deleted
        by hand stays so.

        Raises:
            StoreUnavailableError: so is the store.
        """
        for name in self._watch.due():
            try:
                await self._look_at(name, self._watch.looked(name))
            except AssetError as error:
                if isinstance(error, StoreUnavailableError):
                    raise
                self._log.warning("an index cannot be looked at", asset=name, error=str(error))

    async def _look_at(self, name: AssetName, versions: set[Version]) -> None:
        index = await self._catalog.index(name)
        absent = versions.difference(index.versions if index else ())
        lost = [one for one in absent if await self._commits.is_committed(name, one)]
        # At once, so that one swap lists them all.
        await asyncio.gather(*(self._commits.list_version(name, version) for version in lost))
        if lost:
            self._log.warning(
                "others have dropped versions from an index: they are listed again",
                asset=name,
                versions=[str(version) for version in newest_first(lost)],
            )
