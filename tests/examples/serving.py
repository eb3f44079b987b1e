"""The example's servers as programs: started, asked over HTTP, and ended by SIGTERM."""

import json
import re
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.daemon import Daemon, environment
from tests.support.processes import running
from tests.support.waiting import LIMIT_SECONDS

Command = Sequence[str | Path]


class Answer(NamedTuple):
    """What a server answered: a status, and JSON."""

    status: int
    body: Any


class Server:
    """A server that serves."""

    def __init__(self, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self._process = process
        self._log = log

    @property
    def output(self) -> str:
        """All that it has printed."""
        return self._log.read_text()

    @property
    def got(self) -> dict[str, str]:
        """How its asset came, in its own words."""
        (line,) = re.findall(r"got (.+)", self.output)
        return dict(word.split("=", 1) for word in line.split())

    def connect(self) -> HTTPConnection:
        """Returns a connection, which its user closes."""
        (address,) = re.findall(r"serves http://(\S+)", self.output)
        return HTTPConnection(address, timeout=LIMIT_SECONDS)

    def ask(
        self, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Returns what it answers to a GET, or with a body to a POST."""
        with closing(self.connect()) as connection:
            method = "GET" if body is None else "POST"
            connection.request(method, path, body, dict(headers or {}))
            response = connection.getresponse()
            return Answer(response.status, json.loads(response.read()))

    def send(self, number: signal.Signals) -> None:
        """Sends a signal."""
        self._process.send_signal(number)

    def wait(self) -> int:
        """Waits for the end and returns the exit code."""
        return self._process.wait(LIMIT_SECONDS)


@contextmanager
def serving(
    command: Command, daemon: Daemon, folder: Path, *, spec: str = "nlp/tiny:0"
) -> Iterator[Server]:
    """Runs a server for the length of the block, at a free port; its output goes to `folder`."""
    log = folder / "log"
    with running(
        [*command, "--asset", spec, "--listen", "127.0.0.1:0"],
        log=log,
        is_ready=lambda: "serves http" in log.read_text(),
        environment=environment({"ASSETD_ADDRESS": daemon.address}),
    ) as process:
        yield Server(process, log)


def failing(command: Command, daemon: Daemon, *arguments: str) -> str:
    """Returns what a server that cannot start says on standard error, which is one line."""
    done = subprocess.run(
        [*command, *arguments],
        env=environment({"ASSETD_ADDRESS": daemon.address}),
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
    )
    assert done.returncode == 1, done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr
