"""A hold: the open stream that keeps a version from being evicted.

No thread waits on the stream. gRPC tells when it ends; only then a thread holds again, until
the daemon's successor is there.
"""

import logging
import math
import threading
from collections.abc import Callable

import grpc

from assetd._channel import silence_seconds
from assetd._connection import Connection
from assetd._course import holding_again
from assetd._fetch import FetchCall
from assetd._retry import Deadline, Retry, passing
from assetd.errors import AssetdError
from assetd.v1.asset_service_pb2 import FetchRequest

logger = logging.getLogger("assetd")

NO_DEADLINE = Deadline(None)

OnLost = Callable[[AssetdError], object]


class Hold:
    """Holds one version until `close`, across restarts of the daemon. Safe for threads.

    Ends by itself only if the daemon answers that it cannot hold the version any more; that is
    logged as a warning, and told to `on_lost`.
    """

    def __init__(
        self,
        connection: Connection,
        request: FetchRequest,
        call: FetchCall,
        on_lost: OnLost | None = None,
    ) -> None:
        """Take over the call of a fetch, which has completed."""
        self._on_lost = on_lost
        self._connection = connection
        self._request = holding_again(request)
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._call = call
        connection.holds.add(self)
        self._watch(call)

    @property
    def is_held(self) -> bool:
        """False after `close`, and once the daemon will not hold the version any more."""
        return not self._ended.is_set()

    def close(self) -> None:
        """End the hold; idempotent. Returns at once."""
        with self._lock:
            self._ended.set()
            call = self._call
        call.cancel()
        self._connection.holds.drop(self)

    def _watch(self, call: FetchCall) -> None:
        if not call.add_callback(self._on_end):
            self._on_end()

    def _on_end(self) -> None:
        # gRPC calls this on a thread of its own, which must not wait.
        if not self._ended.is_set():
            threading.Thread(target=self._hold_again, name="assetd-hold", daemon=True).start()

    def _hold_again(self) -> None:
        """Repeat the fetch until it completes, for as long as it takes."""
        retry = Retry(self._connection.policy.endless(), NO_DEADLINE, pause=self._ended.wait)
        failed = self._call
        while not self._ended.is_set():
            try:
                retry.wait_or_raise(passing(self._connection.error_from(failed, NO_DEADLINE)))
            except AssetdError as error:
                self._give_up(error)
                return
            call = self._call_again()
            if call is None:
                return
            if self._completes(call):
                logger.info("holds %s again", self._request.spec)
                self._watch(call)
                return
            failed = call

    def _call_again(self) -> FetchCall | None:
        with self._lock:
            if self._ended.is_set():
                return None
            self._call = self._connection.start(self._connection.assets.Fetch, self._request)
            return self._call

    def _completes(self, call: FetchCall) -> bool:
        """Follow the stream; tell whether the version is present and held."""
        limit = silence_seconds(self._connection.policy, self._request)
        try:
            with self._connection.watchdog.watching(call.cancel, limit, math.inf) as watch:
                for response in call:
                    watch.heard()
                    if response.HasField("completed"):
                        return True
        except grpc.RpcError:
            pass
        return False

    def _give_up(self, error: AssetdError) -> None:
        is_lost = not self._ended.is_set()
        self.close()
        if is_lost:
            logger.warning("cannot hold %s any more: %s", self._request.spec, error)
            if self._on_lost is not None:
                self._on_lost(error)
