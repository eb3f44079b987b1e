"""Holds: as long as the scope, across restarts, and never longer."""

import contextlib
import logging
import threading
from collections.abc import Iterator
from queue import SimpleQueue

import assetd
import pytest
from assetd import Client
from assetd.v1.asset_service_pb2 import FetchRequest, FetchResponse

from tests.clients.python.scripted import (
    CUT,
    GUARD_SECONDS,
    Context,
    Failure,
    OpenFetch,
    ScriptedDaemon,
    completed,
    hold,
    plays,
    progress,
    started,
)


@pytest.fixture(autouse=True)
def _no_thread_stays() -> Iterator[None]:
    """Whatever became of a hold, its thread ends."""
    yield
    while threads := [t for t in threading.enumerate() if t.name == "assetd-hold"]:
        with contextlib.suppress(RuntimeError):  # one that is just being started
            threads[0].join(GUARD_SECONDS)
            assert not threads[0].is_alive()


def test_a_hold_lasts_as_long_as_its_scope(daemon: ScriptedDaemon, client: Client) -> None:
    """The stream is open inside, and ends when the block is left."""
    held = hold()
    daemon.fetches.append(held)
    with client.fetch("nlp/ranker", hold=True) as asset:
        states = [asset.is_held]
        assert daemon.fetch_requests[0].hold
        assert held.began.wait(GUARD_SECONDS)
        assert not held.left.is_set()
    assert held.left.wait(GUARD_SECONDS)
    assert [*states, asset.is_held] == [True, False]


def test_an_exception_ends_the_hold_too(daemon: ScriptedDaemon, client: Client) -> None:
    """A scope is left by whatever door."""
    held = hold()
    daemon.fetches.append(held)
    with pytest.raises(ZeroDivisionError), client.fetch("nlp/ranker", hold=True):
        raise ZeroDivisionError
    assert held.left.wait(GUARD_SECONDS)


def test_a_hold_needs_no_thread(daemon: ScriptedDaemon, client: Client) -> None:
    """Thousands of holds cost thousands of streams, and nothing else.

    One thread watches the fetches that have not completed, however many there are.
    """
    daemon.fetches.extend([hold(), hold(), hold()])
    with client.fetch("nlp/ranker", hold=True):
        before = threading.active_count()
        with client.fetch("nlp/ranker", hold=True), client.fetch("nlp/ranker", hold=True):
            ours = [t.name for t in threading.enumerate() if "assetd" in t.name]
            assert set(ours) <= {"assetd-watchdog"}
            # gRPC polls all calls of a channel on one thread; the scripted daemon adds its own.
            assert threading.active_count() - before <= 2


def test_closing_the_client_ends_its_holds(daemon: ScriptedDaemon) -> None:
    """Also those whose asset nobody kept."""
    holds = [hold(), hold()]
    daemon.fetches.extend(holds)
    with Client(daemon.address) as client:
        asset = client.fetch("nlp/ranker", hold=True)
        client.fetch("nlp/ranker", hold=True)
    assert all(held.left.wait(GUARD_SECONDS) for held in holds)
    assert not asset.is_held


@pytest.mark.parametrize(
    "ending",
    [
        Failure("UNAVAILABLE", "SHUTTING_DOWN", retry_after_seconds=0.001),
        CUT,
        Failure("RESOURCE_EXHAUSTED", "TOO_MANY_REQUESTS"),
        Failure("CANCELLED"),
        Failure("INTERNAL", message="RST_STREAM"),
        None,
    ],
    ids=["drain", "cut", "busy", "cancelled", "reset", "ended"],
)
def test_a_daemon_that_ends_a_hold_is_asked_again(
    daemon: ScriptedDaemon, client: Client, ending: Failure | None
) -> None:
    """For exactly that version, and without downloading or hashing it once more."""
    first, second = hold(), hold()
    daemon.fetches.extend([first, plays(CUT), plays(started()), second])
    with client.fetch("nlp/ranker:1[vocab]", hold=True, force_download=True, verify=True) as asset:
        if ending is None:
            first.end()
        else:
            first.fail(ending)
        assert second.began.wait(GUARD_SECONDS)
        assert asset.is_held
    assert second.left.wait(GUARD_SECONDS)
    again = daemon.fetch_requests[-1]
    assert (again.spec, again.hold) == ("nlp/ranker:1.2[vocab]", True)
    assert (again.force_download, again.verify, again.caller) == (False, False, "test")


