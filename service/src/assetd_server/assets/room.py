"""Makes room: reserves a download's bytes before its first one, and evicts for it.

Who goes is decided here (`layout.md`, "Evict"): least recently used first, only what the store can
give back, nobody who is pinned, leased, in use or too young. How a version goes is `cache.evict`.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from assetd_server.assets.clock import Clock
from assetd_server.assets.evicting import Evictions
from assetd_server.assets.holds import Holds
from assetd_server.assets.ledger import Ledger
from assetd_server.assets.shielding import to_the_end
from assetd_server.cache.budget import Disk, Entry
from assetd_server.cache.evict import Outcome
from assetd_server.cache.layout import PartialPaths, VersionPaths
from assetd_server.cache.receipt import Receipt
from assetd_server.errors import AssetError, AssetExceedsCacheError, CacheFullError, DiskFullError

_Victim = tuple[VersionPaths, Receipt]
_PROBED_AT_ONCE = 100


@dataclass(frozen=True)
class _Need:
    """One version that has to fit."""

    paths: VersionPaths
    size_bytes: int
    staged_bytes: int

    @property
    def replaced(self) -> str:
        """What goes when it stands; nothing for parts, which stand beside what is here."""
        return "" if isinstance(self.paths, PartialPaths) else self.paths.data


class Room:
    """The room of one ASSETS_DIR. `evictions` is None where nothing may ever be evicted."""

    def __init__(
        self, ledger: Ledger, evictions: Evictions | None, holds: Holds, clock: Clock
    ) -> None:
        self._ledger = ledger
        self._budget = ledger.budget
        self._evictions = evictions
        self._holds = holds
        self._clock = clock
        self._start_at = clock.monotonic()
        # One after the other: two downloads must not count the same bytes as free.
        self._deciding = asyncio.Lock()

    @asynccontextmanager
    async def reserved(
        self, paths: VersionPaths, size_bytes: int, written_bytes: Callable[[], int]
    ) -> AsyncIterator[None]:
        """Set room aside for a version for the length of the block, evicting others for it.

        `written_bytes` tells how many of them are on the disk already.

        Raises:
            AssetExceedsCacheError: it does not fit in an empty cache; nothing was evicted.
            CacheFullError: it does not fit now, and too little may be evicted; nothing was.
            DiskFullError: the disk is full of what is not ours to evict.
            StoreUnavailableError, StoreAccessDeniedError: the store could not confirm the victims.
        """
        try:
            async with self._deciding:
                need = await self._need(paths, size_bytes)
                await self._make_room(need)
                reservation = self._budget.reserve(size_bytes, written_bytes)
            try:
                yield
            finally:
                self._budget.release(reservation)
        finally:
            await to_the_end(self._ledger.download_ends(paths))

    async def _need(self, paths: VersionPaths, size_bytes: int) -> _Need:
        if self._budget.limits.any:
            await self._ledger.refresh()
        return _Need(paths, size_bytes, self._ledger.download_begins(paths))

    async def _disk_for(self, need: _Need) -> Disk:
        disk = await self._ledger.disk()
        # What is staged already is a part of what is needed.
        return Disk(disk.total_bytes, disk.free_bytes + need.staged_bytes)

    async def _make_room(self, need: _Need) -> None:
        disk = await self._disk_for(need)
        if self._budget.limits.any and self._budget.never_fits(need.size_bytes, disk):
            raise self._exceeds(need, disk)
        disk = await self._drop_downloads(need, disk)
        passed_over: set[str] = set()
        while missing := self._budget.missing_bytes(need.size_bytes, disk, need.replaced):
            victims = await self._victims(missing, passed_over)
            if victims is None or self._evictions is None:
                raise await self._full(need, disk)
            for paths, receipt in victims:
                if await self._evictions.evict_now(paths, receipt) is not Outcome.EVICTED:
                    passed_over.add(paths.data)
            disk = await self._disk_for(need)

    async def _drop_downloads(self, need: _Need, disk: Disk) -> Disk:
        """Delete interrupted downloads, the oldest first, as long as room is missing."""
        for entry in self._budget:
            if not self._budget.missing_bytes(need.size_bytes, disk, need.replaced):
                break
            if entry.is_download:
                await self._ledger.drop_download(entry)
                disk = await self._disk_for(need)
        return disk

    async def _victims(self, missing_bytes: int, passed_over: set[str]) -> list[_Victim] | None:
        """Choose who goes, least recently used first; None where all of them are too little."""
        chosen: list[_Victim] = []
        if self._evictions is None:
            return None
        async for entry in self._evictable():
            if entry.key in passed_over:
                continue
            paths = self._ledger.paths(entry.key)
            receipt = await self._evictions.confirmed(paths)
            if receipt is None:
                passed_over.add(entry.key)
                continue
            chosen.append((paths, receipt))
            missing_bytes -= entry.size_bytes
            if missing_bytes <= 0:
                return chosen
        return None

    async def _evictable(self) -> AsyncIterator[Entry]:
        """Yield who may go now, least recently used first; the store is not asked."""
        evictions, now = self._evictions, self._clock.monotonic()
        if evictions is None or not self._budget.limits.any:
            return
        if now - self._start_at < self._budget.limits.restart_grace_seconds:
            return
        candidates = [one for one in self._budget if self._may_go(one, evictions, now)]
        for start in range(0, len(candidates), _PROBED_AT_ONCE):
            some = candidates[start : start + _PROBED_AT_ONCE]
            leased = await self._ledger.leased(some)
            for entry in some:
                # Again: who touched a marker without a call has been seen only now.
                if entry.key not in leased and self._may_go(entry, evictions, now):
                    yield entry

    def _may_go(self, entry: Entry, evictions: Evictions, now: float) -> bool:
        return (
            entry.has_receipt
            and self._budget.old_enough(entry, now)
            and evictions.may_go(entry.key)
        )

    async def evictable_bytes(self) -> int:
        """Return how much could be evicted now, as far as this node can tell."""
        return sum([entry.size_bytes async for entry in self._evictable()])

    def used(self, paths: VersionPaths | None) -> None:
        """Note that a call used the version, or parts of it, just now; a plain path is none."""
        if paths is not None:
            self._ledger.used(paths)

    def keep_until(self) -> datetime | None:
        """Return until when a version that is answered now stays; None = nothing is evicted."""
        limits = self._budget.limits
        if not limits.any or self._evictions is None:
            return None
        grace = self._start_at + limits.restart_grace_seconds - self._clock.monotonic()
        return self._clock.now() + timedelta(seconds=max(limits.min_age_seconds, grace))

    def _exceeds(self, need: _Need, disk: Disk) -> AssetExceedsCacheError:
        limits = self._budget.limits
        limit = disk.total_bytes - limits.kept_free(disk.total_bytes)
        if limits.max_bytes is not None:
            limit = min(limit, limits.max_bytes)
        return AssetExceedsCacheError(
            "{name}:{version} has {needed_bytes} bytes, and the cache never holds more than"
            " {limit_bytes}: raise ASSETD_CACHE_MAX_BYTES or lower ASSETD_CACHE_MIN_FREE, or fetch"
            " a part of it",
            name=need.paths.name,
            version=need.paths.version,
            needed_bytes=need.size_bytes,
            limit_bytes=max(limit, 0),
        )

    async def _full(self, need: _Need, disk: Disk) -> AssetError:
        if not self._budget.limits.any:
            return DiskFullError(
                "{name}:{version} needs {needed_bytes} bytes, and the disk of ASSETS_DIR has"
                " {free_bytes} left: free some, or point ASSETS_DIR at a larger disk",
                name=need.paths.name,
                version=need.paths.version,
                needed_bytes=need.size_bytes,
                free_bytes=self._budget.free_bytes(disk),
            )
        evictable = await self.evictable_bytes()
        return CacheFullError(
            "{name}:{version} needs {needed_bytes} bytes; {free_bytes} are free, and"
            " {evictable_bytes} could be evicted: the rest is in use ({holders}), pinned, younger"
            " than ASSETD_CACHE_MIN_AGE, or not in the store; end holds, or raise the limit",
            name=need.paths.name,
            version=need.paths.version,
            needed_bytes=need.size_bytes,
            free_bytes=self._budget.free_bytes(disk),
            evictable_bytes=evictable,
            holders=await self._holders(),
        )

    async def _holders(self) -> str:
        """Name who holds what, for people; the holds of this daemon first."""
        held = [f"{hold.asset_version} by {hold.caller or '?'}" for hold in self._holds]
        versions = [entry for entry in self._budget if not entry.is_download]
        leased = await self._ledger.leased(versions)
        others = [self._ledger.paths(key) for key in leased]
        held += sorted(f"{o.spec} by another process" for o in others if not self._holds.count(o))
        return ", ".join(held) or "by nobody's hold"
