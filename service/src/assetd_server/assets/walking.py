"""The walk over ASSETS_DIR for the ledger: in a few threads, and past what is known not to change.

Knows no policy, and remembers nothing: what earlier runs knew is handed in.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from assetd_server.assets.clock import Clock
from assetd_server.assets.threads import Threads
from assetd_server.cache.layout import PARTIAL, AssetsDir
from assetd_server.cache.scan import Folder, Found, Known, list_folder, look_at, recall

_T = TypeVar("_T")
_R = TypeVar("_R")

_BATCH_VERSIONS = 500
_BATCH_FOLDERS = 16
# More threads wait for each other more than for the disk, and others need some too.
_WALKERS = 4
# A folder that changed a moment ago may change again without another mtime.
_SETTLED_NS = 2 * 10**9


@dataclass(frozen=True)
class Walked:
    """What stands there, and the mtimes of the folders that will tell of the next change."""

    found: list[Found]
    folder_times: Mapping[str, int]


class Walker:
    """Walks one ASSETS_DIR."""

    def __init__(self, assets_dir: AssetsDir, disk: Threads, clock: Clock) -> None:
        self._dir = assets_dir
        self._disk = disk
        self._clock = clock

    async def walk(self, known: Mapping[str, Known]) -> Walked:
        """Return all versions that stand there.

        Those of a folder that has the mtime by which they are `known` are not looked at again.

        Raises:
            ReadOnlyError, UnsafePathError, IoError: ASSETS_DIR cannot be read.
        """

        def list_all(paths: Sequence[str]) -> list[Folder]:
            return [list_folder(self._dir, path) for path in paths]

        def look(folders: Sequence[Folder]) -> list[Found]:
            return [found for folder in folders for found in self._look(folder, known)]

        found: list[Found] = []
        times: dict[str, int] = {}
        settled_before = int(self._clock.now().timestamp() * 10**9) - _SETTLED_NS
        paths = ["", PARTIAL]
        while paths:
            folders = await self._in_batches(list_all, cut(paths, _BATCH_FOLDERS))
            times |= {one.path: one.mtime_ns for one in folders if one.mtime_ns < settled_before}
            found += await self._in_batches(look, _batches(folders))
            paths = [path for folder in folders for path in folder.folders]
        return Walked(found, times)

    def _look(self, folder: Folder, known: Mapping[str, Known]) -> list[Found]:
        recalled = recall(folder, known)
        names = {found.key for found in recalled}
        rest = [paths for paths in folder.versions if paths.data not in names]
        return recalled + look_at(self._dir, folder.path, rest, known, folder.trees)

    async def _in_batches(
        self, call: Callable[[Sequence[_T]], list[_R]], batches: Iterable[Sequence[_T]]
    ) -> list[_R]:
        """Return what `call` returns for all batches, a few of them at a time, in order."""
        turn = asyncio.Semaphore(_WALKERS)

        async def run(batch: Sequence[_T]) -> list[_R]:
            async with turn:
                return await self._disk.run(call, batch)

        results = await asyncio.gather(*map(run, batches), return_exceptions=True)
        found: list[_R] = []
        for result in results:
            if isinstance(result, BaseException):
                raise result
            found += result
        return found


def cut(items: Sequence[_T], size: int) -> Iterator[Sequence[_T]]:
    """Yield the items in order, `size` at a time."""
    return (items[start : start + size] for start in range(0, len(items), size))


def _batches(folders: Iterable[Folder]) -> Iterator[Sequence[Folder]]:
    """Put folders together, or cut them, so that each batch has about as many versions."""
    batch: list[Folder] = []
    count = 0
    for folder in folders:
        for some in cut(folder.versions, _BATCH_VERSIONS):
            batch.append(replace(folder, versions=some))
            count += len(some)
            if count >= _BATCH_VERSIONS:
                yield batch
                batch, count = [], 0
    if batch:
        yield batch
