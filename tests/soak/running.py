"""What all soaks have in common: a seed, a limit of time, a state to go on from, one last line.

A soak that is interrupted, by its limit or by anybody, goes on where it was when it is run again
with the same seed; one that is finished begins anew.
"""

import argparse
import itertools
import json
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Final, TypeVar

from tests.conftest import ROOT

STATES: Final = ROOT / ".soak"
_SAVE_EVERY_SECONDS: Final = 5.0
AT_ONCE: Final = 2

T = TypeVar("T")
R = TypeVar("R")


class Soak:
    """One soak: what it has done so far, in this run and in those before."""

    def __init__(self, name: str, given: argparse.Namespace) -> None:
        self.seed: int = given.seed
        self.figures: Counter[str] = Counter()
        self.findings: list[str] = []
        self._name = name
        self._done: set[str] = set()
        self._state: Path = given.states / f"{name}-{self.seed}.json"
        self._began = self._saved = time.monotonic()
        self._seconds_before = 0.0
        self._ends: float = self._began + given.minutes * 60
        self._load()
        # Whoever ends a soak, by Ctrl-C or not, ends the servers that it has started.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))

    @property
    def is_over(self) -> bool:
        """Whether the time of this run is up."""
        return time.monotonic() >= self._ends

    def has_done(self, key: str) -> bool:
        """Whether that was done already."""
        return key in self._done

    def note(self, key: str, findings: list[str], figures: Mapping[str, int]) -> None:
        """Take note of what was done and found, with the figures that it adds to."""
        self._done.add(key)
        self.figures.update(figures)
        for finding in findings:
            self.tell(f"FOUND {finding}")
        self.findings += findings
        if time.monotonic() - self._saved > _SAVE_EVERY_SECONDS:
            self.save()

    def try_all(
        self, left: Iterable[T], work: Callable[[T], R], note: Callable[[T, R], None]
    ) -> bool:
        """Do the work, two at a time; tell whether there was time for all."""
        waiting, going = iter(left), dict[Future[R], T]()
        with ThreadPoolExecutor(AT_ONCE) as threads:
            while True:
                for run in itertools.islice(waiting, 0 if self.is_over else AT_ONCE - len(going)):
                    going[threads.submit(work, run)] = run
                if not going:
                    return next(waiting, None) is None
                for done in wait(going, return_when=FIRST_COMPLETED).done:
                    note(going.pop(done), done.result())

    def tell(self, line: str) -> None:
        """Say something at once."""
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()

    def save(self) -> None:
        """Keep the state for a run that goes on."""
        self._saved = time.monotonic()
        self._state.parent.mkdir(parents=True, exist_ok=True)
        written = self._state.with_suffix(".new")
        written.write_text(
            json.dumps(
                {
                    "done": sorted(self._done),
                    "figures": self.figures,
                    "findings": self.findings,
                    "seconds": self._seconds,
                }
            )
        )
        written.rename(self._state)

    def end(self, *, finished: bool) -> int:
        """Say the last line, and return the exit code: 1 where anything was found."""
        if finished:
            self._state.unlink(missing_ok=True)
        else:
            self.save()
        figures = ", ".join(f"{count:,} {what}" for what, count in sorted(self.figures.items()))
        rest = "" if finished else "; not finished, the next run goes on"
        self.tell(
            f"soak-{self._name}: seed {self.seed}: {figures or 'nothing'};"
            f" {len(self.findings)} findings; {self._seconds:.0f} s{rest}"
        )
        return 1 if self.findings else 0

    @property
    def _seconds(self) -> float:
        return self._seconds_before + time.monotonic() - self._began

    def _load(self) -> None:
        if not self._state.exists():
            return
        state = json.loads(self._state.read_text())
        self._done = set(state["done"])
        self.figures.update(state["figures"])
        self.findings = state["findings"]
        self._seconds_before = state["seconds"]


def arguments(purpose: str) -> argparse.ArgumentParser:
    """Return a parser of what every soak takes."""
    parser = argparse.ArgumentParser(description=purpose)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=60.0, help="of this run")
    parser.add_argument("--states", type=Path, default=STATES, help="where it keeps what is done")
    return parser
