"""From a spec to one exact version: who is asked, and what is said of the answer.

With a store the index decides, and the newest there wins, local or not. Without one ASSETS_DIR does
(`layout.md`, "Resolving"). A pinned version asks nobody. No side effects.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from assetd_server.assets.threads import Threads
from assetd_server.cache.lookup import Lookup
from assetd_server.errors import (
    AssetNotFoundError,
    NotCachedError,
    StoreUnavailableError,
    VersionNotFoundError,
)
from assetd_server.model import AssetName, AssetVersion, Freshness, Resolution
from assetd_server.spec import Spec
from assetd_server.store.catalog import Catalog
from assetd_server.versioning import Version, Versions, newest_first

AlsoCached = Callable[[], Awaitable[Sequence[Version]]]


@dataclass(frozen=True)
class Meaning:
    """What a spec means now. `version` is None for a path that is no asset (no store only)."""

    version: Version | None
    resolution: Resolution


class Resolver:
    """Answers which version a spec means. `catalog` is None where no store is configured."""

    def __init__(
        self,
        catalog: Catalog | None,
        lookup: Lookup,
        threads: Threads,
        default_freshness: Freshness,
        default_timeout_seconds: float,
    ) -> None:
        self._catalog = catalog
        self._lookup = lookup
        self._threads = threads
        self._default_freshness = default_freshness
        self._default_timeout_seconds = default_timeout_seconds

    def freshness(self, asked: Freshness | None) -> Freshness:
        """Return the freshness that counts: without a store nobody else can be asked."""
        if self._catalog is None:
            return Freshness.CACHE
        return asked or self._default_freshness

    def timeout_seconds(self, asked: float | None) -> float:
        """Return how long the store may take to say what a spec means."""
        return self._default_timeout_seconds if asked is None else asked

    async def resolve(
        self,
        spec: Spec,
        freshness: Freshness | None,
        timeout_seconds: float | None,
        also_cached: AlsoCached | None = None,
    ) -> Meaning:
        """Return the version that `spec` means now.

        Where the cache decides, `also_cached` tells of versions that do beside the whole ones.

        Raises:
            AssetNotFoundError, VersionNotFoundError: there is none.
            NotCachedError: freshness CACHE, and the cache holds none that fits.
            StoreUnavailableError: it did not answer in time, and nothing else may be asked.
            StoreAccessDeniedError, BadIndexError, MixedVersioningError.
        """
        if spec.exact is not None:
            return Meaning(spec.exact, Resolution.EXACT)
        freshness = self.freshness(freshness)
        if self._catalog is None or freshness is Freshness.CACHE:
            return await self._from_cache(spec, Resolution.CACHE, also_cached)
        try:
            return await self._from_store(spec, self._catalog, timeout_seconds)
        except StoreUnavailableError:
            if freshness is Freshness.STORE:
                raise
            try:
                return await self._from_cache(spec, Resolution.FALLBACK, also_cached)
            except NotCachedError:
                pass
            raise

    async def _from_store(
        self, spec: Spec, catalog: Catalog, timeout_seconds: float | None
    ) -> Meaning:
        limit = self.timeout_seconds(timeout_seconds)
        try:
            async with asyncio.timeout(limit):
                versions = await catalog.versions(spec.name)
        except TimeoutError:
            raise store_too_slow(catalog, limit) from None
        version = spec.selector.choose(versions)
        if version is None:
            raise _no_version(spec, versions)
        return Meaning(version, Resolution.STORE)

    async def _from_cache(
        self, spec: Spec, resolution: Resolution, also_cached: AlsoCached | None
    ) -> Meaning:
        # Without a store modelkit counts what stands there without a marker, and so do we.
        alone = self._catalog is None
        versions = await self._threads.run(self._lookup.versions, spec.name, unmarked=alone)
        if also_cached is not None:
            versions = [*versions, *await also_cached()]
        version = spec.selector.choose(versions)
        if version is not None:
            return Meaning(version, resolution)
        if not alone:
            raise NotCachedError(
                "no version of {spec} is in the cache: allow the store to be asked, or fetch it"
                " first",
                spec=spec,
            )
        if versions:
            raise _no_version(spec, newest_first(versions))
        if spec.selector.major is None and await self._stands(spec.name):
            return Meaning(None, resolution)
        raise AssetNotFoundError(
            "ASSETS_DIR has no asset {name}, and no store is configured: set ASSETD_STORE, or put"
            " the asset there",
            name=spec.name,
        )

    async def describe(
        self,
        name: AssetName,
        version: Version,
        freshness: Freshness | None,
        timeout_seconds: float | None,
    ) -> AssetVersion:
        """Return what the store tells of an exact version that is not in the cache.

        Raises:
            AssetNotFoundError, VersionNotFoundError: it is nowhere.
            NotCachedError: the store must not be asked.
            StoreUnavailableError, StoreAccessDeniedError, BadManifestError.
        """
        if self._catalog is None:
            raise VersionNotFoundError(
                "ASSETS_DIR has no {name}:{version}, and no store is configured",
                name=name,
                version=version,
            )
        if self.freshness(freshness) is Freshness.CACHE:
            raise NotCachedError(
                "{name}:{version} is not in the cache: allow the store to be asked",
                name=name,
                version=version,
            )
        limit = self.timeout_seconds(timeout_seconds)
        try:
            async with asyncio.timeout(limit):
                manifest = await self._catalog.manifest(name, version)
        except TimeoutError:
            raise store_too_slow(self._catalog, limit) from None
        return manifest.describe(name, version)

    async def _stands(self, name: AssetName) -> bool:
        return await self._threads.run(self._lookup.stands, name)


def store_too_slow(catalog: Catalog, limit_seconds: float) -> StoreUnavailableError:
    """Return the error for a store that did not answer within a caller's patience."""
    return StoreUnavailableError(
        "the store {store} did not answer within {limit_seconds} s: try again, raise store_timeout,"
        " or allow the cache to answer",
        store=catalog.store.url,
        limit_seconds=limit_seconds,
    )


def _no_version(spec: Spec, versions: Versions) -> VersionNotFoundError:
    return VersionNotFoundError(
        "{name} has no version {version}; the newest is {newest}",
        name=spec.name,
        version=spec.selector,
        newest=versions[0],
    )
