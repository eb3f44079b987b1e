"""Leases and resumed downloads against whoever changes things under them, at every point.

Each drill is believed because it catches the bug that it is there for.
"""

import pytest
from assetd_server.cache.linux import FileSystem

from tests.support.lease_drills import lease_findings
from tests.support.memory_store import MemoryStore
from tests.support.mutants import NoExclusion, NoRecheck
from tests.support.resume_drills import NoIfMatchStore, resume_findings


def test_a_lease_is_on_what_stands_and_keeps_it() -> None:
    """Whatever call replacement or eviction comes at, a lease is on what stands, and keeps it.

    Replacement and eviction at every call of a lease, and a lease at every call of theirs.
    """
    assert lease_findings(FileSystem) == []


@pytest.mark.parametrize("bug", [NoRecheck, NoExclusion])
def test_a_broken_lease_is_caught(bug: type[FileSystem]) -> None:
    """One that does not compare the inode in the end, and movers that do not ask."""
    assert lease_findings(bug) != []


def test_a_resumed_download_is_of_one_object() -> None:
    """An object that is replaced while its download is interrupted is never mixed with its past."""
    assert resume_findings(MemoryStore) == []


def test_a_download_that_resumes_blindly_is_caught() -> None:
    """Without If-Match the bytes of two objects make one file."""
    assert resume_findings(NoIfMatchStore) != []
