"""The body of an answer, counted: exactly the bytes that were asked for, or a failure."""

import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from assetd_server.store.base import Buffer, ObjectInfo
from assetd_server.store.objects.failures import S3Failures
from assetd_server.store.objects.pace import Pace
from assetd_server.store.objects.sdk_errors import translated

if TYPE_CHECKING:
    from obstore import GetResult


class S3Reader:
    """The `length` bytes of an answer, or a failure; without `pace` in one piece."""

    def __init__(
        self,
        info: ObjectInfo,
        answer: "GetResult | None",
        length: int,
        pace: Pace | None,
        failures: S3Failures,
    ) -> None:
        self._info = info
        self._answer = answer
        self._length = length
        self._pace = pace
        self._failures = failures

    @property
    def info(self) -> ObjectInfo:
        """The whole object's facts, as the answer states them."""
        return self._info

    async def __aiter__(self) -> AsyncIterator[Buffer]:
        missing = self._length
        with translated(self._failures, self._info.key):
            async for chunk in self._chunks():
                missing -= len(chunk)
                if missing < 0:
                    raise self._failures.unavailable(self._info.key, "more bytes than announced")
                yield chunk
        if missing:
            raise self._failures.unavailable(self._info.key, "fewer bytes than announced")

    async def _chunks(self) -> AsyncIterator[Buffer]:
        if not self._answer or not self._length:
            return
        if self._pace is None:
            yield memoryview(await self._answer.bytes_async())
            return
        begin = time.monotonic()
        async for chunk in self._answer.stream(self._pace.chunk_bytes):
            yield chunk
        self._pace.note(self._length, time.monotonic() - begin)
