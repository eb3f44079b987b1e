"""One push: the two sides take turns, as the contract draws it.

All files are announced before the first chunk, so that the daemon knows the whole version when
bytes begin to arrive. What the requests say, `assetd._content` knows.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from queue import SimpleQueue

import grpc

from assetd._connection import Connection, Stream, drain
from assetd._content import Content, Request
from assetd._progress import PushMeter
from assetd._retry import Deadline, Retry
from assetd.errors import AssetdError, InternalError, PushInProgressError, PushMismatchError
from assetd.v1.asset_service_pb2 import (
    PushCompleted,
    PushHeader,
    PushRequest,
    PushResponse,
    PushWanted,
)


@dataclass(frozen=True)
class Push:
    """A push of some content under one header; its `push_id` makes repeating it safe."""

    connection: Connection
    header: PushHeader
    content: Content
    meter: PushMeter

    def run(self, deadline: Deadline) -> PushCompleted:
        """Create the version, or nothing; cut streams are continued.

        Leaves no call behind when anything is raised, Ctrl-C included: the daemon then gives the
        version up.

        Raises:
            SourceChangedError: the source is not what was hashed.
            AssetdError: the push failed, or its deadline passed.
        """
        retry = Retry(self.connection.policy, deadline)
        was_cut = False
        while True:
            turns = _Turns()
            timeout = deadline.remaining_seconds()
            call = self.connection.start(self.connection.push, iter(turns), timeout)
            try:
                return self._follow(call, turns, retry)
            except grpc.RpcError as failed:
                if turns.failure is not None:
                    raise turns.failure from None
                error = self.connection.error_from(failed, deadline)
                self._wait_or_raise(error, retry, was_cut=was_cut)
                was_cut = True
            finally:
                call.cancel()
                turns.end()

    def _wait_or_raise(self, error: AssetdError, retry: Retry, *, was_cut: bool) -> None:
        # The daemon may not know yet that the stream of our own earlier try is dead.
        is_ours = was_cut and isinstance(error, PushInProgressError)
        try:
            retry.wait_or_raise(error, passes=is_ours)
        except PushMismatchError:
            # The daemon sees other bytes than it was told; we can tell whose doing that is.
            self.content.check_unchanged()
            raise

    def _follow(self, call: Stream[PushResponse], turns: "_Turns", retry: Retry) -> PushCompleted:
        batches = self.content.batches()
        wanted: list[PushWanted.Part] = []
        turns.take([PushRequest(header=self.header)])
        for response in call:
            retry.answered(response.progress.received_bytes + response.progress.stored_bytes)
            self.meter.observe(response)
            if response.HasField("completed"):
                # The status comes right behind. Whatever it says, the version exists.
                turns.end()
                drain(call)
                return response.completed
            if response.HasField("wanted"):
                wanted += response.wanted.parts
            elif not response.HasField("accepted"):
                continue
            batch = next(batches, None)
            turns.take(self._last_turn(wanted) if batch is None else [PushRequest(files=batch)])
        raise InternalError("the daemon ended the push without an answer")

    def _last_turn(self, wanted: list[PushWanted.Part]) -> Iterable[Request]:
        self.meter.lacks(self.content.lacking_bytes(wanted))
        return self.content.last_turn(wanted)


class _Turns:
    """The requests of one stream, each turn given once it is the client's again.

    gRPC takes them on a thread of its own, one at a time: files are read as fast as the daemon
    takes their bytes, and no faster.
    """

    def __init__(self) -> None:
        self._turns: SimpleQueue[Iterable[Request] | None] = SimpleQueue()
        self.failure: Exception | None = None

    def take(self, turn: Iterable[Request]) -> None:
        """Send these next."""
        self._turns.put(turn)

    def end(self) -> None:
        """Send no more."""
        self._turns.put(None)

    def __iter__(self) -> Iterator[Request]:
        for turn in iter(self._turns.get, None):
            try:
                yield from turn
            except Exception as failure:  # noqa: BLE001 - raised again where the caller waits
                # The stream ends without a commit here, by which the daemon gives up too.
                self.failure = failure
                return
