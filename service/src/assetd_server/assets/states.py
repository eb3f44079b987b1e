"""What ASSETS_DIR holds of a version, and which there are, for those who only look."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from assetd_server.assets.holds import Holds
from assetd_server.assets.ledger import Ledger
from assetd_server.assets.orders import CacheState
from assetd_server.assets.threads import Threads
from assetd_server.cache.layout import AssetsDir, PartialPaths, VersionPaths
from assetd_server.cache.leases import is_leased
from assetd_server.cache.lookup import Lookup
from assetd_server.cache.partial import PartialVersions
from assetd_server.cache.pins import Pins
from assetd_server.cache.receipt import Receipt
from assetd_server.cache.staging import bytes_kept, path_of
from assetd_server.errors import AssetError, InvalidPartError, UnsafePathError
from assetd_server.model import AssetName, AssetVersion, Presence
from assetd_server.versioning import Version

ABSENT = CacheState(Presence.ABSENT)


@dataclass(frozen=True)
class CachedVersion:
    """One version in the cache, or parts of it, with what its receipt says of it."""

    paths: VersionPaths
    asset_version: AssetVersion
    state: CacheState


class States:
    """Looks at versions in the cache. Blocking, but for `told`: called from a thread."""

    def __init__(
        self,
        assets_dir: AssetsDir,
        lookup: Lookup,
        partial: PartialVersions,
        holds: Holds,
        pins: Pins,
        ledger: Ledger,
        alone: bool,
    ) -> None:
        """`alone`: no store is configured, so data without a marker counts as present."""
        self._dir = assets_dir
        self._lookup = lookup
        self._partial = partial
        self._holds = holds
        self._pins = pins
        self._ledger = ledger
        self._alone = alone

    async def told(self, paths: VersionPaths, threads: Threads) -> CachedVersion:
        """Return what `of` says, as a caller is told it.

        With what unfinished downloads of it take up, and with the last use that this run knows of.

        Raises:
            UnsafePathError, IoError: as `of`.
        """
        cached = await threads.run(self._with_unfinished, paths)
        used_time = self._ledger.last_use_time(cached.paths)
        if used_time is None or cached.state.presence is Presence.ABSENT:
            return cached
        return replace(cached, state=replace(cached.state, last_used_time=used_time))

    def _with_unfinished(self, paths: VersionPaths) -> CachedVersion:
        cached = self.of(paths)
        disk_bytes = cached.state.disk_bytes + self._unfinished_bytes(paths)
        return replace(cached, state=replace(cached.state, disk_bytes=disk_bytes))

    def _unfinished_bytes(self, paths: VersionPaths) -> int:
        # It may be discarded, or shown, while we look.
        with suppress(AssetError):
            keys = (paths.key, PartialPaths.of(paths).key)
            return sum(bytes_kept(self._dir, path_of(key)) for key in keys)
        return 0

    def of(self, paths: VersionPaths) -> CachedVersion:
        """Return what the cache holds of one version: all, some parts, or nothing.

        Of paths of a partial version: what that holds, also where the whole version stands.
        """
        if isinstance(paths, PartialPaths):
            return self._of_parts(paths, AssetVersion(paths.name, paths.version))
        standing = self._lookup.look(paths)
        unknown = AssetVersion(paths.name, paths.version, standing.kind)
        if standing.kind is None or not (standing.complete or self._alone):
            return self._of_parts(PartialPaths.of(paths), unknown)
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

    def _of_parts(self, paths: PartialPaths, unknown: AssetVersion) -> CachedVersion:
        receipt = self._partial.look(paths)
        if receipt is None:
            return CachedVersion(paths, unknown, ABSENT)
        hold_count = self._holds.count(paths)
        facts = self._dir.stat(paths.receipt)
        return CachedVersion(
            paths,
            receipt.manifest.describe(paths.name, paths.version),
            CacheState(
                presence=Presence.PARTIAL,
                relative_path=paths.parts,
                path=self._dir.absolute(paths.parts),
                disk_bytes=receipt.disk_bytes,
                last_used_time=datetime.fromtimestamp(facts.st_mtime, UTC) if facts else None,
                pinned=self._pins.is_pinned(paths.final),
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

    def names(self, prefix: str = "") -> Sequence[AssetName]:
        """Return the names of all assets of which anything is here, each once."""
        return list({*self._lookup.names(prefix), *self._partial.names(prefix)})

    def versions(self, name: AssetName) -> Sequence[Version]:
        """Return the versions of the asset of which anything is here, each once."""
        whole = self._lookup.versions(name, unmarked=self._alone)
        return list({*whole, *self._partial.versions(name)})
