"""Programs that a test starts, waits for, and ends by their process id."""

import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

READY_TIMEOUT_SECONDS = 60.0
STOP_TIMEOUT_SECONDS = 10.0
POLL_SECONDS = 0.02


class ProgramError(Exception):
    """A program ended, or did not become ready. Shows what it wrote."""


@contextmanager
def running(
    command: Sequence[str | Path],
    *,
    log: Path,
    is_ready: Callable[[], bool],
    environment: Mapping[str, str] | None = None,
) -> Iterator["subprocess.Popen[bytes]"]:
    """Runs a program for the length of the block, in a session of its own.

    Its output goes to `log`. The block begins once `is_ready`, and the program is gone after it.

    Raises:
        ProgramError: it ended before it was ready, or was not ready in time.
    """
    with (
        log.open("wb") as output,
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        ) as process,
    ):
        try:
            _wait_until_ready(process, log, is_ready)
            yield process
        finally:
            end(process)


def end(process: "subprocess.Popen[bytes]") -> None:
    """Ends a program by its process id, kindly at first."""
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _wait_until_ready(
    process: "subprocess.Popen[bytes]", log: Path, is_ready: Callable[[], bool]
) -> None:
    give_up_at = time.monotonic() + READY_TIMEOUT_SECONDS
    while not is_ready():
        if process.poll() is not None or time.monotonic() > give_up_at:
            raise ProgramError(f"{process.args!r}: {log.read_text(errors='replace')}")
        threading.Event().wait(POLL_SECONDS)


def peak_rss_bytes(pid: int) -> int:
    """Return the most memory that the process has had, as the kernel counts it."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("the kernel tells no peak of memory")
