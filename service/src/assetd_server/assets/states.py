"""What ASSETS_DIR holds of a version, and of all of them, for those who only look."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from assetd_server.assets.holds import Holds
from assetd_server.assets.orders import CacheState
from assetd_server.cache.layout import AssetsDir, VersionPaths
from assetd_server.cache.leases import is_leased
from assetd_server.cache.lookup import Lookup
from assetd_server.cache.pins import Pins
from assetd_server.cache.receipt import Receipt
from assetd_server.errors import InvalidPartError, UnsafePathError
from assetd_server.model import AssetVersion, Presence

ABSENT = CacheState(Presence.ABSENT)


@dataclass(frozen=True)
class CachedVersion:
    """One version in the cache, with what its receipt says of it."""

    paths: VersionPaths
    asset_version: AssetVersion
    state: CacheState


class States:
    """Looks at versions in the cache. Blocking: called from a thread."""

    def __init__(
        self, assets_dir: AssetsDir, lookup: Lookup, holds: Holds, pins: Pins, alone: bool
    ) -> None:
        """`alone`: no store is configured, so data without a marker counts as present."""
        self._dir = assets_dir
        self._lookup = lookup
        self._holds = holds
        self._pins = pins
        self._alone = alone

    def of(self, paths: VersionPaths) -> CachedVersion:
        """Return what the cache holds of one version."""
        standing = self._lookup.look(paths)
        unknown = AssetVersion(paths.name, paths.version, standing.kind)
        if standing.kind is None or not (standing.complete or self._alone):
            return CachedVersion(paths, unknown, ABSENT)
        receipt = standing.receipt
        hold_count = self._holds.count(paths)
        facts = self._dir.stat(paths.marker(standing.kind))
        return CachedVersion(
            paths,
            receipt.manifest.describe(paths.name, paths.version) if receipt else unknown,
            CacheState(
                presence=Presence.PRESENT,
                relative_path=paths.data,
                path=self._dir.absolute(paths.data),
                disk_bytes=self._disk_bytes(paths, receipt),
                last_used_time=datetime.fromtimestamp(facts.st_mtime, UTC) if facts else None,
                pinned=self._pins.is_pinned(paths.data),
                leased=hold_count > 0 or is_leased(self._dir, paths),
                hold_count=hold_count,
            ),
        )

    def _disk_bytes(self, paths: VersionPaths, receipt: Receipt | None) -> int:
        # What others put there may hold links, or names that no part can have. It is there all the
        # same, and must not hide everything else from whoever asks.
        with suppress(UnsafePathError, InvalidPartError):
            manifest = receipt.manifest if receipt else self._lookup.unmarked_manifest(paths)
            return manifest.size_bytes or 0
        return 0

    def all(self) -> Sequence[CachedVersion]:
        """Return every version that is present, in no order."""
        found = (
            self.of(VersionPaths(name, version))
            for name in self._lookup.names()
            for version in self._lookup.versions(name, unmarked=self._alone)
        )
        return [cached for cached in found if cached.state.presence is Presence.PRESENT]
