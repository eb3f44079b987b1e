"""Streams that have to end, or to say something, in time.

One thread looks after all streams of a client, and only while there are any. Knows nothing of
gRPC.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Clock = Callable[[], float]


class Watch:
    """What is known of one stream: until when it may take, and when it was last heard."""

    def __init__(
        self, cancel: Callable[[], object], silence_seconds: float, end: float, clock: Clock
    ) -> None:
        self.cancel = cancel
        self._silence_seconds = silence_seconds
        self._end = end
        self._clock = clock
        self._heard_at = clock()
        self.has_stalled = False

    def heard(self) -> None:
        """Note that the stream said something."""
        self._heard_at = self._clock()

    @property
    def due(self) -> float:
        """When it is to be cancelled, if it says nothing until then."""
        return min(self._heard_at + self._silence_seconds, self._end)

    def overdue(self) -> bool:
        """Tell whether it is to be cancelled now, and remember if that is for its silence."""
        now = self._clock()
        if now < self.due:
            return False
        self.has_stalled = now < self._end
        return True


class Watchdog:
    """Cancels the streams that are overdue. Safe for threads.

    `clock` is a seam for tests, which call `look` themselves.
    """

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._watches: set[Watch] = set()
        self._wakes_at: float | None = None

    @contextmanager
    def watching(
        self, cancel: Callable[[], object], silence_seconds: float, end: float
    ) -> Iterator[Watch]:
        """Cancel a stream if it is silent for so long, or at `end`, unless the block was left.

        A silence may last a little longer: `look` comes by when the first of all may be overdue.
        """
        watch = Watch(cancel, silence_seconds, end, self._clock)
        with self._changed:
            self._watches.add(watch)
            self._wake_for(watch)
        try:
            yield watch
        finally:
            with self._changed:
                self._watches.discard(watch)

    def look(self) -> None:
        """Cancel what is overdue."""
        with self._changed:
            overdue = [watch for watch in self._watches if watch.overdue()]
            self._watches.difference_update(overdue)
        for watch in overdue:
            watch.cancel()

    def close(self) -> None:
        """Watch nothing more."""
        with self._changed:
            self._watches.clear()
            self._changed.notify()

    def _wake_for(self, watch: Watch) -> None:
        if self._wakes_at is None:
            self._wakes_at = watch.due
            threading.Thread(target=self._run, name="assetd-watchdog", daemon=True).start()
        elif watch.due < self._wakes_at:
            self._changed.notify()

    def _run(self) -> None:
        while True:
            self.look()
            with self._changed:
                due = min((watch.due for watch in self._watches), default=None)
                if due is None:
                    self._wakes_at = None
                    return
                self._wakes_at = due
                self._changed.wait(max(0.0, min(due - self._clock(), threading.TIMEOUT_MAX)))
