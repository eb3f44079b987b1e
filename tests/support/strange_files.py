"""What may lie in a folder that somebody wants to push, and is no plain file of that folder."""

import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

Make = Callable[[Path], None]


def symlink(path: Path) -> None:
    """Leads to a file that every machine has."""
    path.symlink_to("/etc/passwd")


def dangling_symlink(path: Path) -> None:
    """Leads nowhere."""
    path.symlink_to("nowhere")


def folder_symlink(path: Path) -> None:
    """Leads to a folder outside."""
    path.symlink_to("/etc", target_is_directory=True)


def looping_symlink(path: Path) -> None:
    """Leads up, so that whoever follows it walks for ever."""
    path.symlink_to("..", target_is_directory=True)


def hard_link(path: Path) -> None:
    """Another name of a file that lies elsewhere: four folders above."""
    original = path.parents[3] / "original"
    original.write_text("somebody else's")
    path.hardlink_to(original)


def fifo(path: Path) -> None:
    """Whoever opens it waits for the other end."""
    os.mkfifo(path)


def unix_socket(path: Path) -> None:
    """Bound by a short name, as the path of a socket has few bytes."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(f"/proc/self/fd/{folder}/{path.name}")
    finally:
        os.close(folder)


def character_device(path: Path) -> None:
    """/dev/null by another name."""
    _make_device(path, stat.S_IFCHR, os.makedev(1, 3))


def block_device(path: Path) -> None:
    """A disk that is not there."""
    _make_device(path, stat.S_IFBLK, os.makedev(7, 255))


def _make_device(path: Path, kind: int, number: int) -> None:
    try:
        os.mknod(path, kind | 0o600, number)
    except PermissionError:
        pytest.skip("only root makes devices")


STRANGE: dict[str, tuple[Make, str]] = {
    "symlink": (symlink, "a symlink"),
    "dangling": (dangling_symlink, "a symlink"),
    "folder-link": (folder_symlink, "a symlink"),
    "loop": (looping_symlink, "a symlink"),
    "hard-link": (hard_link, "a hard link"),
    "fifo": (fifo, "a FIFO"),
    "socket": (unix_socket, "a socket"),
    "char-device": (character_device, "a device"),
    "block-device": (block_device, "a device"),
}
