"""Streams that fall silent: cut, joined again, and believed; on a clock that tests move."""

import math
import threading

import assetd
import pytest
from assetd import Client, RetryPolicy
from assetd._channel import CHANNEL_OPTIONS, silence_seconds
from assetd._watchdog import GRACE_SECONDS, Watchdog
from assetd.v1.asset_service_pb2 import FetchRequest
from google.protobuf.duration_pb2 import Duration

from tests.clients.python.scripted import (
    GUARD_SECONDS,
    OpenFetch,
    ScriptedDaemon,
    completed,
    hold,
    plays,
    progress,
    started,
)

# What is silent for so long is cut at once; there is no interval to wait for.
SOON = RetryPolicy(patience_seconds=60, connect_patience_seconds=60, stall_timeout_seconds=0.02)
AT_ONCE = 0.05


class Clock:
    """Time that passes when a test says so."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


class Stream:
    """What there is to cancel."""

    def __init__(self) -> None:
        self.cancelled = threading.Event()

    def cancel(self) -> None:
        self.cancelled.set()


@pytest.fixture
def clock() -> Clock:
    """A clock that stands."""
    return Clock()


def test_a_stream_that_says_something_goes_on(clock: Clock) -> None:
    """Only silence counts, and it counts from the last word."""
    watchdog, stream = Watchdog(clock), Stream()
    with watchdog.watching(stream.cancel, 30, math.inf) as watch:
        for _ in range(10):
            clock.now += 29
            watchdog.look()
            assert not stream.cancelled.is_set()
            watch.heard()
        clock.now += 30
        watchdog.look()
        assert not stream.cancelled.is_set(), "it has a moment more"
        clock.now += GRACE_SECONDS
        watchdog.look()
        assert stream.cancelled.is_set()
        assert watch.has_stalled


def test_a_process_that_stood_still_has_time_to_read(clock: Clock) -> None:
    """What the daemon said meanwhile is there: the first look after it cuts nothing."""
    watchdog, stream = Watchdog(clock), Stream()
    with watchdog.watching(stream.cancel, 30, math.inf) as watch:
        for _ in range(2):
            clock.now += 1000
            watchdog.look()
            assert not stream.cancelled.is_set()
            watch.heard()


def test_what_the_caller_takes_is_no_silence(clock: Clock) -> None:
    """A callback that blocks is no fault of the stream; waiting counts from its end."""
    watchdog, stream = Watchdog(clock), Stream()
    with watchdog.watching(stream.cancel, 30, math.inf) as watch:
        for _ in range(3):
            watch.rest()
            for _ in range(10):
                clock.now += 20
                watchdog.look()
            watch.heard()
            clock.now += 29
            watchdog.look()
        assert not stream.cancelled.is_set()


def test_a_deadline_waits_for_no_callback(clock: Clock) -> None:
    """It is the whole call's."""
    watchdog, stream = Watchdog(clock), Stream()
    with watchdog.watching(stream.cancel, 30, clock.now + 40) as watch:
        watch.rest()
        clock.now += 40
        watchdog.look()
        assert stream.cancelled.is_set()


def test_a_deadline_is_no_silence(clock: Clock) -> None:
    """It ends a stream that talks; the caller gets another failure for it."""
    watchdog, stream = Watchdog(clock), Stream()
    with watchdog.watching(stream.cancel, 30, clock.now + 40) as watch:
        clock.now += 29
        watch.heard()
        clock.now += 11
        watchdog.look()
        assert stream.cancelled.is_set()
        assert not watch.has_stalled


def test_a_stream_that_was_left_is_left_alone(clock: Clock) -> None:
    """A hold is silent by design, from the moment on at which the version is here."""
    watchdog, stream = Watchdog(clock), Stream()
    with watchdog.watching(stream.cancel, 30, math.inf):
        pass
    clock.now += 1000
    watchdog.look()
    assert not stream.cancelled.is_set()


