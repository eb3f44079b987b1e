"""When a call is made again: rules without I/O, on a clock that only the pauses move."""

import math
import random
from itertools import takewhile

import pytest
from assetd import (
    AssetdError,
    CallTimeoutError,
    DaemonUnavailableError,
    RetryPolicy,
    ShuttingDownError,
    StoreUnavailableError,
    VersionNotFoundError,
)
from assetd._retry import Deadline, Retry
from hypothesis import given
from hypothesis import strategies as st

POLICY = RetryPolicy(
    patience_seconds=15, connect_patience_seconds=1.5, first_delay_seconds=0.1, max_delay_seconds=2
)


class Clock:
    """Time that passes only by waiting."""

    def __init__(self) -> None:
        self.now = 100.0
        self.pauses: list[float] = []

    def __call__(self) -> float:
        return self.now

    def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


def retry_on(clock: Clock, policy: RetryPolicy = POLICY, timeout: float | None = None) -> Retry:
    """A call that begins now, without jitter."""
    deadline = Deadline(timeout, clock)
    return Retry(policy, deadline, pause=clock.pause, clock=clock, jitter=lambda: 1.0)


def is_repeated(retry: Retry, error: AssetdError) -> bool:
    """Whether a call that failed so may be made again."""
    try:
        retry.wait_or_raise(error)
    except AssetdError:
        return False
    return True


def fail_until_it_raises(retry: Retry, error: AssetdError) -> int:
    """Count how many failures in a row are met by a repeat."""
    return sum(1 for _ in takewhile(lambda _: is_repeated(retry, error), range(1_000)))


def test_only_unavailable_is_repeated() -> None:
    """Every other failure would be the same again."""
    clock = Clock()
    with pytest.raises(VersionNotFoundError):
        retry_on(clock).wait_or_raise(VersionNotFoundError("no such version"))
    assert clock.pauses == []


def test_pauses_double_up_to_a_limit() -> None:
    """A daemon that comes back soon is met soon; one that does not is left in peace."""
    clock = Clock()
    fail_until_it_raises(retry_on(clock), StoreUnavailableError("down"))
    assert clock.pauses[:7] == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 2, 2])
    assert sum(clock.pauses) <= 15 < sum(clock.pauses) + 2


def test_a_daemon_that_never_answered_is_given_up_soon() -> None:
    """Who forgot to start one is told so while still watching."""
    clock = Clock()
    fail_until_it_raises(retry_on(clock), DaemonUnavailableError("nobody there"))
    assert sum(clock.pauses) <= 1.5


@pytest.mark.parametrize("by_message", [True, False])
def test_a_daemon_that_went_away_is_waited_for(by_message: bool) -> None:
    """It restarts, or a successor comes: that takes longer than a slip of the hand."""
    clock = Clock()
    retry = retry_on(clock)
    if by_message:
        retry.answered()
    else:
        retry.wait_or_raise(ShuttingDownError("stopping"))
    fail_until_it_raises(retry, DaemonUnavailableError("gone"))
    assert sum(clock.pauses) > 10


def test_whoever_gets_on_is_not_given_up() -> None:
    """A stream that is cut every minute is joined for as long as it comes further."""
    clock = Clock()
    retry = retry_on(clock)
    for done_bytes in range(1, 101):
        retry.answered(done_bytes)
        retry.wait_or_raise(DaemonUnavailableError("cut"))
    assert clock.pauses == pytest.approx([0.1] * 100)


def test_an_answer_alone_restores_no_patience() -> None:
    """A daemon whose store is down begins well each time, and would be asked for ever."""
    clock = Clock()
    retry = retry_on(clock)
    for _ in range(100):
        retry.answered(7)
        if not is_repeated(retry, StoreUnavailableError("down")):
            break
    assert 10 < sum(clock.pauses) <= 15


def test_the_daemon_says_how_long_to_wait() -> None:
    """Nobody comes back before the time that RetryInfo names."""
    clock = Clock()
    retry = retry_on(clock)
    retry.wait_or_raise(StoreUnavailableError("down", retry_after_seconds=5))
    assert clock.pauses == pytest.approx([5.1])
    assert fail_until_it_raises(retry, StoreUnavailableError("down", retry_after_seconds=20)) == 0


def test_no_pause_outlasts_the_deadline() -> None:
    """The cause is told at once, rather than a timeout later."""
    clock = Clock()
    retry = retry_on(clock, timeout=1)
    fail_until_it_raises(retry, StoreUnavailableError("down"))
    assert clock.now < 101


def test_a_hold_has_no_end_of_patience() -> None:
    """Days of failures overflow nothing."""
    clock = Clock()
    retry = retry_on(clock, POLICY.endless())
    for _ in range(5_000):
        retry.wait_or_raise(DaemonUnavailableError("gone"))
    assert clock.pauses[-1] == 2


@given(failures=st.integers(1, 10**6), jitter=st.floats(0, 1))
def test_jitter_takes_away_at_most_half(failures: int, jitter: float) -> None:
    """Callers spread out, and nobody comes back at once."""
    most = POLICY.delay_seconds(failures, 1)
    assert most / 2 <= POLICY.delay_seconds(failures, jitter) <= most <= 2


def test_callers_who_were_cut_together_spread_out() -> None:
    """The jitter that is used when nobody says otherwise differs from call to call."""
    random.seed(1)
    clock = Clock()
    for _ in range(5):
        retry = Retry(POLICY, Deadline(None), pause=clock.pause, clock=clock)
        retry.wait_or_raise(StoreUnavailableError("down"))
    assert len(set(clock.pauses)) == 5


def test_a_deadline_counts_down_to_nothing() -> None:
    """What is left never falls below 0: gRPC takes it as it is."""
    clock = Clock()
    deadline = Deadline(10, clock)
    assert deadline.remaining_seconds() == 10
    assert not deadline.passes_within(9.9)
    clock.now += 12
    assert deadline.remaining_seconds() == 0
    assert deadline.passes_within(0)
    assert isinstance(deadline.error(), CallTimeoutError)
    assert deadline.error().metadata == {"timeout_seconds": "10"}


@pytest.mark.parametrize("timeout", [None, math.inf, 1e10, pytest.param(10**400, id="1e400")])
def test_without_a_deadline_nothing_passes(timeout: float | None) -> None:
    """No limit is no limit, however long it takes; what gRPC cannot count to is none."""
    clock = Clock()
    deadline = Deadline(timeout, clock)
    clock.now = math.nextafter(math.inf, 0)
    assert deadline.remaining_seconds() is None
    assert not deadline.passes_within(1)


@pytest.mark.parametrize("timeout", [1e9, 0, -1, -math.inf])
def test_every_other_timeout_is_a_limit(timeout: float) -> None:
    """Also one that has passed already, as what is left of some other time may have."""
    clock = Clock()
    assert Deadline(timeout, clock).remaining_seconds() == max(timeout, 0)


def test_a_timeout_is_a_number() -> None:
    """NaN would never pass, and gRPC would take it for one that has."""
    with pytest.raises(ValueError, match="NaN"):
        Deadline(math.nan)
