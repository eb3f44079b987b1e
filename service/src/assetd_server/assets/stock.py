"""What the store has already of a version that is about to be pushed, so that it need not be sent.

Parts that an earlier try left under the version's own keys, and equal parts of other versions of
the asset. Both are only candidates: whoever uses one proves it equal by its bytes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from assetd_server.assets.claimed import ClaimedVersion
from assetd_server.errors import BadIndexError, MixedVersioningError
from assetd_server.manifest import Part
from assetd_server.model import AssetKind
from assetd_server.store.base import ObjectInfo
from assetd_server.store.catalog import Catalog, part_key
from assetd_server.store.known_versions import KnownVersions
from assetd_server.versioning import Version

# An update mostly resembles what came before it; to look further costs a request a version.
_VERSIONS_LOOKED_AT = 8


@dataclass(frozen=True)
class StoredPart:
    """A part of another version: where it lies, and what its manifest says of it."""

    key: str
    part: Part


@dataclass(frozen=True)
class Stock:
    """Candidates: `left_over` by path, `elsewhere` by SHA-256."""

    left_over: Mapping[str, ObjectInfo] = field(default_factory=dict)
    elsewhere: Mapping[str, StoredPart] = field(default_factory=dict)

    def may_have(self, part: Part) -> bool:
        """Tell whether there is a candidate at all."""
        return self.may_be_left(part) or self.find_elsewhere(part) is not None

    def may_be_left(self, part: Part) -> bool:
        """Tell whether something of the part's size lies at its key."""
        info = self.left_over.get(part.path)
        return info is not None and info.size_bytes == part.size_bytes

    def find_elsewhere(self, part: Part) -> StoredPart | None:
        """Return an equal part of another version, by its manifest's word."""
        found = self.elsewhere.get(part.sha256_hex or "")
        return found if found and found.part.size_bytes == part.size_bytes else None


async def look_at_stock(
    catalog: Catalog, versions: KnownVersions, claimed: ClaimedVersion, kind: AssetKind
) -> Stock:
    """Return what the store has for the version.

    Raises:
        StoreUnavailableError, StoreAccessDeniedError.
    """
    left_over: Mapping[str, ObjectInfo] = {}
    if not claimed.is_new:
        left_over = await catalog.parts_in_store(claimed.name, claimed.version, kind)
    elsewhere: dict[str, StoredPart] = {}
    for version in await _newest(catalog, claimed):
        manifest = await versions.manifest(claimed.name, version)
        for part in manifest.parts if manifest else ():
            if part.sha256_hex and part.crc64nvme is not None and part.size_bytes:
                key = part_key(claimed.name, version, part.path)
                elsewhere.setdefault(part.sha256_hex, StoredPart(key, part))
    return Stock(left_over, elsewhere)


async def _newest(catalog: Catalog, claimed: ClaimedVersion) -> Sequence[Version]:
    """Return the newest versions there are; a push of an exact one has not looked yet."""
    if claimed.committed:
        return claimed.committed[:_VERSIONS_LOOKED_AT]
    try:
        index = await catalog.glance(claimed.name)
    except (BadIndexError, MixedVersioningError):
        index = None  # whoever has to list the version will tell
    newest = index.versions[: _VERSIONS_LOOKED_AT + 1] if index else ()
    return [version for version in newest if version != claimed.version][:_VERSIONS_LOOKED_AT]
