"""A store that loses requests and answers of a push, or answers as it seldom does.

Cases 81, 82, 83 and 88 of docs/faults.md, with the daemon alive: it has to settle them by itself.
Which requests there are is what an undisturbed push sends.
"""

import json
from collections.abc import Iterator

import pytest

from tests.support.buckets import look
from tests.support.http_proxy import Fate, Refusal, Request
from tests.support.push_cases import Order
from tests.support.push_kills import PushBench, push_bench
from tests.support.push_shapes import SHAPES
from tests.support.wire_pushes import new_push_id, push

pytestmark = [pytest.mark.xdist_group("push_answers"), pytest.mark.needs_program("versitygw")]

FALTERING: dict[str, Fate | Refusal] = {
    "request lost": Fate.LOSE,
    "answer lost": Fate.LOSE_ANSWER,
    "conflict": Refusal(409, "ConditionalRequestConflict"),
    "slow down": Refusal(503, "SlowDown"),
}
DOWN = Refusal(503, "SlowDown")
NAME = "some/asset"


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PushBench]:
    """A store, and two daemons."""
    with push_bench(tmp_path_factory.mktemp("push-answers")) as bench:
        yield bench


@pytest.mark.parametrize("what", FALTERING)
@pytest.mark.parametrize("shape", ["file", "bump", "over left-overs"])
def test_any_request_may_falter_once(bench: PushBench, shape: str, what: str) -> None:
    """Whichever request or answer of a push is lost or refused for now, the push succeeds.

    A refusal that is about its own first try is never told as somebody else's version. Only an
    upload whose beginning got no answer may stay: nobody knows of it.
    """
    batches = bench.batches(SHAPES[shape], [Order.REPEAT])
    found = [finding for cases in batches for finding in bench.falter(cases, FALTERING[what])]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("spec", [NAME, f"{NAME}:7.0"])
def test_an_index_that_cannot_be_read(bench: PushBench, spec: str) -> None:
    """An index that cannot be read is never taken for absent: UNAVAILABLE, and it stays as it was.

    Once the store answers again a repeat of the push is listed beside what was there.
    """
    content, push_id = f"pushed to {spec}".encode(), new_push_id()
    with bench.other.channel() as channel:
        assert push(channel, f"{NAME}:{len(spec)}.0", content[::-1]).is_ok
    before = bench.bucket.get(f"{NAME}.versions")
    bench.proxy.judge = lambda request: DOWN if _reads_the_index(request) else Fate.PASS
    try:
        with bench.stepped.channel() as channel:
            outcome = push(channel, spec, content, push_id=push_id)
            assert (outcome.code, outcome.reason) == ("UNAVAILABLE", "STORE_UNAVAILABLE")
            assert bench.bucket.get(f"{NAME}.versions") == before
            bench.proxy.judge = lambda _: Fate.PASS
            assert push(channel, spec, content, push_id=push_id).is_ok
    finally:
        bench.proxy.judge = bench.steps.judge
    seen = look(bench.bucket, NAME)
    assert [*seen.findings()] == []
    assert before is not None
    assert set(json.loads(before)["versions"]) < set(seen.listed)


def _reads_the_index(request: Request) -> bool:
    return not request.changes and request.target.endswith(f"{NAME}.versions")
