"""Histories that a seed thinks up: ordinary steps, and some that are odd on purpose.

The odd ones come in turn, so that after `ROUND` histories each has been asked in each versioning
system that has it.
"""

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from tests.differential.histories import (
    BY_HAND,
    FOLDER,
    MAJOR_MINOR,
    ODDITIES,
    PUSHES,
    SIMPLE_DATE,
    Action,
    Content,
    History,
    Party,
    Step,
)

_EDGES_EACH: Final = 4

# One stands inside another's folder, and one has all characters that a name may have.
NAMES: Final = ("ranker", "nlp/minilm", "nlp", "a/b/c", "x-1_y.z")
NUMBERS: Final = ("0.0", "0.1", "1.0", "1.1", "1.2", "1.10", "2.0", "10.0", "12.3")
DATES: Final = (
    "2021-03-04T05-06-07Z",
    "2021-03-04T05-06-08Z",
    "2024-02-29T00-00-00Z",
    "1999-12-31T23-59-59Z",
)


def history(seed: int, number: int) -> History:
    """Return history `number` of that seed, of about 10 to 30 steps.

    In each some things are asked that are odd on purpose, in turn: after as many histories as
    `ROUND` each has been asked in each versioning system that has it.
    """
    source = random.Random(f"{seed}-{number}")
    round_number, turn = divmod(number, 3)
    system = SIMPLE_DATE if turn == 2 else MAJOR_MINOR
    of_system = round_number if system == SIMPLE_DATE else 2 * round_number + turn
    writing = _Writing(source, system)
    steps = writing.steps(source.randint(6, 14))
    edges = _EDGES[system]
    for edge in range(_EDGES_EACH * of_system, _EDGES_EACH * (of_system + 1)):
        at = source.randint(1, len(steps))
        steps[at:at] = edges[edge % len(edges)](writing)
    return History(seed, number, system, tuple(steps))


@dataclass
class _Writing:
    """A history while it is thought up."""

    source: random.Random
    system: str
    names: list[str] = field(init=False)
    versions: Sequence[str] = field(init=False)
    _last_seed: int = 0

    def __post_init__(self) -> None:
        self.names = self.source.sample(NAMES, self.source.randint(2, 3))
        self.versions = NUMBERS if self.system == MAJOR_MINOR else DATES

    def steps(self, count: int) -> list[Step]:
        """Return the steps that both libraries mean alike, at most a few of which differ."""
        actions = list(_WEIGHTS)
        steps = [self.step(Action.NEW, self.names[0])]
        chosen = self.source.choices(actions, [_WEIGHTS[a] for a in actions], k=count)
        return steps + [self.step(action, self.source.choice(self.names)) for action in chosen]

    def step(self, action: Action, name: str) -> Step:
        """Return one step of that kind."""
        version, part, content = "", None, None
        if action in PUSHES or action is Action.PLACE:
            content = self.content()
            if action in {Action.EXACT, Action.NEW_EXACT, Action.PLACE}:
                version = self.source.choice(self.versions)
            elif action is Action.UPDATE and self.chance(0.3):
                version = self.major()
        elif action in BY_HAND:
            version = self.source.choice(self.versions)
        else:
            version = self.selector()
            part = None if action is Action.RESOLVE else self.part()
        if action is Action.BUMP_MAJOR and self.system == SIMPLE_DATE:
            action = Action.UPDATE
        return self.make(action, name, version, part=part, content=content)

    def make(self, action: Action, name: str, version: str = "", **more: object) -> Step:
        """Return a step at some time, of some party."""
        step = Step(action, name, version, marked=self.chance(0.7))
        seconds = self.source.choice((1, 7, 100_000))
        return replace(
            step,
            seconds=seconds,
            party=self.source.choice(list(Party)),
            **more,  # type: ignore[arg-type]
        )

    def content(self, *, is_directory: bool | None = None, oddity: str = "") -> Content:
        """Return some content; now and then what the history has seen already."""
        if not self.chance(0.15):
            self._last_seed = self.source.randrange(1 << 32)
        # The same seed is the same kind: so that it is the same content.
        kind = bool(self._last_seed % 2) if is_directory is None else is_directory
        return Content(self._last_seed, kind, oddity)

    def chance(self, likelihood: float) -> bool:
        """Tell yes as often as that."""
        return self.source.random() < likelihood

    def major(self) -> str:
        """Return a line of versions, where there are any."""
        if self.system == SIMPLE_DATE:
            return ""
        return self.source.choice(("0", "1", "2", "10"))

    def selector(self) -> str:
        """Return what a fetch may say of the version."""
        return self.source.choice(("", "", self.major(), self.source.choice(self.versions)))

    def part(self) -> str | None:
        """Return what a fetch may say of a part: mostly nothing."""
        if not self.chance(0.25):
            return None
        return self.source.choice(("content0", "sub", "/sub/content1", "x.meta", "absent", "0.0"))


