"""One fetch: its stream, followed to `completed` and joined again after a cut."""

import asyncio

from assetd._channel import silence_seconds, stalled
from assetd._course import Course, Fetched, Observer
from assetd._retry import Deadline, Retry
from assetd.aio._connection import Connection, CutError, SilentError, Stream
from assetd.errors import AssetdError
from assetd.v1.asset_service_pb2 import FetchRequest, FetchResponse

FetchStream = Stream[FetchResponse]


class Fetch:
    """A fetch by streams that are listened to, and replaced when they are cut. For one task."""

    def __init__(
        self,
        connection: Connection,
        request: FetchRequest,
        deadline: Deadline,
        observe: Observer,
    ) -> None:
        self._connection = connection
        self._deadline = deadline
        self._holds = request.hold
        self._retry = Retry(connection.policy, deadline)
        self._course = Course(request, observe)
        self._silence_seconds = silence_seconds(connection.policy, request)

    async def run(self) -> tuple[Fetched, FetchStream]:
        """Make the version present, or fail. With `hold` the stream is open and says nothing more.

        Leaves no call behind when anything is raised, cancellation included.

        Raises:
            AssetdError: the fetch failed, or its deadline passed.
            RuntimeError: the client was closed.
        """
        while True:
            stream = self._stream()
            try:
                await self._read(stream)
                return self._course.fetched(), stream
            except CutError as cut:
                error = cut.error
            except SilentError:
                error = self._silence()
            except BaseException:
                stream.cancel()
                raise
            await asyncio.sleep(self._retry.delay_or_raise(error))

    def _stream(self) -> FetchStream:
        # A hold outlives the fetch, and gRPC's deadline would end both.
        timeout = None if self._holds else self._deadline.remaining_seconds()
        request = self._course.begin_stream()
        return self._connection.stream(self._connection.assets.Fetch, request, timeout)

    async def _read(self, stream: FetchStream) -> None:
        while not self._course.is_completed:
            response = await stream.next(self._deadline, self._limit_seconds())
            if response is None:
                return
            self._retry.answered(response.progress.present_bytes)
            self._course.note(response)
        if not self._holds:
            # The status comes right behind. Whatever it says, the version is here.
            await drain(stream, self._silence_seconds)

    def _limit_seconds(self) -> float:
        remaining = self._deadline.remaining_seconds()
        return self._silence_seconds if remaining is None else min(self._silence_seconds, remaining)

    def _silence(self) -> AssetdError:
        if self._deadline.passes_within(0):
            return self._deadline.error()
        return stalled(self._connection.address, self._silence_seconds)


async def drain(stream: FetchStream, limit_seconds: float) -> None:
    """Read a stream that has answered to its end, so that it ends well on the other side too."""
    try:
        while await stream.next(Deadline(None), limit_seconds) is not None:
            pass
    except (CutError, SilentError):
        return
