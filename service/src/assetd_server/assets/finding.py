"""The first looks of a fetch: which version is meant, and is what is wanted of it here?

Downloads nothing. What is missing is for `assets.fetch` to have flown in.
"""

from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from functools import partial

from assetd_server.assets.orders import FetchOrder
from assetd_server.assets.partials import Partials
from assetd_server.assets.present import Answer, Present
from assetd_server.assets.resolve import AlsoCached, Resolver
from assetd_server.assets.uses import Uses
from assetd_server.cache.layout import PartialPaths, VersionPaths
from assetd_server.errors import NoStoreError, NotCachedError, VersionNotFoundError
from assetd_server.model import Freshness, Resolution
from assetd_server.spec import Spec


@dataclass(frozen=True)
class Hit:
    """The first looks at a spec found the answer."""

    resolution: Resolution
    answer: Answer


@dataclass(frozen=True)
class Miss:
    """The first looks found the exact version, and that it has to be fetched."""

    resolution: Resolution
    spec: Spec
    paths: VersionPaths


class Finder:
    """Looks for what an order wants. `alone`: no store is configured."""

    def __init__(
        self, resolver: Resolver, present: Present, partials: Partials, uses: Uses, alone: bool
    ) -> None:
        self._resolver = resolver
        self._present = present
        self._partials = partials
        self._uses = uses
        self._alone = alone

    async def find(self, order: FetchOrder, replaces: bool, use: AsyncExitStack) -> Hit | Miss:
        """Resolve, begin to use the version, and look for a hit, which `replaces` rules out.

        As long as `use` is open nobody evicts what the answer may be.

        Raises:
            NoStoreError, NotCachedError, VersionNotFoundError: a download would be needed, and
                there is no store, or it must not be asked.
        """
        if replaces and self._alone:
            raise no_store(order.spec)
        meaning = await self._resolver.resolve(
            order.spec, order.freshness, order.store_timeout_seconds, self._also_cached(order)
        )
        if meaning.version is None:
            plain = await self._present.plain_path(order.spec, order.selection)
            return Hit(meaning.resolution, plain)
        spec = order.spec.pinned_to(meaning.version)
        miss = Miss(meaning.resolution, spec, VersionPaths(spec.name, meaning.version))
        await use.enter_async_context(self.using(miss.paths))
        if order.selection is not None:
            parts = PartialPaths.of(miss.paths)
            await use.enter_async_context(self.using(parts))
        if replaces:
            return miss
        hit = await self.hit(order, spec, miss.paths, verify=order.verify)
        if hit is None and self._resolver.freshness(order.freshness) is Freshness.CACHE:
            hit = await self._present.unverified(
                spec,
                miss.paths,
                order.expected_digest,
                order.selection,
                unmarked=self._alone,
                verify=order.verify,
            )
            if hit is None:
                raise self._absent(spec)
        return miss if hit is None else Hit(meaning.resolution, hit)

    def using(self, paths: VersionPaths) -> AbstractAsyncContextManager[None]:
        """Use what stands there for the length of a block: nobody evicts it."""
        return self._uses.shared(paths.data)

    def _also_cached(self, order: FetchOrder) -> AlsoCached | None:
        if order.selection is None:
            return None
        return partial(self._partials.covering, order.spec.name, order.selection)

    async def hit(
        self, order: FetchOrder, spec: Spec, paths: VersionPaths, *, verify: bool
    ) -> Answer | None:
        """Return what is here of all that is wanted: the version itself, else parts of it."""
        pinned, selection = order.expected_digest, order.selection
        whole = await self._present.hit(spec, paths, pinned, selection, verify=verify)
        if whole is not None or selection is None:
            return whole
        return await self._partials.hit(spec, paths, pinned, selection, verify=verify)

    def _absent(self, spec: Spec) -> NotCachedError | VersionNotFoundError:
        if self._alone:
            return VersionNotFoundError(
                "ASSETS_DIR has no {name}:{version}, and no store is configured: set ASSETD_STORE,"
                " or put the version there",
                name=spec.name,
                version=spec.selector,
            )
        return NotCachedError(
            "{spec} is not in the cache: allow the store to be asked, or fetch it first", spec=spec
        )


def no_store(spec: Spec) -> NoStoreError:
    """Return the error for a download where nothing can be downloaded from."""
    return NoStoreError(
        "{spec} would have to be downloaded, and no store is configured: set ASSETD_STORE",
        spec=spec,
    )
