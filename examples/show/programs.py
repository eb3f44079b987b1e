"""The programs of the show: started, watched, asked, and ended by their process ids."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar
from urllib.parse import urlsplit

T = TypeVar("T")

LIMIT_SECONDS = 120.0
POLL_SECONDS = 0.05
# What the user has set for daemons and buckets of their own.
FOREIGN = ("ASSETD_", "ASSETS_DIR", "AWS_", "MODELKIT_", "OTEL_", "S3_ENDPOINT")


class ShowError(Exception):
    """The show cannot go on."""


class Program:
    """A process whose output goes to a file."""

    def __init__(self, name: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self.name = name
        self._process = process
        self._log = log

    def lines(self) -> list[str]:
        """Return the whole lines that it has written so far."""
        text = self._log.read_text(errors="replace")
        return [line.rstrip("\n") for line in text.splitlines(keepends=True) if line[-1] == "\n"]

    def require_running(self) -> None:
        """Make sure that it has not ended.

        Raises:
            ShowError: it has; the message shows the end of what it wrote.
        """
        if self._process.poll() is not None:
            raise ShowError(f"{self.name} ended:\n" + "\n".join(self.lines()[-20:]))

    def wait_for(self, text: str) -> str:
        """Return the first line with that text, once it is there.

        Raises:
            ShowError: the program ended without it, or it never came.
        """

        def look() -> str | None:
            found = next((line for line in self.lines() if text in line), None)
            if found is None:
                self.require_running()
            return found

        return wait_until(look, f"{text!r} of {self.name}")

    def stop(self) -> int:
        """Send SIGTERM and return the exit code."""
        self._process.terminate()
        try:
            return self._process.wait(LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()


class Ending:
    """Ends the show by SIGTERM or Ctrl-C as if it had come to its end: nothing is left running."""

    def __init__(self) -> None:
        self._is_starting = False
        self._number: int | None = None

    def install(self) -> None:
        """Listen to both signals, from now on."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._end)

    @contextmanager
    def after_the_start(self) -> Iterator[None]:
        """Wait for the end of the block: a program that is half started is nobody's to stop."""
        self._is_starting = True
        try:
            yield
        finally:
            self._is_starting = False
            if self._number is not None:
                self._end(self._number, None)

    def _end(self, number: int, _frame: FrameType | None) -> None:
        if self._is_starting:
            self._number = number
            return
        sys.exit(128 + number)


ENDING = Ending()


@contextmanager
def running(
    name: str, command: Sequence[str | Path], environment: Mapping[str, str], folder: Path
) -> Iterator[Program]:
    """Run a program for the length of the block, apart from the terminal's Ctrl-C."""
    log = folder / f"{name}.log"
    program: Program | None = None
    try:
        with ENDING.after_the_start(), log.open("wb") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )
            program = Program(name, process, log)
        yield program
    finally:
        if program is not None:
            program.stop()


def finish(command: Sequence[str | Path], **how: Any) -> "subprocess.CompletedProcess[bytes]":
    """Run a program to its end, as `subprocess.run` does with the same arguments.

    That one leaves a program behind if a signal comes while it starts it.
    """
    process: subprocess.Popen[bytes] | None = None
    try:
        with ENDING.after_the_start():
            process = subprocess.Popen(command, **how)
        output, errors = process.communicate()
        return subprocess.CompletedProcess(command, process.returncode, output, errors)
    finally:
        if process is not None:
            with process:
                process.kill()


def environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Return ours with these variables, and without what is meant for other daemons."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(FOREIGN)}
    # All that talks here is on this machine.
    return {**kept, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", **variables}


def free_port() -> int:
    """Return a port on which nobody listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def is_up(url: str) -> bool:
    """Tell whether a server answers there yet, and well."""
    try:
        return _request(url, None)[0] == HTTPStatus.OK
    except OSError:
        return False


def ask(url: str, body: Any = None) -> Any:
    """Return the JSON that a server answers; with a body it is a POST.

    Raises:
        ShowError: it answers with an error.
    """
    status, answer = _request(url, None if body is None else json.dumps(body).encode())
    if status != HTTPStatus.OK:
        raise ShowError(f"{url}: {status} {answer!r}")
    return json.loads(answer)


def _request(url: str, body: bytes | None) -> tuple[int, bytes]:
    parts = urlsplit(url)
    connection = HTTPConnection(parts.netloc, timeout=LIMIT_SECONDS)
    with contextlib.closing(connection):
        connection.request("GET" if body is None else "POST", parts.path, body)
        response = connection.getresponse()
        return response.status, response.read()


def wait_until(look: Callable[[], T | None], what: str) -> T:
    """Look again and again until something is there, and return it.

    Raises:
        ShowError: it never came.
    """
    give_up_at = time.monotonic() + LIMIT_SECONDS
    while (found := look()) is None:
        if time.monotonic() > give_up_at:
            raise ShowError(f"{what} never came")
        threading.Event().wait(POLL_SECONDS)
    return found
