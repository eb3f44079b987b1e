"""One check of the cache: its stream, begun anew after a cut, and each result given once."""

from collections.abc import Callable, Generator

import grpc

from assetd._connection import Connection
from assetd._retry import Deadline, Retry
from assetd.errors import InternalError
from assetd.v1.cache_service_pb2 import (
    VerifyProgress,
    VerifyRequest,
    VerifyResponse,
    VerifyResult,
)


class VerifyCourse:
    """A check as its caller sees it, whatever stream brings its events."""

    def __init__(
        self,
        on_progress: Callable[[VerifyProgress], object] | None,
        on_event: Callable[[VerifyResponse], object] | None,
    ) -> None:
        self._on_progress = on_progress
        self._on_event = on_event
        self._given: set[tuple[str, str]] = set()
        self._is_completed = False

    def note(self, response: VerifyResponse) -> VerifyResult | None:
        """Take the stream's next event; return the result in it that is new."""
        if response.HasField("result"):
            version = response.result.asset_version
            if (version.name, version.version) in self._given:
                return None
            self._given.add((version.name, version.version))
        if self._on_event is not None:
            self._on_event(response)
        if self._on_progress is not None and response.HasField("progress"):
            self._on_progress(response.progress)
        self._is_completed = self._is_completed or response.HasField("completed")
        return response.result if response.HasField("result") else None

    def finish(self) -> None:
        """Note that the stream has no more to say.

        Raises:
            InternalError: it ended without an answer.
        """
        if not self._is_completed:
            raise InternalError("the daemon ended the check without an answer")


def verify(
    connection: Connection, request: VerifyRequest, deadline: Deadline, course: VerifyCourse
) -> Generator[VerifyResult, None, None]:
    """Give the results as they come. Leaves no call behind however the iteration ends.

    Raises:
        AssetdError: the check failed, or its deadline passed.
    """
    retry = Retry(connection.policy, deadline)
    while True:
        call = connection.start(connection.cache.Verify, request, deadline.remaining_seconds())
        try:
            for response in call:
                retry.answered(response.progress.hashed_bytes)
                result = course.note(response)
                if result is not None:
                    yield result
            course.finish()
            return
        except grpc.RpcError as failed:
            retry.wait_or_raise(connection.error_from(failed, deadline))
        finally:
            call.cancel()
