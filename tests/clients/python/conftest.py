"""What the tests of the Python client share: a scripted daemon, and a client of it."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from assetd import Client, RetryPolicy
from assetd.cli import main

from tests.clients.python.scripted import ScriptedDaemon

# Repeats at once, for as long as it takes.
EAGER = RetryPolicy(
    patience_seconds=60,
    connect_patience_seconds=60,
    first_delay_seconds=0.001,
    max_delay_seconds=0.01,
)


@dataclass(frozen=True)
class Ended:
    """What a command left: its exit code, and what it printed."""

    code: int
    out: str
    err: str


Run = Callable[..., Ended]


@pytest.fixture(autouse=True)
def _no_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fetches are calls, whatever the machine that runs the tests has in its environment."""
    for name in ("ASSETS_DIR", "MODELKIT_ASSETS_DIR", "ASSETD_STORE", "MODELKIT_STORAGE_PROVIDER"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def socket() -> Iterator[Path]:
    """A place for a socket; pytest's own folders have names that are too long for one."""
    folder = Path(tempfile.mkdtemp(prefix="assetd-"))
    yield folder / "assetd.sock"
    shutil.rmtree(folder)


@pytest.fixture
def daemon(socket: Path) -> Iterator[ScriptedDaemon]:
    """A daemon that listens and waits for its scripts."""
    daemon = ScriptedDaemon(socket)
    daemon.start()
    yield daemon
    daemon.stop()
    assert list(daemon.fetches) == [], "a script that no call took"


@pytest.fixture
def client(daemon: ScriptedDaemon) -> Iterator[Client]:
    """A client of the daemon that repeats at once."""
    with Client(daemon.address, caller="test", retry=EAGER) as client:
        yield client


@pytest.fixture
def run(daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command against the scripted daemon, in this process."""

    def run(*arguments: str) -> Ended:
        code = main(["--address", daemon.address, *arguments])
        out, err = capsys.readouterr()
        return Ended(code, out, err)

    return run
