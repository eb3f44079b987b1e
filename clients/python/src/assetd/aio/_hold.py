"""A hold: the open stream that keeps a version from being evicted, and the task that listens."""

import asyncio
import logging
from collections.abc import Callable

from assetd._channel import silence_seconds, stalled
from assetd._course import holding_again
from assetd._retry import Deadline, Retry, passing
from assetd.aio._connection import Connection, CutError, SilentError
from assetd.aio._fetch import FetchStream
from assetd.errors import AssetdError, DaemonUnavailableError
from assetd.v1.asset_service_pb2 import FetchRequest

logger = logging.getLogger("assetd")

NO_DEADLINE = Deadline(None)


class Hold:
    """Holds one version until `close`, across restarts of the daemon. For one event loop.

    Ends by itself only if the daemon answers that it cannot hold the version any more; that is
    logged as a warning, and told to `on_lost`.
    """

    def __init__(
        self,
        connection: Connection,
        request: FetchRequest,
        stream: FetchStream,
        on_lost: Callable[[AssetdError], object] | None = None,
    ) -> None:
        """Take over the stream of a fetch, which has completed."""
        self._on_lost = on_lost
        self._connection = connection
        self._request = holding_again(request)
        self._stream = stream
        self._is_held = True
        self._task = asyncio.create_task(self._keep(), name="assetd-hold")
        connection.holds.add(self)

    @property
    def is_held(self) -> bool:
        """False after `close`, and once the daemon will not hold the version any more."""
        return self._is_held

    def close(self) -> None:
        """End the hold; idempotent. Returns at once."""
        self._is_held = False
        self._task.cancel()
        self._stream.cancel()
        self._connection.holds.drop(self)

    async def _keep(self) -> None:
        error = await self._until_it_ends()
        while True:
            if not await self._takes_again(error):
                return
            logger.info("holds %s again", self._request.spec)
            error = await self._until_it_ends()

    async def _takes_again(self, error: AssetdError) -> bool:
        """Repeat the fetch until it completes, for as long as it takes; False to give up."""
        retry = Retry(self._connection.policy.endless(), NO_DEADLINE)
        failed: AssetdError | None = error
        while failed is not None:
            try:
                delay = retry.delay_or_raise(passing(failed))
            except AssetdError:
                logger.warning("cannot hold %s any more: %s", self._request.spec, failed)
                self._give_up(failed)
                return False
            await asyncio.sleep(delay)
            self._stream = self._connection.stream(self._connection.assets.Fetch, self._request)
            failed = await self._follow()
        return True

    def _give_up(self, error: AssetdError) -> None:
        on_lost = self._on_lost if self._is_held else None
        # Cancels the task that this runs in; what follows does not wait for anything.
        self.close()
        if on_lost is not None:
            on_lost(error)

    async def _follow(self) -> AssetdError | None:
        """Return why the new stream ended; None once the version is present and held."""
        limit = silence_seconds(self._connection.policy, self._request)
        try:
            while response := await self._stream.next(NO_DEADLINE, limit):
                if response.HasField("completed"):
                    return None
        except CutError as cut:
            return cut.error
        except SilentError:
            return stalled(self._connection.address, limit)
        return ended()

    async def _until_it_ends(self) -> AssetdError:
        """Return why the stream ended; it says nothing while the version is held."""
        try:
            while await self._stream.next(NO_DEADLINE) is not None:
                pass
        except CutError as cut:
            return cut.error
        return ended()


def ended() -> DaemonUnavailableError:
    """Return why a stream ended that ended without a failure."""
    return DaemonUnavailableError("the daemon ended the hold")
