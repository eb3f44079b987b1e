"""One push: the two sides take turns, as the contract draws it.

All files are announced before the first chunk, so that the daemon knows the whole version when
bytes begin to arrive. What the requests say, `assetd._content` knows.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Event

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

# What a daemon gets to take note that its caller leaves.
_LAST_WORD_SECONDS = 3.0


@dataclass(frozen=True)
class Push:
    """A push of some content under one header; its `push_id` makes repeating it safe."""

    connection: Connection
    header: PushHeader
    content: Content
    meter: PushMeter

    def run(self, deadline: Deadline) -> PushCompleted:
        """Create the version, or nothing; cut streams are continued.

        Each try is the same push under the same `push_id`, and sends what the daemon then wants.
        Tries go on for as long as one comes further than all before, and then for the patience of
        the policy, also while the daemon takes an earlier one for alive. Leaves no call behind when
        anything is raised, Ctrl-C included: the daemon then gives the version up, and keeps nothing
        for a repeat.

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
            except BaseException:
                _leave(call, turns)
                raise
            finally:
                call.cancel()
                turns.end()

    def _wait_or_raise(self, error: AssetdError, retry: Retry, *, was_cut: bool) -> None:
        if isinstance(error, PushMismatchError):
            # The daemon sees other bytes than it was told; we can tell whose doing that is.
            self.content.check_unchanged()
        retry.wait_or_raise(error, passes=self._is_our_own(error, was_cut=was_cut))

    def _is_our_own(self, error: AssetdError, *, was_cut: bool) -> bool:
        """Tell whether the push that is in progress is an earlier try of this one.

        The daemon may not know yet that its stream is dead. A daemon that names the push which is
        in the way is believed; else it is ours, if there was such a stream.
        """
        if not isinstance(error, PushInProgressError):
            return False
        push_id = error.metadata.get("push_id")
        return push_id == self.header.push_id if push_id else was_cut

    def _follow(self, call: Stream[PushResponse], turns: "_Turns", retry: Retry) -> PushCompleted:
        batches = self.content.batches()
        wanted: list[PushWanted.Part] = []
        packs = False
        turns.take([PushRequest(header=self.header)])
        for response in call:
            self.meter.observe(response)
            retry.answered(self.meter.furthest)
            if response.HasField("completed"):
                # The status comes right behind. Whatever it says, the version exists.
                turns.end()
                drain(call)
                return response.completed
            if response.HasField("wanted"):
                wanted += response.wanted.parts
            elif response.HasField("accepted"):
                packs = response.accepted.takes_chunks
            else:
                continue
            batch = next(batches, None)
            if batch is None:
                turns.take_last(self._last_turn(wanted, packs=packs))
            else:
                turns.take([PushRequest(files=batch)])
        raise InternalError("the daemon ended the push without an answer")

    def _last_turn(self, wanted: list[PushWanted.Part], *, packs: bool) -> Iterable[Request]:
        self.meter.lacks(self.content.lacking_bytes(wanted))
        return self.content.last_turn(wanted, packs=packs)


def _leave(call: Stream[PushResponse], turns: "_Turns") -> None:
    """End a push that nobody wants any more, by a word: a call that breaks off may come again."""
    has_ended = Event()
    if turns.give_up() and call.add_callback(has_ended.set):
        has_ended.wait(_LAST_WORD_SECONDS)


class _Turns:
    """The requests of one stream, each turn given once it is the client's again.

    gRPC takes them on a thread of its own, one at a time: files are read as fast as the daemon
    takes their bytes, and no faster.
    """

    def __init__(self) -> None:
        self._turns: SimpleQueue[Iterable[Request] | None] = SimpleQueue()
        self.failure: Exception | None = None
        self._last: Iterable[Request] | None = None
        self._is_given_up = self._is_committed = False

    def take(self, turn: Iterable[Request]) -> None:
        """Send these next."""
        self._turns.put(turn)

    def take_last(self, turn: Iterable[Request]) -> None:
        """Send these next; they end with the commit."""
        self._last = turn
        self.take(turn)

    def end(self) -> None:
        """Send no more."""
        self._turns.put(None)

    def give_up(self) -> bool:
        """Send no more of the turn that is under way either; tell whether the commit is not sent.

        Then the stream ends without one, which is a word that the daemon understands.
        """
        self._is_given_up = True
        self.end()
        return not self._is_committed

    def __iter__(self) -> Iterator[Request]:
        for turn in iter(self._turns.get, None):
            try:
                for request in turn:
                    if self._is_given_up:
                        return
                    yield request
                self._is_committed = turn is self._last
            except Exception as failure:  # noqa: BLE001 - raised again where the caller waits
                # The stream ends without a commit here, by which the daemon gives up too.
                self.failure = failure
                return
