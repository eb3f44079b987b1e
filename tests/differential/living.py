"""Three worlds that live through one history: modelkit's, assetd's, and one that they share.

In the shared one the steps go to one or the other, on one store and one ASSETS_DIR. After each step
everything that can be seen is compared: the outcome, the index as either reads it, what the store
holds of the version that was pushed, and what the cache holds of the asset. What differs has to be
in the table (`differences`). Afterwards the worlds are made alike again: an asset that a push has
left different is not used any more, a cache that a fetch has left different is emptied of it.
"""

import asyncio
import itertools
import json
import posixpath
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from tests.differential.histories import BY_HAND, PUSHES, History, Party, Step
from tests.differential.parties import (
    BEGINNING,
    OK,
    AssetdParty,
    ModelkitParty,
    Outcome,
)
from tests.differential.worlds import Storage, World
from tests.support.modelkit import Modelkit
from tests.support.trees import Tree, write_tree


@dataclass(frozen=True)
class Seen:
    """All that can be seen of one world after a step; of a cache, what is marked too."""

    outcome: Outcome
    listed: tuple[str, ...]
    cached: Mapping[str, tuple[bool, Tree]]
    stored: Mapping[str, bytes] | None

    def __str__(self) -> str:
        cached = {
            version: sorted(tree) + (["marked"] if marked else [])
            for version, (marked, tree) in self.cached.items()
        }
        stored = None if self.stored is None else sorted(self.stored)
        return f"{self.outcome}; listed {self.listed}; cached {cached}; stored {stored}"


@dataclass(frozen=True)
class Comparison:
    """One step, by both: what each saw, and what was there before it."""

    step: Step
    name: str
    # By modelkit in its world and by assetd in its own; or by one alone and in company.
    theirs: Seen
    ours: Seen
    listed_before: tuple[str, ...]
    cached_before: Mapping[str, tuple[bool, Tree]]
    # Whether it is one party alone and in company; and then, who pushed that version last.
    in_company: bool
    pushed_by: Party | None


@dataclass
class Lived:
    """What came of one history."""

    used: set[str] = field(default_factory=set)
    step_count: int = 0
    difference: str = ""


Judge = Callable[[Comparison], str | None]


class Living:
    """Lives through one history in three worlds."""

    def __init__(self, history: History, worlds: Mapping[str, World], judge: Judge) -> None:
        """Keep the worlds; they are empty."""
        self._history = history
        self._theirs, self._ours, self._shared = (worlds[key] for key in WORLDS)
        self._judge = judge
        self._now = BEGINNING
        self._retired: dict[str, int] = {}
        self._unequal: list[str] = []
        self._pushed_by: dict[tuple[str, str], Party] = {}
        self._lived = Lived()

    def live(self, sources: Path) -> Lived:
        """Take all steps, until one differs as none may."""
        for number, step in enumerate(self._history.steps):
            self._lived.step_count += 1
            self._now += timedelta(seconds=step.seconds)
            source = None
            if step.content is not None and step.action in PUSHES:
                source = step.content.write(sources / f"source{number}")
            difference = self._take(step, source)
            if difference:
                self._lived.difference = f"step {number}. {step}\n{difference}"
                return self._lived
        self._lived.difference = self._compare_stores()
        return self._lived

    def _take(self, step: Step, source: Path | None) -> str:
        name = self._physical(step.name)
        if step.action in BY_HAND:
            for world in (self._theirs, self._ours, self._shared):
                world.place_by_hand(step, name)
            return ""
        listed, cached = self._listed(self._theirs, name), self._theirs.cached(name)
        theirs = self._see(self._theirs, Party.MODELKIT, step, name, source)
        ours = self._see(self._ours, Party.ASSETD, step, name, source)
        shared = self._see(self._shared, step.party, step, name, source)
        # In company each does what it does alone.
        own = theirs if step.party is Party.MODELKIT else ours
        differs = False
        for left, right, crossed in ((theirs, ours, False), (own, shared, True)):
            if _is_equal(left, right) or (crossed and name in self._unequal):
                continue
            differs = True
            by = self._pushed_by.get((name, step.version))
            seen = Comparison(step, name, left, right, listed, cached, crossed, by)
            key = self._judge(seen)
            if key is None:
                both = "alone and in company" if crossed else "modelkit and assetd"
                return f"  {both} differ:\n  {left}\n  {right}"
            self._lived.used.add(key)
        self._note_pusher(step, name, shared.outcome)
        if differs or theirs.outcome.compared != ours.outcome.compared:
            self._make_alike(step, name)
        return ""

    def _note_pusher(self, step: Step, name: str, outcome: Outcome) -> None:
        if step.action in PUSHES and outcome.kind == OK:
            key = (name, outcome.version)
            if step.party is Party.MODELKIT or key not in self._pushed_by:
                self._pushed_by[key] = step.party

    def _physical(self, name: str) -> str:
        retired = self._retired.get(name)
        return f"{name}-{retired}" if retired else name

    def _make_alike(self, step: Step, name: str) -> None:
        worlds = (self._theirs, self._ours, self._shared)
        if step.action not in PUSHES:
            for world in worlds:
                world.empty_cache(_folder_of(name))
        elif not _is_plain(name) or not _all_equal([world.versions(name) for world in worlds]):
            self._unequal += [name, _folder_of(name)]
            # An odd name is asked for once more as it is.
            if step.edge != f"name {step.name}":
                self._retired[step.name] = self._retired.get(step.name, 0) + 1

    def _see(
        self,
        world: World,
        party: Party,
        step: Step,
        name: str,
        source: Path | None,
    ) -> Seen:
        outcome = world.party(party).take(step, name, source, self._now)
        pushed = step.action in PUSHES and outcome.kind == OK
        return Seen(
            outcome,
            self._listed(world, name),
            world.cached(name),
            world.stored(name, outcome.version) if pushed and _is_plain(name) else None,
        )

    def _listed(self, world: World, name: str) -> tuple[str, ...]:
        """Return the index, as assetd reads it where only modelkit writes, and the reverse."""
        if name in self._unequal:
            return ()
        other = _is_plain(name) and world is not self._ours
        reader: AssetdParty | ModelkitParty = world.assetd if other else world.modelkit
        try:
            return tuple(reader.listed(name))
        except Exception as error:  # noqa: BLE001 - told with what differs
            return (f"{type(error).__name__}: {error}",)

    def _compare_stores(self) -> str:
        """Compare all that modelkit would see, but for what differs already."""
        stores = [self._visible(w) for w in (self._theirs, self._ours, self._shared)]
        for which, store in zip(("assetd's", "the shared"), stores[1:], strict=True):
            if store != stores[0]:
                keys = [
                    key
                    for key in sorted({*store, *stores[0]})
                    if store.get(key) != stores[0].get(key)
                ]
                shown = [f"{key}: {stores[0].get(key)!r} and {store.get(key)!r}" for key in keys]
                return f"at the end, modelkit's store and {which} differ:\n" + "\n".join(shown)
        return ""

    def _visible(self, world: World) -> dict[str, object]:
        found: dict[str, object] = {}
        for key in world.all_keys():
            if any(key == f"{n}.versions" or key.startswith(f"{n}/") for n in self._unequal):
                continue
            if key.endswith((".meta", ".versions")):
                document = world.document(key) if _is_document(world.object(key)) else None
                if document is not None:
                    found[key] = _without_additions(document)
                    continue
            found[key] = world.object(key)
        return found


