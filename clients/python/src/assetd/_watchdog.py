"""Streams that have to end, or to say something, in time.

One thread looks after all streams of a client, and only while there are any. Knows nothing of
gRPC.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Clock = Callable[[], float]


# More for a stream that is overdue: where the whole process stood still, what the daemon said
# meanwhile is there, and has only to be read.
GRACE_SECONDS = 0.25


class Watch:
    """What is known of one stream: until when it may take, and when it was last heard.

    Only waiting counts: between `rest` and `heard` the caller is busy with what the stream said.
    """

    def __init__(
        self, cancel: Callable[[], object], silence_seconds: float, end: float, clock: Clock
    ) -> None:
        self.cancel = cancel
        self._silence_seconds = silence_seconds
        self._end = end
        self._clock = clock
        self._heard_at = clock()
        self._is_resting = False
        self._had_grace = False
        self.has_stalled = False

    def rest(self) -> None:
        """Note that nobody waits for the stream just now."""
        self._is_resting = True

    def heard(self) -> None:
        """Note that the stream said something, and that the next is waited for."""
        self._heard_at = self._clock()
        self._is_resting = self._had_grace = False

    @property
    def due(self) -> float:
        """When it is to be cancelled, if it says nothing until then."""
        return min(self._heard_at + self._silence_seconds, self._end)

    def overdue(self) -> bool:
        """Tell whether it is to be cancelled now, and remember if that is for its silence."""
        now = self._clock()
        if self._is_resting:
            self._heard_at = now
        if now < self.due:
            return False
        if now < self._end and not self._had_grace:
            self._had_grace = True
            self._heard_at = now - self._silence_seconds + GRACE_SECONDS
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
