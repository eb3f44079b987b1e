"""A process of its own that holds a lease as any reader may: by flock, without anything of assetd.

It may live in namespaces of its own, as the processes of a container do.
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.conftest import IN_CI

# Says `held`, or `refused` where the lock is not to be had, and keeps the lock until its input
# ends. With `fork` a child keeps it: the parent ends at once, and the child's id is said first.
_PROGRAM: Final = """
import fcntl, os, sys
def say(text):
    os.write(1, f"{text}\\n".encode())  # at once: a process may end without flushing
fd = os.open(sys.argv[1], os.O_RDONLY)
try:
    fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
except BlockingIOError:
    say("refused")
    sys.exit()
if "fork" in sys.argv:
    gone, parent = os.pipe()
    if child := os.fork():
        say(child)
        os._exit(0)
    os.close(parent)
    os.read(gone, 1)  # returns once the parent has ended
say("held")
sys.stdin.read()
"""
# What a container has of its own; its processes end with it.
CONTAINER: Final = ("unshare", "--mount", "--pid", "--fork", "--kill-child")
_READ_ONLY: Final = 'mount --bind "$0" "$1" && mount -o remount,bind,ro "$1" && shift && exec "$@"'


class Holder:
    """A process that holds a lease."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process

    def read_line(self) -> str:
        """Returns what it says next."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")

    def let_go(self) -> None:
        """Ends it well, and returns when it, and whoever has its lock from it, has ended."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.read()
        self.process.wait()


@contextmanager
def holding(path: Path, *words: str, within: Sequence[str | Path] = ()) -> Iterator[Holder]:
    """Runs a holder for the length of the block; `within` is what starts it elsewhere."""
    command = [*within, sys.executable, "-c", _PROGRAM, path, *words]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield Holder(process)
        finally:
            process.kill()


def read_only_container(assets_dir: Path, elsewhere: Path) -> list[str | Path]:
    """What starts a program where `elsewhere` is `assets_dir`, read-only."""
    return [*CONTAINER, "sh", "-c", _READ_ONLY, assets_dir, elsewhere]


def require_namespaces() -> None:
    """Skips the test where nobody may make a namespace, which under CI=true is a failure."""
    if subprocess.run([*CONTAINER, "true"], capture_output=True).returncode == 0:
        return
    reason = f"namespaces need root (uid {os.geteuid()})"
    if IN_CI:
        pytest.fail(f"{reason}, and nothing is skipped in CI")
    pytest.skip(reason)
