"""The program `assetd`, and `python -m assetd`: ends quietly if it is interrupted while it starts.

What it does is in `assetd.cli`, whose import takes a while. Python's own start, and the import of
the package itself, come before this.
"""

import os
import signal
import sys
from typing import NoReturn

# `assetd.cli.interrupts` has it too, and importing it from there would be the import in question.
EXIT_INTERRUPTED = 130


def main() -> int:
    """Run the command of this process, and return its exit code."""
    # A process whose shell has it ignore interrupts has no such handler.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, end_at_once)
    from assetd.cli import main as run

    return run()


def end_at_once(*_: object) -> NoReturn:
    """End the process, which has begun nothing yet, or is done.

    An exception might come in a callback of the import system, which prints and drops it.
    """
    os._exit(EXIT_INTERRUPTED)


if __name__ == "__main__":
    sys.exit(main())
