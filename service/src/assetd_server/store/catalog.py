"""The bucket's layout: the only module that turns assets into keys, and keys into assets.

`<name>.versions`, `<name>/<version>.meta`, `<name>/<version>[/<part>]` and `.assetd/claims/...`, as
`layout.md` ("The bucket") has them and modelkit wrote them first. Reads only; what a push writes is
in `store.commits`. Only a real 404 means absent, and of an index only after a second look, because
modelkit deletes it before it writes it.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Set
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum
from typing import TypeVar

from assetd_server.errors import (
    AssetNotFoundError,
    BadIndexError,
    BadManifestError,
    InvalidNameError,
    InvalidPartError,
    InvalidVersionError,
    VersionNotFoundError,
)
from assetd_server.manifest import (
    MAX_INDEX_BYTES,
    MAX_MANIFEST_BYTES,
    Manifest,
    decode_manifest,
)
from assetd_server.model import (
    INDEX_ENDING,
    MAX_KEY_BYTES,
    AssetKind,
    AssetName,
    NamePrefix,
    PartPath,
)
from assetd_server.store.base import (
    KeyNotFoundError,
    ObjectInfo,
    ObjectStore,
    ObjectTooLargeError,
)
from assetd_server.store.index_text import Index, IndexText, IndexTexts
from assetd_server.versioning import Version, Versions, VersionSelector

_T = TypeVar("_T")

_META_ENDING = ".meta"
_CLAIMS = ".assetd/claims"
_ALL_NAMES = NamePrefix("")
_LONGEST_VERSION = Version.parse("2026-11-23T00-00-00Z")

# modelkit's window between delete and write is one request long.
SECOND_LOOK_SECONDS = 0.2

# A millisecond or two: as long as a hop into a thread and back may take on a busy machine.
_DECODED_AT_ONCE_BYTES = 16 * 2**10


def index_key(name: AssetName) -> str:
    """Return the key of the asset's index, the only object that ever changes."""
    return f"{name}{INDEX_ENDING}"


def meta_key(name: AssetName, version: Version) -> str:
    """Return the key of the version's manifest; there = the version exists."""
    return f"{name}/{version}{_META_ENDING}"


def part_key(name: AssetName, version: Version, part: PartPath) -> str:
    """Return the key of a part; of the version itself for the only part of a file."""
    return f"{name}/{version}/{part}" if part else f"{name}/{version}"


def claims_prefix(name: AssetName) -> str:
    """Return the prefix of all claims of one asset."""
    return f"{_CLAIMS}/{name}/"


def claims_below(folder: str) -> str:
    """Return the prefix of the claims of all assets in a folder, "" or one that ends in `/`."""
    return f"{_CLAIMS}/{folder}"


def claim_key(name: AssetName, version: Version) -> str:
    """Return the key of the claim that a push of this version holds while it is under way."""
    return f"{_CLAIMS}/{name}/{version}"


class PlaceKind(Enum):
    """What stands under a key. A part is also a file asset's only object."""

    INDEX = "index"
    MANIFEST = "manifest"
    CLAIM = "claim"
    PART = "part"


@dataclass(frozen=True)
class Place:
    """What a key is for. An index is of no version."""

    kind: PlaceKind
    name: AssetName
    version: Version | None = None


def place_of(key: str) -> Place | None:
    """Return what a key is for; None where it is outside of the layout."""
    with suppress(InvalidNameError):
        if key.startswith(f"{_CLAIMS}/"):
            name, _, leaf = key.removeprefix(f"{_CLAIMS}/").rpartition("/")
            version = _version(leaf)
            return Place(PlaceKind.CLAIM, AssetName(name), version) if version else None
        segments = key.split("/")
        for depth, segment in enumerate(segments[1:], start=1):
            name = "/".join(segments[:depth])
            if version := _version(segment):
                return Place(PlaceKind.PART, AssetName(name), version)
        if key.endswith(INDEX_ENDING):
            return Place(PlaceKind.INDEX, AssetName(key.removesuffix(INDEX_ENDING)))
        if key.endswith(_META_ENDING) and (version := _version(segment.removesuffix(_META_ENDING))):
            return Place(PlaceKind.MANIFEST, AssetName(name), version)
    return None


def _version(text: str) -> Version | None:
    with suppress(InvalidVersionError):
        return Version.parse(text)
    return None


