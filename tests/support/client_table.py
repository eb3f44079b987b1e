"""The table of the clients' scenarios, printed when the tests have ended."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, Final

# As a test of a scenario records it: the language, and the scenario's name.
PROPERTY: Final = "client_scenario"
_SIGNS: Final = {"passed": "ok", "failed": "FAILED", "skipped": "skipped", "error": "FAILED"}


def table(reports: Iterable[Any]) -> Iterator[str]:
    """Give the lines: scenarios down, languages across. Nothing where none was played.

    A test has a report for each of its phases; the worst one counts.
    """
    outcomes: dict[str, dict[str, str]] = defaultdict(dict)
    languages: dict[str, None] = {}
    for report in reports:
        for name, value in getattr(report, "user_properties", ()):
            if name == PROPERTY:
                language, scenario = value
                languages[language] = None
                worse = report.outcome != "passed"
                if worse or language not in outcomes[scenario]:
                    outcomes[scenario][language] = _SIGNS[report.outcome]
    if not outcomes:
        return
    width = max(map(len, outcomes))
    ordered = sorted(languages)
    yield f"{'scenario':{width}}  " + "  ".join(f"{name:10}" for name in ordered)
    for scenario, by_language in outcomes.items():
        # What a language does not have, such as a way without a call, it cannot be asked.
        cells = (f"{by_language.get(name, '-'):10}" for name in ordered)
        yield f"{scenario:{width}}  " + "  ".join(cells).rstrip()
