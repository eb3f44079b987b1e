"""Progress on standard error: a bar on a terminal, else lines if asked for, else nothing.

Makes no call, and never writes to standard output. rich is imported when a bar is drawn.
"""

import functools
import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

import click

from assetd.asset import PushPhase, PushProgress
from assetd.cli.output import Command, one_line, print_error, size_text

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn, TaskID

    from assetd.v1.asset_pb2 import FetchProgress
    from assetd.v1.cache_service_pb2 import VerifyProgress

# For a bar that moves; without one, what the daemon sends by itself is enough.
BAR_INTERVAL_SECONDS = 0.1
LINE_EVERY_PERCENT = 10
# So long without a byte is worth a word: the store, or the way to it, is stuck.
SILENCE_SECONDS = 5


class Display(Protocol):
    """Where progress is shown, a row for each thing that goes its own way to the end."""

    def show(self, row: str, note: str, done_bytes: int, total_bytes: int | None) -> None:
        """Show a row's newest figures."""

    def begin(self, row: str) -> None:
        """Show a row whose way nobody can measure."""

    def close(self, *, succeeded: bool) -> None:
        """Show no more, and leave a terminal as it was."""


class Nothing:
    """Shows nothing."""

    def show(self, row: str, note: str, done_bytes: int, total_bytes: int | None) -> None:
        """Do nothing."""

    def begin(self, row: str) -> None:
        """Do nothing."""

    def close(self, *, succeeded: bool) -> None:
        """Do nothing."""


class Lines:
    """A line for each tenth of a row, for logs. What takes no bytes has a line if it begins."""

    def __init__(self) -> None:
        self._shown_percent: dict[str, int] = {}

    def show(self, row: str, note: str, done_bytes: int, total_bytes: int | None) -> None:
        """Print a line if the row has come so much further."""
        if not total_bytes:
            return
        percent = 100 * done_bytes // total_bytes
        percent -= percent % LINE_EVERY_PERCENT
        if percent > self._shown_percent.get(row, -1):
            self._shown_percent[row] = percent
            print_error(f"{row} {note} {percent} % of {size_text(total_bytes)}".replace("  ", " "))

    def begin(self, row: str) -> None:
        """Print its one line."""
        if row not in self._shown_percent:
            self._shown_percent[row] = 0
            print_error(row)

    def close(self, *, succeeded: bool) -> None:
        """Do nothing: a line stands once it is printed."""


class Bars:
    """A bar for each row. Nothing is drawn before the first figures. Safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._progress: Progress | None = None
        self._tasks: dict[str, TaskID] = {}

    def show(self, row: str, note: str, done_bytes: int, total_bytes: int | None) -> None:
        """Draw the row's bar."""
        with self._lock:
            progress = self._progress or self._start()
            if row not in self._tasks:
                self._tasks[row] = progress.add_task(one_line(row), total=None, note="")
        progress.update(self._tasks[row], completed=done_bytes, total=total_bytes, note=note)

    def begin(self, row: str) -> None:
        """Draw a bar that only moves to and fro."""
        self.show(row, "", 0, None)

    def close(self, *, succeeded: bool) -> None:
        """Draw all for the last time: full, if it succeeded."""
        if self._progress is None:
            return
        for task in self._progress.tasks if succeeded else []:
            total = task.completed if task.total is None else task.total
            self._progress.update(task.id, completed=total, total=total, note="")
        self._progress.stop()

    def _start(self) -> "Progress":
        from rich.console import Console
        from rich.progress import Progress

        # What is printed to standard output meanwhile belongs there.
        self._progress = Progress(
            *_columns(), console=Console(stderr=True), redirect_stdout=False, redirect_stderr=False
        )
        self._progress.start()
        return self._progress


def _columns() -> "list[ProgressColumn]":
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )
    from rich.text import Text

    class Bytes(DownloadColumn):
        def render(self, task: Task) -> Text:
            # Not "0/? bytes", where there are none to count.
            return super().render(task) if task.total or task.completed else Text()

    return [
        # Without markup: a spec has brackets of its own.
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        Bytes(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    ]


class _Report:
    """A display for as long as a call takes, and the answers that come meanwhile."""

    def __init__(self, display: Display) -> None:
        self._display = display
        # Lines between the bars of one terminal would tear them.
        self._waits = isinstance(display, Bars) and sys.stdout.isatty()
        self._waiting: list[str] = []
        self.has_failed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._display.close(succeeded=kind is None and not self.has_failed)
        for line in self._waiting:
            click.echo(line)

    @property
    def interval_seconds(self) -> float | None:
        """How often the daemon should tell; None for its default."""
        return BAR_INTERVAL_SECONDS if isinstance(self._display, Bars) else None

    def answer(self, line: str) -> None:
        """Print a line on standard output: at once, or where a bar is in its way once that ends."""
        if self._waits:
            self._waiting.append(line)
        else:
            click.echo(line)


class FetchReport(_Report):
    """Shows fetches, a row for each spec."""

    def updates(self, spec: str) -> "Callable[[FetchProgress], None]":
        """Return what takes the progress of one fetch."""
        return functools.partial(self._update, spec)

    def _update(self, spec: str, progress: "FetchProgress") -> None:
        from assetd.v1.asset_pb2 import FetchPhase

        note = FetchPhase.Name(progress.phase).removeprefix("FETCH_PHASE_").lower()
        silent_seconds = progress.since_last_byte.seconds
        if silent_seconds >= SILENCE_SECONDS:
            note += f", no byte for {silent_seconds} s"
        total_bytes = progress.total_bytes if progress.HasField("total_bytes") else None
        self._display.show(spec, note, progress.present_bytes, total_bytes)


class VerifyReport(_Report):
    """Shows a check of the cache."""

    def update(self, progress: "VerifyProgress") -> None:
        """Show how far it is."""
        self._display.show("verify", "", progress.hashed_bytes, progress.total_bytes)


class PushReport(_Report):
    """Shows a push: a row for the hash pass, the upload and the commit."""

    def update(self, progress: PushProgress) -> None:
        """Show how far it is. What was sent is not safe yet: an upload is what the store has."""
        done_bytes, total_bytes = progress.done_bytes, progress.total_bytes
        match progress.phase:
            case PushPhase.HASHING:
                self._display.show("hash", "", done_bytes, total_bytes)
            case PushPhase.STORING:
                self._display.show("upload", "", done_bytes, total_bytes)
            case PushPhase.COMMITTING:
                self._display.show("upload", "", done_bytes, total_bytes)
                # The daemon reads back, and tells no figures of that.
                self._display.begin("commit")


def progress_options(command: Command) -> Command:
    """Give a command the options `--progress` and `--quiet`."""
    progress = click.option(
        "--progress",
        type=click.Choice(["auto", "lines", "none"]),
        default="auto",
        show_default=True,
        help="On standard error: a bar if it is a terminal and else nothing, a line for each "
        "tenth of the way, or nothing.",
    )
    quiet = click.option("-q", "--quiet", is_flag=True, help="The same as --progress none.")
    return progress(quiet(command))


def display_for(progress: str, *, quiet: bool) -> Display:
    """Return what the options, and where standard error goes, come to."""
    if quiet or progress == "none":
        return Nothing()
    if progress == "lines":
        return Lines()
    return Bars() if sys.stderr.isatty() else Nothing()
