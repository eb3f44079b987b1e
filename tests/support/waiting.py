"""Waiting for what another process does, where it gives no event to wait for."""

import threading
import time
from collections.abc import Callable
from typing import Final, TypeVar

T = TypeVar("T")

# Ends a wait for what never comes; how long things take is not what tests assert.
LIMIT_SECONDS: Final = 60.0
_POLL_SECONDS: Final = 0.005


def wait_until(look: Callable[[], T], what: str) -> T:
    """Looks again and again until it finds something, and returns that; `what` is wanted.

    Raises:
        AssertionError: it never came.
    """
    give_up_at = time.monotonic() + LIMIT_SECONDS
    while not (found := look()):
        assert time.monotonic() < give_up_at, f"{what} never came: {found!r}"
        threading.Event().wait(_POLL_SECONDS)
    return found
