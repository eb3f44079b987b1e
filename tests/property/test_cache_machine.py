"""The cache beside a dictionary: any order of fetches, holds, pins, evictions, edits and restarts.

The dictionary knows what has to stand and who goes next; after each step the two are compared. More
examples by `make soak-machine`.
"""

import asyncio
import os
import shutil
import tempfile
from collections.abc import Coroutine
from contextlib import AsyncExitStack, ExitStack
from fcntl import LOCK_SH
from pathlib import Path
from typing import Any, TypeVar

from assetd_server.assets.cache_orders import EvictOutcome
from assetd_server.errors import (
    AssetError,
    AssetExceedsCacheError,
    CacheFullError,
    NotCachedError,
)
from assetd_server.spec import Spec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from tests.support.assets_bench import Bench, Daemon, flocked, paths_of
from tests.support.limited import assets_files, evict, held, limited, outcomes, present
from tests.support.versions import Content, by_path, kind_of, modelkit_serves, standing

EXAMPLES = int(os.environ.get("CACHE_MACHINE_EXAMPLES", "30"))
_T = TypeVar("_T")


def folder(letter: str, size: int) -> Content:
    """A folder of so many bytes."""
    return {"x": letter.encode() * (size - 5), "sub/y": b"y" * 5}


# Few, so that hits are as frequent as misses; two or three fit into most limits.
CONTENTS: dict[str, Content] = {
    "file/a:0.0": b"a" * 20,
    "file/b:0.0": b"b" * 30,
    "file/c:0.0": b"c" * 40,
    "file/large:0.0": b"l" * 110,
    "folder/d:0.0": folder("d", 20),
    "folder/e:0.0": folder("e", 30),
    "folder/f:0.0": folder("f", 40),
}
SIZES = {spec: sum(map(len, by_path(content).values())) for spec, content in CONTENTS.items()}
SPECS = st.sampled_from(sorted(CONTENTS))
FETCHES = st.lists(SPECS, min_size=3, max_size=9)
PLACES = st.integers(0, 2)
LIMITS = st.sampled_from([60, 90, 100, 120])


