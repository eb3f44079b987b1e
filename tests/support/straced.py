"""strace: what it saw of a program, in the words of the cache's own calls; and calls that fail.

The two can be compared: a call that goes by the seam is a point where no crash was tried.
"""

import re
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final

from tests.support.waiting import wait_until

# Decoded descriptors (-y) tell which calls work below a folder; a log for each process (-ff) keeps
# the calls of one from cutting those of another in two.
_STRACE: Final = ("strace", "-ff", "-y", "-e", "trace=%file,%desc", "-o")
_CALL: Final = re.compile(r"^(?P<name>\w+)\((?P<arguments>.*)\) += ")
_COPY: Final = re.compile(r" = (?P<fd>\d+)<")
# A listing opens a copy of its descriptor, and reads and closes that.
_COPIES: Final = "F_DUPFD_CLOEXEC"
_SEAM: Final = {
    "mkdirat": "mkdir",
    "renameat": "rename",
    "ftruncate": "truncate",
    "pread64": "pread",
    "pwritev2": "pwritev",
    "sync_file_range": "start_writeback",
    "fstatfs": "free_bytes",
    "copy_file_range": "copy_range",
    "ioctl": "clone",
}
# By a flag among the arguments: the first that is found; the last one is for all others.
_BY_FLAG: Final = {
    "openat2": (("O_CREAT", "create"), ("", "open")),
    "renameat2": (("RENAME_EXCHANGE", "rename_exchange"), ("", "rename_noreplace")),
    "unlinkat": (("AT_REMOVEDIR", "rmdir"), ("", "unlink")),
    "newfstatat": (("AT_FDCWD", "stat_root"), ("AT_EMPTY_PATH", "fstat"), ("", "lstat")),
}
# Calls of the seam that are one in the kernel.
_LIKE: Final = {"file_system_type": "fstat", "total_bytes": "free_bytes"}


def in_the_kernel(calls: Iterable[str]) -> list[str]:
    """Returns what the kernel knows of recorded calls: their names, paths left out."""
    names = [call.split(" ")[0] for call in calls]
    return [_LIKE.get(name, name) for name in names]


def strace(logs: Path) -> list[str | Path]:
    """Returns the command that watches another one, and writes into an existing folder."""
    return [*_STRACE, logs / "log"]


def calls_below(logs: Path, root: Path) -> list[str]:
    """Returns the calls on what lies in the folder `root`, which one process has worked in.

    They are in order, from when the folder is open. A system call that the seam does not know keeps
    its own name.
    """
    lines = [line for log in logs.iterdir() for line in log.read_text().splitlines()]
    return list(_seam_calls(line for line in lines if _is_below(line, root)))


def _is_below(line: str, root: Path) -> bool:
    if "AT_FDCWD" in line:
        # By its path the folder is opened, which is before, and looked at.
        return line.startswith("newfstatat(") and f'"{root}"' in line
    return f"<{root}>" in line or f"<{root}/" in line


def _seam_calls(lines: Iterator[str]) -> Iterator[str]:
    for line in lines:
        call = _CALL.match(line)
        assert call is not None, line
        name, arguments = call["name"], call["arguments"]
        if name == "fcntl" and _COPIES in arguments:
            copy = _COPY.search(line)
            assert copy is not None, line
            next(rest for rest in lines if f"close({copy['fd']}<" in rest)
            yield "list_names"
        elif name in _BY_FLAG:
            yield next(seam for flag, seam in _BY_FLAG[name] if flag in arguments)
        else:
            yield _SEAM.get(name, name)


def failing(pid: int, system_call: str, error: str) -> AbstractContextManager[None]:
    """Lets a call fail that some thread of a process makes, for a block: the first of each."""
    return _tampering(pid, system_call, f"error={error}:when=1")


def slowed(pid: int, system_call: str, seconds: float) -> AbstractContextManager[None]:
    """Lets each such call of a process take so much longer, for a block."""
    return _tampering(pid, system_call, f"delay_enter={seconds * 1e6:.0f}")


@contextmanager
def _tampering(pid: int, system_call: str, how: str) -> Iterator[None]:
    inject = f"inject={system_call}:{how}"
    command = ["strace", "-f", "-q", "-e", f"trace={system_call}", "-e", inject, "-p", str(pid)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as tracer:
        try:
            wait_until(lambda: _is_traced(pid, tracer.pid), "strace at every thread")
            yield
        finally:
            # Terminated, it lets the process go on.
            tracer.terminate()


def _is_traced(pid: int, tracer: int) -> bool:
    statuses = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/status")]
    return all(f"TracerPid:\t{tracer}\n" in status for status in statuses)
