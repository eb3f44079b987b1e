"""Addresses: a unix socket or a port on loopback, and nothing else."""

from pathlib import Path

import pytest
from assetd_server.listen import Address, ListenError, TcpAddress, UnixAddress, parse_address


@pytest.mark.parametrize(
    ("text", "address", "spelt"),
    [
        ("unix:///run/a.sock", UnixAddress(Path("/run/a.sock")), "unix:///run/a.sock"),
        ("unix:/run/a.sock", UnixAddress(Path("/run/a.sock")), "unix:///run/a.sock"),
        ("127.0.0.1:7070", TcpAddress("127.0.0.1", 7070), "127.0.0.1:7070"),
        ("tcp://127.0.0.1:7070", TcpAddress("127.0.0.1", 7070), "127.0.0.1:7070"),
        ("127.9.9.9:1", TcpAddress("127.9.9.9", 1), "127.9.9.9:1"),
        ("localhost:0", TcpAddress("localhost", 0), "localhost:0"),
        ("[::1]:7070", TcpAddress("::1", 7070), "[::1]:7070"),
    ],
)
def test_addresses(text: str, address: Address, spelt: str) -> None:
    """Each address has one canonical spelling."""
    assert parse_address(text) == address
    assert str(address) == spelt


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("", "is no address"),
        ("7070", "is no address"),
        (":7070", "is no address"),
        ("127.0.0.1", "is no address"),
        ("127.0.0.1:70707", "is no address"),
        ("127.0.0.1:http", "is no address"),
        ("user@127.0.0.1:7070", "is no address"),
        ("127.0.0.1:7070/path", "is no address"),
        ("http://127.0.0.1:7070", "is no address"),
        ("[::1:7070", "is no address"),
        ("0.0.0.0:7070", "beyond loopback"),
        ("[::]:7070", "beyond loopback"),
        ("10.0.0.1:7070", "beyond loopback"),
        ("node7:7070", "beyond loopback"),
        ("localhost.example:7070", "beyond loopback"),
        ("unix:", "names no socket"),
        ("unix:assetd.sock", "names no socket"),
        ("unix:///run/assetd/", "names no socket"),
        ("unix:///" + "d" * 107, "at most 107 bytes"),
        ("unix:///" + "ä" * 54, "at most 107 bytes"),
    ],
)
def test_refusals(text: str, hint: str) -> None:
    """What cannot be listened on, or must not, is said to be so."""
    with pytest.raises(ListenError, match=hint):
        parse_address(text)


def test_the_longest_path_is_taken() -> None:
    """The system's limit is the limit."""
    path = "/" + "d" * 106
    assert parse_address(f"unix://{path}") == UnixAddress(Path(path))
