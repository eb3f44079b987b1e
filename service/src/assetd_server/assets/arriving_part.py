"""One file of a caller's stream on its way into the store."""

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import replace

from assetd_server.assets.part_upload import (
    SHORT_BYTES,
    PartUpload,
    Place,
    length_of,
    piece_bytes_of,
)
from assetd_server.assets.shielding import ended, to_the_end
from assetd_server.assets.storing import Stored, other_bytes
from assetd_server.cache.ingest import checksum_of
from assetd_server.manifest import Part
from assetd_server.store.base import Buffer


class ArrivingPart:
    """One file of a stream: hashed as it comes, handed on in pieces.

    Call `finish` once all bytes have been appended, or `abandon`.
    """

    def __init__(self, place: Place, part: Part) -> None:
        self._place = place
        self._part = part
        self._upload = PartUpload(place, part)
        self._piece_bytes = piece_bytes_of(part.size_bytes or 0)
        self._chunks: list[Buffer] = []
        self._left = part.size_bytes or 0
        self._room = min(self._piece_bytes, self._left)
        self._sha256 = hashlib.sha256()
        self._checksum = 0
        self._hashing: asyncio.Task[None] | None = None
        self._hashed_bytes = 0

    @property
    def place(self) -> Place:
        """Where it goes."""
        return self._place

    @property
    def part(self) -> Part:
        """What was announced of it."""
        return self._part

    @property
    def sent_bytes(self) -> int:
        """How many of its bytes have been handed on in whole pieces."""
        return self._upload.sent_bytes

    @property
    def can_be_resumed(self) -> bool:
        """Whether it can go on behind what was handed on, under this claim or a later one."""
        # A caller who left in the moment in which the upload was begun has hashed what is not sent.
        return 0 < self.sent_bytes == self._hashed_bytes

    async def append(self, data: Buffer) -> None:
        """Take the next bytes, no more than are missing; waits while the store is behind.

        Raises:
            StoreUnavailableError, StoreAccessDeniedError, DiskFullError: the store does not take
                what came before.
            ClaimLostError: somebody has ended the upload.
        """
        while data:
            taken, data = data[: self._room], data[self._room :]
            self._chunks.append(taken)
            self._room -= len(taken)
            self._left -= len(taken)
            if self._room == 0:
                await self._send()

    async def _send(self) -> None:
        piece = self._chunks
        length = length_of(piece)
        await self._upload.reserve(length)
        self._chunks = []
        self._room = min(self._piece_bytes, self._left)
        self._hashed_bytes += length
        if self._hashing is None and length <= SHORT_BYTES:
            self._update(piece)
        else:
            self._hashing = asyncio.create_task(self._hash(self._hashing, piece))
        await self._upload.send(piece)

    async def _hash(self, before: "asyncio.Task[None] | None", piece: Sequence[Buffer]) -> None:
        if before is not None:
            await before
        await self._place.off_the_loop(length_of(piece), self._update, piece)

    def _update(self, piece: Sequence[Buffer]) -> None:
        for chunk in piece:
            self._sha256.update(chunk)
        self._checksum = checksum_of(piece, self._checksum)

    def stop(self) -> None:
        """Forget what has come and was not handed on: whoever goes on sends it again."""
        self._chunks = []
        self._left = (self._part.size_bytes or 0) - self.sent_bytes
        self._room = min(self._piece_bytes, self._left)

    async def resume(self, place: Place) -> None:
        """Go on in another push of the same bytes to the same version, under its claim.

        Raises:
            ClaimLostError: somebody has ended the upload.
            StoreUnavailableError and other failures: a piece did not arrive, or the upload cannot
                be noted. It can only be abandoned then.
        """
        await self._upload.resume(place)
        if self._hashing is not None:
            await self._hashing
        self._place = place

    async def finish(self) -> Stored:
        """Return the part, stored and proven.

        Raises:
            PushMismatchError: it is not what was announced.
            and what `PartUpload.finish` raises.
        """
        try:
            if self._hashing is not None:
                await self._hashing
            found = self._sha256.hexdigest()
            if found != self._part.sha256_hex:
                raise other_bytes(self._part, found)
            part = replace(self._part, crc64nvme=self._checksum)
            stored = Stored(part, await self._upload.finish(part))
        except BaseException:
            await to_the_end(self.abandon())
            raise
        # Nothing is left of it to drop: it is shown, and hashed.
        return stored

    async def abandon(self) -> bool:
        """Drop what was not shown; see `PartUpload.abandon`."""
        if self._hashing is not None:
            await ended(self._hashing)
        return await self._upload.abandon()
