"""Kills, at random microseconds and calls, of processes that start, publish, replace and evict.

`python -m tests.soak.kills`. The judge is another process than the one that is killed, and knows
what that one had said. In memory, where the machine has such a place: a kill loses nothing that
was written.
"""

import sys

from tests.soak.running import Soak, arguments
from tests.support.killing import Killing
from tests.support.mutants import MUTANTS
from tests.support.scratch import scratch_folder

_KILLS_A_TREE = 200


def kill(soak: Soak, numbers: range, mutant: str) -> bool:
    """Kill so many times on one ASSETS_DIR; tell whether there was time for all."""
    findings = []
    with scratch_folder() as folder:
        killing = Killing(folder, soak.seed, mutant)
        for number in numbers:
            if soak.is_over:
                return False
            findings += killing.live(number)
        findings += killing.end()
    figures = {
        "kills": len(numbers),
        "during an operation": killing.under_way,
        "during a start": killing.starting,
    }
    soak.note(str(numbers.start), findings, figures)
    return True


def main() -> int:
    """Run, and return the exit code."""
    parser = arguments("Kill at random, and look at what is left.")
    parser.add_argument("--kills", type=int, default=20_000)
    parser.add_argument("--mutant", choices=MUTANTS, default="", help="seed a bug")
    given = parser.parse_args()
    soak, finished = Soak("kills", given), True
    for first in range(0, given.kills, _KILLS_A_TREE):
        if given.mutant and soak.findings:
            break
        numbers = range(first, min(first + _KILLS_A_TREE, given.kills))
        if not soak.has_done(str(first)):
            finished = finished and kill(soak, numbers, given.mutant)
    return soak.end(finished=finished)


if __name__ == "__main__":
    sys.exit(main())
