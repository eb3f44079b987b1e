"""What is the matter with a store: claims, unfinished uploads, and what does not fit together.

Values out, nothing changed. Pushes may be under way: what looks wrong in the listing is looked at
once more before it is told.
"""

from collections.abc import Set
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

from assetd_server.assets.at_once import work_through
from assetd_server.assets.clock import Clock
from assetd_server.errors import AssetError, BadIndexError, BadManifestError, MixedVersioningError
from assetd_server.model import AssetName, NamePrefix
from assetd_server.store.base import ObjectStore, UnfinishedUpload
from assetd_server.store.catalog import Catalog, PlaceKind, place_of
from assetd_server.store.claims import Claim, Claims, ClaimState
from assetd_server.store.index_repair import DamagedIndex, IndexRepair
from assetd_server.store.inventory import StoredAsset, StoredVersion, take_inventory
from assetd_server.store.probe import PROBE_PREFIX
from assetd_server.versioning import Version

_ASSETS_AT_ONCE = 16


@dataclass(frozen=True)
class FoundClaim:
    """A claim, and how long ago its push began by the pusher's clock."""

    name: AssetName
    version: Version
    claim: Claim
    age_seconds: float


@dataclass(frozen=True)
class FoundUpload:
    """An unfinished upload of a part, or of the probe, and its age by the store's clock."""

    upload: UnfinishedUpload
    age_seconds: float


class Oddity(Enum):
    """What does not fit together in a version."""

    # It exists, and no reader finds it.
    UNLISTED = "unlisted"
    # The index lists it, and it does not exist.
    MISSING = "missing"
    # Parts lie there, and nobody is pushing them.
    ORPHANED = "orphaned"
    # A claim that a late call left beside what was committed.
    LITTER = "litter"


@dataclass(frozen=True)
class OddVersion:
    """A version, and what is the matter with it."""

    oddity: Oddity
    name: AssetName
    version: Version
    has_claim: bool
    part_count: int
    size_bytes: int


@dataclass
class Inspection:
    """All that was found, in order of names.

    `damaged` are indexes that cannot be believed, `unreadable` manifests and claims.
    """

    asset_count: int = 0
    version_count: int = 0
    claims: list[FoundClaim] = field(default_factory=list)
    uploads: list[FoundUpload] = field(default_factory=list)
    odd: list[OddVersion] = field(default_factory=list)
    damaged: list[DamagedIndex] = field(default_factory=list)
    unreadable: list[AssetError] = field(default_factory=list)
    probe_keys: list[str] = field(default_factory=list)


class Inspector:
    """Looks a store through."""

    def __init__(
        self,
        store: ObjectStore,
        catalog: Catalog,
        claims: Claims,
        indexes: IndexRepair,
        clock: Clock,
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._claims = claims
        self._indexes = indexes
        self._clock = clock

    async def inspect(self, prefix: NamePrefix) -> Inspection:
        """Return what there is of the assets whose names begin with `prefix`.

        Lists every key below it: minutes, where there are millions.

        Raises:
            StoreUnavailableError, StoreAccessDeniedError.
        """
        inventory = await take_inventory(self._store, prefix)
        found = Inspection(asset_count=len(inventory.assets), probe_keys=inventory.probe_keys)

        async def look(item: tuple[AssetName, StoredAsset]) -> None:
            await self._look_at(found, *item)

        await work_through(inventory.assets.items(), _ASSETS_AT_ONCE, look)
        found.uploads = await self._uploads(prefix)
        for rows in (found.claims, found.odd):
            rows.sort(key=lambda row: (row.name, row.version))
        found.damaged.sort(key=lambda damaged: damaged.name)
        return found

    async def _look_at(self, found: Inspection, name: AssetName, asset: StoredAsset) -> None:
        listed = await self._listed(found, name) if asset.has_index else frozenset()
        if listed is None:
            # Nothing can be said of what it lists; take all that exists for listed.
            listed = {version for version, stored in asset.versions.items() if stored.has_manifest}
        found.version_count += len(listed)
        for version in sorted(listed | set(asset.versions)):
            stored = asset.versions.get(version, StoredVersion())
            try:
                await self._look_at_version(found, name, version, stored, listed)
            except BadManifestError as failure:
                found.unreadable.append(failure)

    async def _listed(self, found: Inspection, name: AssetName) -> Set[Version] | None:
        """Return what the index lists; None where it is damaged, which is noted."""
        try:
            index = await self._catalog.index(name)
        except (BadIndexError, MixedVersioningError):
            damaged = await self._indexes.look(name)
            if damaged is not None:
                found.damaged.append(damaged)
            return None
        return frozenset(index.versions if index else ())

    async def _look_at_version(
        self,
        found: Inspection,
        name: AssetName,
        version: Version,
        stored: StoredVersion,
        listed: Set[Version],
    ) -> None:
        looks_well = stored.has_manifest and version in listed and not stored.has_claim
        if looks_well:
            return
        # In the order in which a push leaves them: a claim that is gone has its manifest by now.
        held = await self._claims.read(name, version)
        exists = await self._catalog.find_manifest(name, version) is not None
        if held is not None and not (exists and version in listed):
            age_seconds = self._age_seconds(held.claim.time)
            found.claims.append(FoundClaim(name, version, held.claim, age_seconds))
        is_claimed = held is not None and held.claim.state is not ClaimState.RELEASED
        oddity = self._oddity(
            exists=exists,
            is_listed=version in listed or (exists and await self._is_listed(name, version)),
            has_claim=held is not None,
            has_parts=bool(stored.part_count) and not is_claimed,
        )
        if oddity is not None:
            parts, size_bytes = stored.part_count, stored.size_bytes
            has_claim = held is not None
            found.odd.append(OddVersion(oddity, name, version, has_claim, parts, size_bytes))

    def _oddity(
        self, *, exists: bool, is_listed: bool, has_claim: bool, has_parts: bool
    ) -> Oddity | None:
        if exists and not is_listed:
            return Oddity.UNLISTED
        if exists:
            return Oddity.LITTER if has_claim else None
        if is_listed:
            return Oddity.MISSING
        return Oddity.ORPHANED if has_parts else None

    async def _is_listed(self, name: AssetName, version: Version) -> bool:
        try:
            index = await self._catalog.index(name)
        except (BadIndexError, MixedVersioningError):
            # Nothing can be said of what it lists, as above.
            return True
        return index is not None and version in index.versions

    async def _uploads(self, prefix: NamePrefix) -> list[FoundUpload]:
        folder = prefix.rpartition("/")[0]
        return [
            FoundUpload(unfinished, self._age_seconds(unfinished.start_time))
            async for unfinished in self._store.uploads(f"{folder}/" if folder else "")
            if _is_ours(unfinished.upload.key, prefix)
        ]

    def _age_seconds(self, time: datetime) -> float:
        return (self._clock.now() - time).total_seconds()


def _is_ours(key: str, prefix: NamePrefix) -> bool:
    """Tell whether an upload is for a part of an asset, or the probe's."""
    if key.startswith(PROBE_PREFIX):
        return not prefix
    place = place_of(key)
    return place is not None and place.kind is PlaceKind.PART and place.name.startswith(prefix)
