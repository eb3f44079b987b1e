"""The steps of pushes, one request after another, and each push stopped at a step of its own.

A step is a request of the daemon that is about one asset. So that one daemon dies at all steps at
once, each asset is pushed to by one push, and each push is stopped at another step.
"""

import re
import threading
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Final

from tests.support.http_proxy import Fate, JudgingProxy, Refusal, Request
from tests.support.waiting import LIMIT_SECONDS

# Assets whose names look so are stepped; no name is the beginning of another one.
NAME: Final = re.compile(r"cases/c\d{4}")


@dataclass
class _Stop:
    number: int
    is_forwarded: bool
    held: list[Request]


class Steps:
    """Counts the requests of each asset, and holds those from a certain one on."""

    def __init__(self, proxy: JudgingProxy) -> None:
        self.taken: dict[str, list[str]] = defaultdict(list)
        self._proxy = proxy
        self._stops: dict[str, _Stop] = {}
        self._verdicts: dict[tuple[str, int], Fate | Refusal] = {}
        self._counts: Counter[str] = Counter()
        self._changed = threading.Lock()
        proxy.judge = self.judge

    def stop_at(self, name: str, number: int, *, is_forwarded: bool) -> None:
        """Hold request `number` of the asset from now on (1 is the next), and all that follow.

        Where it `is_forwarded`, it takes effect, and only its answer is held.
        """
        with self._changed:
            self._counts[name] = 0
            self._stops[name] = _Stop(number, is_forwarded, [])

    def judge_at(self, name: str, number: int, verdict: Fate | Refusal) -> None:
        """Do so with request `number` of the asset from now on (1 is the next), and no other."""
        with self._changed:
            self._counts[name] = 0
            self._verdicts[name, number] = verdict

    def has_stopped(self, name: str) -> bool:
        """Whether its step was reached."""
        with self._changed:
            return bool(self._stops[name].held)

    def pass_on(self, name: str) -> list[Request]:
        """Hold no more requests of the asset; return those that are held, which stay so."""
        with self._changed:
            return self._stops.pop(name).held

    def drop(self, held: list[Request]) -> None:
        """Lose what is held, or its answer."""
        for request in held:
            self._proxy.drop(request)
        _wait_for_the_end(held)

    def let_go(self, held: list[Request]) -> None:
        """Let what is held take effect, in its order, however long ago its sender died."""
        for request in held:
            self._proxy.let_go(request)
            _wait_for_the_end([request])

    def judge(self, request: Request) -> Fate | Refusal:
        """Say what becomes of a request: the proxy asks."""
        found = NAME.search(request.target)
        if found is None:
            return Fate.PASS
        with self._changed:
            return self._judge_step(found[0], request)

    def _judge_step(self, name: str, request: Request) -> Fate | Refusal:
        self._counts[name] += 1
        self.taken[name].append(str(request))
        if (name, self._counts[name]) in self._verdicts:
            return self._verdicts[name, self._counts[name]]
        stop = self._stops.get(name)
        if stop is None or self._counts[name] < stop.number:
            return Fate.PASS
        stop.held.append(request)
        is_the_one = self._counts[name] == stop.number
        return Fate.HOLD_ANSWER if is_the_one and stop.is_forwarded else Fate.HOLD


def _wait_for_the_end(held: list[Request]) -> None:
    for request in held:
        assert request.ended.wait(LIMIT_SECONDS), f"{request} never ended"
