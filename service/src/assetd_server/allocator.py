"""The process's memory allocator, told what a daemon needs. Knows glibc's; others need nothing."""

import ctypes
from typing import Final

_M_ARENA_MAX: Final = -8


def share_heaps(count: int) -> None:
    """Have the threads that begin from now on share `count` heaps (glibc calls them arenas).

    Each has one of its own otherwise, up to eight a core, and what one of them has freed the others
    cannot use. Changes nothing where the C library is another.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "gnu_get_libc_version"):
        libc.mallopt(_M_ARENA_MAX, count)
