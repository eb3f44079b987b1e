"""Leases against evictions, call by call: readers in namespaces of their own, and one evictor.

The evictor is the cache's own code in this process; before each of its calls some readers take a
step, which is one system call of the client's own code (`race_reader`). So every interleaving of
the two can be brought about, and comes again with the same seed.
"""

import itertools
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from assetd_server.cache.evict import Outcome, empty_trash, evict
from assetd_server.cache.layout import AssetsDir
from assetd_server.cache.linux import FileSystem
from assetd_server.cache.lookup import Lookup

from tests.conftest import ROOT
from tests.support.file_systems import RecordingFileSystem
from tests.support.holding import CONTAINER, read_only_container
from tests.support.race_reader import content_of
from tests.support.versions import PATHS, put_ours, standing

_MARKER: Final = f"{PATHS.folder}/{PATHS.file_marker_leaf}"
# What others can notice of the evictor, and what it does besides.
NOTICEABLE: Final = (
    *(f"flock {PATHS.data}", f"close {PATHS.data}", f"unlink {_MARKER}", f"rename {PATHS.data}"),
    *("published", "end"),
)
_LOOKS_AT_MOST: Final = 3


class Reader:
    """A process that takes leases; told by `step`, it makes its next call."""

    def __init__(self, name: str, process: "subprocess.Popen[bytes]") -> None:
        self.name = name
        self.state = b"m"
        self._process = process
        self._looks_left = 0

    @property
    def is_idle(self) -> bool:
        """Whether it has no lease and is taking none."""
        return self.state in (b"m", b"r")

    @property
    def holds(self) -> bool:
        """Whether it says that it has a lease."""
        return self.state in (b"h", b"X")

    def step(self, looks: int) -> bytes:
        """Let it do the next thing; a lease is looked at `looks` times before it ends."""
        if not self.holds:
            self._looks_left = looks
            word = b"b"
        else:
            word = b"v" if self._looks_left else b"r"
            self._looks_left -= 1
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        os.write(self._process.stdin.fileno(), word)
        self.state = os.read(self._process.stdout.fileno(), 1)
        if not self.state:
            raise RuntimeError(f"the reader {self.name} died")
        return self.state


@dataclass
class Figures:
    """What happened: how evictions and leases ended, and which steps met which calls."""

    outcomes: Counter[str] = field(default_factory=Counter)
    meetings: set[tuple[str, str]] = field(default_factory=set)
    violations: list[str] = field(default_factory=list)


