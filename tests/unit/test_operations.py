"""docs/operations.md: an operator finds every reason and every warning in it."""

import ast
import re

from assetd.v1.error_reason_pb2 import ErrorReason

from tests.conftest import ROOT

DOCUMENT = ROOT / "docs/operations.md"
CONFIG = ROOT / "service/src/assetd_server/config.py"


def section(title: str) -> str:
    """The text below a title, up to the next one."""
    return DOCUMENT.read_text().partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def test_every_reason_is_explained_once() -> None:
    """Whoever reads a reason in a log finds what to do about it."""
    rows = [line.split("|")[1] for line in section("Errors").splitlines() if line.startswith("| `")]
    found = [reason for row in rows for reason in re.findall(r"`(\w+)`", row)]
    known = [name.removeprefix("ERROR_REASON_") for name in ErrorReason.keys()[1:]]
    assert sorted(found) == sorted(known)


def warnings_of(source: str) -> list[str]:
    """The words of each warning that the configuration may give, values left out."""
    calls = [
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("warnings.append")
    ]
    return ["".join(words(call.args[0])) for call in calls]


def words(text: ast.expr) -> list[str]:
    """The constant pieces of a string, with an ellipsis for each value."""
    if isinstance(text, ast.JoinedStr):
        return [str(v.value) if isinstance(v, ast.Constant) else "…" for v in text.values]
    assert isinstance(text, ast.Constant)
    return [str(text.value)]


def test_every_warning_is_explained() -> None:
    """A warning that is added has a row, which begins with its words."""
    rows = re.findall(r"^\| `([^`]+)` \|", section("Warnings"), re.MULTILINE)
    # A variable that is named by its constant is a name in the row.
    begins = [re.sub(r"MODELKIT_\w+|OTEL_\w+", "…", row) for row in rows]
    given = warnings_of(CONFIG.read_text())
    assert len(given) >= 5
    assert [text for text in given if not any(text.startswith(b) for b in begins)] == []
