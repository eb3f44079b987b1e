"""What a push writes once its version is claimed: parts, manifest, index (`layout.md`, "Push").

Parts and manifest are only ever created, the index is only ever swapped, so nothing here can
destroy what somebody else has committed. Every refusal may be about our own earlier write whose
answer was lost, and is settled by reading again.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field

from assetd_server.errors import BadManifestError, PushInProgressError
from assetd_server.manifest import Manifest, encode_index, encode_manifest
from assetd_server.model import AssetName
from assetd_server.store.base import EtagMismatchError, KeyExistsError
from assetd_server.store.catalog import Catalog, index_key, meta_key
from assetd_server.store.shared_runs import SharedRuns
from assetd_server.versioning import NO_VERSIONS, Version, Versions, newest_first

# Each failed swap means that somebody else's succeeded: the crowd gets smaller every time.
_SWAP_TRIES = 64
_BASE_DELAY_SECONDS = 0.01
_MAX_DELAY_SECONDS = 1.0


@dataclass
class _Waiting:
    """Versions of one asset that are to be listed, and others that are known to exist."""

    versions: set[Version] = field(default_factory=set)
    committed: Versions = NO_VERSIONS


class Commits:
    """The two documents that make a version exist, and make it found."""

    def __init__(
        self,
        catalog: Catalog,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
        on_listed: Callable[[AssetName, Collection[Version]], None] = lambda *_: None,
    ) -> None:
        """`on_listed` hears of versions once an index lists them that had waited for it."""
        self._catalog = catalog
        self._store = catalog.store
        self._sleep = sleep
        self._jitter = jitter
        self._on_listed = on_listed
        self._waiting: dict[AssetName, _Waiting] = {}
        self._writes = SharedRuns(self._write_index)

    async def create_manifest(
        self, name: AssetName, version: Version, manifest: Manifest
    ) -> Manifest:
        """Make the version exist, and return the manifest that stands there now.

        It is `manifest`, or what somebody committed before; the caller compares.

        Raises:
            BadManifestError: what stands there cannot be believed, or went while we looked.
        """
        key = meta_key(name, version)
        try:
            await self._store.create(key, encode_manifest(manifest))
        except KeyExistsError:
            found = await self._catalog.find_manifest(name, version)
            if found is None:
                raise BadManifestError(
                    "the store says of {key} that it is there, and then that it is not: look for"
                    " keys below it, or for somebody who deletes",
                    key=key,
                ) from None
            return found
        return manifest

    async def is_committed(self, name: AssetName, version: Version) -> bool:
        """Tell whether the version exists, listed or not, damaged or not."""
        try:
            return await self._catalog.find_manifest(name, version) is not None
        except BadManifestError:
            return True

    async def list_version(
        self, name: AssetName, version: Version, committed: Versions = NO_VERSIONS
    ) -> None:
        """Return when the index lists the version.

        Versions of one asset that wait at the same time are listed by one swap. Never drops what
        others list. `committed` are versions that the caller knows to exist: what a blind writer
        (modelkit) dropped of them is listed again, and so is everything that exists where the
        index itself is gone.

        Raises:
            PushInProgressError: others changed the index at every try. The version exists, and the
                next push of the asset, or a repeat of this one, lists it.
        """
        waiting = self._waiting.setdefault(name, _Waiting())
        waiting.versions.add(version)
        waiting.committed = committed.joined_by(waiting.committed.beyond(committed))
        await self._writes.ask(name)

    async def _write_index(self, name: AssetName) -> None:
        """List the versions that wait by now; those that come meanwhile wait for the next run."""
        waiting = self._waiting.pop(name)
        await self._list(name, waiting)
        self._on_listed(name, waiting.versions)

    async def _list(self, name: AssetName, waiting: _Waiting) -> None:
        for attempt in range(_SWAP_TRIES):
            index = await self._catalog.index(name, unlisted=waiting.versions)
            listed = index.versions if index else NO_VERSIONS
            if index is not None and all(version in listed for version in waiting.versions):
                return
            lacking = {*waiting.versions, *waiting.committed.beyond(listed)}
            try:
                if index is None:
                    lacking |= set(await self._catalog.committed(name))
                    await self._store.create(index_key(name), encode_index(lacking))
                else:
                    text = index.text.joined_by(lacking)
                    await self._store.swap(index_key(name), text.raw, index.etag)
            except (KeyExistsError, EtagMismatchError):
                await self._sleep(self._delay_seconds(attempt))
        raise PushInProgressError(
            "versions of {name} are committed but not listed yet ({versions}), because others keep"
            " changing the index: push again to finish",
            name=name,
            versions=", ".join(str(version) for version in newest_first(waiting.versions)),
        )

    async def close(self) -> None:
        """Return when no index is being written any more."""
        await self._writes.close()

    def _delay_seconds(self, attempt: int) -> float:
        delay: float = min(_BASE_DELAY_SECONDS * 2**attempt, _MAX_DELAY_SECONDS)
        return delay * (0.5 + self._jitter())
