"""Random histories of one store and one ASSETS_DIR, the same for whoever lives through them.

A history is a list of steps in the words of both libraries: what is pushed, fetched, resolved, and
what an operator does to the cache by hand. Knows neither assetd nor
modelkit; `writing` thinks histories up.
"""

import os
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Final

from tests.support.trees import Tree, write_tree

MAJOR_MINOR: Final = "major_minor"
SIMPLE_DATE: Final = "simple_date"


class Action(Enum):
    """What one step does."""

    NEW = "new"
    UPDATE = "update"
    BUMP_MAJOR = "update --bump-major"
    NEW_EXACT = "new, exact"
    EXACT = "update, exact"
    FETCH = "fetch"
    FORCE = "fetch --download"
    ALONE = "fetch without a store"
    FORCE_ALONE = "fetch --download without a store"
    RESOLVE = "resolve"
    PLACE = "by hand: place"
    UNMARK = "by hand: unmark"
    DROP = "by hand: drop"


PUSHES: Final = {
    Action.NEW,
    Action.UPDATE,
    Action.BUMP_MAJOR,
    Action.NEW_EXACT,
    Action.EXACT,
}
# Stands for the folder that modelkit works in, of which no history knows where it is.
FOLDER: Final = "{folder}"

ALONE: Final = {Action.ALONE, Action.FORCE_ALONE}
BY_HAND: Final = {Action.PLACE, Action.UNMARK, Action.DROP}


class Party(Enum):
    """Who takes a step."""

    MODELKIT = "modelkit"
    ASSETD = "assetd"


@dataclass(frozen=True)
class Content:
    """What is pushed or placed: a file or folder that a seed decides, and what is odd about it."""

    seed: int
    is_directory: bool
    oddity: str = ""

    def write(self, path: Path) -> Path:
        """Write it and return the path of what is to be pushed."""
        if not self.is_directory:
            path.write_bytes(self.tree[""])
            return _make_odd(path, self.oddity)
        path.mkdir()
        write_tree(path, self.tree)
        return _make_odd(path, self.oddity)

    @property
    def tree(self) -> Tree:
        """The files that are not odd, each by its path; of a file, itself as ""."""
        source = random.Random(self.seed)
        if not self.is_directory:
            return {"": source.randbytes(source.choice((0, 1, 700, 9000)))}
        if self.oddity == "nothing in it":
            return {}
        paths = ["content0", *source.sample(_PATHS, source.randint(0, 4))]
        return {path: source.randbytes(source.choice((0, 3, 5000))) for path in paths}


_PATHS: Final = (
    "sub/content1",
    "sub/deeper/x.y",
    "0.0",
    "a b",
    "\u00e4\u00f6",
    "x.meta",
    "sub/content1.versions",
)
# What is in a folder beside its files, of which one library takes notice and the other does not.
_ODD_FILES: Final = {
    "a dotfile": ".gitattributes",
    "a folder that begins with a dot": ".git/config",
    "a part called .SUCCESS": "sub/.SUCCESS",
    "a backslash": "back\\slash",
    "a control character": "bell\x07",
    "a name that is not UTF-8": os.fsdecode(b"caf\xe9"),
}
ODDITIES: Final = (
    *_ODD_FILES,
    "an empty folder",
    "nothing in it",
    "a link",
    "a hard link",
    "a FIFO",
)


def _make_odd(path: Path, oddity: str) -> Path:
    if oddity in _ODD_FILES:
        write_tree(path, {_ODD_FILES[oddity]: b"odd"})
    elif oddity == "an empty folder":
        (path / "empty").mkdir()
    elif oddity == "a link":
        (path / "link").symlink_to(path / "content0")
    elif oddity == "a hard link":
        (path / "twin").hardlink_to(path / "content0")
    elif oddity == "a FIFO":
        os.mkfifo(path / "fifo")
    elif oddity == "a link in its place":
        link = path.with_name(f"{path.name}-link")
        link.symlink_to(path)
        return link
    return path


@dataclass(frozen=True)
class Step:
    """One thing that happens. `name`, `version` and `part` are what stands in the spec."""

    action: Action
    name: str
    version: str = ""
    part: str | None = None
    content: Content | None = None
    marked: bool = True
    # What the clock says more than at the step before, and who takes the step where both could.
    seconds: int = 7
    party: Party = Party.ASSETD
    # Whatever is odd about the step was meant, and stands for one row of the table.
    edge: str = ""

    @property
    def suffix(self) -> str:
        """What stands behind the name in the spec."""
        part = "" if self.part is None else f"[{self.part}]"
        return (f":{self.version}" if self.version else "") + part

    def __str__(self) -> str:
        what = f"{self.action.value} {self.name + self.suffix!r}"
        if self.content is not None:
            kind = "folder" if self.content.is_directory else "file"
            odd = f" with {self.content.oddity}" if self.content.oddity else ""
            what += f" from {kind} {self.content.seed}{odd}"
        marked = "" if self.marked else ", without a marker"
        return f"{what}{marked}  (+{self.seconds} s; crossed: {self.party.value})"


@dataclass(frozen=True)
class History:
    """Some steps on one store, with one versioning system."""

    seed: int
    number: int
    system: str
    steps: tuple[Step, ...]

    def with_steps(self, steps: Sequence[Step]) -> "History":
        """Return the same history with other steps."""
        return replace(self, steps=tuple(steps))

    def __str__(self) -> str:
        lines = [f"history {self.number} of seed {self.seed}, {self.system}:"]
        return "\n  ".join(lines + [f"{i}. {step}" for i, step in enumerate(self.steps)])
