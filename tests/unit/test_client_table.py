"""The table that the clients' suite prints at its end."""

from dataclasses import dataclass

from tests.support.client_table import PROPERTY, table


@dataclass
class Report:
    """One phase of a test, as pytest tells it."""

    outcome: str
    language: str = ""
    scenario: str = "a hit"

    @property
    def user_properties(self) -> list[tuple[str, object]]:
        """What the test recorded."""
        return [(PROPERTY, (self.language, self.scenario))] if self.language else [("other", 1)]


def test_scenarios_go_down_and_languages_across() -> None:
    """What a language did not play is a dash; what was skipped, or failed in any phase, says so."""
    reports = [
        *(Report("passed", "go"), Report("passed", "go")),
        *(Report("passed", "rust"), Report("failed", "rust"), Report("passed", "rust")),
        *(Report("passed"), Report("skipped", "java")),
        Report("passed", "go", "a miss"),
    ]
    lines = [line.split("  ") for line in table(reports)]
    cells = [[cell.strip() for cell in line if cell.strip()] for line in lines]
    assert cells == [
        ["scenario", "go", "java", "rust"],
        ["a hit", "ok", "skipped", "FAILED"],
        ["a miss", "ok", "-", "-"],
    ]


def test_nothing_was_played() -> None:
    """There is no table, and so no headline over none."""
    assert list(table([Report("passed")])) == []