_WEIGHTS: Final = {
    Action.NEW: 6,
    Action.UPDATE: 18,
    Action.BUMP_MAJOR: 4,
    Action.NEW_EXACT: 4,
    Action.EXACT: 14,
    Action.FETCH: 26,
    Action.FORCE: 5,
    Action.ALONE: 9,
    Action.FORCE_ALONE: 1,
    Action.RESOLVE: 8,
    Action.PLACE: 3,
    Action.UNMARK: 4,
    Action.DROP: 4,
}

_Edge = Callable[[_Writing], list[Step]]


def _push_as(name: str) -> _Edge:
    def edge(writing: _Writing) -> list[Step]:
        version = writing.versions[0]
        content = writing.content()
        edge = f"name {name}"
        pushed = writing.make(Action.NEW_EXACT, name, version, content=content, edge=edge)
        return [pushed, writing.make(Action.FETCH, name, edge=edge)]

    return edge


def _push_with(oddity: str, *, is_directory: bool = True) -> _Edge:
    def edge(writing: _Writing) -> list[Step]:
        content = writing.content(is_directory=is_directory, oddity=oddity)
        name = re.sub(r"[^a-zA-Z]+", "-", oddity)
        return [writing.make(Action.NEW, f"odd/{name}", content=content, edge=oddity)]

    return edge


def _ask(suffix: str, name: str = "{name}", *actions: Action) -> _Edge:
    """Ask for something odd, of an asset that is there."""

    def edge(writing: _Writing) -> list[Step]:
        there = writing.source.choice(writing.names)
        new = writing.make(Action.NEW, there, content=writing.content())
        spec = name.format(name=there, folder=FOLDER)
        version, bracket, part = suffix.partition("[")
        asked = [
            writing.make(
                action,
                spec,
                version.removeprefix(":"),
                part=part.removesuffix("]") if bracket else None,
                edge=f"{name}{suffix}",
            )
            for action in actions or (Action.FETCH, Action.ALONE)
        ]
        return [new, *asked]

    return edge


def _numbers(*steps: tuple[Action, str]) -> _Edge:
    """Do that to a file asset of its own, with numbers that ask for trouble."""
    name = f"numbers/of-{steps[-1][1]}-{len(steps)}"

    def edge(writing: _Writing) -> list[Step]:
        made = []
        for action, version in steps:
            is_push = action in PUSHES
            content = writing.content(is_directory=False) if is_push else None
            step = writing.make(action, name, version, content=content, edge="numbers")
            made.append(replace(step, marked=True))
        return made

    return edge


def _lines(writing: _Writing) -> list[Step]:
    """Versions of lines that begin alike."""
    steps = [
        (Action.NEW_EXACT, "1.5"),
        (Action.EXACT, "10.0"),
        (Action.EXACT, "12.3"),
        (Action.FETCH, "1"),
        (Action.RESOLVE, "1"),
        (Action.ALONE, "1"),
        (Action.UPDATE, "1"),
    ]
    return _numbers(*steps)(writing)


def _overwritten(writing: _Writing) -> list[Step]:
    """A version that is pushed again, with the same and with other content."""
    is_directory = writing.chance(0.7)
    first = writing.content(is_directory=is_directory)
    other = replace(first, seed=first.seed + 2)
    version = writing.versions[0]
    return [
        replace(writing.make(action, "again", version, edge="again"), content=content)
        for action, content in (
            (Action.NEW_EXACT, first),
            (Action.FETCH, None),
            (Action.EXACT, first),
            (Action.FETCH, None),
            (Action.EXACT, other),
            (Action.FETCH, None),
        )
    ]


