"""A reader of its own process that takes leases as a client does, one system call at a time.

`python -m tests.support.race_reader ASSETS_DIR SPEC [careless]`. The code that takes the lease is
the client's own; before each of its system calls the reader waits to be told. It is told by single
bytes on its input, and answers each by one on its output:

* `b` begin, or go on: `.` about to make the next call; `m` no lease; `h` a lease; `X` a lease on
  what is not whole, or does not stand there.
* `v` look at what is leased: `h` or `X`.
* `r` release: `r`.

A `careless` one has a seeded bug: it does not compare at the end what it has locked with what
stands there.
"""

import fcntl
import os
import sys
from pathlib import Path
from types import FrameType
from typing import Protocol

from assetd._holds import Holds
from assetd._lease import Lease
from assetd._local import FastPath

_STEPS = frozenset({os.open, fcntl.flock, os.lstat, os.fstat, os.utime, os.close})
_COPIES = 8


def content_of(number: int) -> dict[str, bytes]:
    """What the version of that round holds, by parts: each tells the number again and again."""
    text = b"%012d" % number * _COPIES
    return {"a": text, "sub/b": text}


def is_whole(path: Path) -> bool:
    """Tell whether the version at the path is of one round, every part of it."""
    try:
        parts = [path] if path.is_file() else [path / "a", path / "sub/b"]
        texts = {part.read_bytes() for part in parts}
    except OSError:
        return False
    [text] = texts if len(texts) == 1 else [b""]
    return text != b"" and text == text[:12] * _COPIES


def _say(word: bytes) -> bytes:
    """Say one byte and return what is told then; nothing = the end."""
    os.write(1, word)
    return os.read(0, 1)


def _before_each_call(_frame: FrameType, event: str, called: object) -> None:
    if event == "c_call" and called in _STEPS and not _say(b"."):
        os._exit(0)


def _descriptors() -> set[int]:
    with os.scandir("/proc/self/fd") as entries:
        found = [int(entry.name) for entry in entries]
    # The scan's own is among them, and gone by now.
    return {number for number in found if _is_open(number)}


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


class Closing(Protocol):
    """What keeps a lease until it is closed."""

    def close(self) -> None: ...


class Reader:
    """Takes and checks leases on one version."""

    def __init__(self, assets_dir: str, spec: str, *, careless: bool) -> None:
        self._spec = spec
        self._version = Path(assets_dir, spec.replace(":", "/"))
        self._careless = careless
        self._path = FastPath(assets_dir, Holds())

    def run(self) -> None:
        """Do as told, until the input ends."""
        word = os.read(0, 1)
        while word:
            before = _descriptors()
            sys.setprofile(_before_each_call)
            lease = self._careless_lease() if self._careless else self._lease()
            sys.setprofile(None)
            if lease is None:
                word = _say(b"m")
                continue
            [descriptor] = _descriptors() - before
            inode = os.fstat(descriptor).st_ino
            word = _say(self._look(inode))
            while word == b"v":
                word = _say(self._look(inode))
            lease.close()
            word = _say(b"r")

    def _lease(self) -> Closing | None:
        return self._path.hit(self._spec, hold=True)

    def _careless_lease(self) -> Closing | None:
        lease = Lease.of(str(self._version))
        if lease is not None and self._path.hit(self._spec, hold=False) is None:
            lease.close()
            return None
        return lease

    def _look(self, inode: int) -> bytes:
        """Tell whether what is locked stands, whole."""
        if not self._version.exists() or self._version.lstat().st_ino != inode:
            return b"X"
        marker = self._version.with_name(f".{self._version.name}.SUCCESS")
        if self._version.is_dir():
            marker = self._version / ".SUCCESS"
        return b"h" if marker.exists() and is_whole(self._version) else b"X"


if __name__ == "__main__":
    Reader(sys.argv[1], sys.argv[2], careless="careless" in sys.argv[3:]).run()
