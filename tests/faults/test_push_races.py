"""Pushers that race for one version. Cases 78, 79 and 89 of docs/faults.md.

10,000 races by `make soak-push-races`.
"""

from pathlib import Path

import pytest

from tests.support.push_crowd import STORES
from tests.support.push_races import push_races

pytestmark = [pytest.mark.xdist_group("push_races"), pytest.mark.needs_program("versitygw")]

RACES = 150


@pytest.mark.parametrize("kind", STORES)
def test_of_those_who_race_one_wins(tmp_path: Path, kind: str) -> None:
    """Of several contents for one version that race one wins, and the bucket holds its bytes.

    Who pushes the same content finds it there, and first versions of an asset are all listed.
    """
    with push_races(kind, tmp_path, seed=1) as races:
        found = [finding for number in range(RACES) for finding in races.race(number)]
    assert not found, "\n".join(found)
    assert {"won", "found there", "lost, VERSION_EXISTS", "lost, PUSH_IN_PROGRESS"} < {
        *races.figures
    }
