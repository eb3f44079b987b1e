"""docs/faults.md: every case of cache and push has a row, and what it says of tests is true."""

import ast
import re
from dataclasses import dataclass

import pytest

from tests.conftest import ROOT

DOCUMENT = ROOT / "docs/faults.md"
# Those of the catalogue that concern the cache, pushes and their sources, and what is read from
# others.
NUMBERS = [
    *range(1, 61),
    *range(71, 74),
    *range(78, 104),
    *(111, 112, 115, 117, 118, 119, 121, 122, 125),
]
STATES = {"covered", "in part", "later", "out of reach"}


@dataclass(frozen=True)
class Row:
    """One case: its number, its state, the tests that it names, and what is missing."""

    number: int
    state: str
    tests: tuple[str, ...]
    note: str


def rows() -> list[Row]:
    """The table, row by row."""
    cells = [
        [cell.strip() for cell in line.strip("|\n").split("|")]
        for line in DOCUMENT.read_text().splitlines()
        if re.match(r"\| \d", line)
    ]
    return [
        Row(int(number), state, tuple(re.findall(r"`([^`]+\.py::[^`]+)`", tests)), note)
        for number, _, state, tests, note in cells
    ]


def exists(test: str) -> bool:
    """Whether a file below `tests/` has a test function of that name."""
    path, _, name = test.partition("::")
    file = ROOT / "tests" / path
    return file.is_file() and any(
        isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name
        for node in ast.walk(ast.parse(file.read_text()))
    )


def test_every_case_has_a_row() -> None:
    """What is not covered is said to be so, not left out."""
    assert [row.number for row in rows()] == NUMBERS
    assert {row.state for row in rows()} <= STATES


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.number)
def test_a_row_says_what_is_true(row: Row) -> None:
    """The tests that it names exist; it names some unless there are none, and then it says so."""
    assert [test for test in row.tests if not exists(test)] == []
    assert bool(row.tests) == (row.state in {"covered", "in part"})
    assert row.note or row.state not in {"in part", "out of reach"}


def test_a_test_that_is_gone_is_noticed() -> None:
    """The check can fail."""
    assert exists("unit/test_fault_catalogue.py::test_a_test_that_is_gone_is_noticed")
    assert not exists("unit/test_fault_catalogue.py::test_that_nobody_wrote")
    assert not exists("unit/test_that_is_not_there.py::test_it")
