"""Every interleaving of the models: each configuration whole, then each rule taken out.

`python -m tests.soak.models`. A line for each search as it ends. A finding is a configuration that
violates what it promises, or does not come to its end; and a rule that nobody misses.
"""

import functools
import sys

from tests.models.runs import ALL, BUGS, Outcome, Run
from tests.soak.running import Soak, arguments


def main() -> int:
    """Run, and return the exit code."""
    given = arguments("Search the models of docs/models.").parse_args()
    soak = Soak("models", given)
    runs = [*(one for run in ALL for one in run.alone()), *BUGS]
    left = [run for run in runs if not soak.has_done(str(run))]
    return soak.end(finished=soak.try_all(left, _search, functools.partial(_note, soak)))


def _search(run: Run) -> list[Outcome]:
    return list(run.outcomes())


def _note(soak: Soak, run: Run, outcomes: list[Outcome]) -> None:
    """Tell of every configuration, and note what is not as it is expected."""
    if run.bug:
        missed = any(run.violates in outcome.found for outcome in outcomes)
        findings = [] if missed else [f"{run}: nothing is violated without it"]
    else:
        findings = [f"{outcome.title}: violated" for outcome in outcomes if not outcome.holds]
    for outcome in outcomes:
        found = " ".join(sorted(outcome.found)) or "-"
        title = f"{outcome.title} without {run.bug}" if run.bug else outcome.title
        soak.tell(f"{title:52} {outcome.states:9} states {outcome.seconds:7.1f} s  {found}")
    counted = "rules taken out" if run.bug else "configurations"
    states = sum(outcome.states for outcome in outcomes)
    soak.note(str(run), findings, {counted: 1, "states": states})


if __name__ == "__main__":
    sys.exit(main())