def _is_plain(name: str) -> bool:
    """Tell whether every store can have that name, and every reader ask for it."""
    segments = [re.fullmatch(r"[a-z0-9][a-zA-Z0-9_.-]{0,99}", s) for s in name.split("/")]
    return all(segments) and ".." not in name and not name.endswith("_")


def _folder_of(name: str) -> str:
    """Return where an asset stands that has an odd name."""
    return posixpath.normpath(name.strip("/\n"))


def _all_equal(values: list[dict[str, object]]) -> bool:
    return all(value == values[0] for value in values)


def _is_document(data: bytes | None) -> bool:
    try:
        return isinstance(json.loads(data or b""), dict)
    except ValueError:
        return False


def _without_additions(document: dict[str, Any]) -> dict[str, Any]:
    """Return what modelkit reads; of the time of a push, that there is one.

    What modelkit pushes again it lists again, beside the first time.
    """
    ours = {key: value for key, value in document.items() if key != "assetd"}
    if "versions" in ours:
        ours["versions"] = [version for version, _ in itertools.groupby(ours["versions"])]
    if "push_date" in ours:
        moment = datetime.fromisoformat(ours["push_date"])
        ours["push_date"] = str(moment.tzinfo)
    return ours


def _is_equal(theirs: Seen, ours: Seen) -> bool:
    return (
        theirs.outcome.compared == ours.outcome.compared
        and theirs.listed == ours.listed
        and theirs.cached == ours.cached
        and theirs.stored == ours.stored
    )


WORLDS: Final = ("modelkit's", "assetd's", "shared")


def live(
    history: History,
    folder: Path,
    storages: Mapping[str, Storage],
    modelkit: Modelkit,
    runner: asyncio.Runner,
    judge: Judge,
) -> Lived:
    """Live through a history in three new worlds below `folder`, and leave nothing of it there."""
    here = folder / "here"
    here.mkdir(parents=True, exist_ok=True)
    write_tree(here, {"here": b"in the folder that modelkit works in"})
    sources = folder / "sources"
    sources.mkdir()
    worlds = {
        key: World(folder / f"world{number}", storages[key], history.system, modelkit, runner)
        for number, key in enumerate(WORLDS)
    }
    try:
        lived = Living(history, worlds, judge).live(sources)
    except Exception as error:  # noqa: BLE001 - a history that breaks a party is one to shrink
        lived = Lived(difference=f"{type(error).__name__}: {error}")
    for key, world in worlds.items():
        try:
            world.end()
        except Exception as error:  # noqa: BLE001 - as above
            lived.difference += f"\nthe end of {key}: {type(error).__name__}: {error}"
    shutil.rmtree(folder)
    return lived
