"""Which push made which version, as far as this daemon has read it. Knows no claim.

Manifests never change, so each is read once: by the daemon's first push to an asset, or when
somebody else has pushed. What is remembered is checked against a listing of the manifests now and
then, since blind writers (modelkit) overwrite manifests, and drop versions from the index.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from assetd_server.errors import BadManifestError
from assetd_server.manifest import Manifest
from assetd_server.model import AssetName
from assetd_server.store.base import ObjectInfo
from assetd_server.store.catalog import Catalog
from assetd_server.versioning import NO_VERSIONS, Version, Versions

_READS_AT_ONCE = 16
# Manifests that are kept whole, counted by their parts.
_MAX_KEPT_PARTS = 100_000


@dataclass(frozen=True)
class _Made:
    """Which push a manifest names, and which write of it said so."""

    etag: str
    push_id: str


class _Asset:
    """What is known of one asset's versions, and which of them each push has made."""

    def __init__(self) -> None:
        self.made: dict[Version, _Made] = {}
        self.by_push: dict[str, Version] = {}
        # The index as it was when all that it lists had been read, and what was not to be believed.
        self.read = NO_VERSIONS
        self._doubted: set[Version] = set()

    def unread(self, versions: Versions) -> set[Version]:
        """Return those of the versions of which nothing is known."""
        unread = {*versions.beyond(self.read), *self._doubted}.difference(self.made)
        return {version for version in unread if version in versions}

    def note(self, version: Version, made: _Made | None) -> None:
        """Note what the manifest says; None: there is none to believe."""
        before = self.made.pop(version, None)
        if before is not None and self.by_push.get(before.push_id) == version:
            del self.by_push[before.push_id]
        if made is None:
            self._doubted.add(version)
        else:
            self._doubted.discard(version)
            self.made[version] = made
            if made.push_id:
                self.by_push[made.push_id] = version


class KnownVersions:
    """What the manifests say, each read once."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._assets: dict[AssetName, _Asset] = {}
        self._kept: OrderedDict[tuple[AssetName, Version], Manifest] = OrderedDict()
        self._kept_parts = 0

    async def by_push(self, name: AssetName, versions: Versions) -> Mapping[str, Version]:
        """Return which version each push has made, of these versions and others that are known.

        It goes on to tell of what is read later. A manifest that cannot be believed, or is not
        there, was nobody's push: it must not keep others from pushing. So was modelkit's.

        Raises:
            StoreUnavailableError, StoreAccessDeniedError.
        """
        asset = self._assets.setdefault(name, _Asset())
        await self._read(name, asset.unread(versions))
        asset.read = versions
        return asset.by_push

    async def look_everywhere(self, name: AssetName) -> Mapping[Version, str]:
        """Return the push of each version that a listing shows, in the index or not.

        "" for modelkit's, and where the manifest cannot be believed.

        Raises:
            StoreUnavailableError, StoreAccessDeniedError.
        """
        committed = await self._catalog.committed(name)
        asset = self._assets.setdefault(name, _Asset())
        made = asset.made
        await self._read(name, [v for v, info in committed.items() if _is_news(made.get(v), info)])
        for version, info in committed.items():
            # What cannot be believed now is read again only when somebody has written it again.
            if version not in made:
                asset.note(version, _Made(info.etag, ""))
        return {version: made[version].push_id for version in committed}

    async def manifest(self, name: AssetName, version: Version) -> Manifest | None:
        """Return a version's manifest, perhaps from memory; None where there is none to believe.

        Raises:
            StoreUnavailableError, StoreAccessDeniedError.
        """
        if (name, version) not in self._kept:
            return await self._read_one(name, version)
        self._kept.move_to_end((name, version))
        return self._kept[name, version]

    async def _read(self, name: AssetName, versions: Collection[Version]) -> None:
        turns = asyncio.Semaphore(_READS_AT_ONCE)

        async def read(version: Version) -> None:
            async with turns:
                await self._read_one(name, version)

        await asyncio.gather(*map(read, versions))

    async def _read_one(self, name: AssetName, version: Version) -> Manifest | None:
        asset = self._assets.setdefault(name, _Asset())
        try:
            found = await self._catalog.read_manifest(name, version)
        except BadManifestError:
            found = None
        if found is None:
            asset.note(version, None)
            return None
        info, manifest = found
        asset.note(version, _Made(info.etag, manifest.push_id))
        self._keep(name, version, manifest)
        return manifest

    def _keep(self, name: AssetName, version: Version, manifest: Manifest) -> None:
        old = self._kept.pop((name, version), None)
        self._kept_parts += len(manifest.parts) - (len(old.parts) if old else 0)
        self._kept[name, version] = manifest
        while self._kept_parts > _MAX_KEPT_PARTS and len(self._kept) > 1:
            _, dropped = self._kept.popitem(last=False)
            self._kept_parts -= len(dropped.parts)


def _is_news(made: _Made | None, info: ObjectInfo) -> bool:
    return made is None or made.etag != info.etag
