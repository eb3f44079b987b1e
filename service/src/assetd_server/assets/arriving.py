"""The parts of a claimed version into the store while a caller's stream brings them."""

import asyncio
from collections.abc import Iterable, Mapping

from assetd_server.assets.arriving_part import ArrivingPart
from assetd_server.assets.kept_uploads import KeptUploads
from assetd_server.assets.part_upload import Place
from assetd_server.assets.shielding import ended
from assetd_server.assets.storing import Stored
from assetd_server.errors import PushMismatchError
from assetd_server.manifest import Part
from assetd_server.model import PartPath
from assetd_server.store.base import Buffer

# Parts that have come whole and are not in the store yet; each is a task.
_MAX_FINISHING = 64
# A caller finishes one file before the next; some leeway costs a piece of memory each.
_MAX_UNFINISHED = 4
_LAST_MOMENT_SECONDS = 2.0


class ArrivingParts:
    """Takes the chunks of a claimed push, and stores each part while the next arrives.

    Call `complete`, or `abandon`, at the end.
    """

    def __init__(self, place: Place, kept: KeptUploads) -> None:
        self._place = place
        self._kept = kept
        self._resumed: dict[PartPath, ArrivingPart] = {}
        self._arriving: dict[PartPath, ArrivingPart] = {}
        self._lengths: dict[PartPath, int] = {}
        self._finishing: set[asyncio.Task[None]] = set()
        self._stored: dict[str, Stored] = {}

    def length(self, path: PartPath) -> int:
        """Return how many bytes of a file have come, in an earlier push or in this one."""
        resumed = self._resumed.get(path)
        return resumed.sent_bytes if resumed else self._lengths.get(path, 0)

    async def resume(self, part: Part) -> int:
        """Return from where on the bytes of a file are wanted: where an earlier push was cut."""
        resumed = await self._kept.take(self._place, part)
        if resumed is None:
            return 0
        self._resumed[part.path] = resumed
        return resumed.sent_bytes

    async def begin_again(self, path: PartPath) -> None:
        """Take a file from its beginning, whatever an earlier push has sent of it."""
        resumed = self._resumed.pop(path, None)
        if resumed is not None:
            await self._drop(resumed)

    def has(self, stored: Mapping[str, Stored]) -> None:
        """Take parts that the store has already."""
        self._stored |= stored

    async def append(self, part: Part, data: Buffer) -> None:
        """Take the next bytes of a file, no more than its size; waits while the store is behind.

        Raises:
            PushMismatchError: a part that came whole is not what was announced; or too many files
                are unfinished at once.
            and what `store_parts` raises, for this part or one before it.
        """
        await self._settle_down_to(_MAX_FINISHING)
        arriving = self._arriving.get(part.path)
        if arriving is None:
            if len(self._arriving) >= _MAX_UNFINISHED:
                raise _too_many_unfinished(part)
            arriving = self._resumed.pop(part.path, None) or self._kept.begin(self._place, part)
            self._arriving[part.path] = arriving
            self._lengths[part.path] = arriving.sent_bytes
        self._lengths[part.path] += len(data)
        await arriving.append(data)
        if self._lengths[part.path] == part.size_bytes:
            self._finish(part.path, arriving)

    def _finish(self, path: PartPath, arriving: ArrivingPart) -> None:
        del self._arriving[path]
        finishing = asyncio.create_task(self._store(arriving))
        self._finishing.add(finishing)

    async def _store(self, arriving: ArrivingPart) -> None:
        self._kept.stop(arriving)
        stored = await arriving.finish()
        self._stored[stored.part.path] = stored
        self._place.count(stored.part.path, stored.part.size_bytes or 0)

    async def _settle_down_to(self, count: int) -> None:
        """Wait until no more parts than that are on their last step; raise what one raised."""
        while True:
            for task in [task for task in self._finishing if task.done()]:
                self._finishing.remove(task)
                task.result()
            if len(self._finishing) <= count:
                return
            await asyncio.wait(self._finishing, return_when=asyncio.FIRST_COMPLETED)

    async def complete(self, parts: Iterable[Part]) -> dict[str, Stored]:
        """Return all parts, stored, once each has come whole; empty ones need no chunk.

        Raises:
            PushMismatchError: bytes of a part are missing; and as `append`.
        """
        missing = [part for part in parts if part.path not in self._lengths]
        for part in missing:
            if part.path not in self._stored and not part.size_bytes:
                await self._settle_down_to(_MAX_FINISHING)
                self._finish_empty(part)
        await self._settle_down_to(0)
        return self._stored

    def _finish_empty(self, part: Part) -> None:
        arriving = self._arriving[part.path] = ArrivingPart(self._place, part)
        self._finish(part.path, arriving)

    async def abandon(self, *, is_cut: bool) -> None:
        """Stop, and drop what has not come whole; of a push that was cut, keep it. Idempotent.

        What has come whole is stored to its end, if that takes a moment only: a repeat need not
        send it.
        """
        if self._finishing:
            await asyncio.wait(self._finishing, timeout=_LAST_MOMENT_SECONDS)
        for task in self._finishing:
            task.cancel()
        for task in self._finishing:
            await ended(task)
        for arriving in (*self._arriving.values(), *self._resumed.values()):
            if is_cut:
                await self._kept.keep(arriving)
            else:
                await self._drop(arriving)

    async def _drop(self, arriving: ArrivingPart) -> None:
        self._kept.stop(arriving)
        await arriving.abandon()


def _too_many_unfinished(part: Part) -> PushMismatchError:
    return PushMismatchError(
        "a chunk of {path!r} came while {limit} other files are unfinished: finish one file before"
        " the next",
        field="chunk.path",
        path=part.path,
        limit=_MAX_UNFINISHED,
    )
