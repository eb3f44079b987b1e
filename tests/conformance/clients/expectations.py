"""What a scenario expects, compared with what a runner said."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

from tests.conformance.clients.scenarios import Fields

_FIGURES = ("present_bytes", "received_bytes", "stored_bytes")


def assert_like(got: Any, wanted: Any, place: str = "") -> None:
    """Fail unless `got` is what is wanted.

    Of a table its fields alone count, whatever stands beside them; `{absent = true}` is one that is
    not there. A table of one of these keys is a question instead: `none` (whether it is null),
    `at_least`, `at_most`, `length`, `length_at_most`, `matches`, `contains`.
    """
    if (
        isinstance(wanted, Mapping)
        and len(wanted) == 1
        and not _QUESTIONS.keys().isdisjoint(wanted)
    ):
        ((question, argument),) = wanted.items()
        assert _QUESTIONS[question](got, argument), (
            f"{place} is {got!r}, and should be {question} {argument!r}"
        )
    elif isinstance(wanted, Mapping):
        assert isinstance(got, Mapping), f"{place} is {got!r}"
        for name, inner in wanted.items():
            if inner == {"absent": True}:
                assert name not in got, f"{place}.{name} is there: {got!r}"
                continue
            assert name in got, f"{place}.{name} is missing: {got!r}"
            assert_like(got[name], inner, f"{place}.{name}")
    elif isinstance(wanted, list):
        assert len(got) == len(wanted), f"{place} has {len(got)}, not {len(wanted)}: {got!r}"
        for number, (one, inner) in enumerate(zip(got, wanted, strict=True)):
            assert_like(one, inner, f"{place}[{number}]")
    else:
        assert got == wanted, f"{place} is {got!r}, and should be {wanted!r}"


_QUESTIONS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "none": lambda got, is_none: (got is None) == is_none,
    "at_least": lambda got, least: got >= least,
    "at_most": lambda got, most: got <= most,
    "length": lambda got, length: len(got) == length,
    "length_at_most": lambda got, most: len(got) <= most,
    "matches": lambda got, pattern: re.fullmatch(pattern, got) is not None,
    "contains": lambda got, part: part in got,
}


def assert_honest(reports: Iterable[Fields]) -> None:
    """Fail unless progress keeps what is promised of all progress, whatever a scenario says.

    No figure falls within one attempt, no attempt falls, and nothing exceeds its total.
    """
    reports = list(reports)
    for before, now in pairwise(reports):
        assert now.get("attempt", 0) >= before.get("attempt", 0), f"{now} came after {before}"
        if now.get("attempt") == before.get("attempt"):
            for name in _FIGURES:
                assert now.get(name, 0) >= before.get(name, 0), f"{now} came after {before}"
    for report in reports:
        total = report.get("total_bytes")
        assert total is None or all(report.get(name, 0) <= total for name in _FIGURES), report


def assert_progress(reports: Sequence[Fields], wanted: Fields | str) -> None:
    """Fail unless the reports are as wanted: `none`, `some`, or a table.

    In a table `at_least` is how many there are, `phases` which have to be among them, `last` the
    last one's fields, `attempts` how many attempts they tell of, and `figures` attempt and present
    bytes of each.
    """
    assert_honest(reports)
    if isinstance(wanted, str):
        assert {"none": not reports, "some": bool(reports)}[wanted], reports
        return
    assert len(reports) >= wanted.get("at_least", 0), reports
    missing = set(wanted.get("phases", ())) - {report["phase"] for report in reports}
    assert not missing, f"no report of {missing}: {reports}"
    if "attempts" in wanted:
        assert len({report["attempt"] for report in reports}) == wanted["attempts"], reports
    if "figures" in wanted:
        figures = [[report["attempt"], report["present_bytes"]] for report in reports]
        assert figures == wanted["figures"], reports
    if "last" in wanted:
        assert_like(reports[-1], wanted["last"], "the last report")
