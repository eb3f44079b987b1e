"""A terminal that a program draws on, and all that was drawn."""

import os
import pty


class Terminal:
    """One terminal: `theirs` is the descriptor for the program, which ends with `read_all`."""

    def __init__(self) -> None:
        self._ours, self.theirs = pty.openpty()

    def read_all(self) -> str:
        """Returns what was drawn, once all who draw have gone."""
        os.close(self.theirs)
        drawn = b""
        try:
            while data := os.read(self._ours, 1 << 16):
                drawn += data
        except OSError:  # how Linux tells the end of a terminal
            pass
        os.close(self._ours)
        return drawn.decode()
