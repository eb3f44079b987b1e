"""A folder that a story is told in, and that nothing of it stays in."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil


@contextmanager
def left_clean(prefix: str) -> Iterator[Path]:
    """Gives an empty folder; it has to be empty at the end, and no process may be left in it."""
    # A short path: that of a socket has at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix=prefix) as folder:
        yield Path(folder)
        assert list(Path(folder).iterdir()) == []
        assert _processes_of(folder) == []


def _processes_of(folder: str) -> list[str]:
    """The command lines that name the folder, and what runs in it."""
    found = []
    for process in psutil.process_iter(["cmdline", "cwd"]):
        command = " ".join(process.info["cmdline"] or [])
        if folder in command or folder in (process.info["cwd"] or ""):
            found.append(command)
    return found
