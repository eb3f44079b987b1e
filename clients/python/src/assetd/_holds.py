"""All that one client holds, so that closing the client ends it. Knows no kind of hold."""

import threading

from assetd.asset import Holding


class Holds:
    """The open holds of one client. Safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: set[Holding] = set()
        self._closed = False

    def add(self, hold: Holding) -> None:
        """Have it closed with the client, and keep it alive until then."""
        with self._lock:
            self._open.add(hold)
            closed = self._closed
        if closed:
            # Another thread closed the client while this one's fetch completed.
            hold.close()

    def drop(self, hold: Holding) -> None:
        """Forget what was closed by itself."""
        with self._lock:
            self._open.discard(hold)

    def close(self) -> None:
        """End all holds, and every one that is still to come; idempotent."""
        with self._lock:
            self._closed = True
            holds = list(self._open)
        for hold in holds:
            hold.close()
