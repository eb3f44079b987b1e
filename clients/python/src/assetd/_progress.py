"""Progress that keeps its promise across a cut.

A daemon promises figures that never fall within one attempt, and one that breaks it is not believed
any further. A helper that joins again after a cut may meet another daemon, which counts from what
it finds: only the helper can put the two together. Knows nothing of calls.
"""

from collections.abc import Callable

from assetd.asset import PushPhase, PushProgress
from assetd.errors import InternalError
from assetd.v1.asset_pb2 import FetchProgress
from assetd.v1.asset_service_pb2 import PushProgress as WirePushProgress
from assetd.v1.asset_service_pb2 import PushResponse


class Attempts:
    """Numbers the attempts of one fetch, over all its streams. Not for several threads."""

    def __init__(self) -> None:
        self._last = FetchProgress()
        # The daemon's own number; None when the stream has told nothing yet.
        self._attempt_of_stream: int | None = None
        self._earlier_attempts = 0

    def begin_stream(self) -> None:
        """Note that what comes next is of another stream."""
        self._attempt_of_stream = None

    def number(self, progress: FetchProgress) -> FetchProgress:
        """Return the progress with the attempt that it has in the whole fetch.

        The attempt never falls, and rises where another daemon's figures are lower.

        Raises:
            InternalError: the figures fell on one stream, though the attempt did not rise.
        """
        before = self._attempt_of_stream
        if before is not None and progress.attempt <= before and _fell(self._last, progress):
            raise _broken_promise(self._last, progress)
        self._attempt_of_stream = progress.attempt
        attempt = progress.attempt + self._earlier_attempts
        if attempt <= self._last.attempt:
            attempt = self._last.attempt + _fell(self._last, progress)
            self._earlier_attempts = attempt - progress.attempt
        numbered = FetchProgress()
        numbered.CopyFrom(progress)
        numbered.attempt = attempt
        # What is known once stays known, also while another daemon still looks.
        for total in ("total_bytes", "total_files"):
            if self._last.HasField(total) and not progress.HasField(total):
                setattr(numbered, total, getattr(self._last, total))
        self._last = numbered
        return numbered


def _fell(before: FetchProgress, now: FetchProgress) -> bool:
    return now.present_bytes < before.present_bytes or now.present_files < before.present_files


def _broken_promise(before: FetchProgress, now: FetchProgress) -> InternalError:
    figures = {
        "present_bytes": str(now.present_bytes),
        "earlier_present_bytes": str(before.present_bytes),
        "present_files": str(now.present_files),
        "earlier_present_files": str(before.present_files),
    }
    return InternalError(
        f"the daemon's progress fell from {before.present_bytes} to {now.present_bytes} bytes, and "
        f"from {before.present_files} to {now.present_files} files, within one attempt",
        metadata=figures,
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
