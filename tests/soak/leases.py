"""Leases against evictions, a million rounds: which call of the one meets which of the other.

`python -m tests.soak.leases`. Readers live in namespaces of their own and are the client's code;
the evictor is the cache's. What a reader has leased has to stand, whole, until it lets go. In each
round the version is evicted, published again, and evicted again.
"""

import functools
import multiprocessing
import random
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

from tests.soak.running import AT_ONCE, Soak, arguments
from tests.support.mutants import MUTANTS
from tests.support.racing import Figures, racing
from tests.support.scratch import scratch_folder

_ROUNDS_A_TREE = 1000


def race(seed: int, mutant: str, careless: bool, rounds: range) -> Figures:
    """Race so many rounds over one tree; the violations are among the figures."""
    source = random.Random(f"{seed}:{rounds.start}")
    with (
        scratch_folder() as folder,
        racing(folder, bug=MUTANTS[mutant], careless=careless) as racers,
    ):
        for _ in rounds:
            racers.meet_at_random(source)
        return racers.figures


def main() -> int:
    """Run, and return the exit code."""
    parser = arguments("Race leases against evictions.")
    parser.add_argument("--rounds", type=int, default=1_000_000)
    parser.add_argument("--mutant", choices=MUTANTS, default="", help="seed a bug into evictions")
    parser.add_argument("--careless", action="store_true", help="seed a bug into the readers")
    given = parser.parse_args()
    soak = Soak("leases", given)
    seeded = given.careless or given.mutant

    def left() -> Iterator[range]:
        for first in range(0, given.rounds, _ROUNDS_A_TREE):
            if seeded and soak.findings:
                return
            if not soak.has_done(str(first)):
                yield range(first, min(first + _ROUNDS_A_TREE, given.rounds))

    # An evictor keeps its interpreter busy: each has a process of its own.
    with ProcessPoolExecutor(AT_ONCE, multiprocessing.get_context("spawn")) as processes:

        def work(rounds: range) -> Figures:
            return processes.submit(race, soak.seed, given.mutant, given.careless, rounds).result()

        return soak.end(finished=soak.try_all(left(), work, functools.partial(_note, soak)))


def _note(soak: Soak, rounds: range, found: Figures) -> None:
    figures = {
        "rounds": len(rounds),
        "leases": found.outcomes["leases"],
        "evictions": found.outcomes["evicted"],
        "evictions that a lease kept off": found.outcomes["leased"],
    }
    soak.note(str(rounds.start), found.violations, figures)
    if soak.figures["rounds"] % 50_000 == 0:
        soak.tell(f"{soak.figures['rounds']:,} rounds")


if __name__ == "__main__":
    sys.exit(main())
