"""Random kills of a process that publishes and evicts, judged by another that outlives it.

Each life is a fork: it begins a run of the cache, does one thing after another, and tells what it
begins and what is done. Half of them are killed after some microseconds, half right before some
call, for what lies between two calls may be too short to be met. Single-threaded, therefore: tests
start `python -m tests.soak.kills`.
"""

import json
import os
import random
import shutil
import signal
import sys
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, NoReturn

from assetd_server.cache.evict import Outcome, empty_trash, evict
from assetd_server.cache.layout import AssetsDir, VersionPaths
from assetd_server.cache.linux import FileSystem
from assetd_server.cache.lookup import Lookup
from assetd_server.cache.recover import recover
from assetd_server.model import AssetName
from assetd_server.versioning import Version

from tests.support.crash_judging import left_over
from tests.support.crash_operations import FILE, MANY, OLD_FILE, OLD_TREE, TREE
from tests.support.file_systems import RecordingFileSystem
from tests.support.flights import land
from tests.support.mutants import MUTANTS
from tests.support.versions import Content, manifest_of, marker_path, put, standing

# Two contents of one length for each asset: a mixture of both, or a part of one, is neither.
ASSETS: Final[dict[str, tuple[Content, Content]]] = {
    "kill/file": (FILE, OLD_FILE),
    "kill/folder": (TREE, OLD_TREE),
    "kill/many": (MANY, {path: data[::-1] for path, data in MANY.items()}),
}
# In place of a content's number.
EVICT: Final = "evict"
# So long does a life last at most: a start and some three operations.
_LIFE_SECONDS: Final = 0.012
_LIFE_CALLS: Final = 500


def paths_of(name: str) -> VersionPaths:
    """Return where the asset's only version stands."""
    return VersionPaths(AssetName(name), Version.parse("0.0"))


@dataclass(frozen=True)
class Stands:
    """What was found at an asset's final path, and the digest in its marker; "" = no receipt.

    `is_going` where an eviction was under way, which the next start may finish.
    """

    content: Content | None = None
    marked_as: str = ""
    is_going: bool = False


@dataclass
class Told:
    """What a life said of one asset: what it made of it, in turn, and what it has begun.

    A content, or None for nothing: evicted.
    """

    done: list[Content | None]
    is_under_way: bool = False
    begun: Content | None = None
    has_begun: bool = False


class Killing:
    """Lives and deaths on one ASSETS_DIR."""

    def __init__(self, root: Path, seed: int, mutant: str = "") -> None:
        self.root = root
        # Kills that met an operation, and those that met the start of a run.
        self.under_way = self.starting = 0
        self._seed = seed
        self._fs_type = type("Mortal", (RecordingFileSystem, MUTANTS[mutant]), {})
        self._stands = dict.fromkeys(ASSETS, Stands())

    def live(self, number: int) -> list[str]:
        """Let one life pass, end it, and return what is wrong; nothing = sound."""
        source = random.Random(f"{self._seed} {number}")
        adopts = self._interfere(source)
        lines, findings = self._life(source, adopts)
        told = _told(lines)
        self.under_way += any(said.is_under_way for said in told.values())
        self.starting += not lines
        for name, said in told.items():
            findings += self._judge(name, said)
        return [f"kill {number} of seed {self._seed}: {finding}" for finding in findings]

    def end(self) -> list[str]:
        """Let a last run do all that is to be done, and return what is wrong then."""
        assets_dir = AssetsDir(str(self.root), MUTANTS[""]())
        try:
            recover(assets_dir)
            for name, (content, _) in ASSETS.items():
                land(assets_dir, content, paths_of(name), replaces=True)
        finally:
            assets_dir.close()
        findings = []
        for name, (content, _) in ASSETS.items():
            findings += self._judge(name, Told([content]))
        return findings + left_over(self.root, "staging", "trash", "push")

    def _interfere(self, source: random.Random) -> str | None:
        """Do what an operator or modelkit may do between two runs; return what is to be adopted."""
        name = source.choice([*ASSETS])
        what = source.choice(["nothing", "nothing", "remove", "fetch with modelkit"])
        if what == "nothing":
            return None
        shutil.rmtree(self.root / name, ignore_errors=True)
        self._stands[name] = Stands()
        if what == "remove":
            return None
        content = ASSETS[name][0]
        put(self.root, content, paths_of(name), marker=b"")
        self._stands[name] = Stands(content)
        return name

    def _life(self, source: random.Random, adopts: str | None) -> tuple[list[str], list[str]]:
        """Fork, kill, and return what the life said, and what is wrong with how it ended."""
        fs: RecordingFileSystem = self._fs_type()
        at_microsecond = source.random() < 0.5
        if not at_microsecond:
            fs.before_call(source.randrange(1, _LIFE_CALLS), _die)
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reading)
            _live(self.root, fs, source, adopts, writing)
        os.close(writing)
        if at_microsecond:
            threading.Event().wait(source.random() * _LIFE_SECONDS)
            os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        with os.fdopen(reading) as answers:
            lines = answers.read().splitlines()
        return lines, [] if status == signal.SIGKILL else ["it ended by itself"]

    def _judge(self, name: str, said: Told) -> list[str]:
        before, stands = self._stands[name], _look(self.root, name)
        told = said.done[-1] if said.done else before.content
        allowed = [told]
        if said.is_under_way:
            allowed.append(said.begun)
        if before.is_going and not said.done:
            allowed.append(None)
        is_evicted = said.is_under_way and said.begun is None
        is_going = is_evicted or (before.is_going and not said.has_begun)
        self._stands[name] = replace(stands, is_going=is_going)
        if stands.content not in allowed:
            return [f"{name} is partial, mixed or lost"]
        if said.done and not said.is_under_way and stands.marked_as != digest_of(told):
            return [f"{name} was acknowledged and is not marked"]
        # A stale marker may outlive the data that it is of; none comes before its data.
        known = [digest_of(content) for content in said.done]
        if stands.marked_as not in ("", before.marked_as, *known, digest_of(stands.content)):
            return [f"{name} has a marker of what is yet to come"]
        return []


