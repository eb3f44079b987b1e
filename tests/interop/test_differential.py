"""One history, lived through by the real modelkit 0.1.3 and by assetd: what differs is meant.

Fewer histories than `make soak-differential`, which lives through a thousand.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import pytest

from tests.conftest import ROOT
from tests.differential.differences import IN_COMPANY, ROWS, Row, judge
from tests.differential.histories import Action, Content, History, Party, Step
from tests.differential.living import Lived
from tests.differential.running import BUCKET, Differential, Stores, running_differential
from tests.differential.writing import history
from tests.support.modelkit import PYTHON
from tests.support.scratch import scratch_folder
from tests.support.versitygw import S3Server

pytestmark = [
    pytest.mark.needs_program("versitygw", str(PYTHON)),
    pytest.mark.xdist_group("differential"),
]

SEED = 1
# On a folder, so many that every row of the table is seen; on S3, where modelkit is slow, a few.
ON_FOLDERS = range(24)
ON_S3 = range(1000, 1003)


@pytest.fixture(scope="module")
def differential(s3_server: S3Server) -> Iterator[Differential]:
    """Both parties, gone before the server: it waits for whoever is connected."""
    assert s3_server.port
    with scratch_folder() as folder, running_differential(folder) as differential:
        yield differential


@pytest.fixture(scope="module")
def folders() -> Stores:
    """Stores that are folders."""
    return Stores()


@pytest.fixture(scope="module")
def prefixes(s3_server: S3Server) -> Stores:
    """Stores in a bucket of a real S3 server."""
    s3_server.make_bucket(BUCKET)
    return Stores(s3_server)


def live(differential: Differential, stores: Stores, lived: History) -> Lived:
    """Live through a history in which nothing new may differ."""
    found = differential.live(lived, stores)
    if found.difference:
        pytest.fail(differential.explain(lived, stores))
    return found


def test_only_what_is_listed_differs(differential: Differential, folders: Stores) -> None:
    """What modelkit and assetd do differently stands in the list of differences, and no more.

    Each alone, and both on one store and one ASSETS_DIR; after every step the outcome, the version,
    the bytes, the index, the cache; in the end the stores, key by key. And each difference that is
    listed is seen.
    """
    used: Counter[str] = Counter()
    for number in ON_FOLDERS:
        used.update(live(differential, folders, history(SEED, number)).used)
    assert {row.key for row in (*ROWS, *IN_COMPANY)} - {*used} == set()


@pytest.mark.parametrize("number", ON_S3)
def test_only_what_is_listed_differs_on_s3(
    differential: Differential, prefixes: Stores, number: int
) -> None:
    """The same on a real S3 server."""
    live(differential, prefixes, history(SEED, number))


def push(action: Action, version: str, seed: int, party: Party) -> Step:
    """A step that pushes a folder."""
    content = Content(seed, is_directory=True)
    return Step(action, "some/asset", version, content=content, party=party)


def test_what_is_not_listed_is_found(differential: Differential, folders: Stores) -> None:
    """Without a row of the table its difference is found, and told in the fewest steps."""
    steps = (
        push(Action.NEW, "", 3, Party.ASSETD),
        Step(Action.FETCH, "some/asset"),
        push(Action.UPDATE, "", 5, Party.MODELKIT),
        Step(Action.FETCH, "some/asset", "0"),
        push(Action.EXACT, "0.1", 7, Party.ASSETD),
        Step(Action.RESOLVE, "some/asset"),
    )
    overwriting = History(0, 0, "major_minor", steps)
    assert live(differential, folders, overwriting).used == {"D2"}
    rows = [row for row in ROWS if row.key != "D2"]
    strict = replace(differential, judge=partial(judge, rows=rows))
    told = strict.explain(overwriting, folders)
    assert re.findall(r"(?m)^  \d+\. (.*?) '", told) == ["new", "update", "update, exact"]
    assert "modelkit and assetd differ" in told
    assert "[VersionExistsError" in told


LISTED = (ROOT / "docs/modelkit.md").read_text()


@pytest.mark.parametrize("row", [*ROWS, *IN_COMPANY], ids=lambda row: row.key)
def test_whoever_moves_can_read_it(row: Row) -> None:
    """Each difference that is allowed stands in docs/modelkit.md, with what to do."""
    [cells] = re.findall(rf"(?m)^\| {row.key} \| (.+?) \| (.+?) \| (.+?) \|$", LISTED)
    assert all(cell.strip() for cell in cells)


def test_what_is_written_is_tested() -> None:
    """And the list has no other that histories could show."""
    keys = re.findall(r"(?m)^\| (D\d+) \|", LISTED)
    assert sorted(keys) == sorted(row.key for row in (*ROWS, *IN_COMPANY))
