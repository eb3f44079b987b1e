"""Five million inputs for each reader of what others wrote.

`python -m tests.soak.fuzz`. Two targets at a time, each in runs of its own; what leads further into
a reader is kept from one run to the next. A target in which something was found goes on. Those come
first, and to their end, that read what anybody can write.
"""

import functools
import itertools
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.catalogue import FIRST_NAMES, NAMES
from tests.fuzz.running import Fuzzed, fuzz
from tests.soak.running import Soak, arguments

_RUN_INPUTS = 250_000


@dataclass(frozen=True)
class Run:
    """So much input for one target."""

    target: str
    number: int

    def __str__(self) -> str:
        return f"{self.target} {self.number}"


def runs(targets: list[str], inputs: int) -> Iterator[Run]:
    """Yield them: the first targets in turn, then the others in turn."""
    for are_first in (True, False):
        some = [target for target in targets if (target in FIRST_NAMES) is are_first]
        for number, target in itertools.product(range(-(-inputs // _RUN_INPUTS)), some):
            yield Run(target, number)


def main() -> int:
    """Run, and return the exit code."""
    parser = arguments("Try input that is bred by the branches it takes.")
    parser.add_argument("--inputs", type=int, default=5_000_000, help="for each target")
    parser.add_argument("--target", choices=NAMES, action="append", help="not all")
    given = parser.parse_args()
    soak = Soak("fuzz", given)
    corpora = given.states / f"fuzz-{soak.seed}"
    left = [
        run
        for run in runs(given.target or list(NAMES), given.inputs)
        if not soak.has_done(str(run))
    ]
    finished = soak.try_all(
        left, functools.partial(_fuzz, soak.seed, corpora), functools.partial(_note, soak)
    )
    if finished:
        shutil.rmtree(corpora, ignore_errors=True)
    return soak.end(finished=finished)


def _fuzz(seed: int, corpora: Path, run: Run) -> Fuzzed:
    seed = 1_000_000 * seed + run.number
    return fuzz(run.target, _RUN_INPUTS, seed, corpus=corpora / run.target)


def _note(soak: Soak, run: Run, fuzzed: Fuzzed) -> None:
    figures = {
        f"inputs of {run.target}": fuzzed.inputs,
        "accepted": fuzzed.accepted,
        "looked for": fuzzed.looks,
    }
    soak.note(str(run), [fuzzed.finding] if fuzzed.finding else [], figures)
    if run.number % 4 == 0:
        soak.tell(str(fuzzed))


if __name__ == "__main__":
    sys.exit(main())
