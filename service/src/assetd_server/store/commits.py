"""What a push writes once its version is claimed: parts, manifest, index (`layout.md`, "Push").

Parts and manifest are only ever created, the index is only ever swapped, so nothing here can
destroy what somebody else has committed. Every refusal may be about our own earlier write whose
answer was lost, and is settled by reading again.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection

from assetd_server.errors import BadManifestError, PushInProgressError
from assetd_server.manifest import Manifest, encode_index, encode_manifest
from assetd_server.model import AssetName
from assetd_server.store.base import EtagMismatchError, KeyExistsError
from assetd_server.store.catalog import Catalog, index_key, meta_key
from assetd_server.versioning import Version

# Each failed swap means that somebody else's succeeded: the crowd gets smaller every time.
_SWAP_TRIES = 64
_BASE_DELAY_SECONDS = 0.01
_MAX_DELAY_SECONDS = 1.0


class Commits:
    """The two documents that make a version exist, and make it found."""

    def __init__(
        self,
        catalog: Catalog,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._catalog = catalog
        self._store = catalog.store
        self._sleep = sleep
        self._jitter = jitter

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

    async def list_version(
        self, name: AssetName, version: Version, committed: Collection[Version] = ()
    ) -> None:
        """Return when the index lists the version.

        Never drops what others list. `committed` are versions that the caller knows to exist: what
        a blind writer (modelkit) dropped of them is listed again, and so is everything that exists
        where the index itself is gone.

        Raises:
            PushInProgressError: others changed the index at every try. The version exists, and the
                next push of the asset, or a repeat of this one, lists it.
        """
        for attempt in range(_SWAP_TRIES):
            index = await self._catalog.index(name)
            if index is not None and version in index.versions:
                return
            versions = {version, *committed}
            try:
                if index is None:
                    versions |= set(await self._catalog.committed(name))
                    await self._store.create(index_key(name), encode_index(versions))
                else:
                    versions |= set(index.versions)
                    await self._store.swap(index_key(name), encode_index(versions), index.etag)
            except (KeyExistsError, EtagMismatchError):
                await self._sleep(self._delay_seconds(attempt))
        raise PushInProgressError(
            "{name}:{version} is committed but not listed yet, because others keep changing the"
            " index: push it again to finish",
            name=name,
            version=version,
        )

    def _delay_seconds(self, attempt: int) -> float:
        delay: float = min(_BASE_DELAY_SECONDS * 2**attempt, _MAX_DELAY_SECONDS)
        return delay * (0.5 + self._jitter())
