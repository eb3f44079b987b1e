"""A daemon that is frozen before each step of a push, and woken when others have committed."""

from collections.abc import Iterator

import pytest

from tests.support.push_cases import Order
from tests.support.push_kills import PushBench, Way, push_bench
from tests.support.push_shapes import SHAPES

pytestmark = [pytest.mark.xdist_group("push_freezes"), pytest.mark.needs_program("versitygw")]


SMALL = [name for name, shape in SHAPES.items() if not shape.is_large]
CASES = [
    *((name, Way.BUMPED) for name in SMALL),
    *((name, Way.RELEASED) for name in SHAPES),
    *((name, Way.DECLARED_DEAD) for name in SMALL),
]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PushBench]:
    """A store, and two daemons."""
    with push_bench(tmp_path_factory.mktemp("push-freezes")) as bench:
        yield bench


@pytest.mark.parametrize(("shape", "way"), CASES)
def test_a_pusher_that_wakes_changes_nothing(bench: PushBench, shape: str, way: Way) -> None:
    """A pusher that was frozen before any step changes nothing that others committed meanwhile.

    It hears that the version exists, or is being pushed, or has its own.
    """
    batches = bench.batches(SHAPES[shape], [Order.OTHER])
    found = [finding for cases in batches for finding in bench.freeze(cases, way)]
    assert not found, "\n".join(found)
