"""How far a download is: absolute figures that never fall within one attempt. Pure, no I/O."""

from collections import deque
from dataclasses import replace
from datetime import timedelta

from assetd_server.assets.clock import Clock
from assetd_server.assets.orders import FetchEvent, FetchPhase, FetchProgress

# Long enough to hold several ranges on a slow line, short enough to follow a change.
_RATE_WINDOW_SECONDS = 5.0
_SAMPLE_EVERY_SECONDS = 0.1


class ProgressMeter:
    """Counts what has arrived. One writer side (the flight), any number of readers."""

    def __init__(self, clock: Clock, total_bytes: int | None, total_files: int | None) -> None:
        self._clock = clock
        self._total_bytes = total_bytes
        self._total_files = total_files
        self._bytes = 0
        self._files = 0
        self._attempt = 1
        self._arrived_bytes = 0
        self._reused_bytes = 0
        self._last_byte_time = clock.monotonic()
        self._samples: deque[tuple[float, int]] = deque([(self._last_byte_time, 0)])
        self.phase = FetchPhase.DOWNLOADING

    @property
    def arrived_bytes(self) -> int:
        """All bytes that came from the store, those that were thrown away included."""
        return self._arrived_bytes

    @property
    def reused_bytes(self) -> int:
        """The bytes that did not have to come from the store."""
        return self._reused_bytes

    def reuse_bytes(self, count: int) -> None:
        """Count bytes that are here already: kept from an earlier flight, or copied."""
        self._bytes += count
        self._reused_bytes += count

    def add_present(self, byte_count: int, file_count: int) -> None:
        """Count files that are wanted and are here already."""
        self.reuse_bytes(byte_count)
        self._files += file_count

    def add_bytes(self, count: int) -> None:
        """Count bytes that have just arrived."""
        self._bytes += count
        self._arrived_bytes += count
        now = self._last_byte_time = self._clock.monotonic()
        if now - self._samples[-1][0] >= _SAMPLE_EVERY_SECONDS:
            self._samples.append((now, self._arrived_bytes))
            while now - self._samples[0][0] > _RATE_WINDOW_SECONDS and len(self._samples) > 2:
                self._samples.popleft()

    def add_file(self) -> None:
        """Count a file that is complete and checked."""
        self._files += 1

    def start_over(self, lost_bytes: int, lost_reused_bytes: int = 0) -> None:
        """Begin another attempt, in which what is lost has to come again."""
        self._bytes -= lost_bytes + lost_reused_bytes
        self._reused_bytes -= lost_reused_bytes
        self._attempt += 1

    def lose_files(self, count: int) -> None:
        """Take off files that have to come again; `start_over` takes off their bytes."""
        self._files -= count

    def snapshot(self) -> FetchProgress:
        """Return the figures of this moment."""
        rate = self._rate()
        return FetchProgress(
            phase=self.phase,
            present_bytes=self._bytes,
            total_bytes=self._total_bytes,
            present_files=self._files,
            total_files=self._total_files,
            bytes_per_second=rate,
            eta=self._eta(rate),
            since_last_byte=timedelta(seconds=self._clock.monotonic() - self._last_byte_time),
            attempt=self._attempt,
        )

    def _rate(self) -> int:
        since, count = self._samples[0]
        seconds = self._clock.monotonic() - since
        return int((self._arrived_bytes - count) / seconds) if seconds > 0 else 0

    def _eta(self, rate: int) -> timedelta | None:
        if self._total_bytes is None or rate <= 0:
            return None
        return timedelta(seconds=max(self._total_bytes - self._bytes, 0) / rate)


class Attempts:
    """Numbers the attempts of one call over all flights that it waits for."""

    def __init__(self) -> None:
        self._before = 0
        self._last = 0

    def begin_round(self) -> None:
        """Note that what comes next is of another flight, which counts from its own first."""
        self._before = self._last

    def numbered(self, event: FetchEvent) -> FetchEvent:
        """Return the event; of a progress, with the attempt that it has in the whole call."""
        if not isinstance(event, FetchProgress):
            return event
        self._last = self._before + event.attempt
        return replace(event, attempt=self._last)
