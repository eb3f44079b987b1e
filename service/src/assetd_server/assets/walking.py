"""The walk over ASSETS_DIR for the ledger: in threads or processes, past what has not changed.

Knows no policy, and remembers nothing: what earlier runs knew is handed in.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from assetd_server.assets.clock import Clock
from assetd_server.assets.in_bulk import in_bulk
from assetd_server.assets.scouts import Scouts
from assetd_server.assets.threads import Threads
from assetd_server.cache.layout import PARTIAL, AssetsDir
from assetd_server.cache.scan import Folder, Found, Known, list_folder, look_at, recall

_T = TypeVar("_T")
_R = TypeVar("_R")

_BATCH_VERSIONS = 500
_BATCH_FOLDERS = 16
# More threads wait for each other more than for the disk, and others need some too.
_WALKERS = 4
# Scouts take a quarter of a second to start: below some 10,000 versions threads are as quick.
_SCOUTED_BATCHES = 20
# A folder that changed a moment ago may change again without another mtime.
_SETTLED_NS = 2 * 10**9


@dataclass(frozen=True)
class Walked:
    """What stands there, and the mtimes of the folders that will tell of the next change."""

    found: list[Found]
    folder_times: Mapping[str, int]


class Walker:
    """Walks one ASSETS_DIR."""

    def __init__(
        self,
        assets_dir: AssetsDir,
        disk: Threads,
        clock: Clock,
        scouts: Scouts | None = None,
        scouted_batches: int = _SCOUTED_BATCHES,
    ) -> None:
        """Make it; where there are so many batches of versions to look at, scouts do."""
        self._dir = assets_dir
        self._disk = disk
        self._clock = clock
        self._scouts = scouts or Scouts(assets_dir, disk)
        self._scouted_batches = scouted_batches

    async def walk(self, known: Mapping[str, Known]) -> Walked:
        """Return all versions that stand there.

        Those of a folder that has the mtime by which they are `known` are not looked at again.

        Raises:
            ReadOnlyError, UnsafePathError, IoError: ASSETS_DIR cannot be read.
        """

        def list_all(paths: Sequence[str]) -> list[tuple[list[Found], Folder]]:
            with in_bulk():
                return [recall(list_folder(self._dir, path), known) for path in paths]

        found: list[Found] = []
        rest: list[Folder] = []
        times: dict[str, int] = {}
        settled_before = int(self._clock.now().timestamp() * 10**9) - _SETTLED_NS
        paths = ["", PARTIAL]
        while paths:
            listed = await self._in_batches(list_all, cut(paths, _BATCH_FOLDERS))
            folders = [folder for _, folder in listed]
            times |= {one.path: one.mtime_ns for one in folders if one.mtime_ns < settled_before}
            found += [one for recalled, _ in listed for one in recalled]
            rest += folders
            paths = [path for folder in folders for path in folder.folders]
        return Walked(found + await self._look(list(_batches(rest)), known), times)

    async def _look(
        self, batches: Sequence[Sequence[Folder]], known: Mapping[str, Known]
    ) -> list[Found]:
        if len(batches) >= self._scouted_batches:
            found = await self._scouts.look(batches, known)
            if found is not None:
                return found

        def look(folders: Sequence[Folder]) -> list[Found]:
            return [
                found
                for one in folders
                for found in look_at(self._dir, one.path, one.versions, known, one.trees)
            ]

        return await self._in_batches(look, batches)

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
