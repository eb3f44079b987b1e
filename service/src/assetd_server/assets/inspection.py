"""What is the matter with a store: claims, unfinished uploads, and what does not fit together.

Values out, nothing changed. Pushes may be under way: what looks wrong in the listing is looked at
once more before it is told.
"""

from collections.abc import Set
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from functools import partial
from itertools import chain

from assetd_server.assets.at_once import work_through
from assetd_server.assets.clock import Clock
from assetd_server.errors import AssetError, BadIndexError, BadManifestError, MixedVersioningError
from assetd_server.manifest import Manifest
from assetd_server.model import AssetName, NamePrefix
from assetd_server.store.base import ObjectStore, UnfinishedUpload
from assetd_server.store.catalog import Catalog, PlaceKind, place_of
from assetd_server.store.claims import Claim, Claims, ClaimState
from assetd_server.store.index_repair import DamagedIndex, IndexRepair, some_of
from assetd_server.store.inventory import StoredAsset, StoredVersion, take_inventory
from assetd_server.store.probe import PROBE_PREFIX
from assetd_server.versioning import Version

_AT_ONCE = 16


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
    # It exists, and the store lacks parts of it, or has them in another size.
    INCOMPLETE = "incomplete"
    # A claim that a late call left beside what was committed.
    LITTER = "litter"


@dataclass(frozen=True)
class OddVersion:
    """A version, and what is the matter with it; `lacks` are the keys of what it lacks."""

    oddity: Oddity
    name: AssetName
    version: Version
    has_claim: bool
    part_count: int
    size_bytes: int
    lacks: tuple[str, ...] = ()

    @property
    def lacking(self) -> str:
        """Some of what it lacks, and how many others, for people."""
        return some_of(self.lacks)


@dataclass(frozen=True)
class Unreadable:
    """A manifest or a claim that cannot be believed, and why."""

    kind: PlaceKind
    name: AssetName
    version: Version
    failure: AssetError


@dataclass
class Inspection:
    """All that was found, in order of names.

    `damaged` are indexes that cannot be believed. Of a version whose manifest or claim is
    `unreadable` nothing else is told.
    """

    asset_count: int = 0
    version_count: int = 0
    claims: list[FoundClaim] = field(default_factory=list)
    uploads: list[FoundUpload] = field(default_factory=list)
    odd: list[OddVersion] = field(default_factory=list)
    damaged: list[DamagedIndex] = field(default_factory=list)
    unreadable: list[Unreadable] = field(default_factory=list)
    probe_keys: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Seen:
    """A version as the listing and the index show it."""

    name: AssetName
    version: Version
    stored: StoredVersion
    is_listed: bool

    @property
    def looks_well(self) -> bool:
        return self.stored.has_manifest and self.is_listed and not self.stored.has_claim


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

        Lists every key below it, and reads every manifest, as nothing else shows that it is whole:
        the more there are, the longer it takes.

        Raises:
            StoreUnavailableError, StoreAccessDeniedError.
        """
        inventory = await take_inventory(self._store, prefix)
        found = Inspection(asset_count=len(inventory.assets), probe_keys=inventory.probe_keys)

        async def versions(item: tuple[AssetName, StoredAsset]) -> list[_Seen]:
            return await self._versions(found, *item)

        assets = await work_through(inventory.assets.items(), _AT_ONCE, versions)
        await work_through(chain.from_iterable(assets), _AT_ONCE, partial(self._look_at, found))
        found.uploads = await self._uploads(prefix)
        for rows in (found.claims, found.odd):
            rows.sort(key=lambda row: (row.name, row.version))
        found.unreadable.sort(key=lambda row: (row.name, row.version))
        found.damaged.sort(key=lambda damaged: damaged.name)
        return found

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

    async def _versions(
        self, found: Inspection, name: AssetName, asset: StoredAsset
    ) -> list[_Seen]:
        """Return all versions that an asset has, or lists."""
        listed = await self._listed(found, name) if asset.has_index else frozenset()
        if listed is None:
            # Nothing can be said of what it lists; take all that exists for listed.
            listed = {version for version, stored in asset.versions.items() if stored.has_manifest}
        found.version_count += len(listed)
        return [
            _Seen(name, version, asset.versions.get(version, StoredVersion()), version in listed)
            for version in listed | asset.versions.keys()
        ]

    async def _look_at(self, found: Inspection, seen: _Seen) -> None:
        name, version, stored = seen.name, seen.version, seen.stored
        kind, held = PlaceKind.CLAIM, None
        try:
            # As a push leaves them: a claim that is gone has its manifest by now.
            if not seen.looks_well:
                held = await self._claims.read(name, version)
            kind = PlaceKind.MANIFEST
            manifest = await self._catalog.find_manifest(name, version)
        except BadManifestError as failure:
            found.unreadable.append(Unreadable(kind, name, version, failure))
            return
        exists = manifest is not None
        if held is not None and not (exists and seen.is_listed):
            age_seconds = self._age_seconds(held.claim.time)
            found.claims.append(FoundClaim(name, version, held.claim, age_seconds))
        is_claimed = held is not None and held.claim.state is not ClaimState.RELEASED
        lacks = [] if manifest is None else await self._lacks(seen, manifest)
        oddity = (
            Oddity.INCOMPLETE
            if lacks
            else self._oddity(
                exists=exists,
                is_listed=seen.is_listed or (exists and await self._is_listed(name, version)),
                has_claim=held is not None,
                has_parts=bool(stored.part_count) and not is_claimed,
            )
        )
        if oddity is not None:
            parts, size_bytes = stored.part_count, stored.size_bytes
            has_claim = held is not None
            found.odd.append(
                OddVersion(oddity, name, version, has_claim, parts, size_bytes, tuple(lacks))
            )

    async def _lacks(self, seen: _Seen, manifest: Manifest) -> list[str]:
        """Return the keys of what the manifest names and the store lacks, on a second look too."""
        if seen.stored.has_all(seen.name, seen.version, manifest):
            return []
        return await self._catalog.parts_lacking(seen.name, seen.version, manifest)

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
        # By the clock of whoever wrote it, which may be ahead of ours.
        return max(0.0, (self._clock.now() - time).total_seconds())


def _is_ours(key: str, prefix: NamePrefix) -> bool:
    """Tell whether an upload is for a part of an asset, or the probe's."""
    if key.startswith(PROBE_PREFIX):
        return not prefix
    place = place_of(key)
    return place is not None and place.kind is PlaceKind.PART and place.name.startswith(prefix)
