"""Runs everything: each model whole, then without each rule; `make soak-models`.

A line for each configuration as it ends. Exit code 1 where something is not as expected.
"""

import sys
from collections.abc import Iterable

from tests.models.runs import ALL, BUGS, Outcome


def main() -> int:
    """Run all and return the exit code."""
    unexpected = [*protocols(), *rules()]
    say(f"{len(unexpected)} unexpected: {'; '.join(unexpected) or 'all is as it should be'}")
    return 1 if unexpected else 0


def protocols() -> Iterable[str]:
    """Tell of every configuration, and yield those that violate what they promise."""
    for run in ALL:
        for outcome in run.outcomes():
            tell(outcome.title, outcome, "holds" if outcome.holds else "VIOLATED")
            if not outcome.holds:
                yield outcome.title


def rules() -> Iterable[str]:
    """Tell of every rule that is taken out, and yield those that nobody misses."""
    for run in BUGS:
        outcomes = list(run.outcomes())
        missed = any(run.violates in outcome.found for outcome in outcomes)
        for outcome in outcomes:
            tell(
                f"{outcome.title} without {run.bug}", outcome, "as expected" if missed else "HOLDS"
            )
        if not missed:
            yield str(run)


def tell(title: str, outcome: Outcome, verdict: str) -> None:
    """Say what one configuration came to."""
    found = " ".join(sorted(outcome.found)) or "-"
    say(f"{title:52} {outcome.states:9} states {outcome.seconds:7.1f} s  {found:12} {verdict}")


def say(line: str) -> None:
    """Write a line at once: the whole takes its time."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
