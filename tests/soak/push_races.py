"""Ten thousand races of pushers for one version.

`python -m tests.soak.push_races`. Of two or four pushers, each with a daemon of its own, one wins,
and the bucket holds the winner's bytes.
"""

import sys
import tempfile
from pathlib import Path

from tests.soak.running import Soak, arguments
from tests.support.push_crowd import STORES
from tests.support.push_races import push_races

_RACES_A_STORE = 250


def race(soak: Soak, kind: str, numbers: range) -> bool:
    """Race so often on a new store; tell whether there was time for all."""
    findings = []
    with (
        tempfile.TemporaryDirectory(prefix="assetd-") as folder,
        push_races(kind, Path(folder), soak.seed) as races,
    ):
        for number in numbers:
            if soak.is_over:
                return False
            findings += races.race(number)
        figures = races.figures
    soak.note(f"{kind} {numbers.start}", findings, figures)
    return True


def main() -> int:
    """Run, and return the exit code."""
    parser = arguments("Race pushers for one version.")
    parser.add_argument("--races", type=int, default=10_000)
    given = parser.parse_args()
    soak, finished = Soak("push-races", given), True
    for number, first in enumerate(range(0, given.races, _RACES_A_STORE)):
        kind = STORES[number % len(STORES)]
        numbers = range(first, min(first + _RACES_A_STORE, given.races))
        if not soak.has_done(f"{kind} {first}"):
            finished = race(soak, kind, numbers) and finished
    return soak.end(finished=finished)


if __name__ == "__main__":
    sys.exit(main())
