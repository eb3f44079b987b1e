"""The scenarios as their files say them, and the texts in them that only a run can know."""

import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

FOLDER: Final = Path(__file__).parent / "scenarios"

Fields = Mapping[str, Any]

_HOLE = re.compile(r"\{([a-z_]+)(?:[:.]([^{}]*))?\}")


@dataclass(frozen=True)
class Scenario:
    """What is given, done and expected.

    Attributes:
        name: one sentence; `slug` makes a folder of it.
        given: what the world holds before.
        steps: what the runner does (`do`) and what happens to it (`world`), in turn.
        daemon: variables of a daemon of the scenario's own; None for the one that all share.
            `{sources}` in them is the folder of what `{source:TREE}` names.
        cut: that daemon is reached through a port whose connections can be cut.
        fast: the runner is told ASSETS_DIR; for languages alone that find versions without a call.
        script: what a made-up daemon answers; None for a real one.
    """

    name: str
    steps: Sequence[Fields]
    given: Sequence[Fields] = ()
    daemon: Mapping[str, str] | None = None
    cut: bool = False
    fast: bool = False
    script: Fields | None = None

    @property
    def slug(self) -> str:
        """The name, as an asset's name may have it."""
        return re.sub(r"[^a-z0-9]+", "-", self.name.lower())[:60].strip("-")


def load() -> list[Scenario]:
    """Return all scenarios, in the order of their files.

    Raises:
        ValueError, TypeError: one is not written as it should be.
    """
    files = [tomllib.loads(path.read_text()) for path in sorted(FOLDER.glob("*.toml"))]
    found = [Scenario(**_with_rows(table)) for file in files for table in file["scenario"]]
    names = [scenario.slug for scenario in found]
    if doubled := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"two scenarios have one name: {doubled}")
    return found


def _with_rows(table: dict[str, Any]) -> dict[str, Any]:
    """Return the table with its steps, and a script's lists, once for each row of `each`."""
    rows = table.pop("each", None)
    if rows is None:
        return table

    def repeated(pattern: list[Any]) -> list[Any]:
        return [filled(one, partial(_from_row, row)) for row in rows for one in pattern]

    table["steps"] = repeated(table["steps"])
    table["script"] = {key: repeated(one) for key, one in table.get("script", {}).items()} or None
    return table


def _from_row(row: Fields, word: str, argument: str) -> Any:
    # What is no row's is found by whoever plays the scenario.
    return (
        row[argument] if word == "each" else "{" + word + (f":{argument}" if argument else "") + "}"
    )


def filled(value: Any, find: Callable[[str, str], Any]) -> Any:
    """Return the value with each `{word}`, `{word:argument}` and `{word.argument}` found.

    A text that is nothing else becomes what was found, whatever its type.
    """
    if isinstance(value, str):
        whole = _HOLE.fullmatch(value)
        if whole is not None:
            return find(whole[1], whole[2] or "")
        return _HOLE.sub(lambda hole: str(find(hole[1], hole[2] or "")), value)
    if isinstance(value, Mapping):
        return {key: filled(inner, find) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [filled(inner, find) for inner in value]
    return value
