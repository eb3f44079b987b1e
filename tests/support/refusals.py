"""What has to be refused: a table's row, the comparison with it, and that nothing is left behind.

The fixtures are for modules that ask one daemon for many bad things: they bring `daemon`, and with
`nothing_left_behind` a check after each test.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.daemon import Daemon, running_daemons
from tests.support.trees import read_tree, write_tree
from tests.support.wire import Failure

TREE = {"config.json": b"{}", "sub/vocab.txt": b"a b c"}


@dataclass(frozen=True)
class Bad:
    """A request that has to be refused, with the words that its caller needs."""

    request: Any
    reason: str
    words: tuple[str, ...]
    code: str

    def __str__(self) -> str:
        return f"{self.reason}-{self.words[0][:24]}"


def bad(request: Any, reason: str, *words: str, code: str = "INVALID_ARGUMENT") -> Bad:
    """Return one row."""
    return Bad(request, reason, words, code)


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon with good/file and good/folder, both 0.0, in the store and in the cache."""
    folder = tmp_path_factory.mktemp("bad")
    (folder / "file").write_bytes(b"content")
    write_tree(folder / "folder", TREE)
    with running_daemons(folder) as daemons:
        daemon = daemons(store=folder / "store")
        with daemon.client() as client:
            for name in ("file", "folder"):
                client.push(folder / name, f"good/{name}")
                client.fetch(f"good/{name}")
        yield daemon


@pytest.fixture(autouse=True)
def nothing_left_behind(daemon: Daemon) -> Iterator[None]:
    """Whatever a test asks for: afterwards store and cache are as they were, and so is the rest."""
    places = (daemon.assets_dir, daemon.assets_dir.with_name("store"))
    before = [read_tree(place) for place in places]
    yield
    after = [without_claims(read_tree(place)) for place in places]
    assert after == [without_claims(tree) for tree in before]
    assert daemon.leftovers() == []
    with daemon.client() as client:
        status = client.status()
    assert (list(status.flights), list(status.holds), status.reserved_bytes) == ([], [], 0)


def without_claims(tree: dict[str, bytes]) -> dict[str, bytes]:
    """Leave out the records of pushes that gave up, which the protocol keeps on purpose."""
    return {path: data for path, data in tree.items() if not path.startswith(".assetd/claims/")}


def check(failure: Failure, row: Bad) -> None:
    """Compare with what is documented; every value that is told stands in the metadata too."""
    assert (failure.code, failure.reason) == (row.code, row.reason)
    missing = [word for word in row.words if word not in failure.message]
    assert not missing, failure.message
    assert failure.metadata
