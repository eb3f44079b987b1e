"""How many heaps glibc makes for threads that allocate at once."""

import subprocess
import sys

import pytest

# Eight threads that all have memory of their own at one time; then glibc is asked for its heaps.
SCRIPT = """
import ctypes, sys, threading
from assetd_server.allocator import share_heaps
if len(sys.argv) > 1:
    share_heaps(int(sys.argv[1]))
libc = ctypes.CDLL(None)
libc.malloc.restype = libc.fdopen.restype = ctypes.c_void_p
together = threading.Barrier(8)
def allocate():
    libc.malloc(1000)
    together.wait()
threads = [threading.Thread(target=allocate) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
stream = ctypes.c_void_p(libc.fdopen(1, b"w"))
libc.malloc_info(0, stream)
libc.fflush(stream)
"""


def heap_count(*arguments: str) -> int:
    """How many there are in a process that shares as many as the argument says, or any number."""
    found = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments], check=True, capture_output=True, text=True
    )
    return found.stdout.count("<heap nr=")


@pytest.mark.parametrize("count", [1, 2])
def test_threads_share_their_heaps(count: int) -> None:
    """What one thread has freed another can use."""
    assert heap_count() > 2, "the test can fail"
    assert heap_count(str(count)) == count
