"""When a call is made again, and when its failure is believed.

Knows nothing of gRPC. This is the only layer that repeats calls: gRPC's own retries are off,
and the daemon's repeats towards the store are its own affair.
"""

import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from threading import Event

from assetd.errors import AssetdError, CallTimeoutError, DaemonUnavailableError


@dataclass(frozen=True)
class RetryPolicy:
    """How patient a client is with a daemon that is UNAVAILABLE, and with streams that were cut.

    A status without a reason that gRPC, or something on the way, made (CANCELLED, INTERNAL) is
    taken for a cut; every other failure is believed at once. Two go further: a push that is in the
    way of its own next try is waited for, and a hold is taken again whatever ended it, unless the
    daemon gave a reason that will not pass.

    Attributes:
        patience_seconds: how long failures are met by a repeat. It starts anew whenever the call
            has come further than ever, so that a fetch may be cut as often as it likes.
        connect_patience_seconds: the same while no daemon has answered the call at all. Short, so
            that somebody who forgot to start one is told so, and long enough for a restart.
        first_delay_seconds: the pause before the first repeat; it doubles from one to the next.
        max_delay_seconds: what the pause grows to.
        stall_timeout_seconds: how long the stream of a fetch may say nothing, beyond a few of its
            intervals, before it is cut and joined again. A daemon that lives tells how far it is
            even if nothing moves; one that is frozen, or out of reach, would be waited for for
            ever. `math.inf` waits.
    """

    patience_seconds: float = 15.0
    connect_patience_seconds: float = 1.5
    first_delay_seconds: float = 0.1
    max_delay_seconds: float = 2.0
    stall_timeout_seconds: float = 30.0

    def delay_seconds(self, failures: int, jitter: float) -> float:
        """Return the pause after so many failures.

        `jitter` between 0 and 1 makes it half to all of what the doubling gives, so that callers
        who were cut off together do not come back together.
        """
        # The exponent is bounded: a hold repeats for days, and a float does not reach that far.
        doubled = self.first_delay_seconds * 2.0 ** min(failures - 1, 64)
        return min(doubled, self.max_delay_seconds) * (1 + jitter) / 2

    def endless(self) -> "RetryPolicy":
        """Return the same pauses without an end, for a hold."""
        return replace(self, patience_seconds=math.inf, connect_patience_seconds=math.inf)


# Thirty years. gRPC counts in nanoseconds: what is much longer is over for it at once.
LONGEST_SECONDS = 1e9


def require_number(seconds: float) -> None:
    """Refuse what no clock ever reaches, and no comparison finds.

    Raises:
        ValueError: it is NaN.
    """
    # Not `math.isnan`, which fails for an integer that is too long for a float.
    if seconds != seconds:
        raise ValueError("NaN is no number of seconds")


class Deadline:
    """The moment at which a call has to be over, repeats included.

    Never for `None`, and for anything longer than `LONGEST_SECONDS`, infinity included.
    """

    def __init__(self, timeout: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin now.

        Raises:
            ValueError: the timeout is NaN.
        """
        if timeout is not None:
            require_number(timeout)
        self.timeout = None if timeout is None or timeout > LONGEST_SECONDS else timeout
        self._clock = clock
        self.end = math.inf if self.timeout is None else clock() + self.timeout

    def remaining_seconds(self) -> float | None:
        """Return what is left, never below 0; None without an end."""
        return None if self.timeout is None else max(0.0, self.end - self._clock())

    def passes_within(self, seconds: float) -> bool:
        """Tell whether it will have passed so many seconds from now."""
        return self._clock() + seconds >= self.end

    def error(self) -> CallTimeoutError:
        """Return the failure of a call that it ended."""
        return CallTimeoutError(
            f"not done within {self.timeout:g} seconds",
            metadata={"timeout_seconds": f"{self.timeout:g}"},
        )


def _passes_by_itself(error: AssetdError) -> bool:
    """Tell whether a later call may succeed: the daemon is not there, or says so.

    With INTERNAL something on the way ends a stream: where the daemon itself does, it says why.
    """
    return error.code == "UNAVAILABLE" or (error.code == "INTERNAL" and not error.reason)


# Answers to a hold that a later call may not get: all others end it for good.
PASSING_CODES = {"UNAVAILABLE", "RESOURCE_EXHAUSTED"}


def passing(error: AssetdError) -> AssetdError:
    """Return why a hold ended, as UNAVAILABLE if a later call may get another answer.

    A status without a reason was not the daemon's decision: its process ended, or something on
    the way did.
    """
    if error.reason and error.code not in PASSING_CODES:
        return error
    return DaemonUnavailableError(
        error.message, metadata=error.metadata, retry_after_seconds=error.retry_after_seconds
    )


class Retry:
    """One call's failures since it last came further. Not for several threads.

    `pause` waits for so many seconds; `clock` and `jitter` are seams for tests.
    """

    def __init__(
        self,
        policy: RetryPolicy,
        deadline: Deadline,
        *,
        pause: Callable[[float], object] | None = None,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._policy = policy
        self._deadline = deadline
        # An event that nobody sets: a pause that Ctrl-C ends.
        self._pause = pause or Event().wait
        self._clock = clock
        self._jitter = jitter
        self._failures = 0
        self._first_failure = 0.0
        self._answered = False
        self._furthest_bytes = 0

    def answered(self, done_bytes: int = 0) -> None:
        """Note that the daemon sent something, and how far the call is.

        An answer alone is no reason for new patience: a daemon whose store is down may begin well
        each time.
        """
        self._answered = True
        if done_bytes > self._furthest_bytes:
            self._furthest_bytes = done_bytes
            self._failures = 0

    def wait_or_raise(self, error: AssetdError, *, passes: bool = False) -> None:
        """Pause until the call may be made again.

        Raises:
            AssetdError: as `delay_or_raise`.
        """
        self._pause(self.delay_or_raise(error, passes=passes))

    def delay_or_raise(self, error: AssetdError, *, passes: bool = False) -> float:
        """Return after how many seconds the call may be made again.

        They are at least what the daemon asked for. `passes`: the caller knows that this error
        ends by itself, whatever its code.

        Raises:
            AssetdError: `error`, if a repeat is of no use: it does not pass by itself, patience has
                ended, or the pause would outlast the call's deadline.
        """
        if not passes and not _passes_by_itself(error):
            raise error from None
        if not isinstance(error, DaemonUnavailableError):
            self._answered = True
        if self._failures == 0:
            self._first_failure = self._clock()
        self._failures += 1
        delay = self._policy.delay_seconds(self._failures, self._jitter())
        delay += error.retry_after_seconds or 0.0
        waited = self._clock() - self._first_failure
        if waited + delay > self._patience_seconds() or self._deadline.passes_within(delay):
            raise error from None
        return delay

    def _patience_seconds(self) -> float:
        policy = self._policy
        return policy.patience_seconds if self._answered else policy.connect_patience_seconds