def _placed(writing: _Writing) -> list[Step]:
    """A version in the cache that the store has not, or has otherwise."""
    older, newer = sorted(writing.versions)[:2]
    content = Content(4711, is_directory=True)
    steps = [
        writing.make(Action.NEW_EXACT, "placed", older, content=content),
        writing.make(Action.FETCH, "placed"),
        writing.make(Action.PLACE, "placed", newer, content=replace(content, seed=4713)),
        writing.make(Action.FETCH, "placed"),
        writing.make(Action.PLACE, "placed", newer, content=replace(content, seed=4713)),
        writing.make(Action.FETCH, "placed", newer),
        writing.make(Action.PLACE, "placed", older, content=replace(content, seed=4715)),
        writing.make(Action.FETCH, "placed", older),
        writing.make(Action.PLACE, "placed", newer, content=replace(content, seed=4713)),
        writing.make(Action.FORCE, "placed", newer),
    ]
    return [replace(step, edge="placed", marked=True) for step in steps]


def _same_second(writing: _Writing) -> list[Step]:
    """Two updates within one second, and an update of an asset whose newest is to come."""
    update = writing.make(Action.UPDATE, "often", content=writing.content(is_directory=False))
    future = writing.make(Action.NEW_EXACT, "future", "2999-01-01T00-00-00Z", edge="future")
    return [
        writing.make(Action.NEW, "often", content=writing.content(is_directory=False)),
        replace(update, seconds=0, edge="same second"),
        replace(future, content=writing.content()),
        writing.make(Action.UPDATE, "future", content=writing.content(), edge="future"),
    ]


def _other_system(writing: _Writing) -> list[Step]:
    """Versions of the system that the asset does not use."""
    other = DATES[0] if writing.system == MAJOR_MINOR else "1.0"
    name = writing.names[0]
    return [
        writing.make(Action.FETCH, name, other, edge="other system"),
        writing.make(Action.EXACT, name, other, content=writing.content(), edge="other system"),
    ]


_EDGES_OF_BOTH: Final[Sequence[_Edge]] = (
    _overwritten,
    _overwritten,
    _placed,
    _other_system,
    *(
        _push_as(name)
        for name in (
            "foo_",
            "-foo",
            ".foo",
            "a..b",
            "up/../other",
            "twice//parted",
            "x.meta",
            "x.versions",
            "1.0/x",
            "17",
            "\u00e4",
            "a b",
            "back\\slash",
            "x" * 256,
        )
    ),
    *(_push_with(oddity) for oddity in ODDITIES),
    _push_with("a link in its place", is_directory=False),
    _ask("", "/{name}"),
    _ask("", "{name}/../{name}"),
    _ask("", "zzz//{name}"),
    _ask("", "{name}\n"),
    _ask("", "{name}_"),
    _ask("", "zzz\\{name}"),
    _ask("", "x" * 256),
    _ask(":0.0.0"),
    _ask(":00"),
    _ask(":00.0"),
    _ask(":abc"),
    _ask(":-1"),
    _ask(":99"),
    _ask(":99.9"),
    _ask("[]"),
    _ask("[../content0]"),
    _ask("[sub/../content0]"),
    _ask("[sub//content1]"),
    _ask("[sub/]"),
    _ask("[.gitattributes]"),
    _ask("[a b]"),
    _ask("[.SUCCESS]"),
    _ask("", "nlp", Action.ALONE),
    _ask("", "{name}/0.0", Action.FETCH, Action.ALONE),
    _ask("", "{folder}/here", Action.ALONE),
    _ask("", "here", Action.ALONE),
)
_EDGES: Final = {
    MAJOR_MINOR: (
        _lines,
        _numbers((Action.NEW_EXACT, "0.0"), (Action.EXACT, "7")),
        _numbers((Action.NEW_EXACT, "0.0"), (Action.EXACT, "01.1")),
        _numbers((Action.NEW_EXACT, "0.0"), (Action.UPDATE, "0.7")),
        _numbers((Action.NEW_EXACT, "0.0"), (Action.UPDATE, "3")),
        *_EDGES_OF_BOTH,
    ),
    SIMPLE_DATE: (_same_second, *_EDGES_OF_BOTH),
}
# A third of the histories count by dates.
ROUND: Final = 3 * max(
    -(-len(_EDGES[MAJOR_MINOR]) // (2 * _EDGES_EACH)), -(-len(_EDGES[SIMPLE_DATE]) // _EDGES_EACH)
)
