"""What came of large files whose push was cut, kept for a while so that a repeat goes on there.

The claim is released all the same: whoever claims the version next may have other content. What is
kept is no part yet, and becomes one only if its bytes, once all have come, are those that a claim
of that time fixes (decision 0012). The record of the push stays until then, so that a later run
ends the upload if this one dies.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass

from assetd_server.assets.arriving_part import ArrivingPart
from assetd_server.assets.claimed import ClaimLostError
from assetd_server.assets.clock import Clock
from assetd_server.assets.part_upload import PIECE_BYTES, Place
from assetd_server.assets.push_records import PushRecord, PushRecords
from assetd_server.assets.shielding import ended, to_the_end
from assetd_server.errors import AssetError
from assetd_server.manifest import Part

_PATIENCE_SECONDS = 2.0
# The same key may be pushed with other content, and the same content again.
_Key = tuple[str, str | None, int | None]


@dataclass(frozen=True)
class _Kept:
    arriving: ArrivingPart
    record: PushRecord
    expiring: "asyncio.Task[None]"


class KeptUploads:
    """The unfinished uploads of pushes that were cut."""

    def __init__(self, records: PushRecords, clock: Clock, max_age_seconds: float) -> None:
        self._records = records
        self._clock = clock
        self._max_age_seconds = max_age_seconds
        self._kept: dict[_Key, _Kept] = {}
        self._expiring: set[asyncio.Task[None]] = set()
        # What other pushes are sending right now; the event is set when one of them stops.
        self._under_way: dict[_Key, ArrivingPart] = {}
        self._stopped = asyncio.Event()

    def begin(self, place: Place, part: Part) -> ArrivingPart:
        """Return a part that is about to arrive, of which nothing has come."""
        arriving = ArrivingPart(place, part)
        if _is_large(part):
            self._under_way.setdefault(_key(place, part), arriving)
        return arriving

    def stop(self, arriving: ArrivingPart) -> None:
        """Take note that nothing more comes of a part from `begin` or `take`."""
        if not _is_large(arriving.part):
            return
        key = _key(arriving.place, arriving.part)
        if self._under_way.get(key) is arriving:
            del self._under_way[key]
            self._stopped.set()
            self._stopped = asyncio.Event()

    async def keep(self, arriving: ArrivingPart) -> None:
        """Keep what has come of a file, if it is worth it; else abandon it."""
        self.stop(arriving)
        key = _key(arriving.place, arriving.part)
        if not arriving.can_be_resumed or not self._max_age_seconds or key in self._kept:
            await arriving.abandon()
            return
        arriving.stop()
        record = arriving.place.claimed.record
        self._records.keep(record)
        expiring = asyncio.create_task(self._expire(key))
        self._expiring.add(expiring)
        expiring.add_done_callback(self._expiring.discard)
        self._kept[key] = _Kept(arriving, record, expiring)

    async def take(self, place: Place, part: Part) -> ArrivingPart | None:
        """Return what has come of a part that is pushed again; None where nothing is kept.

        It is the caller's from now on. A caller whose connection was cut may be back before that
        was noticed here: while another push still sends the part, its end is waited for a little.
        """
        if not _is_large(part):
            return None
        key = _key(place, part)
        with suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE_SECONDS):
                while key in self._under_way:
                    await self._stopped.wait()
        kept = self._kept.pop(key, None)
        if kept is None:
            return None
        kept.expiring.cancel()
        try:
            await kept.arriving.resume(place)
        except BaseException as error:
            await to_the_end(self._drop(kept))
            if isinstance(error, AssetError | ClaimLostError):
                return None
            raise
        await self._records.let_go(kept.record, is_settled=True)
        self._under_way.setdefault(key, kept.arriving)
        return kept.arriving

    async def _expire(self, key: _Key) -> None:
        await self._clock.sleep(self._max_age_seconds)
        await self._drop(self._kept.pop(key))

    async def _drop(self, kept: _Kept) -> None:
        is_settled = await kept.arriving.abandon()
        await self._records.let_go(kept.record, is_settled=is_settled)

    async def close(self) -> None:
        """Drop all that is kept; return when nothing of it is under way any more."""
        while self._kept:
            _, kept = self._kept.popitem()
            kept.expiring.cancel()
            await self._drop(kept)
        for expiring in tuple(self._expiring):
            await ended(expiring)


def _is_large(part: Part) -> bool:
    """Tell whether a part goes in pieces: to send a smaller one again is quicker."""
    return (part.size_bytes or 0) > PIECE_BYTES


def _key(place: Place, part: Part) -> _Key:
    return place.key(part), part.sha256_hex, part.size_bytes
