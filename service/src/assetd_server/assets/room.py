"""Makes room: reserves a download's bytes before its first one, and evicts for it.

Who goes is decided here (`layout.md`, "Evict"): least recently used first, only what the store can
give back, nobody who is pinned, leased, in use or too young. How a version goes is `cache.evict`.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from assetd_server.assets.clock import Clock
from assetd_server.assets.evicting import Evictions
from assetd_server.assets.holds import Holds
from assetd_server.assets.ledger import Ledger
from assetd_server.assets.shielding import to_the_end
from assetd_server.cache.budget import Disk, Entry, Reservation
from assetd_server.cache.layout import PartialPaths, VersionPaths
from assetd_server.cache.receipt import Receipt
from assetd_server.errors import AssetError, AssetExceedsCacheError, CacheFullError, DiskFullError

_Victim = tuple[VersionPaths, Receipt]
_PROBED_AT_ONCE = 100
_TOO_LITTLE_GOES = (
    "{name}:{version} needs {needed_bytes} bytes; {free_bytes} are free, and {evictable_bytes}"
    " could be evicted: the rest is held, pinned, younger than ASSETD_CACHE_MIN_AGE, or not in the"
    " store (held: {holders}); end holds, unpin, or raise ASSETD_CACHE_MAX_BYTES (lower"
    " ASSETD_CACHE_MIN_FREE)"
)
_NOTHING_GOES = (
    "{name}:{version} needs {needed_bytes} bytes; {free_bytes} are free, and nothing is evicted:"
    " `assetd status` says why; delete versions by hand, or raise ASSETD_CACHE_MAX_BYTES (lower"
    " ASSETD_CACHE_MIN_FREE)"
)
_CONFIRMED_AT_ONCE = 16


@dataclass(frozen=True)
class _Need:
    """One version that has to fit."""

    paths: VersionPaths
    size_bytes: int
    staged_bytes: int
    # What goes when it stands; nothing for parts, which stand beside what is here.
    replaced: Collection[str]


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
    ) -> AsyncIterator[Reservation]:
        """Set room aside for a version for the length of the block, evicting others for it.

        `written_bytes` tells how many of them are on the disk already.

        Raises:
            AssetExceedsCacheError: it does not fit in an empty cache; nothing was evicted.
            CacheFullError: it does not fit now, and too little may be evicted; nothing was.
            DiskFullError: the limits would let it in, and the disk is full of what does not go.
            StoreUnavailableError, StoreAccessDeniedError: the store could not confirm the victims.
        """
        try:
            async with self._deciding:
                need = await self._need(paths, size_bytes)
                await self._make_room(need)
                reservation = self._budget.reserve(size_bytes, written_bytes)
            try:
                yield reservation
            finally:
                self._budget.release(reservation)
        finally:
            await to_the_end(self._ledger.download_ends(paths))

    def landed(self, reservation: Reservation, paths: VersionPaths, size_bytes: int) -> None:
        """Turn room that was set aside into the version that stands in it now, in one step."""
        self._budget.release(reservation)
        self._ledger.landed(paths, size_bytes)

    async def _need(self, paths: VersionPaths, size_bytes: int) -> _Need:
        if self._budget.limits.any:
            await self._ledger.refresh()
        replaced = await self._replaced(paths)
        return _Need(paths, size_bytes, self._ledger.download_begins(paths), replaced)

    async def _replaced(self, paths: VersionPaths) -> Collection[str]:
        if isinstance(paths, PartialPaths):
            return ()
        parts = PartialPaths.of(paths)
        return (paths.data, parts.data) if await self.gives_way(parts) else (paths.data,)

    async def gives_way(self, parts: PartialPaths) -> bool:
        """Tell whether parts of a version may go once the whole of it stands: nobody holds them."""
        entry = self._budget.get(parts.data)
        return entry is not None and not await self._ledger.leased([entry])

    async def _disk_for(self, need: _Need) -> Disk:
        disk = await self._ledger.disk()
        # What is staged already is a part of what is needed.
        return Disk(disk.total_bytes, disk.free_bytes + need.staged_bytes)

    async def _missing_bytes(self, need: _Need) -> int:
        disk = await self._disk_for(need)
        return self._budget.missing_bytes(need.size_bytes, disk, need.replaced)

    async def _make_room(self, need: _Need) -> None:
        disk = await self._disk_for(need)
        if self._budget.limits.any and self._budget.never_fits(need.size_bytes, disk):
            raise self._exceeds(need, disk)
        # Who stays in spite of having been chosen, and why, where it was a failure.
        passed_over: set[str] = set()
        failures: list[AssetError] = []
        while missing := await self._missing_bytes(need):
            downloads = [
                one for one in self._budget if one.is_download and one.key not in passed_over
            ]
            # Interrupted downloads go first. Nothing goes where all of it would not be enough.
            missing -= sum(one.size_bytes for one in downloads)
            victims = await self._victims(missing, passed_over)
            if victims is None:
                raise failures[0] if failures else await self._full(need)
            for entry in downloads:
                passed_over.add(entry.key)
                if await self._missing_bytes(need):
                    await self._ledger.drop_download(entry)
            for paths, receipt in victims:
                passed_over.add(paths.data)
                try:
                    await self._evict(paths, receipt)
                except AssetError as error:
                    failures.append(error)

    async def _evict(self, paths: VersionPaths, receipt: Receipt) -> None:
        if self._evictions is not None:
            await self._evictions.evict_now(paths, receipt)

    async def _victims(self, missing_bytes: int, passed_over: set[str]) -> list[_Victim] | None:
        """Choose who goes, least recently used first; None where all of them are too little.

        Those whom the store does not confirm are passed over from then on.
        """
        chosen: list[_Victim] = []
        if missing_bytes <= 0:
            return chosen
        candidates = [one for one in self._candidates() if one.key not in passed_over]
        if sum(one.size_bytes for one in candidates) < missing_bytes:
            return None
        async for entries in self._evictable(candidates):
            waiting = deque(entries)
            while waiting and missing_bytes > 0:
                asked = _enough(waiting, missing_bytes)
                for entry, victim in zip(asked, await self._confirmed(asked), strict=True):
                    if victim is None:
                        passed_over.add(entry.key)
                    else:
                        chosen.append(victim)
                        missing_bytes -= entry.size_bytes
            if missing_bytes <= 0:
                return chosen
        return None

    async def _confirmed(self, entries: Sequence[Entry]) -> list[_Victim | None]:
        """Ask the store about some at once; whoever it could not give back is None."""
        asked = [self._confirm(entry) for entry in entries]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        confirmed: list[_Victim | None] = []
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
            confirmed.append(answer)
        return confirmed

    async def _confirm(self, entry: Entry) -> _Victim | None:
        paths = self._ledger.paths(entry.key)
        if self._evictions is None or paths is None:
            return None
        receipt = await self._evictions.confirmed(paths)
        return (paths, receipt) if receipt else None

    def _candidates(self) -> list[Entry]:
        """Return who may go now as far as is known, least recently used first."""
        evictions, now = self._evictions, self._clock.monotonic()
        if evictions is None or not self._budget.limits.any:
            return []
        if now - self._start_at < self._budget.limits.restart_grace_seconds:
            return []
        return [one for one in self._budget if self._may_go(one, evictions, now)]

    async def _evictable(self, candidates: Sequence[Entry]) -> AsyncIterator[list[Entry]]:
        """Yield, some at a time, those of the candidates on whom nobody holds a lease.

        Last come those of whom a use is seen only now: a marker that was touched without a call.
        """
        just_used: list[Entry] = []
        for start in range(0, len(candidates), _PROBED_AT_ONCE):
            some = candidates[start : start + _PROBED_AT_ONCE]
            counts = [entry.use_count for entry in some]
            leased = await self._ledger.leased(some)
            may_go = {entry.key for entry in self._candidates()} - leased
            free = [pair for pair in zip(some, counts, strict=True) if pair[0].key in may_go]
            yield [entry for entry, count in free if entry.use_count == count]
            just_used += [entry for entry, count in free if entry.use_count != count]
        yield just_used

    def _may_go(self, entry: Entry, evictions: Evictions, now: float) -> bool:
        return (
            entry.has_receipt
            and self._budget.old_enough(entry, now)
            and evictions.may_go(entry.key)
        )

    def evictable_bytes(self, leased: Collection[str]) -> int:
        """Return how much could be evicted now, as far as this node can tell.

        Of what the store was not asked about it is taken for granted that it is there.
        """
        free = [one for one in self._candidates() if one.in_store and one.key not in leased]
        return sum(one.size_bytes for one in free)

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
        return AssetExceedsCacheError(
            "{name}:{version} has {needed_bytes} bytes, and the cache never holds more than"
            " {limit_bytes}: raise ASSETD_CACHE_MAX_BYTES or lower ASSETD_CACHE_MIN_FREE, or fetch"
            " a part of it",
            name=need.paths.name,
            version=need.paths.version,
            needed_bytes=need.size_bytes,
            limit_bytes=self._budget.largest_bytes(disk),
        )

    async def _full(self, need: _Need) -> AssetError:
        disk = await self._disk_for(need)
        is_disk_full = self._budget.is_disk_full(need.size_bytes, disk, need.replaced)
        if is_disk_full or not self._budget.limits.any:
            return DiskFullError(
                "{name}:{version} needs {needed_bytes} bytes, and the disk of ASSETS_DIR has"
                " {free_bytes} left: free some, or point ASSETS_DIR at a larger disk",
                name=need.paths.name,
                version=need.paths.version,
                needed_bytes=need.size_bytes,
                free_bytes=self._budget.disk_left_bytes(disk),
            )
        leased = await self._ledger.all_leased()
        return CacheFullError(
            _NOTHING_GOES if self._evictions is None else _TOO_LITTLE_GOES,
            name=need.paths.name,
            version=need.paths.version,
            needed_bytes=need.size_bytes,
            free_bytes=self._budget.free_bytes(disk),
            evictable_bytes=self.evictable_bytes(leased),
            holders=self._holders(leased),
        )

    def _holders(self, leased: Collection[str]) -> str:
        """Name who holds what, for people; the holds of this daemon first."""
        held = [f"{hold.asset_version} by {hold.caller or '?'}" for hold in self._holds]
        others = [paths for key in leased if (paths := self._ledger.paths(key))]
        held += sorted(f"{o.spec} by another process" for o in others if not self._holds.count(o))
        return ", ".join(held) or "nothing"


def _enough(waiting: deque[Entry], missing_bytes: int) -> list[Entry]:
    """Take the next ones out that would do if the store confirms all; a bounded number."""
    taken: list[Entry] = []
    while waiting and missing_bytes > 0 and len(taken) < _CONFIRMED_AT_ONCE:
        taken.append(waiting.popleft())
        missing_bytes -= taken[-1].size_bytes
    return taken
