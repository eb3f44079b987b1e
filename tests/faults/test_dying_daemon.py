"""A daemon that dies again and again while eight callers want versions from it.

Case 12 of docs/faults.md; `make soak-deaths` lets it die for ten minutes.
"""

from pathlib import Path

import pytest

from tests.support.dying import CALLERS, die_again_and_again

DEATHS = 10
SEED = 12


@pytest.mark.xdist_group("kills")
@pytest.mark.timeout(600)
def test_a_daemon_that_dies_again_and_again(tmp_path: Path) -> None:
    """However often the daemon dies, its callers get their versions whole, and nothing is left."""
    toll = die_again_and_again(tmp_path, SEED, lambda deaths: deaths >= DEATHS)
    assert toll.findings == []
    assert toll.fetches >= CALLERS
    assert toll.deaths_in_a_fetch > DEATHS / 2, "most deaths met somebody who waited"
