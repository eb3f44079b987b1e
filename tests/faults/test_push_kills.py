"""A daemon that is killed at each step of a push, and what the next ones find.

Cases 9, 10 and 11 of docs/faults.md. Which steps there are is what an undisturbed push does.
"""

from collections.abc import Iterator

import pytest

from tests.support.push_cases import Order
from tests.support.push_kills import Effect, PushBench, push_bench
from tests.support.push_shapes import SHAPES

pytestmark = [pytest.mark.xdist_group("push_kills"), pytest.mark.needs_program("versitygw")]

WITH_LARGE_PARTS = "large"


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PushBench]:
    """A store, and two daemons."""
    with push_bench(tmp_path_factory.mktemp("push-kills")) as bench:
        yield bench


@pytest.mark.parametrize("effect", Effect)
@pytest.mark.parametrize("shape", [name for name in SHAPES if name != WITH_LARGE_PARTS])
def test_a_kill_at_any_step(bench: PushBench, shape: str, effect: Effect) -> None:
    """At whatever step of a push a kill comes, the next start leaves nothing half done.

    A repeat of the push gets its version, other content gets it only if the push had not committed
    it, and a bump gets the next number.
    """
    batches = bench.batches(SHAPES[shape], [*Order])
    found = [finding for cases in batches for finding in bench.die(cases, effect)]
    assert not found, "\n".join(found)


def test_a_kill_while_a_large_part_is_stored(bench: PushBench) -> None:
    """What was uploaded in pieces is put together, or dropped."""
    batches = bench.batches(SHAPES[WITH_LARGE_PARTS], [Order.REPEAT])
    found = [finding for cases in batches for finding in bench.die(cases, Effect.ANSWER_LOST)]
    assert not found, "\n".join(found)
