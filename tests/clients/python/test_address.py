"""Where a client looks for its daemon."""

import os
from pathlib import Path

import pytest
from assetd import Client

from tests.clients.python.scripted import ScriptedDaemon


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("ASSETD_", "XDG_"))]:
        monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("given", "dialled"),
    [
        ("unix:///run/a.sock", "unix:///run/a.sock"),
        ("unix:/run/a.sock", "unix:///run/a.sock"),
        ("127.0.0.1:7070", "127.0.0.1:7070"),
        ("127.1.2.3:1", "127.1.2.3:1"),
        ("localhost:7070", "localhost:7070"),
        ("[::1]:7070", "[::1]:7070"),
        ("tcp://127.0.0.1:7070", "127.0.0.1:7070"),
    ],
)
def test_an_address_is_a_socket_or_on_loopback(given: str, dialled: str) -> None:
    """Both forms of the daemon's own ASSETD_LISTEN can be dialled."""
    assert Client(given).address == dialled


@pytest.mark.parametrize(
    "given",
    [
        "unix:",
        "unix:///",
        "unix://a.sock",
        "unix:///folder/",
        "unix:///" + 107 * "x",
        "127.0.0.1",
        "127.0.0.1:port",
        "127.0.0.1:70700",
        "127.0.0.1:7070/path",
        "me@127.0.0.1:7070",
        "10.0.0.1:7070",
        "[::2]:7070",
        "assetd:7070",
        "[::1",
        "/run/a.sock",
    ],
)
def test_anything_else_is_refused_at_once(given: str) -> None:
    """Nothing is sent in the clear beyond loopback, and a slip is not dialled for ever."""
    with pytest.raises(ValueError, match=r"(write|is) unix:///path|at most 107 bytes"):
        Client(given)


def test_the_environment_names_the_daemon(monkeypatch: pytest.MonkeyPatch) -> None:
    """An argument wins over ASSETD_ADDRESS, and that over the default."""
    monkeypatch.setenv("ASSETD_ADDRESS", "unix:///run/b.sock")
    assert Client().address == "unix:///run/b.sock"
    assert Client("unix:///run/a.sock").address == "unix:///run/a.sock"


def test_the_default_is_the_daemons(monkeypatch: pytest.MonkeyPatch) -> None:
    """Root and everybody else each find the daemon that they started."""
    monkeypatch.setenv("ASSETD_ADDRESS", "")
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1000")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert Client().address == "unix:///run/assetd/assetd.sock"
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert Client().address == "unix:///run/user/1000/assetd/assetd.sock"
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    with pytest.raises(ValueError, match="set ASSETD_ADDRESS"):
        Client()


def test_variables_of_kubernetes_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service called assetd puts these into every container beside it."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    for name in ("ASSETD_PORT", "ASSETD_SERVICE_HOST", "ASSETD_SERVICE_PORT"):
        monkeypatch.setenv(name, "tcp://10.0.0.1:7070")
    assert Client().address == "unix:///run/assetd/assetd.sock"


def test_loopback_is_dialled_past_a_proxy(socket: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`http_proxy` is for other machines."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    daemon = ScriptedDaemon(socket)
    port = daemon.start("127.0.0.1:0")
    daemon.status.server_version = "9.9"
    with Client(f"127.0.0.1:{port}") as client:
        assert client.status().server_version == "9.9"
    daemon.stop()


def test_the_authority_on_a_socket_is_localhost(daemon: ScriptedDaemon, client: Client) -> None:
    """Servers may refuse an `:authority` that is a path."""
    client.status()
    assert daemon.authority == "localhost"
