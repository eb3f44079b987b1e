"""The course of a fetch, whatever stream brings its events: the rules without the I/O."""

from collections.abc import Callable
from dataclasses import dataclass

from assetd._progress import Attempts
from assetd.errors import InternalError
from assetd.v1.asset_pb2 import AssetVersion, FetchProgress
from assetd.v1.asset_service_pb2 import (
    FetchCompleted,
    FetchRequest,
    FetchResponse,
    FetchStarted,
)

Observer = Callable[[FetchResponse], object]


@dataclass(frozen=True)
class Fetched:
    """How a fetch went. `request` asks for the same again, for exactly this version."""

    request: FetchRequest
    started: FetchStarted
    completed: FetchCompleted


class Course:
    """A fetch as its caller sees it: one `started`, some progress, one `completed`.

    However often the stream was cut, `observe` gets `started` once, and within one attempt
    progress that never falls.
    """

    def __init__(self, request: FetchRequest, observe: Observer) -> None:
        self._request = request
        self._observe = observe
        self._attempts = Attempts()
        self._started: FetchStarted | None = None
        self._completed: FetchCompleted | None = None

    @property
    def is_completed(self) -> bool:
        """Whether the version is here: after that nothing can fail any more."""
        return self._completed is not None

    def begin_stream(self) -> FetchRequest:
        """Return what the next stream has to ask for; the events that come are that stream's."""
        self._attempts.begin_stream()
        return self._request

    def note(self, response: FetchResponse) -> None:
        """Take the stream's next event.

        Raises:
            InternalError: it breaks a promise of the contract.
        """
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

    def fetched(self) -> Fetched:
        """Return what came of it, once the stream has no more to say.

        Raises:
            InternalError: it ended without an answer.
        """
        if self._started is None or self._completed is None:
            raise InternalError("the daemon ended the fetch without an answer")
        request = pinned(self._request, self._completed.asset_version)
        return Fetched(request, self._started, self._completed)


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


def holding_again(request: FetchRequest) -> FetchRequest:
    """Return the request that holds once more what a fetch has brought."""
    copy = FetchRequest()
    copy.CopyFrom(request)
    # Said once already: holding again is about the version that is here.
    copy.force_download = False
    copy.verify = False
    return copy
