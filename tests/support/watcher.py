"""Watches final paths from outside, as modelkit without a store would: what stands there is used.

Run as a module with `{path: {part: SHA-256}}` as JSON; a file's only part is "". Looks at every
path again and again until its input ends, and prints a JSON line for whatever it has not seen
before: path, inode, time of its last change, and whether it is whole. Knows nothing of assetd, but
that a marker is no part.
"""

import hashlib
import json
import os
import select
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

# So seldom does it look that the daemon has the processor too, so often that nothing is missed that
# takes a disk or a network to fill.
_PAUSE_SECONDS = 0.001
_MARKER = ".SUCCESS"
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC

Facts = tuple[Any, ...]


@contextmanager
def _opened(path: str, dir_fd: int | None = None) -> Iterator[int]:
    fd = os.open(path, _OPEN, dir_fd=dir_fd)
    try:
        yield fd
    finally:
        os.close(fd)


class Place:
    """One final path: what was seen there last."""

    def __init__(self, path: str, expected: dict[str, str]) -> None:
        self._path = path
        self._expected = expected
        self._seen: Facts = ()

    def look(self) -> dict[str, Any] | None:
        """Return what to report, if something stands there that was not seen before."""
        with suppress(FileNotFoundError), _opened(self._path) as fd:
            facts = tuple(self._facts(fd, ""))
            if facts == self._seen:
                return None
            found = dict(self._hashes(fd, ""))
            # Taken away while we looked: then it was whole or not, but nobody can use it.
            if os.fstat(fd).st_ino != os.lstat(self._path).st_ino:
                return None
            self._seen = facts
            _, inode, *_, changed_ns = facts[0]
            whole = found == self._expected
            return {"path": self._path, "inode": inode, "changed_ns": changed_ns, "whole": whole}
        return None

    def _facts(self, fd: int, name: str) -> Iterator[Facts]:
        status = os.fstat(fd)
        yield name, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
        for child in _children(fd, status):
            with _opened(child, fd) as child_fd:
                yield from self._facts(child_fd, f"{name}/{child}")

    def _hashes(self, fd: int, name: str) -> Iterator[tuple[str, str]]:
        status = os.fstat(fd)
        if stat.S_ISREG(status.st_mode):
            with os.fdopen(os.dup(fd), "rb") as file:
                yield name.lstrip("/"), hashlib.file_digest(file, "sha256").hexdigest()
        for child in _children(fd, status):
            with _opened(child, fd) as child_fd:
                yield from self._hashes(child_fd, f"{name}/{child}")


def _children(fd: int, status: os.stat_result) -> list[str]:
    if not stat.S_ISDIR(status.st_mode):
        return []
    return [name for name in sorted(os.listdir(fd)) if name != _MARKER]


def main(expected: dict[str, dict[str, str]]) -> None:
    """Watch until the input ends."""
    places = [Place(path, parts) for path, parts in expected.items()]
    _say("ready")
    while not select.select([sys.stdin], [], [], _PAUSE_SECONDS)[0]:
        for place in places:
            if report := place.look():
                _say(json.dumps(report))


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
