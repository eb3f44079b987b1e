"""A real daemon in a process of its own, started, watched and ended as an operator would.

Tests ask for the fixture `daemons`. Knows the daemon by its command, its variables, its socket and
its directories: no module of the service is imported here.
"""

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import grpc
import pytest
from assetd import Client, RetryPolicy

from tests.support.processes import READY_TIMEOUT_SECONDS
from tests.support.staging import kept_downloads
from tests.support.waiting import wait_until

# Longer than a daemon may take that gives its callers no grace.
STOP_TIMEOUT_SECONDS: Final = 30.0
# A test that is about patience says so; elsewhere a failure is wanted at once.
IMPATIENT: Final = RetryPolicy(patience_seconds=0.0, connect_patience_seconds=0.0)
EAGER: Final = RetryPolicy(
    patience_seconds=60.0,
    connect_patience_seconds=60.0,
    first_delay_seconds=0.01,
    max_delay_seconds=0.1,
)

# What the machine that runs the tests says of its own assets, buckets and collectors.
_FOREIGN: Final = ("ASSETD_", "ASSETS_DIR", "AWS_", "MODELKIT_", "OTEL_", "S3_ENDPOINT")
# Files that a daemon which ended well leaves none of.
_PASSING_FOLDERS: Final = ("staging", "push", "push/.journal", "push/.spool", "trash")


class StartFailedError(Exception):
    """The daemon ended instead of serving."""

    def __init__(self, exit_code: int, errors: str) -> None:
        super().__init__(f"exit code {exit_code}:\n{errors}")
        self.exit_code = exit_code
        self.errors = errors


def environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Returns the environment of a program: `variables`, and nothing of ours or of AWS beside."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(_FOREIGN)}
    # botocore must find no more than what a test tells it.
    nothing = {"AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": os.devnull}
    return {**inherited, **nothing, **variables}


