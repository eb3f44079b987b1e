"""The source of a push that is an object of a bucket, or what lies below a prefix of one.

Each object is read as the very write that was listed, by its ETag; where the store can copy, its
bytes are read for their hash only. Memory is bounded by the ranges that are fetched at once.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Final

from assetd_server.assets.at_once import work_through
from assetd_server.assets.shielding import ended
from assetd_server.assets.threads import Threads
from assetd_server.cache.hashing import RunningHashes
from assetd_server.cache.source_faults import MAX_FILES, SourceFaults
from assetd_server.errors import InvalidFieldError, InvalidPartError
from assetd_server.manifest import Part
from assetd_server.model import AssetKind, PartPath
from assetd_server.store.base import (
    CopySource,
    EtagMismatchError,
    KeyNotFoundError,
    ObjectInfo,
    ObjectStore,
)

_RANGE_BYTES: Final = 8 * 2**20
_RANGES_AT_ONCE: Final = 8


class BucketSource:
    """A `PushSource` in a bucket: the object `key`, or all below it. `store` stays the caller's."""

    def __init__(
        self, store: ObjectStore, key: str, kind: AssetKind, faults: SourceFaults, threads: Threads
    ) -> None:
        self.kind = kind
        self._store = store
        self._key = key
        self._faults = faults
        self._threads = threads
        self._objects: dict[PartPath, ObjectInfo] = {}

    async def parts(self, on_hashed: Callable[[int], None]) -> tuple[Part, ...]:
        """List and hash all objects; see `PushSource.parts`."""
        self._objects = dict(await self._list())
        # One object has all the ranges, of many each has one.
        window = max(_RANGES_AT_ONCE // len(self._objects), 1)

        async def hashed(path: PartPath) -> Part:
            return await self._hash(path, window, on_hashed)

        done = await work_through(self._objects, _RANGES_AT_ONCE, hashed)
        return tuple(sorted(done, key=lambda part: part.path.encode()))

    async def _list(self) -> Mapping[PartPath, ObjectInfo]:
        """Return the objects by their paths in the asset, in bytewise order."""
        if self.kind is AssetKind.FILE:
            try:
                return {PartPath.of_file(): await self._store.head(self._key)}
            except KeyNotFoundError:
                raise self._faults.changed() from None
        below = f"{self._key}/" if self._key else ""
        objects: dict[PartPath, ObjectInfo] = {}
        markers: list[str] = []
        async for page in self._store.list(below):
            for info in page.objects:
                objects[self._faults.part(info.key.removeprefix(below))] = info
            markers += [self._marker(info, info.key.removeprefix(below)) for info in page.strays]
            if len(objects) + len(markers) > MAX_FILES:
                raise self._faults.too_many()
        self._check_folders(objects, markers)
        return dict(sorted(objects.items(), key=lambda entry: entry[0].encode()))

    def _marker(self, info: ObjectInfo, path: str) -> str:
        """Return the folder that an empty object `folder/` stands for: consoles make those."""
        folder = path.removesuffix("/")
        if info.size_bytes or (path and not path.endswith("/")):
            raise self._faults.stray(path)
        return self._faults.part(folder) if folder else ""

    def _check_folders(self, objects: Mapping[PartPath, ObjectInfo], markers: list[str]) -> None:
        folders = {path[:end] for path in objects for end, char in enumerate(path) if char == "/"}
        if objects:
            folders.add("")
        for path in (*markers, ""):
            if path not in folders:
                raise self._faults.empty_folder(path)
        for path in objects:
            if path in folders:
                raise self._faults.both(path)

    async def _hash(self, path: PartPath, window: int, on_hashed: Callable[[int], None]) -> Part:
        hashes = RunningHashes()
        async with aclosing(self._ranges(path, window)) as ranges:
            async for data in ranges:
                await self._threads.run(hashes.update, data)
                on_hashed(len(data))
        return hashes.part(path)

    async def _ranges(self, path: PartPath, window: int) -> AsyncGenerator[bytes, None]:
        """Yield the object's bytes in order; at most `window` ranges of it are in memory."""
        under_way: deque[asyncio.Task[bytes]] = deque()
        try:
            for offset in range(0, self._objects[path].size_bytes, _RANGE_BYTES):
                under_way.append(asyncio.create_task(self.read(path, offset, _RANGE_BYTES)))
                if len(under_way) == window:
                    yield await under_way.popleft()
            while under_way:
                yield await under_way.popleft()
        finally:
            for task in under_way:
                task.cancel()
            for task in under_way:
                await ended(task)

    async def read(self, path: PartPath, offset: int, length: int) -> bytes:
        """Read of the very write that was hashed; see `PushSource.read`."""
        info = self._objects[path]
        try:
            reader = await self._store.read(info.key, start=offset, length=length, etag=info.etag)
            return b"".join([chunk async for chunk in reader])
        except (KeyNotFoundError, EtagMismatchError):
            raise self._faults.changed(path) from None

    def copy_source(self, path: PartPath) -> CopySource | None:
        """Return the very write that was hashed; see `PushSource.copy_source`."""
        info = self._objects[path]
        return CopySource(self._store.url, info.key, info.etag)

    async def check_unchanged(self) -> None:
        """List again, and compare keys, sizes and ETags; see `PushSource.check_unchanged`."""
        try:
            now = await self._list()
        except (InvalidFieldError, InvalidPartError):
            raise self._faults.changed() from None
        if now != self._objects:
            before = self._objects.items()
            raise self._faults.changed(
                min((path for path, _ in before ^ now.items()), key=str.encode)
            )

    async def close(self) -> None:
        """Do nothing: see `PushSource.close`."""


async def find_kind(
    store: ObjectStore, key: str, *, only_below: bool, wanted: AssetKind | None
) -> AssetKind | None:
    """Return what a key of a bucket names: an object, or a folder of others; None = neither.

    Where it is both it is the object, unless `only_below` or `wanted` say otherwise.
    """
    is_below = only_below or wanted is AssetKind.DIRECTORY
    kinds: Sequence[AssetKind] = [AssetKind.FILE, AssetKind.DIRECTORY]
    for kind in reversed(kinds) if is_below else kinds:
        if kind is AssetKind.DIRECTORY and await _is_folder(store, key):
            return kind
        if kind is AssetKind.FILE and not only_below and await _is_object(store, key):
            return kind
    return None


async def _is_object(store: ObjectStore, key: str) -> bool:
    try:
        await store.head(key)
    except KeyNotFoundError:
        return False
    return True


async def _is_folder(store: ObjectStore, key: str) -> bool:
    async for page in store.list(f"{key}/" if key else ""):
        if page.objects or page.strays:
            return True
    return False