def test_a_hold_survives_a_restart(daemon: ScriptedDaemon, client: Client) -> None:
    """A daemon that really goes away, and really comes back."""
    first, second = hold(), hold()
    daemon.fetches.extend([first, second])
    with client.fetch("nlp/ranker", hold=True) as asset:
        daemon.stop()
        assert first.left.is_set()
        assert asset.is_held
        daemon.start()
        assert second.began.wait(GUARD_SECONDS)
    assert second.left.wait(GUARD_SECONDS)


def test_a_hold_can_be_closed_while_no_daemon_is_there(
    daemon: ScriptedDaemon, client: Client
) -> None:
    """Closing waits for nobody, and the thread that looks for the daemon ends."""
    daemon.fetches.append(hold())
    asset = client.fetch("nlp/ranker", hold=True)
    daemon.stop()
    asset.close()
    asset.close()
    assert not asset.is_held


def test_a_hold_can_be_closed_while_it_is_taken_again(
    daemon: ScriptedDaemon, client: Client
) -> None:
    """The call under way is cancelled."""
    first, second = hold(), OpenFetch(started(), progress(10))
    daemon.fetches.extend([first, second])
    asset = client.fetch("nlp/ranker", hold=True)
    first.fail(CUT)
    assert second.began.wait(GUARD_SECONDS)
    asset.close()
    assert second.left.wait(GUARD_SECONDS)


def test_a_client_that_is_closed_meanwhile_holds_nothing(
    daemon: ScriptedDaemon, client: Client
) -> None:
    """The fetch of one thread completes just when another thread closes the client."""
    held = hold()
    daemon.fetches.append(held)

    def close(response: FetchResponse) -> None:
        if response.HasField("completed"):
            client.close()

    asset = client.fetch("nlp/ranker", hold=True, on_event=close)
    assert not asset.is_held
    assert held.left.wait(GUARD_SECONDS)


class Heard(logging.Handler):
    """Waits for a line of the log."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []
        self.something = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)
        self.something.set()


def test_a_hold_that_cannot_be_taken_again_is_told(daemon: ScriptedDaemon, client: Client) -> None:
    """The operator deleted the version by hand, say: nothing is tried for ever."""
    first = hold()
    daemon.fetches.extend([first, plays(Failure("NOT_FOUND", "VERSION_NOT_FOUND", "gone"))])
    heard = Heard()
    logging.getLogger("assetd").addHandler(heard)
    lost: SimpleQueue[assetd.AssetdError] = SimpleQueue()
    try:
        asset = client.fetch("nlp/ranker", hold=True, on_hold_lost=lost.put)
        first.fail(CUT)
        assert heard.something.wait(GUARD_SECONDS)
    finally:
        logging.getLogger("assetd").removeHandler(heard)
    assert [r.getMessage() for r in heard.records] == ["cannot hold nlp/ranker:1.2 any more: gone"]
    assert heard.records[0].levelno == logging.WARNING
    told = lost.get(timeout=GUARD_SECONDS)
    assert (told.reason, told.message) == ("VERSION_NOT_FOUND", "gone")
    assert not asset.is_held
    asset.close()
    assert not asset.is_held


def test_a_timeout_does_not_end_a_hold(daemon: ScriptedDaemon, client: Client) -> None:
    """It is for the fetch: the stream has no deadline that would end it later."""
    held = hold()
    daemon.fetches.append(held)
    with client.fetch("nlp/ranker", hold=True, timeout=GUARD_SECONDS):
        assert held.began.wait(GUARD_SECONDS)
        # Years: what gRPC gives for a call without a deadline.
        assert held.time_remaining > 1e9


def test_a_timeout_ends_a_fetch_that_would_be_held(daemon: ScriptedDaemon, client: Client) -> None:
    """Without gRPC's deadline the helper keeps it itself."""
    stuck = OpenFetch(started(), progress(10))
    daemon.fetches.append(stuck)
    with pytest.raises(assetd.CallTimeoutError):
        client.fetch("nlp/ranker", hold=True, timeout=1)
    assert stuck.left.wait(GUARD_SECONDS)


def test_without_hold_no_call_stays(daemon: ScriptedDaemon, client: Client) -> None:
    """The stream is read to its end."""
    left = threading.Event()

    def script(_: FetchRequest, context: Context) -> Iterator[FetchResponse]:
        context.add_callback(left.set)
        yield started()
        yield completed()

    daemon.fetches.append(script)
    client.fetch("nlp/ranker").close()
    assert left.wait(GUARD_SECONDS)
