"""Input at the limit of its size: refused, or read, within the memory that a daemon can spare."""

import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from tests.conftest import ROOT
from tests.support.huge_documents import DOCUMENTS, LONG_DOCUMENTS

BECOMES = {
    "deep paths": "AssetKind.DIRECTORY",
    "an index of arrays": "BAD_INDEX",
    "a receipt of arrays": "Marker.FOREIGN",
    "a token": "INVALID_PAGE_TOKEN",
    "a spec": "INVALID_SPEC",
    "a name": "INVALID_NAME",
    "a part": "INVALID_PART",
}


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_a_huge_document_takes_little_memory(kind: str) -> None:
    """Whatever stands in a document of its largest size, reading it takes a bounded memory.

    Three times its size at most: an array of 64 MiB was gigabytes, deep paths tens of them.
    """
    ended = subprocess.run(
        [sys.executable, "-m", "tests.support.huge_documents", kind],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert (ended.stderr, ended.returncode) == ("", 0)
    assert ended.stdout == BECOMES.get(kind, "BAD_MANIFEST")


@pytest.mark.parametrize("kind", LONG_DOCUMENTS)
def test_a_long_document_takes_little_time(kind: str) -> None:
    """A text takes a reader 10 ms of a processor at most, a document that or 1 µs a byte.

    The documents that cost the most at 64 KiB; time is the processor's for this thread, and the
    best of ten: a busy machine is no reader's fault.
    """
    raw, read = LONG_DOCUMENTS[kind]
    assert 60_000 < len(raw) <= 65_536
    assert min(timed(read, raw) for _ in range(10)) < 1_000 * len(raw)


def timed(read: Callable[[bytes], object], raw: bytes) -> int:
    """How many nanoseconds of the processor's time a reader takes."""
    began = time.thread_time_ns()
    read(raw)
    return time.thread_time_ns() - began
