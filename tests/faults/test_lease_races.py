"""Leases against evictions, call by call, from three namespaces: who has a lease keeps the version.

Cases 51, 52, 53 and 55 of docs/faults.md; `make soak-leases` races a million times.
"""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from assetd_server.cache.linux import FileSystem

from tests.conftest import ROOT
from tests.support.holding import require_namespaces
from tests.support.mutants import NoExclusion
from tests.support.racing import NOTICEABLE, Race, racing
from tests.support.scratch import scratch_folder

ROUNDS = 1500
SEED = 51

pytestmark = pytest.mark.xdist_group("races")


@pytest.fixture(autouse=True)
def namespaces() -> None:
    """Readers live in containers."""
    require_namespaces()


@pytest.fixture
def race() -> Iterator[Race]:
    """Four readers and an evictor."""
    with scratch_folder() as folder, racing(folder) as race:
        yield race


@pytest.mark.parametrize("content", ["file", "folder"])
def test_every_call_of_a_lease_meets_every_call_of_an_eviction(race: Race, content: str) -> None:
    """A lease that has begun keeps the version, whole, at its path, wherever its holder lives.

    Between any two calls of the client that takes it, and any two of the evictor that it notices.
    """
    on_a_read_only_mount = race.readers[-1]
    rounds = race.meet_everywhere(on_a_read_only_mount, content)
    figures = race.figures
    assert figures.violations == []
    # All of it happened: leases that kept an eviction off, evictions that kept off a lease.
    assert figures.outcomes.keys() == {"evicted", "leased", "leases", "misses"}
    assert min(figures.outcomes.values()) > rounds / 20
    met = {call for state, call in figures.meetings if state == "."}
    assert {call for call in NOTICEABLE if content == "file" or "unlink" not in call} <= met


def soak(tmp_path: Path, *arguments: object) -> "subprocess.CompletedProcess[str]":
    """Race at random, as the soak does."""
    command: list[str | Path] = [
        *(sys.executable, "-m", "tests.soak.leases"),
        *("--seed", str(SEED), "--rounds", str(ROUNDS), "--states", tmp_path),
        *map(str, arguments),
    ]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_leases_and_evictions_at_random(tmp_path: Path) -> None:
    """Four readers at once, each where chance has it: nobody's version ever moves."""
    ended = soak(tmp_path)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    [summary] = ended.stdout.splitlines()
    assert f"{ROUNDS:,} rounds; 0 findings" in summary


@pytest.mark.parametrize("bug", [["--mutant", "no-exclusion"], ["--careless"]])
def test_a_seeded_bug_is_caught(tmp_path: Path, bug: list[str]) -> None:
    """An evictor that asks nobody, and a reader that does not compare last, are found out."""
    ended = soak(tmp_path, *bug)
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert "the lease of" in ended.stdout


@pytest.mark.parametrize(("bug", "careless"), [(NoExclusion, False), (FileSystem, True)])
def test_call_by_call_each_bug_is_caught(bug: type[FileSystem], careless: bool) -> None:
    """The same without chance: the schedules themselves find it."""
    with scratch_folder() as folder, racing(folder, bug=bug, careless=careless) as race:
        race.meet_everywhere(race.readers[0], "file")
    assert race.figures.violations != []
