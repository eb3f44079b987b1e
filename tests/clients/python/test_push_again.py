"""A push that is cut: what is tried again, for how long, and what travels then."""

from collections.abc import Callable, Iterator
from pathlib import Path

import assetd
import pytest
from assetd import Client, PushPhase, PushProgress
from assetd._progress import PushMeter
from assetd.v1.asset_service_pb2 import (
    PushAccepted,
    PushHeader,
    PushRequest,
    PushResponse,
    PushWanted,
)
from assetd.v1.asset_service_pb2 import PushProgress as WirePushProgress

from tests.clients.python.scripted import (
    CUT,
    Context,
    Failure,
    PushScript,
    ScriptedDaemon,
)

MEBIBYTE = 1 << 20
RECEIVING = WirePushProgress.PHASE_RECEIVING
STORING = WirePushProgress.PHASE_STORING


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A file of two and a half chunks."""
    path = tmp_path / "weights"
    path.write_bytes(bytes(range(256)) * (MEBIBYTE // 256 * 5 // 2))
    return path


def accepted() -> PushResponse:
    """The daemon's first turn."""
    return PushResponse(accepted=PushAccepted(version="1.3"))


def tell(
    phase: WirePushProgress.Phase.ValueType, received: int = 0, stored: int = 0
) -> PushResponse:
    """How far the daemon says that it is."""
    figures = WirePushProgress(phase=phase, received_bytes=received, stored_bytes=stored)
    return PushResponse(progress=figures)


def ends(failure: Failure, headers: list[PushHeader]) -> PushScript:
    """A push that fails right after its header, which is kept."""

    def script(requests: Iterator[PushRequest], context: Context) -> Iterator[PushResponse]:
        headers.append(next(requests).header)
        yield accepted()
        failure.end(context)

    return script


def in_progress(**metadata: str) -> Failure:
    """What is answered while a push of the version is under way."""
    return Failure("ABORTED", "PUSH_IN_PROGRESS", metadata=metadata)


@pytest.mark.parametrize(
    "failure",
    [CUT, Failure("CANCELLED"), Failure("INTERNAL"), Failure("UNAVAILABLE", "SHUTTING_DOWN")],
    ids=["unavailable", "cancelled", "internal", "shutting down"],
)
def test_whatever_cuts_a_push_it_goes_on(
    daemon: ScriptedDaemon, client: Client, weights: Path, failure: Failure
) -> None:
    """A status without a reason is not the daemon's word: something on the way broke the stream."""
    headers: list[PushHeader] = []
    daemon.pushes.extend([ends(failure, headers)] * 2)
    assert client.push(weights, "nlp/weights") == "1.3"
    (record,) = daemon.push_records
    assert headers == [record.header] * 2


@pytest.mark.parametrize(
    "failure", [Failure("INTERNAL", "INTERNAL"), Failure("UNIMPLEMENTED"), Failure("UNKNOWN")]
)
def test_what_would_fail_again_is_not_tried_again(
    daemon: ScriptedDaemon, client: Client, weights: Path, failure: Failure
) -> None:
    """A defect of the daemon, or a program that is no daemon."""
    daemon.pushes.append(ends(failure, []))
    with pytest.raises(assetd.AssetdError) as raised:
        client.push(weights, "nlp/weights")
    assert raised.value.code == failure.code.name
    assert daemon.push_records == []


def test_what_is_hashed_is_not_hashed_again(
    daemon: ScriptedDaemon, client: Client, weights: Path
) -> None:
    """A push of hours is cut more than once."""
    hashed: list[int] = []

    def note(progress: PushProgress) -> None:
        if progress.phase is PushPhase.HASHING:
            hashed.append(progress.done_bytes)

    daemon.pushes.extend([ends(CUT, [])] * 3)
    client.push(weights, "nlp/weights", on_progress=note)
    assert hashed == [weights.stat().st_size]


