"""docs/semantics.md: every promise is one sentence, and every sentence has its test."""

import ast
import re
from collections.abc import Iterator

import pytest

from tests.conftest import ROOT

DOCUMENT = ROOT / "docs/semantics.md"
ITEM = re.compile(r"^- \*\*([A-Z])(\d+)\*\* (.+?)(?=^- |^#|\Z)", re.MULTILINE | re.DOTALL)


def promises(text: str) -> dict[str, str]:
    """The sentences by their numbers, each on one line."""
    return {f"{group}{number}": one_line(words) for group, number, words in ITEM.findall(text)}


def one_line(text: str) -> str:
    """The text without line breaks."""
    return " ".join(text.split())


def docstrings(module: str) -> Iterator[str]:
    """Every paragraph of the docstring of every test in a module's text."""
    for node in ast.walk(ast.parse(module)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name[:5] == "test_":
            for paragraph in (ast.get_docstring(node) or "").split("\n\n"):
                yield one_line(paragraph)


def without_a_test(sentences: dict[str, str], modules: list[str]) -> list[str]:
    """The sentences that begin no paragraph of a test's docstring."""
    told = [paragraph for module in modules for paragraph in docstrings(module)]
    return [
        f"{number}: {sentence}"
        for number, sentence in sentences.items()
        if not any(paragraph.startswith(sentence) for paragraph in told)
    ]


def test_every_promise_has_a_test() -> None:
    """A sentence that nobody tests is a wish: each is the beginning of a test's docstring."""
    sentences = promises(DOCUMENT.read_text())
    modules = [path.read_text() for path in sorted((ROOT / "tests").rglob("test_*.py"))]
    assert without_a_test(sentences, modules) == []


def test_promises_are_numbered_in_order() -> None:
    """F1, F2 and so on; so none is passed over by the test above for how it is written."""
    text = DOCUMENT.read_text().partition("## Not promised")[0]
    numbers = [(group, int(number)) for group, number, _ in ITEM.findall(text)]
    groups = list(dict.fromkeys(group for group, _ in numbers))
    counts = {group: [n for g, n in numbers if g == group] for group in groups}
    assert numbers == [(group, n) for group in groups for n in range(1, len(counts[group]) + 1)]
    assert len(numbers) == text.count("\n- ")


def test_no_promise_is_made_twice() -> None:
    """Two sentences that are equal are one."""
    sentences = list(promises(DOCUMENT.read_text()).values())
    assert len(set(sentences)) == len(sentences)


TESTED = '''
def test_it() -> None:
    """It is kept.

    It is kept over
    two lines. And more.
    """
'''


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ("- **F1** It is kept.", []),
        ("- **F1** It is kept\n  over two lines.", []),
        ("- **F1** It is.", ["F1: It is."]),
        ("- **F1** And more.", ["F1: And more."]),
        ("- **F1** It is kept.\n- **F2** It is not kept.", ["F2: It is not kept."]),
    ],
)
def test_a_promise_without_a_test_is_found(item: str, expected: list[str]) -> None:
    """The check can fail."""
    assert without_a_test(promises(item), [TESTED]) == expected
