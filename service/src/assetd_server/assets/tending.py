"""What operators ask of the cache: evict, pin, unpin, and which versions a selector means.

An operator's own evict asks neither for an age nor for a grace; leases, pins and the store's word
hold for it as for every other.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress

from assetd_server.assets.cache_orders import (
    EvictEntry,
    EvictOrder,
    EvictOutcome,
    Pinned,
    Selector,
)
from assetd_server.assets.evicting import Evictions
from assetd_server.assets.ledger import Ledger
from assetd_server.assets.states import CachedVersion, States
from assetd_server.assets.threads import Threads
from assetd_server.assets.uses import Uses
from assetd_server.cache.evict import Outcome
from assetd_server.cache.layout import PartialPaths, VersionPaths
from assetd_server.cache.pins import Pins
from assetd_server.cache.receipt import Receipt
from assetd_server.errors import (
    LockBusyError,
    NoStoreError,
    NotCachedError,
    ReadOnlyError,
    UnsafePathError,
)
from assetd_server.model import Presence
from assetd_server.spec import Spec


class Tending:
    """Evicts and pins as operators say. `evictions` is None where no store is configured.

    `leases_trusted` is false where the file system keeps no leases: whatever is there may be in
    use then, for all that anybody can know.
    """

    def __init__(
        self,
        ledger: Ledger,
        evictions: Evictions | None,
        states: States,
        pins: Pins,
        uses: Uses,
        disk: Threads,
        *,
        writable: bool,
        leases_trusted: bool,
    ) -> None:
        self._ledger = ledger
        self._evictions = evictions
        self._states = states
        self._pins = pins
        self._uses = uses
        self._disk = disk
        self._writable = writable
        self._leases_trusted = leases_trusted

    async def selected(self, selector: Selector) -> list[CachedVersion]:
        """Return what the cache holds of the selected versions, by name, then newest first.

        Raises:
            NotCachedError: the one version that the selector names is not in the cache.
        """
        if selector.spec is not None:
            return [await self._required(selector.spec)]
        await self._ledger.refresh(now=True)
        prefix = selector.name_prefix or ""
        chosen = [paths for paths in self._ledger.all_paths() if paths.name.startswith(prefix)]
        chosen.sort(key=lambda paths: paths.version, reverse=True)
        chosen.sort(key=lambda paths: paths.name)
        looked = await self._disk.run(self._look, chosen)
        return [cached for cached in looked if cached.state.presence is not Presence.ABSENT]

    def _look(self, versions: Sequence[VersionPaths]) -> list[CachedVersion]:
        looked = []
        for paths in versions:
            # Somebody put a link in the way: who asks for it by name is told so.
            with suppress(UnsafePathError):
                looked.append(self._states.of(paths))
        return looked

    async def _required(self, spec: Spec) -> CachedVersion:
        return _require_present(spec, await self._disk.run(self._states.of, _paths(spec)))

    async def evict(self, order: EvictOrder) -> list[EvictEntry]:
        """Evict what is selected, and tell of each that could go or has to stay.

        Raises:
            NoStoreError: nothing could be fetched again.
            NotCachedError: the one version that the selector names is not in the cache.
            LockBusyError: modelkit is at work on the one that the selector names.
            StoreUnavailableError, StoreAccessDeniedError: the store does not say what it has.
            ReadOnlyError, UnsafePathError, IoError.
        """
        if self._evictions is None:
            raise NoStoreError(
                "without a store nothing could be fetched again, so nothing is evicted: set"
                " ASSETD_STORE, or remove versions by hand"
            )
        if not self._writable:
            raise ReadOnlyError(
                "ASSETS_DIR cannot be written, so nothing is evicted: check mount, owner and mode"
            )
        entries = []
        for cached in await self.selected(order.selector):
            outcome = await self._evict(cached, order, self._evictions)
            if outcome is not None:
                freed = cached.state.disk_bytes if outcome is EvictOutcome.EVICTED else 0
                entries.append(EvictEntry(cached.asset_version, outcome, freed))
        return entries

    async def _evict(
        self, cached: CachedVersion, order: EvictOrder, evictions: Evictions
    ) -> EvictOutcome | None:
        paths = cached.paths
        if self._pins.is_pinned(paths.final):
            return EvictOutcome.PINNED
        receipt = await evictions.confirmed(paths)
        if receipt is None:
            return None
        in_use = cached.state.leased or self._uses.in_use(paths.data)
        if in_use or not self._leases_trusted:
            return EvictOutcome.LEASED
        if order.dry_run:
            return EvictOutcome.EVICTED
        return await self._evict_really(paths, receipt, order, evictions)

    async def _evict_really(
        self, paths: VersionPaths, receipt: Receipt, order: EvictOrder, evictions: Evictions
    ) -> EvictOutcome | None:
        match await evictions.evict(paths, receipt):
            case Outcome.EVICTED:
                return EvictOutcome.EVICTED
            case Outcome.LEASED:
                return EvictOutcome.LEASED
            case Outcome.KEPT if self._pins.is_pinned(paths.final):
                return EvictOutcome.PINNED
            case Outcome.LOCKED if order.selector.spec is not None:
                raise LockBusyError(
                    "modelkit holds its lock {lock}: it is downloading, or hangs; try again",
                    lock=paths.modelkit_lock,
                )
        return None

    async def pin(self, spec: Spec) -> Pinned:
        """Keep a cached version until `unpin`. Idempotent.

        Raises:
            NotCachedError: it is not in the cache.
            ReadOnlyError, DiskFullError, IoError: it is not pinned.
        """
        return await self._change_pin(spec, self._pins.pin)

    async def unpin(self, spec: Spec) -> Pinned:
        """Undo `pin`. Idempotent.

        Raises:
            NotCachedError: it is not in the cache.
            ReadOnlyError, IoError.
        """
        return await self._change_pin(spec, self._pins.unpin)

    async def _change_pin(self, spec: Spec, change: Callable[[VersionPaths], None]) -> Pinned:
        paths = _paths(spec)
        # No eviction may come between the look and the pin, be it of the version or of parts of it.
        async with (
            self._uses.shared(paths.data),
            self._uses.shared(PartialPaths.of(paths).data),
        ):
            await self._required(spec)
            await self._disk.run(change, paths)
            cached = _require_present(spec, await self._states.told(paths, self._disk))
        return Pinned(cached.asset_version, cached.state)


def _require_present(spec: Spec, cached: CachedVersion) -> CachedVersion:
    if cached.state.presence is Presence.ABSENT:
        raise NotCachedError("{spec} is not in the cache", spec=spec)
    return cached


def _paths(spec: Spec) -> VersionPaths:
    if spec.exact is None:
        raise AssertionError("the wire refuses selectors that are not exact")
    return VersionPaths(spec.name, spec.exact)
