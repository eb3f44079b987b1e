"""What a download need not fetch: parts that stand elsewhere in ASSETS_DIR are copied into staging.

Who knows of such parts is a `Finder`; the copies are compared before they count, so a finder may be
wrong. Blocking work runs in threads.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial

from assetd_server.assets.progress import ProgressMeter
from assetd_server.assets.threads import Threads
from assetd_server.assets.transfer import first_error
from assetd_server.cache.ingest import StagedVersion
from assetd_server.cache.layout import AssetsDir, VersionPaths
from assetd_server.cache.reuse import STEP_BYTES, Copy, PartCopy, copy_small
from assetd_server.manifest import Part
from assetd_server.model import PartPath

# Where equal parts may stand, as paths below ASSETS_DIR; called in a thread.
Finder = Callable[[VersionPaths, Sequence[Part]], Mapping[PartPath, str]]

# The other threads are for those who do not copy.
_AT_ONCE = 4
_BATCH_FILES = 128


class Reuse:
    """Fills staged versions from what the cache holds; the finder named first is asked first."""

    def __init__(self, assets_dir: AssetsDir, disk: Threads, finders: Sequence[Finder]) -> None:
        self._dir = assets_dir
        self._disk = disk
        self._finders = tuple(finders)

    async def fill(
        self, staged: StagedVersion, parts: Sequence[Part], meter: ProgressMeter
    ) -> None:
        """Copy what can be had of the parts; `staged.kept` names it then, beside what it did.

        Only parts that the manifest gives both hashes of: by one they are found, by the other the
        copy is compared.

        Raises:
            DiskFullError, IoError: `staged` is to be discarded.
        """
        wanted = [
            part
            for part in parts
            if part.path not in staged.kept and part.sha256_hex and part.crc64nvme is not None
        ]
        units = deque(self._units(staged, await self._copies(staged.paths, wanted), meter))

        async def work() -> None:
            while units:
                await units.popleft()()

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(_AT_ONCE, len(units))):
                    group.create_task(work())
        except BaseExceptionGroup as failures:
            raise first_error(failures) from failures

    async def _copies(self, paths: VersionPaths, wanted: Sequence[Part]) -> list[Copy]:
        copies, left = [], list(wanted)
        for find in self._finders:
            if left:
                found = await self._disk.run(find, paths, left)
                copies += [Copy(part, found[part.path]) for part in left if part.path in found]
                left = [part for part in left if part.path not in found]
        return copies

    def _units(
        self, staged: StagedVersion, copies: Iterable[Copy], meter: ProgressMeter
    ) -> Iterable[Callable[[], Awaitable[None]]]:
        """Yield the work: a large part alone, small ones together, for the sake of the hops."""
        batch: list[Copy] = []
        batch_bytes = 0
        for copy in copies:
            size = copy.part.size_bytes or 0
            if size > STEP_BYTES:
                yield partial(self._copy_large, staged, copy, meter)
                continue
            if batch and (batch_bytes + size > STEP_BYTES or len(batch) == _BATCH_FILES):
                yield partial(self._copy_small, staged, batch, meter)
                batch, batch_bytes = [], 0
            batch.append(copy)
            batch_bytes += size
        if batch:
            yield partial(self._copy_small, staged, batch, meter)

    async def _copy_small(
        self, staged: StagedVersion, batch: Sequence[Copy], meter: ProgressMeter
    ) -> None:
        meter.reuse_bytes(await self._disk.run(copy_small, self._dir, staged, batch))

    async def _copy_large(self, staged: StagedVersion, copy: Copy, meter: ProgressMeter) -> None:
        part_copy = PartCopy(self._dir, staged, copy)
        while await self._disk.run(part_copy.advance):
            pass
        if await self._disk.run(part_copy.end):
            meter.reuse_bytes(copy.part.size_bytes or 0)
