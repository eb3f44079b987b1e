"""Where the daemon listens, and in which words gRPC is told.

Knows nothing of gRPC.
"""

import ipaddress
import os
from dataclasses import dataclass
from urllib.parse import urlsplit

from assetd import _environment

# What fits in sockaddr_un with its final NUL.
MAX_SOCKET_PATH_BYTES = 107


@dataclass(frozen=True)
class Address:
    """One daemon's address: `target` is the form that gRPC dials."""

    target: str
    is_unix_socket: bool


def find_address(given: str | None) -> Address:
    """Return the address to dial: `given`, else `ASSETD_ADDRESS`, else the daemon's default.

    Raises:
        ValueError: it is neither a unix socket nor a loopback `host:port`, or there is no default.
    """
    return parse_address(given or _environment.read("ASSETD_ADDRESS") or _default())


def parse_address(text: str) -> Address:
    """Read `unix:///path`, or `host:port` or `tcp://host:port` on loopback.

    Raises:
        ValueError: it is something else.
    """
    if text.startswith("unix:"):
        return Address(f"unix://{_socket_path(text)}", is_unix_socket=True)
    authority = text.removeprefix("tcp://")
    host, port = _split(authority)
    if port is None or not _is_loopback(host):
        # Beyond loopback the daemon wants TLS or a token, which this helper cannot offer yet:
        # better to say so than to send anything in the clear.
        raise ValueError(
            f"cannot dial {text!r}: an address is unix:///path or a loopback host:port, "
            "such as 127.0.0.1:7070"
        )
    return Address(authority, is_unix_socket=False)


def _socket_path(text: str) -> str:
    path = text.removeprefix("unix:").removeprefix("//")
    if not path.startswith("/") or path.endswith("/"):
        raise ValueError(f"{text!r} names no socket: write unix:///path/assetd.sock")
    if len(os.fsencode(path)) > MAX_SOCKET_PATH_BYTES:
        raise ValueError(
            f"{text!r} is too long: the path of a socket has at most {MAX_SOCKET_PATH_BYTES} bytes"
        )
    return path


def _split(authority: str) -> tuple[str, int | None]:
    try:
        url = urlsplit(f"//{authority}")
        # Anything but a host and a port, such as a user or a path, is a mistake.
        plain = url.netloc == authority and "@" not in authority
        return (url.hostname or "", url.port) if plain else ("", None)
    except ValueError:
        return "", None


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _default() -> str:
    if os.geteuid() == 0:
        return "unix:///run/assetd/assetd.sock"
    runtime_dir = _environment.read("XDG_RUNTIME_DIR")
    if not runtime_dir:
        raise ValueError(
            "there is no default address, since XDG_RUNTIME_DIR is not set: "
            "set ASSETD_ADDRESS, such as unix:///path/assetd.sock"
        )
    return f"unix://{runtime_dir}/assetd/assetd.sock"
