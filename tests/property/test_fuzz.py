"""Fuzz: every reader of what others wrote, by input that is bred by the branches it takes.

Here for a minute, with so much input for each target; `make soak-fuzz` has five million each. The
bugs that are seeded are sought in the same way. What was found once stands in the tests of
the reader that it was found in.
"""

import pytest

from tests.fuzz.catalogue import NAMES
from tests.fuzz.running import IS_THERE, fuzz
from tests.fuzz.seeded import BUGS

SEED = 1
RUNS = {
    "spec": 50_000,
    "name": 50_000,
    "version": 100_000,
    "part": 50_000,
    "parts": 25_000,
    "fast-path": 60_000,
    "prefix": 30_000,
    "manifest": 40_000,
    "index": 30_000,
    "claim": 30_000,
    "receipt": 20_000,
    "client-receipt": 15_000,
    "journal": 20_000,
    "token": 60_000,
    "request": 80_000,
    "partial": 20_000,
    "pin": 20_000,
    "use-order": 20_000,
    "push-record": 20_000,
}

needs_the_engine = pytest.mark.skipif(
    not IS_THERE, reason="the engine, atheris, is built for x86_64 only"
)


@needs_the_engine
@pytest.mark.parametrize("target", NAMES)
def test_no_input_breaks_a_reader(target: str) -> None:
    """Whatever is sent or stored, a reader returns something sound or refuses in its own words.

    No other error, no path that leaves its folder, no file opened that need not be.

    A text takes a reader 10 ms of a processor at most, a document that or 1 µs a byte.
    The documents here have up to 64 KiB; while branches are traced each byte has 4 µs.
    """
    fuzzed = fuzz(target, RUNS[target], SEED)
    print(fuzzed)  # noqa: T201 - the counts are part of the proof: `pytest -rP` shows them
    assert fuzzed.finding == "", fuzzed.details
    assert fuzzed.inputs == RUNS[target]
    # All that is refused would say nothing of what is accepted.
    assert fuzzed.accepted > RUNS[target] // 1000


@needs_the_engine
@pytest.mark.parametrize("name", BUGS)
def test_the_fuzz_finds_a_seeded_bug(name: str) -> None:
    """The test above can fail: with a bug in the reader it does, and most often at once."""
    bug = BUGS[name]
    # By bad luck it might take longer than the input above; it ends with the finding.
    fuzzed = fuzz(bug.target, 4 * RUNS[bug.target], SEED, bug=name)
    assert fuzzed.finding != ""
    assert fuzzed.inputs > 0, fuzzed.details
