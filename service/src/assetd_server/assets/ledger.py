"""Keeps the budget true to the tree: scans it, notes every use, remembers the order of use.

Anybody may edit ASSETS_DIR by hand, so the tree is walked at the start, and again when somebody
asks and the last walk is old for what it cost. What this run fetches and evicts is noted at once.
Decides nothing: `assets.room` does.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence

from assetd_server.assets.clock import Clock
from assetd_server.assets.threads import Threads
from assetd_server.cache.budget import Budget, Disk, Entry, Limits
from assetd_server.cache.layout import PARTIAL, AssetsDir, PartialPaths, VersionPaths, os_errors
from assetd_server.cache.leases import is_leased
from assetd_server.cache.scan import Folder, Found, list_folder, look_at
from assetd_server.cache.staging import bytes_kept, delete_unused, kept_downloads, path_of
from assetd_server.cache.use_order import Remembered, read_order, write_order
from assetd_server.errors import AssetError

_BATCH_VERSIONS = 500
# A walk may take this share of the time: where it takes 1 s, the next begins 20 s later.
_WALK_SHARE = 0.05
_SAMPLE_VERSIONS = 1000


class Ledger:
    """What takes room in one ASSETS_DIR, and who used it last."""

    def __init__(self, assets_dir: AssetsDir, limits: Limits, disk: Threads, clock: Clock) -> None:
        self.budget = Budget(limits)
        self._dir = assets_dir
        self._disk = disk
        self._clock = clock
        self._paths: dict[str, VersionPaths] = {}
        self._walking = asyncio.Lock()
        self._next_walk_at: float | None = None
        # What changed while a walk was under way is newer than what the walk found.
        self._changed: set[str] = set()
        self._saved: list[tuple[str, int | None]] = []

    def paths(self, key: str) -> VersionPaths:
        """Return the version that the budget knows by `key`."""
        return self._paths[key]

    def is_partial(self, entry: Entry) -> bool:
        """Tell whether the entry is a partial version."""
        return isinstance(self._paths.get(entry.key), PartialPaths)

    def all_paths(self) -> list[VersionPaths]:
        """Return all versions that the budget knows, in no order."""
        return list(self._paths.values())

    async def refresh(self) -> None:
        """Return when the budget shows the tree as it was a moment ago.

        Raises:
            UnsafePathError, IoError: ASSETS_DIR cannot be read.
        """
        async with self._walking:
            began = self._clock.monotonic()
            if self._next_walk_at is not None and began < self._next_walk_at:
                return
            self._changed.clear()
            first = self._next_walk_at is None
            found = await self._walk()
            downloads = await self._disk.run(kept_downloads, self._dir)
            remembered = await self._disk.run(read_order, self._dir) if first else ()
            self._apply(found, remembered, first=first)
            self._apply_downloads(downloads)
            took = self._clock.monotonic() - began
            self._next_walk_at = began + took / _WALK_SHARE

    async def _walk(self) -> list[Found]:
        found: list[Found] = []
        folders = ["", PARTIAL]
        while folders:
            listed = await asyncio.gather(*(self._list(path) for path in folders))
            batches = [
                self._disk.run(look_at, self._dir, folder.path, batch)
                for folder in listed
                for batch in _batches(folder.versions)
            ]
            for some in await asyncio.gather(*batches):
                found += some
            folders = [path for folder in listed for path in folder.folders]
        return found

    async def _list(self, path: str) -> Folder:
        return await self._disk.run(list_folder, self._dir, path)

    def _apply(
        self, found: Iterable[Found], remembered: Sequence[Remembered], *, first: bool
    ) -> None:
        now = self._clock.monotonic()
        by_key = {one.key: one for one in found if one.key not in self._changed}
        for entry in self.budget:
            if not (entry.is_download or entry.key in by_key or entry.key in self._changed):
                self.budget.remove(entry.key)
                self._paths.pop(entry.key, None)
        new = [one for one in by_key.values() if not self._known(one, now)]
        if first:
            new = _in_order_of_use(new, remembered)
        ages = {one.key: one for one in remembered}
        for one in new:
            known = ages.get(one.key)
            unused = known is not None and known.marker_time_ns == one.marker_time_ns
            age = known.age_seconds if known is not None and unused else 0.0
            self._put(one, now - age)

    def _apply_downloads(self, found: Mapping[str, int]) -> None:
        known = {entry.key for entry in self.budget if entry.is_download}
        for key in (known | found.keys()) - self._changed:
            self._put_download(key, found.get(key, 0))

    def _put_download(self, key: str, size_bytes: int) -> None:
        """Note what an interrupted download takes up; 0 = there is none."""
        entry = self.budget.get(key)
        self.budget.remove(key)
        if size_bytes:
            used_at = entry.used_at if entry else self._clock.monotonic()
            self.budget.put(Entry(key, size_bytes, False, used_at=used_at, is_download=True))

    def _known(self, found: Found, now: float) -> bool:
        entry = self.budget.get(found.key)
        if entry is None:
            return False
        self.budget.resize(_entry(found, now))
        self._note_marker(entry, found.marker_time_ns, now)
        return True

    def _note_marker(self, entry: Entry, marker_time_ns: int | None, now: float) -> None:
        """A client that hit without a call has touched the marker: see that as a use."""
        if entry.marker_time_ns not in (None, marker_time_ns):
            self.budget.touch(entry.key, now)
        entry.marker_time_ns = marker_time_ns

    def _put(self, found: Found, used_at: float) -> None:
        self.budget.put(_entry(found, used_at))
        self._paths[found.key] = found.paths

    def used(self, paths: VersionPaths) -> None:
        """Note that a call used the version just now."""
        self.budget.touch(paths.data, self._clock.monotonic())

    def landed(self, paths: VersionPaths, size_bytes: int) -> None:
        """Note that the version, or that many bytes of it, stand now, with our receipt."""
        self._changed.add(paths.data)
        marked = not isinstance(paths, PartialPaths)
        found = Found(paths, size_bytes, has_receipt=True, marked=marked, marker_time_ns=None)
        self._put(found, self._clock.monotonic())

    def gone(self, paths: VersionPaths) -> None:
        """Note that the version does not stand any more. Idempotent."""
        self._changed.add(paths.data)
        self.budget.remove(paths.data)
        self._paths.pop(paths.data, None)

    def download_begins(self, paths: VersionPaths) -> int:
        """Note that a flight takes over what is staged; return how much that is."""
        key = path_of(paths.key)
        self._changed.add(key)
        entry = self.budget.get(key)
        self.budget.remove(key)
        return entry.size_bytes if entry else 0

    async def download_ends(self, paths: VersionPaths) -> None:
        """Note what a flight has left in staging."""
        key = path_of(paths.key)
        self._changed.add(key)
        self._put_download(key, await self._disk.run(bytes_kept, self._dir, key))

    async def drop_download(self, entry: Entry) -> None:
        """Delete an interrupted download, unless a flight works on it again.

        Raises:
            ReadOnlyError, IoError: some of it stays.
        """
        self._changed.add(entry.key)
        if await self._disk.run(delete_unused, self._dir, entry.key):
            self.budget.remove(entry.key)

    async def disk(self) -> Disk:
        """Return what the disk has and has free now."""
        return await self._disk.run(_disk_of, self._dir)

    async def leased(self, entries: Sequence[Entry]) -> set[str]:
        """Return the keys of those that somebody holds a lease on; that counts as a use."""
        looked = await self._disk.run(_look_for_leases, self._dir, self._known_paths(entries))
        now = self._clock.monotonic()
        for key, (is_held, marker_time_ns) in looked.items():
            entry = self.budget.get(key)
            if entry is not None:
                self._note_marker(entry, marker_time_ns, now)
            if is_held:
                self.budget.touch(key, now)
        return {key for key, (is_held, _) in looked.items() if is_held}

    def _known_paths(self, entries: Sequence[Entry]) -> list[VersionPaths]:
        return [paths for entry in entries if (paths := self._paths.get(entry.key))]

    async def tend(self) -> None:
        """See uses that made no call among the least recently used, and save the order of use."""
        if self._next_walk_at is None:
            return
        versions = [entry for entry in self.budget if not entry.is_download]
        await self.leased(versions[:_SAMPLE_VERSIONS])
        order = [(entry.key, entry.marker_time_ns) for entry in self.budget]
        if order == self._saved:
            return
        now = self._clock.monotonic()
        remembered = [
            Remembered(entry.key, now - entry.used_at, entry.marker_time_ns)
            for entry in self.budget
        ]
        try:
            await self._disk.run(write_order, self._dir, remembered)
        except AssetError:
            return  # it is a help for the next start, and no more
        self._saved = order


def _batches(versions: Sequence[VersionPaths]) -> Iterable[Sequence[VersionPaths]]:
    return (
        versions[start : start + _BATCH_VERSIONS]
        for start in range(0, len(versions), _BATCH_VERSIONS)
    )


def _entry(found: Found, used_at: float) -> Entry:
    return Entry(
        key=found.key,
        size_bytes=found.size_bytes,
        has_receipt=found.has_receipt,
        marked=found.marked,
        marker_time_ns=found.marker_time_ns,
        used_at=used_at,
    )


def _in_order_of_use(found: Iterable[Found], remembered: Sequence[Remembered]) -> list[Found]:
    """Order what an earlier run left: first what nobody remembers, then as that run used it.

    What was touched since then was used last. Among the unknown the marker's time is as good a
    guess as any: it decides who goes first, never whether somebody may go.
    """
    place = {one.key: (index, one.marker_time_ns) for index, one in enumerate(remembered)}

    def order(one: Found) -> tuple[int, int]:
        if one.key not in place:
            return (0, one.marker_time_ns or 0)
        index, marker_time_ns = place[one.key]
        return (1, index) if marker_time_ns == one.marker_time_ns else (2, index)

    return sorted(found, key=order)


def _disk_of(assets_dir: AssetsDir) -> Disk:
    with os_errors("."):
        return Disk(assets_dir.total_bytes(), assets_dir.free_bytes())


def _look_for_leases(
    assets_dir: AssetsDir, versions: Sequence[VersionPaths]
) -> dict[str, tuple[bool, int | None]]:
    looked: dict[str, tuple[bool, int | None]] = {}
    for paths in versions:
        try:
            held = is_leased(assets_dir, paths)
            found = look_at(assets_dir, paths.folder, [paths])
        except AssetError:
            continue
        looked[paths.data] = (held, found[0].marker_time_ns if found else None)
    return looked