def test_one_thread_watches_all() -> None:
    """It wakes for the first that may be overdue, and ends when there is none."""
    watchdog, first, second = Watchdog(), Stream(), Stream()

    def threads() -> list[threading.Thread]:
        return [t for t in threading.enumerate() if t.name == "assetd-watchdog"]

    before = set(threads())
    with (
        watchdog.watching(first.cancel, GUARD_SECONDS, math.inf),
        watchdog.watching(second.cancel, AT_ONCE, math.inf),
    ):
        (thread,) = set(threads()) - before
        assert second.cancelled.wait(GUARD_SECONDS)
        assert not first.cancelled.is_set()
        watchdog.close()
        thread.join(GUARD_SECONDS)
        assert not thread.is_alive()


def test_a_silent_stream_is_joined_again(daemon: ScriptedDaemon) -> None:
    """A call of a helper that falls silent is made again.

    Also one that never said a word.
    """
    silent, stuck = OpenFetch(), OpenFetch(started(), progress(10))
    daemon.fetches.extend([silent, stuck, plays(started(), progress(60), completed())])
    with Client(daemon.address, retry=SOON) as client:
        asset = client.fetch("nlp/ranker", progress_interval=AT_ONCE)
    assert asset.version == "1.2"
    assert silent.left.wait(GUARD_SECONDS)
    assert stuck.left.wait(GUARD_SECONDS)
    specs = [request.spec for request in daemon.fetch_requests]
    assert specs == ["nlp/ranker", "nlp/ranker", "nlp/ranker:1.2"]


def test_silence_that_lasts_is_believed(daemon: ScriptedDaemon) -> None:
    """Silence that lasts is a failure, which says what to look at.

    With a failure that says what to look at, and not after the caller's whole life.
    """
    stuck = [OpenFetch(started()), OpenFetch(started())]
    daemon.fetches.extend(stuck)
    policy = RetryPolicy(patience_seconds=0.1, stall_timeout_seconds=0.2)
    with (
        Client(daemon.address, retry=policy) as client,
        pytest.raises(assetd.DaemonUnavailableError, match="said nothing for") as raised,
    ):
        client.fetch("nlp/ranker", progress_interval=AT_ONCE)
    assert raised.value.metadata["address"] == daemon.address
    assert all(stream.left.wait(GUARD_SECONDS) for stream in stuck if stream.began.is_set())
    daemon.fetches.clear()


def test_a_hold_is_silent_and_stays(daemon: ScriptedDaemon) -> None:
    """No watchdog cuts what has completed."""
    held = hold()
    daemon.fetches.extend([held, OpenFetch(), plays(started(), completed())])
    with (
        Client(daemon.address, retry=SOON) as client,
        client.fetch("nlp/ranker", hold=True, progress_interval=AT_ONCE) as asset,
    ):
        # One that is cut for its silence meanwhile, by the same watchdog.
        client.fetch("nlp/other", progress_interval=AT_ONCE)
        assert asset.is_held
        assert not held.left.is_set()


def test_a_hold_that_falls_silent_while_it_is_taken_again(daemon: ScriptedDaemon) -> None:
    """Is asked for once more."""
    first, silent, second = hold(), OpenFetch(started()), hold()
    daemon.fetches.extend([first, silent, second])
    with (
        Client(daemon.address, retry=SOON) as client,
        client.fetch("nlp/ranker", hold=True, progress_interval=AT_ONCE) as asset,
    ):
        first.end()
        assert silent.left.wait(GUARD_SECONDS)
        assert second.began.wait(GUARD_SECONDS)
        assert asset.is_held


def test_some_missed_reports_are_no_silence() -> None:
    """The limit is longer for those who asked for few reports."""
    policy = RetryPolicy()
    assert silence_seconds(policy, FetchRequest()) == 31.5
    slow = FetchRequest(progress_interval=Duration(seconds=4))
    assert silence_seconds(policy, slow) == 42
    clamped = FetchRequest(progress_interval=Duration(seconds=3600))
    assert silence_seconds(policy, clamped) == 45
    patient = RetryPolicy(stall_timeout_seconds=math.inf)
    assert silence_seconds(patient, FetchRequest()) == math.inf


def test_a_silent_hold_is_asked_after_by_the_channel() -> None:
    """Pings notice a daemon that is frozen; no oftener than it allows."""
    options = dict(CHANNEL_OPTIONS)
    assert options["grpc.keepalive_time_ms"] >= 5_000
    assert options["grpc.keepalive_timeout_ms"] == options["grpc.http2.ping_timeout_ms"]
    assert options["grpc.http2.max_pings_without_data"] == 0
