"""One fetch: its stream, followed to `completed` and joined again after a cut.

Knows nothing of what becomes of a stream that stays open: that is `assetd._hold`.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import grpc

from assetd._connection import Connection, Stream, drain
from assetd._progress import Attempts
from assetd._retry import Deadline, Retry
from assetd.errors import InternalError
from assetd.v1.asset_pb2 import AssetVersion, FetchProgress
from assetd.v1.asset_service_pb2 import (
    FetchCompleted,
    FetchRequest,
    FetchResponse,
    FetchStarted,
)

FetchCall = Stream[FetchResponse]
Observer = Callable[[FetchResponse], object]


@dataclass(frozen=True)
class Fetched:
    """How a fetch went. With `hold`, `call` is open and nothing more comes from it.

    `request` asks for the same again, for exactly this version.
    """

    request: FetchRequest
    started: FetchStarted
    completed: FetchCompleted
    call: FetchCall


class Fetch:
    """A fetch as its caller sees it: one `started`, some progress, one `completed`.

    However often the stream was cut, `observe` gets `started` once, and within one attempt
    progress that never falls. Not for several threads.
    """

    def __init__(
        self,
        connection: Connection,
        request: FetchRequest,
        deadline: Deadline,
        observe: Observer,
    ) -> None:
        self._connection = connection
        self._request = request
        self._deadline = deadline
        self._observe = observe
        self._retry = Retry(connection.policy, deadline)
        self._attempts = Attempts()
        self._started: FetchStarted | None = None
        self._completed: FetchCompleted | None = None

    def run(self) -> Fetched:
        """Make the version present, or fail.

        Leaves no call behind when anything is raised, Ctrl-C and what `observe` raises included.

        Raises:
            AssetdError: the fetch failed, or its deadline passed.
        """
        while True:
            call = self._call()
            try:
                self._follow(call)
                return self._fetched(call)
            except grpc.RpcError as cut:
                self._retry.wait_or_raise(self._connection.error_from(cut, self._deadline))
            except BaseException:
                call.cancel()
                raise

    def _call(self) -> FetchCall:
        # A hold outlives the fetch, and gRPC's deadline would end both.
        timeout = None if self._request.hold else self._deadline.remaining_seconds()
        return self._connection.start(self._connection.assets.Fetch, self._request, timeout)

    def _follow(self, call: FetchCall) -> None:
        limit = self._deadline.remaining_seconds() if self._request.hold else None
        with _cancelled_after(limit, call):
            for response in call:
                self._retry.answered(response.progress.present_bytes)
                self._note(response)
                if self._completed is not None:
                    break
        if self._completed is not None and not self._request.hold:
            # The status comes right behind. Whatever it says, the version is here.
            drain(call)

    def _note(self, response: FetchResponse) -> None:
        if response.HasField("progress"):
            response.progress.CopyFrom(self._attempts.number(response.progress))
        elif response.HasField("started"):
            if self._started is not None:
                return
            self._started = response.started
            # Joining again must not begin another version, should one be pushed meanwhile.
            self._request = pinned(self._request, response.started.asset_version)
        elif response.HasField("completed"):
            self._completed = response.completed
        self._observe(response)

    def _fetched(self, call: FetchCall) -> Fetched:
        if self._started is None or self._completed is None:
            raise InternalError("the daemon ended the fetch without an answer")
        request = pinned(self._request, self._completed.asset_version)
        return Fetched(request, self._started, self._completed, call)


def observer(
    on_progress: Callable[[FetchProgress], object] | None,
    on_event: Callable[[FetchResponse], object] | None,
) -> Observer:
    """Return one callback for both."""

    def observe(response: FetchResponse) -> None:
        if on_event is not None:
            on_event(response)
        if on_progress is not None and response.HasField("progress"):
            on_progress(response.progress)

    return observe


def pinned(request: FetchRequest, version: AssetVersion) -> FetchRequest:
    """Return the request for exactly this version, with the same part."""
    copy = FetchRequest()
    copy.CopyFrom(request)
    # Without a store, a path that is no asset is answered with an empty version.
    if version.version:
        _, bracket, part = request.spec.partition("[")
        copy.spec = f"{version.name}:{version.version}{bracket}{part}"
    return copy


@contextmanager
def _cancelled_after(seconds: float | None, call: FetchCall) -> Iterator[None]:
    """Cancel the call after so many seconds, unless the block was left before."""
    if seconds is None:
        yield
        return
    timer = threading.Timer(seconds, call.cancel)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
