"""Verify: hash cached versions, compare them with their manifests, repair what is damaged.

The cache goes on serving meanwhile. What is damaged stays until its repair has been downloaded and
checked; whoever reads it holds a lease, and keeps it from being replaced.
"""

import asyncio
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection
from contextlib import aclosing
from dataclasses import dataclass, field, replace

from assetd_server.assets.cache_orders import (
    Selector,
    VerifyCompleted,
    VerifyEvent,
    VerifyOrder,
    VerifyOutcome,
    VerifyProgress,
    VerifyResult,
)
from assetd_server.assets.orders import FetchEvent, FetchOrder
from assetd_server.assets.selection import Selection
from assetd_server.assets.shielding import ended
from assetd_server.assets.states import CachedVersion
from assetd_server.assets.threads import Threads
from assetd_server.assets.uses import Uses
from assetd_server.cache.hashing import damaged_parts, strangers
from assetd_server.cache.layout import AssetsDir, PartialPaths, VersionPaths
from assetd_server.cache.lookup import Lookup
from assetd_server.cache.partial import PartialVersions
from assetd_server.errors import (
    AssetInUseError,
    AssetNotFoundError,
    NoStoreError,
    UnsafePathError,
    VersionNotFoundError,
)
from assetd_server.manifest import Manifest
from assetd_server.model import PartPath
from assetd_server.spec import Spec
from assetd_server.store.catalog import Catalog
from assetd_server.versioning import VersionSelector

_PROGRESS_EVERY_SECONDS = 0.5


class _StoppedError(Exception):
    """Whoever asked has left."""


@dataclass
class _Counter:
    """Bytes hashed so far, from the threads that hash; `stopped` ends their work."""

    total_bytes: int
    hashed_bytes: int = 0
    stopped: threading.Event = field(default_factory=threading.Event)

    def add(self, count: int) -> None:
        if self.stopped.is_set():
            raise _StoppedError
        self.hashed_bytes = min(self.hashed_bytes + count, self.total_bytes)

    def snapshot(self) -> VerifyProgress:
        return VerifyProgress(self.hashed_bytes, self.total_bytes)


class Verifier:
    """Verifies versions of one ASSETS_DIR. `catalog` is None where no store is configured."""

    def __init__(
        self,
        catalog: Catalog | None,
        assets_dir: AssetsDir,
        lookup: Lookup,
        partial: PartialVersions,
        uses: Uses,
        disk: Threads,
        select: Callable[[Selector], Awaitable[list[CachedVersion]]],
        fetch: Callable[[FetchOrder], AsyncGenerator[FetchEvent, None]],
    ) -> None:
        """A repair is a `fetch` that replaces what stands there."""
        self._catalog = catalog
        self._dir = assets_dir
        self._lookup = lookup
        self._partial = partial
        self._uses = uses
        self._disk = disk
        self._select = select
        self._fetch = fetch

    async def verify(self, order: VerifyOrder) -> AsyncGenerator[VerifyEvent, None]:
        """Tell the progress, one result for each version, and how it ended, in that order.

        Raises:
            NoStoreError: `repair`, and there is no store to repair from.
            NotCachedError: the one version that the selector names is not in the cache.
            DigestMismatchError, BadManifestError: the store's own copy is damaged.
            and, with `repair`, what a fetch raises.
        """
        if order.repair and self._catalog is None:
            raise NoStoreError(
                "no store is configured to repair from: set ASSETD_STORE, or verify without repair"
            )
        selected = await self._select(order.selector)
        counter = _Counter(sum(cached.state.disk_bytes for cached in selected))
        sound = damaged = 0
        for cached in selected:
            task = asyncio.create_task(self._verify_one(cached, order.repair, counter))
            try:
                while not (await asyncio.wait([task], timeout=_PROGRESS_EVERY_SECONDS))[0]:
                    yield counter.snapshot()
            finally:
                # Also when the caller leaves: a file of many gigabytes is not read to its end.
                if not task.done():
                    counter.stopped.set()
                    task.cancel()
                await ended(task)
            result = task.result()
            if result is not None:
                sound += result.outcome in (VerifyOutcome.SOUND, VerifyOutcome.REPAIRED)
                damaged += result.outcome is VerifyOutcome.DAMAGED
                yield result
        yield VerifyCompleted(sound, damaged)

    async def _verify_one(
        self, cached: CachedVersion, repair: bool, counter: _Counter
    ) -> VerifyResult | None:
        paths = cached.paths
        async with self._uses.shared(paths.data):
            kind = (await self._disk.run(self._lookup.look, paths)).kind
            if kind is None:
                return None  # evicted, or removed by hand, before its turn
            manifest = await self._manifest(paths)
            if manifest is None:
                return VerifyResult(cached.asset_version, VerifyOutcome.UNVERIFIABLE)
            bad = await self._damaged(paths, manifest, counter)
        if not bad:
            known = all(part.sha256_hex or part.crc64nvme is not None for part in manifest.parts)
            outcome = VerifyOutcome.SOUND if known else VerifyOutcome.UNVERIFIABLE
            return VerifyResult(cached.asset_version, outcome)
        repaired = repair and await self._repaired(paths, bad)
        outcome = VerifyOutcome.REPAIRED if repaired else VerifyOutcome.DAMAGED
        return VerifyResult(cached.asset_version, outcome, bad)

    async def _manifest(self, paths: VersionPaths) -> Manifest | None:
        """Return what the version has to be: our receipt says it, else the store."""
        if isinstance(paths, PartialPaths):
            return await self._disk.run(self._manifest_of_parts, paths)
        receipt = (await self._disk.run(self._lookup.look, paths)).receipt
        if receipt is not None:
            return receipt.manifest
        if self._catalog is None:
            return None
        try:
            return await self._catalog.manifest(paths.name, paths.version)
        except (AssetNotFoundError, VersionNotFoundError):
            return None

    def _manifest_of_parts(self, paths: PartialPaths) -> Manifest | None:
        receipt = self._partial.look(paths)
        if receipt is None:
            return None
        here = tuple(part for part in receipt.manifest.parts if part.path in receipt.present)
        return replace(receipt.manifest, parts=here)

    async def _damaged(
        self, paths: VersionPaths, manifest: Manifest, counter: _Counter
    ) -> list[PartPath]:
        standing = (await self._disk.run(self._lookup.look, paths)).kind
        if standing is not manifest.kind:
            return [part.path for part in manifest.parts]
        data = paths.part(PartPath.of_file())
        try:
            strange = await self._strangers(paths, manifest)
        except UnsafePathError:
            return [part.path for part in manifest.parts]  # removed by hand, this moment
        return strange + await self._disk.run(
            damaged_parts, self._dir, data, manifest.parts, counter.add
        )

    async def _strangers(self, paths: VersionPaths, manifest: Manifest) -> list[PartPath]:
        """Return what stands in the folder and is no part of the version.

        Not in a partial version: there a growth that was killed may have left parts.
        """
        if isinstance(paths, PartialPaths):
            return []
        return await self._disk.run(strangers, self._dir, paths.data, manifest)

    async def _repaired(self, paths: VersionPaths, damaged: Collection[PartPath]) -> bool:
        spec = Spec(paths.name, VersionSelector(exact=paths.version))
        some = Selection(names=frozenset(damaged)) if isinstance(paths, PartialPaths) else None
        order = FetchOrder(spec, selection=some, force_download=True)
        try:
            async with aclosing(self._fetch(order)) as events:
                async for _ in events:
                    pass
        except AssetInUseError:
            return False
        return True
