"""One push: the two sides take turns, as the contract draws it.

All files are announced before the first chunk, so that the daemon knows the whole version when
bytes begin to arrive. Reads the source through `assetd._source` alone.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from queue import SimpleQueue

import grpc

from assetd._connection import Connection, Stream, drain
from assetd._retry import Deadline, Retry
from assetd._source import Digests, Source, SourceFile
from assetd.errors import InternalError, PushMismatchError
from assetd.v1.asset_service_pb2 import (
    PushChunk,
    PushCommit,
    PushCompleted,
    PushFile,
    PushFiles,
    PushHeader,
    PushRequest,
    PushResponse,
    PushWanted,
)

FILES_PER_MESSAGE = 1000

Observer = Callable[[PushResponse], object]


@dataclass(frozen=True)
class Push:
    """A push of one source under one header; its `push_id` makes repeating it safe."""

    connection: Connection
    header: PushHeader
    source: Source
    digests: Digests
    observe: Observer

    def run(self, deadline: Deadline) -> PushCompleted:
        """Create the version, or nothing; cut streams are continued.

        Leaves no call behind when anything is raised, Ctrl-C included: the daemon then gives the
        version up.

        Raises:
            SourceChangedError: the source is not what was hashed.
            AssetdError: the push failed, or its deadline passed.
        """
        retry = Retry(self.connection.policy, deadline)
        while True:
            turns = _Turns()
            timeout = deadline.remaining_seconds()
            call = self.connection.start(self.connection.assets.Push, iter(turns), timeout)
            try:
                return self._follow(call, turns, retry)
            except grpc.RpcError as failed:
                if turns.failure is not None:
                    raise turns.failure from None
                self._wait_or_raise(failed, retry, deadline)
            finally:
                call.cancel()
                turns.end()

    def _wait_or_raise(self, failed: grpc.RpcError, retry: Retry, deadline: Deadline) -> None:
        try:
            retry.wait_or_raise(self.connection.error_from(failed, deadline))
        except PushMismatchError:
            # The daemon sees other bytes than it was told; we can tell whose doing that is.
            self.source.check_unchanged()
            raise

    def _follow(self, call: Stream[PushResponse], turns: "_Turns", retry: Retry) -> PushCompleted:
        batches = self._batches()
        wanted: list[PushWanted.Part] = []
        turns.take([PushRequest(header=self.header)])
        for response in call:
            retry.answered(response.progress.received_bytes + response.progress.stored_bytes)
            self.observe(response)
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

    def _batches(self) -> Iterator[PushFiles]:
        files = self.source.files
        for start in range(0, len(files), FILES_PER_MESSAGE):
            batch = files[start : start + FILES_PER_MESSAGE]
            yield PushFiles(
                files=[
                    PushFile(
                        path=file.path,
                        size_bytes=file.size_bytes,
                        digest=self.digests.files[file.path],
                    )
                    for file in batch
                ]
            )

    def _last_turn(self, wanted: Iterable[PushWanted.Part]) -> Iterator[PushRequest]:
        files = {file.path: file for file in self.source.files}
        for part in wanted:
            if part.path not in files:
                raise InternalError(f"the daemon wants {part.path!r}, which was not announced")
            yield from self._chunks(files[part.path], part.offset)
        self.source.check_unchanged()
        yield PushRequest(commit=PushCommit(digest=self.digests.digest))

    def _chunks(self, file: SourceFile, offset: int) -> Iterator[PushRequest]:
        for data in self.source.read(file, offset):
            yield PushRequest(chunk=PushChunk(path=file.path, offset=offset, data=data))
            offset += len(data)


class _Turns:
    """The requests of one stream, each turn given once it is the client's again.

    gRPC takes them on a thread of its own, one at a time: files are read as fast as the daemon
    takes their bytes, and no faster.
    """

    def __init__(self) -> None:
        self._turns: SimpleQueue[Iterable[PushRequest] | None] = SimpleQueue()
        self.failure: Exception | None = None

    def take(self, turn: Iterable[PushRequest]) -> None:
        """Send these next."""
        self._turns.put(turn)

    def end(self) -> None:
        """Send no more."""
        self._turns.put(None)

    def __iter__(self) -> Iterator[PushRequest]:
        for turn in iter(self._turns.get, None):
            try:
                yield from turn
            except Exception as failure:  # noqa: BLE001 - raised again where the caller waits
                # The stream ends without a commit here, by which the daemon gives up too.
                self.failure = failure
                return