class Race:
    """One version, its readers, and who evicts it."""

    def __init__(self, root: Path, readers: Sequence[Reader], bug: type[FileSystem]) -> None:
        self.figures = Figures()
        self._root = root
        self.readers = readers
        self._fs: RecordingFileSystem = type("Stepped", (_Stepped, bug), {})()
        self._dir = AssetsDir(str(root), self._fs)
        self._lookup = Lookup(self._dir)
        self._number = 0
        self._call_count = 100

    def close(self) -> None:
        """Close ASSETS_DIR."""
        self._dir.close()

    def round(self, content: str, at_call: Callable[[int, str], None]) -> int:
        """Evict, publish again, and evict again; returns the number of calls that the evictor made.

        `at_call` is told the number of each and what it is, before it is made: what others can
        notice of it, or only its name. Afterwards every reader ends what it is about.
        """
        numbers = itertools.count()

        def before(call: str) -> None:
            at_call(next(numbers), call)

        for what in ("published", "end"):
            self._put(content)
            self._evict(before)
            before(what)
        for reader in self.readers:
            while not reader.is_idle:
                self.step(reader, "after the end", 0)
        return next(numbers)

    def _evict(self, before: Callable[[str], None]) -> None:
        assert isinstance(self._fs, _Stepped)
        self._fs.before_each = before
        evicted = evict(self._dir, self._lookup, PATHS)
        self._fs.before_each = _ignore
        self.figures.outcomes[evicted.outcome.value] += 1
        if evicted.outcome is Outcome.EVICTED:
            empty_trash(self._dir, evicted.trash)
        self._fs.calls.clear()

    def step(self, reader: Reader, call: str, looks: int) -> None:
        """Let a reader do the next thing right before that call of the evictor."""
        before = reader.state
        state = reader.step(looks)
        self.figures.meetings.add((before.decode(), call))
        if state == b"X":
            self.figures.violations.append(
                f"round {self._number}: the lease of {reader.name} before {call}"
            )
        elif state == b"h" and before == b".":
            self.figures.outcomes["leases"] += 1
        elif state == b"m":
            self.figures.outcomes["misses"] += 1

    def _put(self, content: str) -> None:
        """Have the version stand, of this round if it is not there."""
        self._number += 1
        stands = standing(self._root)
        if stands is None or isinstance(stands, bytes) != (content == "file"):
            evict(self._dir, self._lookup, PATHS)
            parts = content_of(self._number)
            put_ours(self._root, parts["a"] if content == "file" else parts)

    # Schedules

    def meet_everywhere(self, reader: Reader, content: str) -> int:
        """Let a reader pause once, after each of its calls, from each of the evictor's to each.

        It makes some of its calls before one of the evictor that it can notice, and the rest before
        a later one. Returns the number of rounds.
        """
        calls: list[str] = []
        self.round(content, lambda _, call: calls.append(call))
        places = [number for number, call in enumerate(calls) if call.startswith(NOTICEABLE)]
        pauses = itertools.combinations_with_replacement(places, 2)
        meetings = list(itertools.product(pauses, range(1, 8)))
        for (first, second), steps in meetings:
            self._meet(reader, content, first, second, steps)
        return len(meetings)

    def _meet(self, reader: Reader, content: str, first: int, second: int, steps: int) -> None:
        def at_call(number: int, name: str) -> None:
            if number == first:
                for _ in range(steps):
                    self.step(reader, name, _LOOKS_AT_MOST)
            # A lease is looked at before each call from then on.
            elif number >= second or reader.holds:
                self.step(reader, name, _LOOKS_AT_MOST)

        self.round(content, at_call)

    def meet_at_random(self, source: random.Random) -> None:
        """Let some readers step as chance has it, each once through what there is to do."""
        looks = source.randrange(_LOOKS_AT_MOST + 1)
        due: Counter[tuple[int, int]] = Counter()
        for chosen in source.sample(range(len(self.readers)), source.choice((1, 1, 1, 2, 4))):
            # Now and then all at once, else one by one.
            first, last = sorted(source.randrange(self._call_count) for _ in range(2))
            due.update((source.randint(first, last), chosen) for _ in range(8 + looks))

        def at_call(number: int, name: str) -> None:
            for index, reader in enumerate(self.readers):
                for _ in range(due.pop((number, index), 0)):
                    self.step(reader, name, looks)

        made = self.round(source.choice(("file", "folder")), at_call)
        # An eviction that a lease keeps off is a short one.
        self._call_count = max(made, self._call_count)


def _ignore(_name: str) -> None:
    """Let nobody step."""


class _Stepped(RecordingFileSystem):
    """Tells of each call before it is made."""

    before_each: Callable[[str], None] = staticmethod(_ignore)

    def _begin(self, name: str, paths: tuple[str, ...]) -> None:
        super()._begin(name, paths)
        call = f"{name} {paths[0]}"
        self.before_each(call if call.startswith(NOTICEABLE) else name)


@contextmanager
def racing(
    folder: Path, *, bug: type[FileSystem] = FileSystem, careless: bool = False
) -> Iterator[Race]:
    """Run readers here, in two containers, and on a read-only mount in a third, for the block."""
    root, elsewhere = folder / "assets", folder / "elsewhere"
    for made in (root, elsewhere):
        made.mkdir()
    places: dict[str, tuple[list[str | Path], Path]] = {
        "a process": ([], root),
        "a container": (list(CONTAINER), root),
        "another container": (list(CONTAINER), root),
        "a read-only mount": (read_only_container(root, elsewhere), elsewhere),
    }
    with ExitStack() as stack:
        readers = [
            stack.enter_context(_reader(name, within, seen, careless))
            for name, (within, seen) in places.items()
        ]
        race = Race(root, readers, bug)
        stack.callback(race.close)
        yield race


@contextmanager
def _reader(
    name: str, within: Sequence[str | Path], assets_dir: Path, careless: bool
) -> Iterator[Reader]:
    program: list[str | Path] = [
        *(sys.executable, "-m", "tests.support.race_reader", assets_dir, PATHS.spec),
        *["careless"] * careless,
    ]
    with subprocess.Popen(
        [*within, *program],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
    ) as process:
        try:
            yield Reader(name, process)
        finally:
            process.kill()
