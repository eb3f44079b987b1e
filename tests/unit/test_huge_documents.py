"""Input at the limit of its size: refused, or read, within the memory that a daemon can spare."""

import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.support.huge_documents import DOCUMENTS

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