class Catalog:
    """What the store holds, in the words of assets."""

    def __init__(
        self,
        store: ObjectStore,
        sleep: Callable[[float], Awaitable[None]],
        now: Callable[[], datetime],
    ) -> None:
        self.store = store
        self.last_ok_time: datetime | None = None
        self._texts = IndexTexts()
        self._sleep = sleep
        self._now = now

    async def versions(self, name: AssetName) -> Versions:
        """Return the versions that the index lists, newest first.

        Raises:
            AssetNotFoundError: the store has no such asset.
            BadIndexError, MixedVersioningError: the index cannot be believed.
            StoreUnavailableError, StoreAccessDeniedError.
        """
        index = await self.index(name)
        if index is None or not index.versions:
            raise AssetNotFoundError(
                "the store {store} has no asset {name}: check the spelling, or push it first",
                store=self.store.url,
                name=name,
            )
        return index.versions

    async def index(self, name: AssetName, *, unlisted: Set[Version] = frozenset()) -> Index | None:
        """Return the asset's index; None where there is none, also on a second look.

        Where nothing is there that an index could list, one look is enough; the caller knows that
        `unlisted` are not listed yet.

        Raises:
            BadIndexError, MixedVersioningError: it cannot be believed, also on a second look.
        """
        try:
            found = await self.glance(name)
            is_believed = found is not None or set(await self.committed(name)) <= unlisted
        except BadIndexError:
            is_believed = False
        if not is_believed:
            await self._sleep(SECOND_LOOK_SECONDS)
            found = await self.glance(name)
        return found

    async def glance(self, name: AssetName) -> Index | None:
        """Return the index as it looks at this moment, for who may be wrong; see `index`."""
        found, key = await self.index_document(name), index_key(name)
        if found is None:
            return None
        info, raw = found
        text = self._texts.find(key, raw)
        if text is None:
            text = await _decoded(IndexText.decode, raw, key)
            self._texts.keep(key, text)
        return Index(text, info.etag)

    async def index_document(self, name: AssetName) -> tuple[ObjectInfo, bytes] | None:
        """Return the bytes of the asset's index, to be believed or not; None where there is none.

        Raises:
            BadIndexError: they are too many.
        """
        key = index_key(name)
        try:
            return await self._document(key, MAX_INDEX_BYTES)
        except ObjectTooLargeError:
            raise BadIndexError(
                "the index {key} has more than {limit_bytes} bytes",
                key=key,
                limit_bytes=MAX_INDEX_BYTES,
            ) from None

    async def _document(self, key: str, max_bytes: int) -> tuple[ObjectInfo, bytes] | None:
        """Return a document as it stands; None where it is absent."""
        try:
            found = await self.store.get(key, max_bytes)
        except KeyNotFoundError:
            found = None
        self.last_ok_time = self._now()
        return found

    async def find_manifest(self, name: AssetName, version: Version) -> Manifest | None:
        """Return the version's manifest; None where the version does not exist.

        Raises:
            BadManifestError: it cannot be believed.
        """
        found = await self.read_manifest(name, version)
        return found[1] if found else None

    async def read_manifest(
        self, name: AssetName, version: Version
    ) -> tuple[ObjectInfo, Manifest] | None:
        """Return the version's manifest, and which write of it that is; see `find_manifest`."""
        key = meta_key(name, version)
        try:
            found = await self._document(key, MAX_MANIFEST_BYTES)
        except ObjectTooLargeError:
            raise BadManifestError(
                "the manifest {key} has more than {limit_bytes} bytes",
                key=key,
                limit_bytes=MAX_MANIFEST_BYTES,
            ) from None
        return (found[0], await _decoded(decode_manifest, found[1], key)) if found else None

    async def manifest(self, name: AssetName, version: Version) -> Manifest:
        """Return the version's manifest, with the size of every part.

        Raises:
            AssetNotFoundError, VersionNotFoundError: there is no such version.
            BadManifestError: it cannot be believed, a part is missing, or the index lists a version
                that has none.
        """
        manifest = await self.find_manifest(name, version)
        if manifest is None:
            raise await self._absent(name, version)
        if manifest.size_bytes is not None:
            return manifest
        return await self._with_sizes(name, version, manifest)

    async def _absent(self, name: AssetName, version: Version) -> Exception:
        versions = await self.versions(name)
        if version in versions:
            return BadManifestError(
                "the index lists {name}:{version}, and {key} is not in the store: restore it, or"
                " remove the version from the index",
                name=name,
                version=version,
                key=meta_key(name, version),
            )
        return VersionNotFoundError(
            "{name} has no version {version} in the store {store}; the newest is {newest}",
            name=name,
            version=version,
            store=self.store.url,
            newest=versions[0],
        )

    async def _with_sizes(self, name: AssetName, version: Version, manifest: Manifest) -> Manifest:
        """Fill in the sizes of what modelkit pushed: one listing, or one look at a file."""
        found = await self.parts_in_store(name, version, manifest.kind)
        for part in manifest.parts:
            if part.path not in found:
                raise BadManifestError(
                    "the store lacks {key}, which the version's manifest names",
                    key=part_key(name, version, part.path),
                )
        parts = (replace(part, size_bytes=found[part.path].size_bytes) for part in manifest.parts)
        return replace(manifest, parts=tuple(parts))

    async def parts_in_store(
        self, name: AssetName, version: Version, kind: AssetKind
    ) -> Mapping[str, ObjectInfo]:
        """Return what the store holds below a version, by the path of the part."""
        if kind is AssetKind.FILE:
            try:
                return {"": await self.store.head(part_key(name, version, PartPath.of_file()))}
            except KeyNotFoundError:
                return {}
        prefix = f"{name}/{version}/"
        return {
            info.key.removeprefix(prefix): info
            async for page in self.store.list(prefix)
            for info in page.objects
        }

    async def parts_lacking(
        self, name: AssetName, version: Version, manifest: Manifest
    ) -> list[str]:
        """Return the keys of the parts that the store lacks, or has in another size."""
        found = await self.parts_in_store(name, version, manifest.kind)
        return [
            part_key(name, version, part.path)
            for part in manifest.parts
            if part.path not in found or part.size_bytes not in (None, found[part.path].size_bytes)
        ]

    async def committed(self, name: AssetName) -> dict[Version, ObjectInfo]:
        """Return the versions whose manifest is there, listed or not."""
        return (await self.manifest_keys(name))[0]

    async def manifest_keys(self, name: AssetName) -> tuple[dict[Version, ObjectInfo], list[str]]:
        """Return what `committed` does, and the keys that end as manifests do and name no version.

        modelkit, which takes `7` for a version, may have left some.
        """
        prefix = f"{name}/"
        found, strays = {}, []
        async for page in self.store.list(prefix, delimiter=True):
            for info in page.objects:
                leaf = info.key.removeprefix(prefix)
                if not leaf.endswith(_META_ENDING):
                    continue
                if version := _version(leaf.removesuffix(_META_ENDING)):
                    found[version] = info
                else:
                    strays.append(info.key)
        return found, strays

    def require_short_keys(self, name: AssetName, part: PartPath | None = None) -> None:
        """Check that the store can hold every key of a version of the asset.

        Raises:
            InvalidNameError, InvalidPartError: a key would be too long.
        """
        longest = f"{name}/{_LONGEST_VERSION}/{part}" if part else claim_key(name, _LONGEST_VERSION)
        prefix = self.store.url.partition("://")[2].partition("/")[2]
        length = len(f"{prefix}/{longest}".encode())
        if length > MAX_KEY_BYTES:
            error = InvalidPartError if part else InvalidNameError
            raise error(
                "a key of {what!r} would have {length} bytes, and a store takes {limit_bytes}:"
                " choose a shorter one",
                field="files.files.path" if part else "header.spec",
                what=part or name,
                length=length,
                limit_bytes=MAX_KEY_BYTES,
            )

    async def names(self, prefix: NamePrefix = _ALL_NAMES) -> list[AssetName]:
        """Return the names of all assets that have an index, in bytewise order.

        Walks folder by folder and does not descend into versions, so the listing grows with the
        number of assets and versions, not of parts. Keys outside the grammar are skipped.
        """
        folder = prefix.rpartition("/")[0]
        found = [name async for name in self._walk(f"{folder}/" if folder else "", prefix)]
        return sorted(found)

    async def _walk(self, folder: str, prefix: str) -> AsyncIterator[AssetName]:
        below: list[str] = []
        async for page in self.store.list(folder, delimiter=True):
            for info in page.objects:
                name = info.key.removesuffix(INDEX_ENDING)
                if name != info.key and name.startswith(prefix):
                    with suppress(InvalidNameError):
                        yield AssetName(name)
            below += [p for p in page.prefixes if _may_hold_assets(p, folder, prefix)]
        for deeper in below:
            async for name in self._walk(deeper, prefix):
                yield name


async def _decoded(decode: Callable[[bytes, str], _T], raw: bytes, key: str) -> _T:
    """Decode a document; a long one, which takes up to seconds, where it keeps nobody waiting."""
    if len(raw) <= _DECODED_AT_ONCE_BYTES:
        return decode(raw, key)
    return await asyncio.to_thread(decode, raw, key)


def _may_hold_assets(deeper: str, folder: str, prefix: str) -> bool:
    leaf = deeper.removeprefix(folder).rstrip("/")
    if leaf.startswith(".") or not (deeper.startswith(prefix) or prefix.startswith(deeper)):
        return False
    try:
        return VersionSelector.parse(leaf).exact is None
    except InvalidVersionError:
        return True
