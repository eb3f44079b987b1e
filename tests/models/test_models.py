"""The models of the protocols hold in short configurations, and fail without the rules they show.

All configurations and all rules: `make soak-models`.
"""

import pytest

from tests.models.runs import BUGS_SHORT, SHORT, Run, outcome_of

pytestmark = pytest.mark.xdist_group("models")


@pytest.mark.parametrize("run", SHORT, ids=str)
def test_the_protocol_holds(run: Run) -> None:
    """No interleaving, kill or power cut that the configuration allows breaks an invariant."""
    outcomes = list(run.outcomes())
    assert len(outcomes) >= len(run.configurations)
    assert [outcome for outcome in outcomes if not outcome.holds] == []


@pytest.mark.parametrize("run", BUGS_SHORT, ids=str)
def test_a_model_misses_the_rule_that_is_taken_out(run: Run) -> None:
    """The search is believed because without a rule it finds what the rule prevents."""
    found = [outcome.found for outcome in run.outcomes()]
    assert any(run.violates in violations for violations in found), found


@pytest.mark.parametrize(
    ("line", "found", "holds"),
    [
        ("file-plain      1971 states    0.2 s  holds", set(), True),
        ("file-plain   8 states    0.2 s  1 partial by us; 6e marker beside", {"1", "6e"}, False),
        ("dir-modelkit/ours  8 states    0.2 s  6e marker beside data", {"6e"}, True),
        ("dir-readers   1514 states  115.0 s  ! out of time", {"!"}, False),
        ("fence/AAB     7746 states     20106 steps    1 s violated: none", set(), True),
        ("fence/AB.late2   1 states    3 steps    0 s violated: 6v", {"6v"}, True),
        ("fence/AB.late2   1 states    3 steps    0 s violated: 1 6v", {"1", "6v"}, False),
        ("fence/mk.AB      1 states    3 steps    0 s violated: 1 3", {"1", "3"}, True),
        ("fence/AB   1 states  3 steps  118 s NOT EXHAUSTED violated: none", {"!"}, False),
    ],
)
def test_a_line_of_a_model_is_understood(line: str, found: set[str], holds: bool) -> None:
    """A violation, and a search that did not come to its end, are never read as success."""
    outcome = outcome_of(line)
    assert outcome.found == found
    assert outcome.holds == holds
