"""Making very many objects that stay: the interpreter does not look for circles among them.

It would do so again and again while they come, each time through all that there are, and hold up
every thread: a third of what a start over 100,000 known versions took.
"""

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_turn = threading.Lock()
_count = 0
_was_enabled = False


@contextmanager
def in_bulk() -> Iterator[None]:
    """Let nothing look for circles for the length of the block; from any thread, at any depth.

    What should be freed meanwhile and lies in a circle waits: use it for short blocks.
    """
    _begin()
    try:
        yield
    finally:
        _end()


def _begin() -> None:
    global _count, _was_enabled  # noqa: PLW0603 - the interpreter has one switch for all threads
    with _turn:
        if _count == 0:
            _was_enabled = gc.isenabled()
            gc.disable()
        _count += 1


def _end() -> None:
    global _count  # noqa: PLW0603 - as above
    with _turn:
        _count -= 1
        if _count == 0 and _was_enabled:
            gc.enable()
