"""List and ListFiles: what is in the store and in the cache, a page at a time.

Ordered by name, then newest first. Whom the caller asked and we could not ask is named, not left
out silently; only a listing of the store alone fails when the store does.
"""

from collections.abc import Callable, Sequence

from assetd_server.assets.globs import PartFilter
from assetd_server.assets.orders import (
    FilesPage,
    ListedFile,
    ListEntry,
    ListFilesOrder,
    ListOrder,
    ListPage,
    Scope,
)
from assetd_server.assets.paging import invalid_token, make_token, read_token
from assetd_server.assets.resolve import Resolver
from assetd_server.assets.selection import require_part
from assetd_server.assets.states import States
from assetd_server.assets.threads import Threads
from assetd_server.cache.layout import VersionPaths
from assetd_server.cache.lookup import Lookup
from assetd_server.cache.partial import PartialVersions
from assetd_server.errors import (
    AssetNotFoundError,
    InvalidVersionError,
    NoStoreError,
    NotCachedError,
    StoreAccessDeniedError,
    StoreUnavailableError,
)
from assetd_server.manifest import Manifest, Part
from assetd_server.model import (
    AssetName,
    AssetVersion,
    Freshness,
    NamePrefix,
    Presence,
    Source,
)
from assetd_server.store.catalog import Catalog
from assetd_server.versioning import Version, newest_first

# A page may be cut here, so that no answer comes near gRPC's limit of 4 MiB.
_MAX_PAGE_BYTES = 2**20
# What an entry has beside its texts, and a label beside key and value.
_ENTRY_BYTES = 300
_LABEL_BYTES = 12


