"""An index that cannot be believed, and how it is written anew from the manifests.

For who looks after a store, and only when told to: a push refuses an index that it cannot read. The
index is only ever swapped for the very write that was found damaged, so that nothing here can
destroy what somebody else lists.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from assetd_server.errors import (
    AssetError,
    BadIndexError,
    MixedVersioningError,
    PushInProgressError,
)
from assetd_server.manifest import MAX_INDEX_BYTES, decode_index, encode_index
from assetd_server.model import AssetName
from assetd_server.store.base import EtagMismatchError, KeyNotFoundError
from assetd_server.store.catalog import SECOND_LOOK_SECONDS, Catalog, index_key
from assetd_server.versioning import Version, VersioningSystem, Versions, newest_first

# Enough to find the others by.
_MAX_NAMED = 5


@dataclass(frozen=True)
class DamagedIndex:
    """An index that cannot be believed, and what there is to write it from.

    `failure` says what is the matter with the write that `etag` names. `versions` are those whose
    manifests are there; `strays` are keys that end as manifests do, and name no version.
    """

    name: AssetName
    failure: AssetError
    etag: str
    versions: frozenset[Version]
    strays: tuple[str, ...] = ()

    @property
    def hindrance(self) -> AssetError | None:
        """Why the manifests do not tell what to list, and what to do; None where they do."""
        if self.strays:
            # modelkit reads a version 7: an index without it would hide it.
            return BadIndexError(
                "no version is written as in {keys}: rename its .meta and its parts, 7 to 7.0 for"
                " one, or move them away, before the index can be written anew",
                keys=some_of(self.strays),
            )
        if not self.versions:
            return BadIndexError(
                "there is no manifest to write {key} from: restore it, or delete it if the asset is"
                " gone for good",
                key=index_key(self.name),
            )
        numbers, dates = (self._of(system) for system in VersioningSystem)
        if numbers and dates:
            return MixedVersioningError(
                "{name} has manifests by number ({numbers}) and by date ({dates}), and an asset has"
                " one system: delete by hand those of the one that is to go, each version's .meta"
                " and parts, before the index can be written anew",
                name=self.name,
                numbers=some_of(numbers),
                dates=some_of(dates),
            )
        return None

    def _of(self, system: VersioningSystem) -> Versions:
        return newest_first(version for version in self.versions if version.system is system)


class IndexRepair:
    """Looks at indexes that cannot be believed, and writes them anew."""

    def __init__(self, catalog: Catalog, sleep: Callable[[float], Awaitable[None]]) -> None:
        self._catalog = catalog
        self._store = catalog.store
        self._sleep = sleep

    async def look(self, name: AssetName) -> DamagedIndex | None:
        """Return what is the matter with an index at this moment; None where it is well, or gone.

        Raises:
            StoreUnavailableError, StoreAccessDeniedError.
        """
        fault = await self._fault(name)
        if fault is None:
            return None
        # In this order: what is pushed before the index is damaged is seen.
        versions, strays = await self._catalog.manifest_keys(name)
        return DamagedIndex(name, *fault, frozenset(versions), tuple(strays))

    async def _fault(self, name: AssetName) -> tuple[AssetError, str] | None:
        """Return why the index cannot be believed, and which write of it that is."""
        key = index_key(name)
        try:
            found = await self._catalog.index_document(name)
        except BadIndexError as failure:
            return await self._too_large(key, failure)
        if found is None:
            return None
        info, raw = found
        try:
            decode_index(raw, key)
        except (BadIndexError, MixedVersioningError) as failure:
            return failure, info.etag
        return None

    async def _too_large(self, key: str, failure: AssetError) -> tuple[AssetError, str] | None:
        try:
            info = await self._store.head(key)
        except KeyNotFoundError:
            return None
        # Perhaps another write by now, of which only this is known.
        return (failure, info.etag) if info.size_bytes > MAX_INDEX_BYTES else None

    async def write_anew(self, damaged: DamagedIndex) -> None:
        """Have the index list exactly the versions whose manifests are there.

        Looks again first, and takes it for damaged only where nobody has written it meanwhile.
        A version that is committed meanwhile is unlisted, as by a pusher that died: the next push
        lists it.

        Raises:
            BadIndexError, MixedVersioningError: the manifests do not tell what to list, or more
                than an index can.
            PushInProgressError: somebody else has written the index, or is about to.
            StoreUnavailableError, StoreAccessDeniedError.
        """
        key = index_key(damaged.name)
        # Whoever writes in place is seen at it.
        await self._sleep(SECOND_LOOK_SECONDS)
        now = await self.look(damaged.name)
        if now is None or now.etag != damaged.etag:
            raise _changed(key)
        if now.hindrance is not None:
            raise now.hindrance
        data = encode_index(now.versions)
        if len(data) > MAX_INDEX_BYTES:
            raise now.failure
        try:
            await self._store.swap(key, data, now.etag)
        except EtagMismatchError:
            # Perhaps by our own write, whose answer was lost.
            index = await self._catalog.index(damaged.name)
            if index is None or not now.versions.issubset(index.versions):
                raise _changed(key) from None


def _changed(key: str) -> PushInProgressError:
    return PushInProgressError("somebody has written {key}, or is about to: look again", key=key)


def some_of(items: Sequence[object]) -> str:
    """Name some of the items, and count the others."""
    named = ", ".join(map(str, items[:_MAX_NAMED]))
    others = len(items) - _MAX_NAMED
    return f"{named} and {others} more" if others > 0 else named