def _told(lines: list[str]) -> dict[str, Told]:
    told = {name: Told([]) for name in ASSETS}
    for line in lines:
        what, name, number = line.split(" ")
        said = told[name]
        content = ASSETS[name][int(number)] if number != EVICT else None
        said.is_under_way = what == "begin"
        if what == "begin":
            said.begun, said.has_begun = content, True
        elif what == "done":
            said.done.append(content)
    return told


def _look(root: Path, name: str) -> Stands:
    found = standing(root, paths_of(name))
    if found is None:
        return Stands()
    marker = marker_path(root, found, paths_of(name))
    raw = marker.read_bytes() if marker.exists() else b""
    return Stands(found, json.loads(raw)["digest"] if raw else "")


def digest_of(content: Content | None) -> str:
    """Return what a receipt of the content says; "" where there is none."""
    return "" if content is None else str(manifest_of(content).digest)


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _live(
    root: Path, fs: FileSystem, source: random.Random, adopts: str | None, answers: int
) -> NoReturn:
    """Begin a run and fetch one asset after another, until somebody kills this process."""
    try:
        assets_dir = AssetsDir(str(root), fs)
        recover(assets_dir)
        if adopts is not None:
            _do(assets_dir, adopts, "0", answers, replaces=False)
        # Not for ever: whoever kills may be dead.
        for _ in range(1000):
            _do(assets_dir, source.choice([*ASSETS]), source.choice(["0", "1", EVICT]), answers)
    finally:
        # What is raised is a finding; its traceback goes to standard error.
        sys.excepthook(*sys.exc_info())
        os._exit(1)


def _do(
    assets_dir: AssetsDir, name: str, number: str, answers: int, *, replaces: bool = True
) -> None:
    """Fetch one of the asset's contents, or evict it; say so before and after."""
    os.write(answers, f"begin {name} {number}\n".encode())
    done = "done"
    if number != EVICT:
        land(assets_dir, ASSETS[name][int(number)], paths_of(name), replaces=replaces)
    elif not _evict(assets_dir, paths_of(name)):
        done = "kept"
    os.write(answers, f"{done} {name} {number}\n".encode())


def _evict(assets_dir: AssetsDir, paths: VersionPaths) -> bool:
    evicted = evict(assets_dir, Lookup(assets_dir), paths)
    if evicted.outcome is Outcome.EVICTED:
        empty_trash(assets_dir, evicted.trash)
    return evicted.outcome is Outcome.EVICTED
