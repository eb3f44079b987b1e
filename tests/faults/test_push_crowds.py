"""A crowd that pushes to one asset, while answers are cut. Case 80 of docs/faults.md.

A tenth of what `make soak-pushes` does: the rest takes longer than a test may.
"""

from pathlib import Path

import pytest

from tests.support.push_crowd import STORES, Crowd, crowded_store

pytestmark = [pytest.mark.xdist_group("push_crowds"), pytest.mark.needs_program("versitygw")]

CROWD = Crowd(daemons=8, pushers=8, versions=20, seed=1)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", STORES)
def test_a_crowd_loses_no_version(tmp_path: Path, kind: str) -> None:
    """Of a crowd that pushes to one asset each acknowledged version is listed, once, and whole.

    One in twenty answers is cut, those of an S3 store and those of the daemons; what is no answer
    is repeated with the same push_id.
    """
    with crowded_store(kind, tmp_path / "crowd", CROWD) as store:
        found = [*store.push(0), *store.judge()]
    assert not found, "\n".join(found)