class Daemon:
    """One `assetd` process. Started by `start`, which returns when it serves."""

    def __init__(
        self,
        assets_dir: Path,
        *,
        store: str | Path | None = None,
        variables: Mapping[str, str] | None = None,
        socket: Path | None = None,
        command: Sequence[str | Path] = (sys.executable, "-m", "assetd_server"),
    ) -> None:
        """Keep what to start.

        Args:
            assets_dir: ASSETS_DIR; made if it is not there.
            store: a folder, or what ASSETD_STORE takes; without one the variables decide.
            variables: set in the daemon's environment, over what is set for `store`.
            socket: where it listens; by default in a folder of its own, with a short name.
            command: the program; its arguments may override the variables.
        """
        self.assets_dir = assets_dir
        # pytest's own folders have names that are too long for a socket.
        self.folder = Path(tempfile.mkdtemp(prefix="assetd-"))
        self.socket = socket or self.folder / "assetd.sock"
        self.process: subprocess.Popen[bytes] | None = None
        self.was_killed = False
        self.has_served = False
        self.ready_line = ""
        self._command = command
        # A file for each start: one that was killed may have torn its last line.
        self._logs: list[Path] = []
        self._variables = {"ASSETS_DIR": str(assets_dir), "ASSETD_LISTEN": self.address}
        if store is not None:
            self._variables["ASSETD_STORE"] = (
                f"file://{store}" if isinstance(store, Path) else store
            )
            if isinstance(store, Path):
                store.mkdir(parents=True, exist_ok=True)
        self._variables |= variables or {}

    @property
    def address(self) -> str:
        """What clients dial."""
        return f"unix://{self.socket}"

    def listen_also(self, address: str) -> None:
        """Lets it listen at a second address, such as a port, from its next start on."""
        self._variables["ASSETD_LISTEN"] += f",{address}"

    @property
    def pid(self) -> int:
        """The id of the process that runs, or ran last."""
        assert self.process is not None, "it was never started"
        return self.process.pid

    def start(self) -> "Daemon":
        """Starts the process and returns once it says that it serves; also after a stop or kill.

        Raises:
            StartFailedError: it ended instead.
        """
        process = self.launch()
        self.ready_line = self._read_line(process).decode().rstrip("\n")
        if not self.ready_line:
            raise StartFailedError(self.wait(), self._logs[-1].read_text())
        self.has_served = True
        return self

    def launch(self) -> "subprocess.Popen[bytes]":
        """Starts the process, and does not wait until it serves."""
        assert self.process is None or self.process.poll() is not None, "it runs already"
        self.assets_dir.mkdir(parents=True, exist_ok=True)
        self.was_killed = self.has_served = False
        self._close_output()
        self._logs.append(self.folder / f"log{len(self._logs)}")
        with self._logs[-1].open("wb") as log:
            self.process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment(self._variables),
                bufsize=0,
                start_new_session=True,
            )
        return self.process

    def _read_line(self, process: "subprocess.Popen[bytes]") -> bytes:
        """Returns the one line that `assetd serve` prints; empty if the process ended before."""
        assert process.stdout is not None
        readable, _, _ = select.select([process.stdout], [], [], READY_TIMEOUT_SECONDS)
        if not readable:
            self.kill()
            raise TimeoutError(f"no line from the daemon:\n{self._logs[-1].read_text()}")
        return process.stdout.readline()

    def client(self, retry: RetryPolicy = IMPATIENT) -> Client:
        """Returns a client, which its user closes; by default it believes the first failure."""
        return Client(self.address, caller="test", retry=retry)

    def channel(self) -> grpc.Channel:
        """Returns a channel, which its user closes, to say what the client never says."""
        options = [("grpc.default_authority", "localhost"), ("grpc.use_local_subchannel_pool", 1)]
        return grpc.insecure_channel(f"unix:{self.socket}", options=options)

    def stop(self) -> int:
        """Sends SIGTERM, waits for the end, and returns the exit code."""
        self.terminate()
        return self.wait()

    def terminate(self) -> None:
        """Sends SIGTERM: the daemon drains."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)

    def wait(self, timeout_seconds: float = STOP_TIMEOUT_SECONDS) -> int:
        """Waits for the end and returns the exit code; a daemon that does not end is killed."""
        assert self.process is not None
        try:
            return self.process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def kill(self) -> None:
        """Ends the process with SIGKILL; what it was doing stays half done."""
        assert self.process is not None
        self.was_killed = True
        self.process.kill()
        self.process.wait()

    @property
    def is_running(self) -> bool:
        """Whether the process has not ended."""
        return self.process is not None and self.process.poll() is None

    def later_output(self) -> str:
        """Returns what it printed to standard output after its line; the process has ended."""
        assert self.process is not None
        assert self.process.stdout is not None
        return self.process.stdout.read().decode()

    def log_lines(self) -> list[dict[str, Any]]:
        """Returns what it has logged so far, over all its starts; every line is JSON."""
        # A line that is being written has no end yet.
        lines = [line for log in self._logs for line in log.read_text().splitlines(keepends=True)]
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def wait_for_log(self, event: str, count: int = 1) -> dict[str, Any]:
        """Returns the `count`th line of that event, once it is there."""

        def look() -> list[dict[str, Any]]:
            return [line for line in self.log_lines() if line["event"] == event][count - 1 :]

        return wait_until(look, f"line {count} of {event!r}")[0]

    def leftovers(self) -> list[str]:
        """Returns what lies in staging, push, its journal and trash, relative to ASSETS_DIR."""
        own = self.assets_dir / ".assetd"
        folders = [own / name for name in _PASSING_FOLDERS if (own / name).is_dir()]
        return sorted(
            str(path.relative_to(self.assets_dir))
            for folder in folders
            for path in folder.iterdir()
            if path not in folders
        )

    def kept_downloads(self) -> list[str]:
        """Returns what of that may be there: downloads to go on with, relative to ASSETS_DIR."""
        return [f".assetd/{path}" for path in kept_downloads(self.assets_dir)]

    def assert_clean(self) -> None:
        """Fails unless the process ended well and left its assets, or downloads to go on with."""
        assert self.process is not None
        assert self.process.returncode == 0, self._logs[-1].read_text()
        assert not self.socket.exists(), "its socket is still there"
        assert self.leftovers() == self.kept_downloads()
        told = [line for line in self.log_lines() if "exception" in line]
        assert told == [], "its log tells of a defect"

    def forget(self) -> None:
        """Removes its socket and log; the process has ended."""
        self._close_output()
        shutil.rmtree(self.folder)

    def _close_output(self) -> None:
        if self.process is not None and self.process.stdout is not None:
            self.process.stdout.close()


class Daemons:
    """Starts daemons for one test: a store and an ASSETS_DIR below `folder`, unless told else."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.all: list[Daemon] = []

    def __call__(self, *, assets_dir: Path | None = None, **how: Any) -> Daemon:
        """Returns a daemon that serves; see `Daemon`.

        Raises:
            StartFailedError: it ended instead.
        """
        daemon = self.prepare(assets_dir=assets_dir, **how)
        return daemon.start()

    def prepare(self, *, assets_dir: Path | None = None, **how: Any) -> Daemon:
        """Returns a daemon that has not been started."""
        daemon = Daemon(assets_dir or self._folder / f"assets{len(self.all) or ''}", **how)
        self.all.append(daemon)
        return daemon


@contextmanager
def running_daemons(folder: Path) -> Iterator[Daemons]:
    """Gives daemons that end with the block; all that were not killed have to have ended well."""
    started = Daemons(folder)
    try:
        yield started
        for daemon in started.all:
            if daemon.is_running:
                daemon.stop()
            if daemon.has_served and not daemon.was_killed:
                daemon.assert_clean()
    finally:
        for daemon in started.all:
            if daemon.is_running:
                daemon.kill()
            daemon.forget()


@pytest.fixture
def daemons(tmp_path: Path) -> Iterator[Daemons]:
    """Daemons that end with the test."""
    with running_daemons(tmp_path) as started:
        yield started