def test_only_what_is_wanted_then_is_sent_again(
    daemon: ScriptedDaemon, client: Client, tmp_path: Path
) -> None:
    """By file and offset, whatever was on its way when the stream broke."""
    root = tmp_path / "model"
    root.mkdir()
    for name in "abc":
        (root / name).write_bytes(name.encode() * 8)

    def cut_in_b(requests: Iterator[PushRequest], context: Context) -> Iterator[PushResponse]:
        next(requests)
        yield accepted()
        next(requests)
        yield PushResponse(wanted=PushWanted(parts=[PushWanted.Part(path=path) for path in "abc"]))
        assert [next(requests).chunk.path for _ in "ab"] == ["a", "b"]
        CUT.end(context)

    daemon.pushes.append(cut_in_b)
    daemon.wants = lambda _: [PushWanted.Part(path="b", offset=5), PushWanted.Part(path="c")]
    client.push(root, "nlp/ranker")
    (record,) = daemon.push_records
    assert {path: bytes(data) for path, data in record.contents.items()} == {
        "b": b"\0\0\0\0\0bbb",
        "c": b"cccccccc",
    }


@pytest.mark.parametrize("tries_before", [0, 1], ids=["first try", "after a cut"])
def test_a_push_waits_for_its_own_earlier_try(
    daemon: ScriptedDaemon, client: Client, weights: Path, tries_before: int
) -> None:
    """The daemon may not know yet that its stream is gone; it names the push if it is the same.

    On a first try it is one that somebody made before, and now repeats by hand.
    """
    headers: list[PushHeader] = []

    def own(requests: Iterator[PushRequest], context: Context) -> Iterator[PushResponse]:
        headers.append(next(requests).header)
        yield accepted()
        in_progress(push_id=headers[-1].push_id).end(context)

    daemon.pushes.extend([ends(CUT, headers)] * tries_before + [own] * 3)
    assert client.push(weights, "nlp/weights") == "1.3"
    assert len({header.push_id for header in headers}) == 1


@pytest.mark.parametrize(
    "scripts",
    [
        [ends(in_progress(owner="elsewhere"), [])],
        [ends(CUT, []), ends(in_progress(push_id="0e64b41f-7b92-4d5e-8a3c-5a1f0c9d2b77"), [])],
    ],
    ids=["at once", "after a cut"],
)
def test_a_push_does_not_wait_for_somebody_elses(
    daemon: ScriptedDaemon, client: Client, weights: Path, scripts: list[PushScript]
) -> None:
    """Theirs may take hours, and whoever asked should hear of it."""
    daemon.pushes.extend(scripts)
    with pytest.raises(assetd.PushInProgressError):
        client.push(weights, "nlp/weights")
    assert daemon.push_records == []


def test_a_client_that_is_closed_does_not_try_again(
    daemon: ScriptedDaemon, client: Client, weights: Path
) -> None:
    """What its own end cuts was not cut by the daemon."""
    daemon.pushes.append(ends(Failure("CANCELLED"), []))

    def close(_: PushResponse) -> None:
        client.close()

    with pytest.raises(RuntimeError, match="closed"):
        client.push(weights, "nlp/weights", on_event=close)
    assert daemon.push_records == []


@pytest.mark.parametrize(
    ("then", "rises"),
    [
        (lambda it: it.observe(tell(STORING, received=10, stored=41)), True),
        (lambda it: it.observe(tell(RECEIVING, received=91)), True),
        (lambda it: it.observe(tell(RECEIVING, received=90, stored=40)), False),
        (lambda it: it.observe(accepted()), False),
    ],
    ids=["more is stored", "more is sent", "the same again", "nothing"],
)
def test_whatever_comes_further_than_ever_is_a_reason_for_patience(
    then: Callable[[PushMeter], None], rises: bool
) -> None:
    """Bytes that flow need not make up for all that an earlier try had sent in vain."""
    it = PushMeter(100, None, None)
    it.hashed(100)
    assert it.furthest == 0, "what the client does by itself says nothing of the daemon"
    it.observe(tell(RECEIVING, received=90, stored=40))
    before = it.furthest
    it.observe(accepted())
    then(it)
    assert (it.furthest > before) == rises
