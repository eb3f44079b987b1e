"""One fetch: its stream, followed to `completed` and joined again after a cut.

Knows nothing of what becomes of a stream that stays open: that is `assetd._hold`.
"""

import math

import grpc

from assetd._channel import silence_seconds, stalled
from assetd._connection import Connection, Stream, drain
from assetd._course import Course, Fetched, Observer
from assetd._retry import Deadline, Retry
from assetd._watchdog import Watch
from assetd.errors import AssetdError
from assetd.v1.asset_service_pb2 import FetchRequest, FetchResponse

FetchCall = Stream[FetchResponse]


class Fetch:
    """A fetch by streams that are watched, and replaced when they are cut. Not for several threads.

    What `observe` gets is promised by `Course`.
    """

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

    def run(self) -> tuple[Fetched, FetchCall]:
        """Make the version present, or fail. With `hold` the call is open and says nothing more.

        Leaves no call behind when anything is raised, Ctrl-C and what `observe` raises included.

        Raises:
            AssetdError: the fetch failed, or its deadline passed.
        """
        while True:
            call = self._call()
            end = self._deadline.end if self._holds else math.inf
            watching = self._connection.watchdog.watching(call.cancel, self._silence_seconds, end)
            try:
                with watching as watch:
                    self._read(call, watch)
                return self._course.fetched(), call
            except grpc.RpcError as cut:
                self._retry.wait_or_raise(self._error(cut, watch))
            except BaseException:
                call.cancel()
                raise

    def _call(self) -> FetchCall:
        # A hold outlives the fetch, and gRPC's deadline would end both: the watchdog ends one.
        timeout = None if self._holds else self._deadline.remaining_seconds()
        request = self._course.begin_stream()
        return self._connection.start(self._connection.assets.Fetch, request, timeout)

    def _read(self, call: FetchCall, watch: Watch) -> None:
        for response in call:
            watch.rest()
            self._retry.answered(response.progress.present_bytes)
            self._course.note(response)
            watch.heard()
            if self._course.is_completed:
                break
        if not self._holds:
            # The status comes right behind. Whatever it says, a version that completed is here.
            drain(call)

    def _error(self, cut: grpc.RpcError, watch: Watch) -> AssetdError:
        if watch.has_stalled:
            return stalled(self._connection.address, self._silence_seconds)
        return self._connection.error_from(cut, self._deadline)
