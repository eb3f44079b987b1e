"""Races of pushers for one version, and who has won.

Each of them has a daemon of its own. They start together, or one a moment after the other, as a
seed decides. Of other contents one wins, and the bucket holds the winner's; of the same content all
have it, and one has made it.
"""

import random
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Final

import grpc

from tests.support.buckets import look
from tests.support.daemon import Daemon, running_daemons
from tests.support.push_cases import EXISTS, IN_PROGRESS
from tests.support.push_crowd import Place, place
from tests.support.versions import Content
from tests.support.wire_pushes import Outcome, push

_VERSIONS_AN_ASSET: Final = 10
_LONGEST_WAIT_SECONDS: Final = 0.03


class Kind(Enum):
    """What a race is about."""

    OTHER = "other content for one version"
    SAME = "the same content for one version"
    NEW = "the first versions of an asset"


@dataclass
class Runner:
    """One of those who race."""

    channel: grpc.Channel
    spec: str
    content: Content
    wait_seconds: float
    outcome: Outcome = field(default_factory=Outcome)

    def run(self, barrier: threading.Barrier) -> None:
        """Push, together with the others."""
        barrier.wait()
        threading.Event().wait(self.wait_seconds)
        self.outcome = push(self.channel, self.spec, self.content)


class PushRaces:
    """Races on one store, one after another."""

    def __init__(self, store: Place, channels: list[grpc.Channel], seed: int) -> None:
        self.figures: Counter[str] = Counter()
        self._bucket = store.bucket
        self._channels = channels
        self._seed = seed
        self._threads = ThreadPoolExecutor(len(channels))

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown()

    def race(self, number: int) -> list[str]:
        """Let some push at once, and return what is wrong; nothing = sound."""
        source = random.Random(f"{self._seed} {number}")
        [kind] = source.choices([*Kind], (7, 2, 1))
        name = f"races/a{number // _VERSIONS_AN_ASSET}"
        if kind is Kind.NEW:
            name = f"races/new{number}"
        runners = self._runners(source, kind, name, number)
        barrier = threading.Barrier(len(runners))
        list(self._threads.map(lambda runner: runner.run(barrier), runners))
        self.figures.update(["races", *(_told(runner.outcome) for runner in runners)])
        findings = [*_wrong_answers(kind, runners), *self._wrong_bytes(name, runners)]
        findings += self._wrong_repeats(runners)
        return [f"race {number} of seed {self._seed}, {kind.value}: {found}" for found in findings]

    def _runners(self, source: random.Random, kind: Kind, name: str, number: int) -> list[Runner]:
        count = source.choice((2, 2, 2, len(self._channels)))
        # Not in the same order at each step: some begin a moment later than others.
        spread = source.choice((0.0, _LONGEST_WAIT_SECONDS))
        content = _content(source, f"{number}")
        return [
            Runner(
                channel,
                f"{name}:{index}.0" if kind is Kind.NEW else f"{name}:{number}.0",
                content if kind is Kind.SAME else _content(source, f"{number} {index}"),
                source.random() * spread,
            )
            for index, channel in enumerate(source.sample(self._channels, count))
        ]

    def _wrong_bytes(self, name: str, runners: list[Runner]) -> Iterator[str]:
        seen = look(self._bucket, name)
        yield from seen.findings()
        for runner in runners:
            version = runner.spec.partition(":")[2]
            if version not in seen.metas:
                yield f"{runner.spec} is not there"
            elif runner.outcome.is_ok and seen.content(version) != runner.content:
                yield f"{runner.spec} does not hold what was acknowledged"
        for version, state in seen.claim_states().items():
            if state != "released":
                yield f"the claim on {version} is left, {state}"

    def _wrong_repeats(self, runners: list[Runner]) -> Iterator[str]:
        """Try again: who has lost hears now that the version exists."""
        for runner in runners:
            if not runner.outcome.is_ok:
                again = push(runner.channel, runner.spec, runner.content)
                if again.reason != EXISTS:
                    yield f"who has lost and pushes again hears {again}"


def _told(outcome: Outcome) -> str:
    if outcome.is_ok:
        return "found there" if outcome.already_existed else "won"
    return f"lost, {outcome.reason}"


def _wrong_answers(kind: Kind, runners: list[Runner]) -> Iterator[str]:
    outcomes = [runner.outcome for runner in runners]
    won = [outcome for outcome in outcomes if outcome.is_ok and not outcome.already_existed]
    lost = [outcome for outcome in outcomes if not outcome.is_ok]
    if len(won) != (len(outcomes) if kind is Kind.NEW else 1):
        yield f"{len(won)} have won of {[*map(str, outcomes)]}"
    if kind is Kind.OTHER:
        lost = [outcome for outcome in lost if outcome.reason not in {EXISTS, IN_PROGRESS}]
    yield from (f"a push ended with {outcome}" for outcome in lost)


def _content(source: random.Random, what: str) -> Content:
    """Return what nobody else has pushed."""
    data = f"{what} ".encode() * source.randint(1, 300)
    return data if source.random() < 0.5 else {"part": data, "sub/other": data[:10]}


@contextmanager
def push_races(kind: str, folder: Path, seed: int) -> Iterator[PushRaces]:
    """Run a store and four daemons below `folder` for the block."""
    with ExitStack() as stack:
        store = stack.enter_context(place(kind, folder))
        daemons = stack.enter_context(running_daemons(folder))
        started = [daemons.prepare(store=store.store, variables=store.variables) for _ in range(4)]
        with ThreadPoolExecutor(len(started)) as starters:
            list(starters.map(Daemon.start, started))
        channels = [stack.enter_context(daemon.channel()) for daemon in started]
        races = PushRaces(store, channels, seed)
        stack.callback(races.close)
        yield races
