"""What lies in a bucket, version by version, from one listing of all of it.

For who looks after a store: a push or a fetch never needs it. Reads no object, and judges nothing.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from assetd_server.manifest import Manifest
from assetd_server.model import AssetName, NamePrefix
from assetd_server.store.base import ObjectInfo, ObjectStore
from assetd_server.store.catalog import Place, PlaceKind, claims_below, part_key, place_of
from assetd_server.store.probe import PROBE_PREFIX
from assetd_server.versioning import Version


@dataclass
class StoredVersion:
    """What was seen of one version.

    `part_hashes` is the sum of the hashes of its parts' keys: other keys have another sum, but for
    one case in some 2^64, and no key has to be kept.
    """

    has_claim: bool = False
    has_manifest: bool = False
    part_count: int = 0
    size_bytes: int = 0
    part_hashes: int = field(default=0, compare=False)

    def add_part(self, info: ObjectInfo) -> None:
        """Count an object of the version."""
        self.part_count += 1
        self.size_bytes += info.size_bytes
        self.part_hashes += hash(info.key)

    def has_all(self, name: AssetName, version: Version, manifest: Manifest) -> bool:
        """Tell whether its parts are what the manifest names, as far as a listing shows it."""
        keys = (part_key(name, version, part.path) for part in manifest.parts)
        named = sum(map(hash, keys))
        return named == self.part_hashes and manifest.size_bytes in (None, self.size_bytes)


@dataclass
class StoredAsset:
    """What was seen of one asset."""

    has_index: bool = False
    versions: dict[Version, StoredVersion] = field(default_factory=dict)


@dataclass
class Inventory:
    """What was seen of all assets, and what the probe has left; keys of nobody are left out."""

    assets: dict[AssetName, StoredAsset] = field(default_factory=dict)
    probe_keys: list[str] = field(default_factory=list)

    def add(self, place: Place, info: ObjectInfo) -> None:
        """Count one object."""
        asset = self.assets.setdefault(place.name, StoredAsset())
        if place.version is None:
            asset.has_index = True
            return
        version = asset.versions.setdefault(place.version, StoredVersion())
        if place.kind is PlaceKind.PART:
            version.add_part(info)
        version.has_claim |= place.kind is PlaceKind.CLAIM
        version.has_manifest |= place.kind is PlaceKind.MANIFEST


async def take_inventory(store: ObjectStore, prefix: NamePrefix) -> Inventory:
    """List all keys of the assets whose names begin with `prefix`.

    Claims are listed before the rest: what a push writes under a claim is seen with the claim, if
    it stood there when the listing began.
    """
    inventory = Inventory()
    folder = prefix.rpartition("/")[0]
    folder = f"{folder}/" if folder else ""
    for below in (claims_below(folder), folder):
        async for info in _objects(store, below):
            place = place_of(info.key)
            if place is not None and place.name.startswith(prefix):
                _add_once(inventory, place, info, is_claims=below != folder)
    if not prefix:
        inventory.probe_keys = [info.key async for info in _objects(store, PROBE_PREFIX)]
    return inventory


def _add_once(inventory: Inventory, place: Place, info: ObjectInfo, *, is_claims: bool) -> None:
    # The listing of the root shows the claims again, by then perhaps others.
    if is_claims is (place.kind is PlaceKind.CLAIM):
        inventory.add(place, info)


async def _objects(store: ObjectStore, prefix: str) -> AsyncIterator[ObjectInfo]:
    async for page in store.list(prefix):
        for info in page.objects:
            yield info
