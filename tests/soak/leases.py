"""Leases against evictions, a million times: which call of the one meets which of the other.

`python -m tests.soak.leases`. Readers live in namespaces of their own and are the client's code;
the evictor is the cache's. What a reader has leased has to stand, whole, until it lets go. In each
round the version is evicted, published again, and evicted again.
"""

import random
import sys

from tests.soak.running import Soak, arguments
from tests.support.mutants import MUTANTS
from tests.support.racing import racing
from tests.support.scratch import scratch_folder

_ROUNDS_A_TREE = 1000


def race(soak: Soak, rounds: range, mutant: str, careless: bool) -> bool:
    """Race so many rounds; tell whether there was time for all."""
    source = random.Random(f"{soak.seed}:{rounds.start}")
    with (
        scratch_folder() as folder,
        racing(folder, bug=MUTANTS[mutant], careless=careless) as racers,
    ):
        for _ in rounds:
            if soak.is_over:
                return False
            racers.meet_at_random(source)
        found = racers.figures
    figures = {
        "rounds": len(rounds),
        "leases": found.outcomes["leases"],
        "evictions": found.outcomes["evicted"],
        "evictions that a lease kept off": found.outcomes["leased"],
    }
    soak.note(str(rounds.start), found.violations, figures)
    return True


def main() -> int:
    """Run, and return the exit code."""
    parser = arguments("Race leases against evictions.")
    parser.add_argument("--rounds", type=int, default=500_000)
    parser.add_argument("--mutant", choices=MUTANTS, default="", help="seed a bug into evictions")
    parser.add_argument("--careless", action="store_true", help="seed a bug into the readers")
    given = parser.parse_args()
    soak, finished = Soak("leases", given), True
    for first in range(0, given.rounds, _ROUNDS_A_TREE):
        if (given.mutant or given.careless) and soak.findings:
            break
        rounds = range(first, min(first + _ROUNDS_A_TREE, given.rounds))
        if not soak.has_done(str(first)):
            finished = finished and race(soak, rounds, given.mutant, given.careless)
    return soak.end(finished=finished)


if __name__ == "__main__":
    sys.exit(main())
