"""Progress that keeps its promise across a cut.

A daemon promises figures that never fall within one attempt. A helper that joins again after a
cut may meet another daemon, which counts from what it finds: only the helper can put the two
together. Knows nothing of calls.
"""

from collections.abc import Callable

from assetd.asset import PushPhase, PushProgress
from assetd.v1.asset_pb2 import FetchProgress
from assetd.v1.asset_service_pb2 import PushProgress as WirePushProgress
from assetd.v1.asset_service_pb2 import PushResponse


class Attempts:
    """Numbers the attempts of one fetch. Not for several threads."""

    def __init__(self) -> None:
        self._last = FetchProgress()
        self._earlier_attempts = 0

    def number(self, progress: FetchProgress) -> FetchProgress:
        """Return the progress with the attempt that it has in the whole fetch.

        The attempt never falls, and rises whenever a figure falls.
        """
        attempt = progress.attempt + self._earlier_attempts
        if attempt <= self._last.attempt:
            attempt = self._last.attempt + self._has_fallen(progress)
            self._earlier_attempts = attempt - progress.attempt
        numbered = FetchProgress()
        numbered.CopyFrom(progress)
        numbered.attempt = attempt
        self._last = numbered
        return numbered

    def _has_fallen(self, progress: FetchProgress) -> bool:
        last = self._last
        return (
            progress.present_bytes < last.present_bytes
            or progress.present_files < last.present_files
        )


class PushMeter:
    """Turns hashing and the daemon's events into one progress. Not for several threads.

    `total_bytes` is None where only the daemon will know it.
    """

    def __init__(
        self,
        total_bytes: int | None,
        on_progress: Callable[[PushProgress], object] | None,
        on_event: Callable[[PushResponse], object] | None,
    ) -> None:
        self._total_bytes = total_bytes
        self._kept_bytes = 0
        self._hashed_here_bytes = 0
        self._on_progress = on_progress
        self._on_event = on_event
        self._done_bytes = dict.fromkeys(PushPhase, 0)

    @property
    def furthest(self) -> int:
        """A figure that rises whenever the daemon comes further in a phase than ever before.

        Each phase by itself: what arrives again has not come further, but what is stored then has,
        long before it makes up for all that had arrived in vain.
        """
        return sum(self._done_bytes.values()) - self._hashed_here_bytes

    def hashed(self, hashed_bytes: int) -> None:
        """Note that so many bytes of the source are hashed."""
        self._hashed_here_bytes = hashed_bytes
        self._note(PushPhase.HASHING, hashed_bytes)

    def lacks(self, lacking_bytes: int | None) -> None:
        """Note how much is about to be sent: the rest is done. None: nothing is sent at all."""
        if lacking_bytes is not None and self._total_bytes is not None:
            self._kept_bytes = self._total_bytes - lacking_bytes
            self._note(PushPhase.SENDING, self._kept_bytes)
            self._note(PushPhase.STORING, self._kept_bytes)

    def observe(self, response: PushResponse) -> None:
        """Note what the daemon said, and pass it on."""
        if self._on_event is not None:
            self._on_event(response)
        if response.HasField("accepted"):
            # A new stream: what it keeps of the files is yet to be said.
            self._kept_bytes = 0
        if response.HasField("progress"):
            self._note_progress(response.progress)

    def _note_progress(self, progress: WirePushProgress) -> None:
        if self._total_bytes is None and progress.HasField("total_bytes"):
            self._total_bytes = progress.total_bytes
        match progress.phase:
            case WirePushProgress.PHASE_RECEIVING:
                self._note(PushPhase.SENDING, self._kept_bytes + progress.received_bytes)
                # Both go on at once, and the phase names but one.
                self._note(PushPhase.STORING, progress.stored_bytes)
            case WirePushProgress.PHASE_HASHING:
                self._note(PushPhase.HASHING, progress.received_bytes)
            case WirePushProgress.PHASE_COMMITTING:
                self._note(PushPhase.COMMITTING, self._total_bytes or progress.stored_bytes)
            case _:
                self._note(PushPhase.STORING, progress.stored_bytes)

    def _note(self, phase: PushPhase, done_bytes: int) -> None:
        # After a cut the daemon counts from what it finds, which may be less.
        self._done_bytes[phase] = max(self._done_bytes[phase], done_bytes)
        if self._on_progress is not None:
            self._on_progress(PushProgress(phase, self._done_bytes[phase], self._total_bytes))
