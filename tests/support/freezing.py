"""A file system that hangs: whoever writes to it waits, and cannot be killed, until it is thawed.

`python -m tests.support.freezing FD` freezes the file system of the descriptor, says so, and thaws
it when its standard input ends, which it does with whoever started it, however that ends; and after
a minute in any case. It touches nothing else of that file system.
"""

import fcntl
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.conftest import ROOT

_FREEZE: Final = 0xC0045877
_THAW: Final = 0xC0045878
_LONGEST_SECONDS: Final = 60.0


@contextmanager
def frozen(root: Path) -> Iterator[None]:
    """Lets the file system at `root` hang for the length of the block.

    Raises:
        AssertionError: it cannot be frozen.
    """
    fd = os.open(root, os.O_RDONLY)
    try:
        with subprocess.Popen(
            [sys.executable, "-m", "tests.support.freezing", str(fd)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=(fd,),
        ) as watchdog:
            assert watchdog.stdout is not None
            assert watchdog.stdout.readline() == b"frozen\n"
            # Leaving the block closes its standard input and waits for it.
            yield
        assert watchdog.returncode == 0, "it was thawed before the block had ended"
    finally:
        os.close(fd)


def main() -> int:
    """Freeze, wait, thaw; 1 where nobody came to an end within a minute."""
    fd = int(sys.argv[1])
    fcntl.ioctl(fd, _FREEZE, 0)
    try:
        sys.stdout.write("frozen\n")
        sys.stdout.flush()
        ended, _, _ = select.select([sys.stdin], [], [], _LONGEST_SECONDS)
    finally:
        fcntl.ioctl(fd, _THAW, 0)
    return 0 if ended else 1


if __name__ == "__main__":
    sys.exit(main())