class CacheMachine(RuleBasedStateMachine):
    """One ASSETS_DIR, its daemon, and what is known of it."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = Path(tempfile.mkdtemp(prefix="assetd-"))
        self.bench = Bench(self.folder)
        self.holds = AsyncExitStack()
        self.flocks = ExitStack()
        # Complete versions, the least recently used first; data that has lost its marker; and who
        # is pinned, held by a stream, or leased by another process. The lock of a stream is not on
        # what has come again since its version was removed by hand.
        self.order: list[str] = []
        self.unmarked: set[str] = set()
        self.pinned: set[str] = set()
        self.held: list[str] = []
        self.locked_by_streams: set[str] = set()
        self.leased: list[str] = []
        self.limit = 0
        self.daemon: Daemon

    def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Do something on the machine's loop."""
        return self.runner.run(work)

    @initialize(limit=LIMITS, specs=st.permutations(sorted(CONTENTS)))
    def begin(self, limit: int, specs: list[str]) -> None:
        """Everything is in the store, and as much as there is room for in the cache."""
        self.limit = limit
        self.daemon = self.run(self._begun())
        self.fetch(specs)

    async def _begun(self) -> Daemon:
        daemon = self.bench.daemon(limited(max_bytes=self.limit))
        for spec, content in CONTENTS.items():
            await daemon.push(spec, content)
        return daemon

    # What is known

    @property
    def used(self) -> int:
        """The bytes that have to be used."""
        return sum(SIZES[spec] for spec in [*self.order, *self.unmarked])

    def _use(self, spec: str) -> None:
        if spec in self.order:
            self.order.remove(spec)
        self.order.append(spec)

    def _forget(self, spec: str) -> None:
        if spec in self.order:
            self.order.remove(spec)
        self.unmarked.discard(spec)

    def _keeps(self, spec: str) -> bool:
        return spec in self.pinned or spec in self.held or spec in self.leased

    def _victims(self, spec: str) -> list[str] | type[AssetError]:
        """Who has to go for a version, or how it is refused."""
        if SIZES[spec] > self.limit:
            return AssetExceedsCacheError
        missing = self.used + SIZES[spec] - self.limit
        victims = []
        for one in self.order:
            if missing <= 0:
                break
            if not self._keeps(one):
                victims.append(one)
                missing -= SIZES[one]
        return victims if missing <= 0 else CacheFullError

    # Steps

    @rule(specs=FETCHES)
    def fetch(self, specs: list[str]) -> None:
        """Hit, adopt what lost its marker, or download and evict exactly who is due."""
        for spec in specs:
            self._fetch(spec)

    def _fetch(self, spec: str) -> None:
        expected = [] if spec in self.order or spec in self.unmarked else self._victims(spec)
        if not isinstance(expected, list):
            error = self.run(_failure(self.daemon.fetch(spec)))
            assert type(error) is expected, error
            return
        self.run(self.daemon.fetch(spec))
        for victim in expected:
            self._forget(victim)
        self.unmarked.discard(spec)
        self._use(spec)

    @precondition(lambda self: self.order and len(self.held) < 3)
    @rule(place=PLACES)
    def hold(self, place: int) -> None:
        """Hold what is present by a stream."""
        spec = self._at(place)
        self.run(self.holds.enter_async_context(held(self.daemon, spec)))
        self.held.append(spec)
        self.locked_by_streams.add(spec)
        self._use(spec)

    @precondition(lambda self: self.held)
    @rule()
    def release(self) -> None:
        """End all holds, the last one first; each is a use to its end."""
        self.run(self.holds.aclose())
        for spec in reversed(self.held):
            if spec in self.order:
                self._use(spec)
        self.held.clear()
        self.locked_by_streams.clear()

    @precondition(lambda self: self.order)
    @rule(place=PLACES)
    def lease(self, place: int) -> None:
        """Take a lease as another process does."""
        spec = self._at(place)
        self.flocks.enter_context(flocked(self._path(spec), LOCK_SH))
        self.leased.append(spec)

    @precondition(lambda self: self.leased)
    @rule()
    def end_leases(self) -> None:
        """Let the other processes go."""
        self.flocks.close()
        self.leased.clear()

    @rule(spec=SPECS)
    def pin(self, spec: str) -> None:
        """Keep what is present."""
        failure = self.run(_failure(self.daemon.assets.pin(Spec.parse(spec))))
        assert isinstance(failure, NotCachedError) is (spec not in self.order)
        if spec in self.order:
            self.pinned.add(spec)

    @rule(spec=SPECS)
    def unpin(self, spec: str) -> None:
        """Keep it no longer; what is not there cannot be unpinned."""
        failure = self.run(_failure(self.daemon.assets.unpin(Spec.parse(spec))))
        assert isinstance(failure, NotCachedError) is (spec not in self.order)
        if spec in self.order:
            self.pinned.discard(spec)

    @rule(prefix=st.sampled_from(["file/a", "folder/d", "folder/", "none/"]), dry_run=st.booleans())
    def evict(self, prefix: str, dry_run: bool) -> None:
        """An operator wants all of them gone."""
        expected = {}
        for spec in sorted(self.order):
            if spec.startswith(prefix):
                expected[spec] = EvictOutcome.EVICTED
                if spec in self.pinned:
                    expected[spec] = EvictOutcome.PINNED
                elif self._keeps(spec):
                    expected[spec] = EvictOutcome.LEASED
        told = outcomes(self.run(evict(self.daemon, name_prefix=prefix, dry_run=dry_run)))
        assert told == expected
        for spec, outcome in expected.items():
            if outcome is EvictOutcome.EVICTED and not dry_run:
                self._forget(spec)

    @rule(spec=SPECS, what=st.sampled_from(["data", "marker", "both"]))
    def remove_by_hand(self, spec: str, what: str) -> None:
        """An operator deletes a version, or a part of it, whoever uses it."""
        stood = spec in self.order or spec in self.unmarked
        if what != "data":
            self._marker(spec).unlink(missing_ok=True)
        if what != "marker":
            # Whoever has it open has the last of it: no lock is on what may come there again.
            self.locked_by_streams.discard(spec)
            self.leased = [one for one in self.leased if one != spec]
            path = self._path(spec)
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        self._forget(spec)
        # A folder's marker goes with it; a file's may be left alone, and is none then.
        if stood and what == "marker":
            self.unmarked.add(spec)

    @precondition(lambda self: self.order)
    @rule(time=st.sampled_from([1, 10**9, 4 * 10**9]), specs=FETCHES)
    def touch(self, time: int, specs: list[str]) -> None:
        """A client hits who would go next, without a call, and leaves a time that may be any."""
        spec = self.order[0]
        marker = self._marker(spec)
        if int(marker.stat().st_mtime) != time:
            os.utime(marker, (time, time))
            self._use(spec)
            self.is_as_it_has_to_be()
            self.fetch(specs)

    def _at(self, place: int) -> str:
        """The version at that place in the order, or the last one."""
        return self.order[min(place, len(self.order) - 1)]

    @rule(limit=LIMITS, specs=FETCHES)
    def restart(self, limit: int, specs: list[str]) -> None:
        """Another daemon, with another limit perhaps: pins and the order of use are kept."""
        self.release() if self.held else None
        self.limit = limit
        self.daemon = self.run(self.bench.successor(self.daemon, settings=limited(max_bytes=limit)))
        # The daemon looks at all there is before it is ready.
        self.is_as_it_has_to_be()
        self.fetch(specs)

    # What has to be true after each

    @invariant()
    def is_as_it_has_to_be(self) -> None:
        """Figures, files and bytes are those of the dictionary; nobody's lease was passed over."""
        if not hasattr(self, "daemon"):
            return
        status = self.run(self.daemon.assets.status())
        # Who is seen with a lease was used just now.
        locked = self.locked_by_streams | {*self.leased}
        in_use = [spec for spec in self.order if spec in locked]
        for spec in in_use:
            self._use(spec)
        assert present(self.daemon) == sorted(self.order)
        assert status.used_bytes == self.used == self._walked()
        assert (status.reserved_bytes, status.version_count) == (0, len(self.order))
        assert status.pinned_count == len(self.pinned & set(self.order))
        assert status.leased_count == len(in_use)
        evictable = [spec for spec in self.order if not self._keeps(spec)]
        assert status.evictable_bytes == sum(SIZES[spec] for spec in evictable)
        for spec in self.order:
            assert modelkit_serves(self.daemon.root, paths_of(spec)) == CONTENTS[spec]
        for spec in self.unmarked:
            assert standing(self.daemon.root, paths_of(spec)) == CONTENTS[spec]

    def _walked(self) -> int:
        files = assets_files(self.daemon.root)
        return sum(file.stat().st_size for file in files if not file.name.endswith(".SUCCESS"))

    def _path(self, spec: str) -> Path:
        return self.daemon.root / paths_of(spec).data

    def _marker(self, spec: str) -> Path:
        return self.daemon.root / paths_of(spec).marker(kind_of(CONTENTS[spec]))

    def teardown(self) -> None:
        """Let everybody go; nothing is left under way, reserved or staged."""
        self.run(self.holds.aclose())
        self.flocks.close()
        try:
            self.run(self.bench.require_nothing_left())
        finally:
            self.runner.close()
            shutil.rmtree(self.folder)


async def _failure(work: Coroutine[Any, Any, object]) -> BaseException | None:
    try:
        await work
    except AssetError as error:
        return error
    return None


TestCacheMachine = CacheMachine.TestCase
TestCacheMachine.settings = settings(max_examples=EXAMPLES, stateful_step_count=30)
