"""Kills at random, hundreds of them: a process that fetches is no daemon, but quick.

Its whole start and life are a few milliseconds of the cache's own calls, so that most kills meet
one. Daemons are killed in `test_kills.py`; `make soak-kills` kills 20,000 times.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

KILLS = 450
SEED = 9

pytestmark = pytest.mark.xdist_group("kills")


def kill(tmp_path: Path, *arguments: object) -> "subprocess.CompletedProcess[str]":
    """Kill in a process without threads, which can be forked at any time."""
    return subprocess.run(
        [
            *(sys.executable, "-m", "tests.soak.kills"),
            *("--seed", str(SEED), "--kills", str(KILLS), "--states", tmp_path),
            *map(str, arguments),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )


def test_kills_at_random(tmp_path: Path) -> None:
    """After hundreds of kills at random nothing is torn, lost or left over.

    Absent or whole after each; acknowledged means marked; in the end nothing is left over.
    """
    ended = kill(tmp_path)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    [summary] = ended.stdout.splitlines()
    assert f"{KILLS} kills; 0 findings" in summary
    # A kill that met nobody at work would prove nothing.
    at_work = {what: int(count) for count, what in re.findall(r"(\d+) during an? (\w+)", summary)}
    assert at_work["operation"] > KILLS / 3
    assert at_work["start"] > 0


def test_a_seeded_bug_is_caught(tmp_path: Path) -> None:
    """A file that is truncated and written in place is seen half written."""
    # It ends with the first finding, which comes early; more kills are for an unlucky run.
    ended = kill(tmp_path, "--mutant", "in-place", "--kills", 10 * KILLS)
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert "kill/file is partial" in ended.stdout
