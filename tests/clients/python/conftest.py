"""What the tests of the Python client share: a scripted daemon, and a client of it."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from assetd import Client, RetryPolicy

from tests.clients.python.scripted import ScriptedDaemon

# Repeats at once, for as long as it takes.
EAGER = RetryPolicy(
    patience_seconds=60,
    connect_patience_seconds=60,
    first_delay_seconds=0.001,
    max_delay_seconds=0.01,
)


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
