"""One target in a process of its own: `python -m tests.fuzz.driver`, which `running` starts.

The engine is libFuzzer, led by which branches of our modules an input takes (atheris). Whatever
ends this process without a report, a crash or want of memory, is a finding too.
"""

import argparse
import base64
import gc
import json
import os
import signal
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from resource import RUSAGE_SELF, getrusage
from types import FrameType
from typing import Any, Final

import atheris

with atheris.instrument_imports(include=["assetd_server", "assetd._local", "tests.fuzz.seeded"]):
    from tests.fuzz.catalogue import targets_in
    from tests.fuzz.places import Watch, World
    from tests.fuzz.seeded import seeded
    from tests.fuzz.target import Target

# Of what was accepted every so-manieth is looked for on the disk.
_LOOK_EVERY: Final = 50
# A busy machine, or a collection of garbage, is not the reader's fault.
_TIMED_AGAIN: Final = 5
_STUCK_SECONDS: Final = 1.0
_REFUSED: Final = object()


class StuckError(Exception):
    """A reader that is still at one input after a second of the processor's time."""


class Fuzz:
    """The engine's callback: reads, times, watches, judges, counts."""

    def __init__(self, target: Target, runs: int, watch: Watch, report: Path) -> None:
        self._target = target
        self._runs = runs
        self._watch = watch
        self._report = report
        self._inputs = self._accepted = self._looks = self._slowest_ns = 0
        self._ticked_at = -1
        self._is_reading = False
        for seed in target.seeds:
            # What Python imports late is imported now, and opens nothing later on.
            with suppress(Exception):
                self._read(target.given(seed))
        # What stands now is not looked through again with each collection of garbage.
        gc.freeze()
        signal.signal(signal.SIGPROF, self._tick)
        signal.setitimer(signal.ITIMER_PROF, _STUCK_SECONDS, _STUCK_SECONDS)

    def _tick(self, _number: int, _frame: FrameType | None) -> None:
        if self._is_reading and self._ticked_at == self._inputs:
            raise StuckError("no end after a second of the processor's time")
        self._ticked_at = self._inputs

    def __call__(self, raw: bytes) -> None:
        """Try one input; end the process at a finding, and when there were enough."""
        self._inputs += 1
        try:
            self._try(raw)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the finding
            self._end(f"{type(error).__name__}: {error}", raw, traceback.format_exc())
        if self._inputs >= self._runs:
            self._end()

    def _try(self, raw: bytes) -> None:
        target, given = self._target, self._target.given(raw)
        if target.opens_nothing:
            self._watch.begin()
        began = time.thread_time_ns()
        value = self._read(given)
        spent = time.thread_time_ns() - began
        if target.opens_nothing:
            self._require_nothing_opened(given)
        if spent > self._slowest_ns:
            spent = min(spent, *(self._timed(given) for _ in range(_TIMED_AGAIN)))
            self._slowest_ns = max(self._slowest_ns, spent)
            assert spent <= target.max_cpu_ns(raw), f"{spent / 1e6:.1f} ms for {len(raw)} bytes"
        target.judge(given, None if value is _REFUSED else value)
        # What is read as nothing at all, as of a spec that is no hit, is not counted.
        if value is not _REFUSED and value:
            self._accepted += 1
            if target.look is not None and self._accepted % _LOOK_EVERY == 0:
                self._looks += 1
                target.look(given, value)

    def _read(self, given: Any) -> Any:
        self._is_reading = True
        try:
            return self._target.read(given)
        except self._target.refusals:
            return _REFUSED
        finally:
            self._is_reading = False

    def _timed(self, given: Any) -> int:
        began = time.thread_time_ns()
        self._read(given)
        return time.thread_time_ns() - began

    def _require_nothing_opened(self, given: Any) -> None:
        if self._watch.end():
            # Once may be a module of Python's that is imported only now.
            self._watch.begin()
            self._read(given)
            opened = self._watch.end()
            assert not opened, f"reading opens {opened[0]}"

    def _end(self, why: str = "", raw: bytes = b"", details: str = "") -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)
        report = {
            "inputs": self._inputs,
            "accepted": self._accepted,
            "looks": self._looks,
            "slowest_ns": self._slowest_ns,
            "why": why,
            "input": base64.b64encode(raw).decode(),
            "details": details,
        }
        self._report.write_text(json.dumps(report))
        # The engine would write a report of its own, and a second time.
        os._exit(0)


def main() -> None:
    """Run until the report is written."""
    parser = argparse.ArgumentParser()
    parser.add_argument("target")
    parser.add_argument("--seeded", default="", help="a bug")
    parser.add_argument("--runs", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True, help="an empty one")
    parser.add_argument("--corpus", type=Path, required=True, help="what earlier runs found")
    given = parser.parse_args()
    watch, world = Watch(), World(given.folder / "world")
    target = targets_in(given.folder, world, watch)[given.target]
    if given.seeded:
        target = seeded(given.seeded, target, world, watch)
    seeds = given.folder / "seeds"
    seeds.mkdir()
    for number, seed in enumerate(target.seeds):
        (seeds / str(number)).write_bytes(seed)
    fuzz = Fuzz(target, given.runs, watch, given.folder / "report")
    options = {
        "seed": given.seed,
        "max_len": target.max_bytes,
        # The peak of whoever started this process counts as its own: getrusage(2).
        "rss_limit_mb": 1024 + getrusage(RUSAGE_SELF).ru_maxrss // 1024,
        "timeout": 120,
        "artifact_prefix": f"{given.folder}/crash-",
        "verbosity": 0,
        "reload": 0,
    }
    atheris.Setup(
        [
            "fuzz",
            *(f"-{name}={value}" for name, value in options.items()),
            *map(str, (given.corpus, seeds)),
        ],
        fuzz,
        custom_mutator=_mutator(target, given.seed),
    )
    atheris.Fuzz()


def _mutator(target: Target, seed: int) -> Callable[[bytes, int, int], bytes]:
    dice = Random(seed)

    def mutate(data: bytes, max_size: int, _seed: int) -> bytes:
        return target.mutate(bytes(data), max_size, dice, atheris.Mutate)

    return mutate


if __name__ == "__main__":
    main()
