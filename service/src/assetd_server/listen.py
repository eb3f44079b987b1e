"""Where a daemon may listen: addresses that are valid from birth.

A leaf: knows neither gRPC nor the environment. Beyond loopback nothing is accepted, since callers
prove nothing yet: a connection in the clear from another machine would be anybody's.
"""

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

# What fits in sockaddr_un with its final NUL.
MAX_SOCKET_PATH_BYTES = 107


class ListenError(Exception):
    """The daemon cannot listen there; the message says where, why, and what to do."""


@dataclass(frozen=True)
class UnixAddress:
    """A unix socket, in a directory of its own."""

    path: Path

    def __str__(self) -> str:
        return f"unix://{self.path}"


@dataclass(frozen=True)
class TcpAddress:
    """A port on loopback; 0 lets the system choose one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


Address = UnixAddress | TcpAddress


def parse_address(text: str) -> Address:
    """Read `unix:///path`, `host:port` or `tcp://host:port`.

    Raises:
        ListenError: it is something else, too long for a socket, or beyond loopback.
    """
    if text.startswith("unix:"):
        return _unix_address(text)
    return _tcp_address(text)


def _unix_address(text: str) -> UnixAddress:
    path = text.removeprefix("unix:").removeprefix("//")
    if not path.startswith("/") or path.endswith("/"):
        raise ListenError(f"{text!r} names no socket: write unix:///path/assetd.sock")
    if len(path.encode()) > MAX_SOCKET_PATH_BYTES:
        raise ListenError(
            f"{text!r} is too long: the path of a socket has at most {MAX_SOCKET_PATH_BYTES} bytes"
        )
    return UnixAddress(Path(path))


def _tcp_address(text: str) -> TcpAddress:
    authority = text.removeprefix("tcp://")
    try:
        url = urlsplit(f"//{authority}")
        host, port = url.hostname, url.port
    except ValueError:
        host = port = None
    # Anything but a host and a port, such as a user or a path, is a mistake.
    if not host or port is None or "@" in authority or url.netloc != authority:
        raise ListenError(f"{text!r} is no address: write unix:///path or 127.0.0.1:port")
    if not _is_loopback(host):
        raise ListenError(
            f"{text!r} is beyond loopback, where callers need TLS or a token, which come in a"
            " later release: write unix:///path or 127.0.0.1:port"
        )
    return TcpAddress(host, port)


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