class Listing:
    """Answers List and ListFiles. `catalog` is None where no store is configured."""

    def __init__(
        self,
        catalog: Catalog | None,
        resolver: Resolver,
        lookup: Lookup,
        partial: PartialVersions,
        states: States,
        threads: Threads,
    ) -> None:
        self._catalog = catalog
        self._resolver = resolver
        self._lookup = lookup
        self._partial = partial
        self._states = states
        self._threads = threads

    async def list(self, order: ListOrder) -> ListPage:
        """Return one page of versions.

        Raises:
            InvalidFieldError: no name begins with the prefix.
            InvalidPageTokenError: the token is of another listing.
            NoStoreError: scope STORE, and no store is configured.
            StoreUnavailableError, StoreAccessDeniedError: scope STORE, and it cannot be asked.
            BadIndexError, BadManifestError, MixedVersioningError: an asset of this page is damaged.
        """
        catalog = None if order.scope is Scope.CACHE else self._catalog
        if catalog is None and order.scope is Scope.STORE:
            raise NoStoreError("no store is configured, so there is none to list")
        try:
            return await self._page(order, catalog, ())
        except (StoreUnavailableError, StoreAccessDeniedError):
            if order.scope is Scope.STORE or catalog is None:
                raise
            # Begun anew, so that all of a page comes from the same sources.
            return await self._page(order, None, (Source.STORE,))

    async def _page(
        self, order: ListOrder, catalog: Catalog | None, unreachable: Sequence[Source]
    ) -> ListPage:
        arguments = (order.name_prefix, order.scope, order.latest_only, order.full)
        after = read_token(order.page_token, arguments, 2)
        names = await self._names(order, catalog)
        entries: list[ListEntry] = []
        size = 0
        for name in names:
            if after and name < after[0]:
                continue
            listed, in_cache = await self._versions(name, order, catalog)
            versions = newest_first([*listed, *in_cache])
            for version in versions[:1] if order.latest_only else versions:
                if after and name == after[0] and version >= _version_in(after[1]):
                    continue
                if len(entries) == order.page_size or size > _MAX_PAGE_BYTES:
                    last = entries[-1].asset_version
                    token = make_token(arguments, (last.name, str(last.version)))
                    return ListPage(entries, token, unreachable)
                known = version in listed if catalog is not None else None
                entry = await self._entry(name, version, known, order, catalog)
                entries.append(entry)
                size += _entry_bytes(entry)
        return ListPage(entries, "", unreachable)

    async def _names(self, order: ListOrder, catalog: Catalog | None) -> Sequence[AssetName]:
        prefix = NamePrefix(order.name_prefix)
        names: set[AssetName] = set()
        if order.scope is not Scope.STORE:
            names.update(await self._threads.run(self._states.names, prefix))
        if catalog is not None:
            names.update(await catalog.names(prefix))
        return sorted(names)

    async def _versions(
        self, name: AssetName, order: ListOrder, catalog: Catalog | None
    ) -> tuple[Sequence[Version], Sequence[Version]]:
        listed: Sequence[Version] = ()
        if catalog is not None:
            try:
                listed = await catalog.versions(name)
            except AssetNotFoundError:
                listed = ()
        if order.scope is Scope.STORE:
            return listed, ()
        return listed, await self._threads.run(self._states.versions, name)

    async def _entry(
        self,
        name: AssetName,
        version: Version,
        in_store: bool | None,
        order: ListOrder,
        catalog: Catalog | None,
    ) -> ListEntry:
        cached = await self._states.told(VersionPaths(name, version), self._threads)
        described = AssetVersion(name, version)
        if order.full:
            described = cached.asset_version
            if catalog is not None and in_store:
                manifest = await catalog.find_manifest(name, version)
                if manifest is not None:
                    described = manifest.describe(name, version)
        return ListEntry(described, cached.state, in_store)

    async def list_files(self, order: ListFilesOrder) -> FilesPage:
        """Return one page of the files of a version, in bytewise order of their paths.

        Raises:
            InvalidPageTokenError, InvalidFieldError: the token or a glob is none.
            NotCachedError: freshness CACHE, and the version is not in the cache.
            PartNotFoundError: the version has no part or folder of that name.
            and for the first page what `Resolver.resolve` raises.
        """
        chosen = PartFilter(order.include, order.exclude)
        arguments = (str(order.spec), order.freshness, order.include, order.exclude)
        after = read_token(order.page_token, arguments, 2)
        version = _version_in(after[0]) if after else await self._version_of(order)
        paths = VersionPaths(order.spec.name, version)
        manifest, is_cached = await self._manifest(paths, order.freshness)
        require_part(order.spec.pinned_to(version), manifest.parts)
        parts = [
            part
            for part in manifest.parts
            if chosen.matches(part.path)
            and (not order.spec.part or part.path.is_below(order.spec.part))
            and (after is None or part.path.encode() > after[1].encode())
        ]
        page = parts[: order.page_size]
        more = len(parts) > len(page)
        return FilesPage(
            asset_version=manifest.describe(paths.name, paths.version),
            files=[ListedFile(part, is_cached(part)) for part in page],
            next_page_token=make_token(arguments, (str(version), page[-1].path)) if more else "",
        )

    async def _version_of(self, order: ListFilesOrder) -> Version:
        meaning = await self._resolver.resolve(order.spec, order.freshness, None)
        if meaning.version is None:
            raise AssetNotFoundError("{name} is a plain path, no asset", name=order.spec.name)
        return meaning.version

    async def _manifest(
        self, paths: VersionPaths, freshness: Freshness | None
    ) -> tuple[Manifest, Callable[[Part], bool]]:
        """Return what the version consists of, and what tells whether the cache holds a part."""
        receipt = await self._threads.run(self._lookup.hit, paths)
        if receipt is not None:
            return receipt.manifest, _always
        state = (await self._threads.run(self._states.of, paths)).state
        present = state.presence is Presence.PRESENT
        parts = await self._threads.run(self._partial.look, paths)
        if parts is not None and not present:
            whole = await self._threads.run(self._partial.whole, paths, parts, parts.manifest.parts)
            return parts.manifest, lambda part: part.path in whole
        may_ask = self._resolver.freshness(freshness) is not Freshness.CACHE
        if self._catalog is not None and may_ask:
            manifest = await self._catalog.manifest(paths.name, paths.version)
            return manifest, _always if present else _never
        if not present:
            raise NotCachedError(
                "{name}:{version} is not in the cache: allow the store to be asked",
                name=paths.name,
                version=paths.version,
            )
        return await self._threads.run(self._lookup.unmarked_manifest, paths), _always


def _always(_part: Part) -> bool:
    return True


def _never(_part: Part) -> bool:
    return False


def _version_in(token_text: str) -> Version:
    try:
        return Version.parse(token_text)
    except InvalidVersionError:
        raise invalid_token() from None


def _entry_bytes(entry: ListEntry) -> int:
    """Return about what the entry takes on the wire, whatever others wrote on the version."""
    told, state = entry.asset_version, entry.cache_state
    texts = [told.name, told.pushed_by, state.relative_path, state.path]
    labels = told.labels.items()
    return (
        _ENTRY_BYTES
        + sum(len(text.encode()) for text in texts)
        + sum(_LABEL_BYTES + len(key.encode()) + len(value.encode()) for key, value in labels)
    )
