"""Keeps the budget true to the tree: scans it, notes every use, remembers the order of use.

Anybody may edit ASSETS_DIR by hand, so the tree is walked at the start, and again when somebody
asks and the last walk is old for what it cost. What this run fetches and evicts is noted at once.
Decides nothing: `assets.room` does.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from assetd_server.assets.clock import Clock
from assetd_server.assets.in_bulk import in_bulk
from assetd_server.assets.threads import Threads
from assetd_server.assets.walking import Walker, cut
from assetd_server.cache.budget import Budget, Disk, Entry, Limits
from assetd_server.cache.layout import AssetsDir, PartialPaths, VersionPaths
from assetd_server.cache.leases import is_leased
from assetd_server.cache.scan import Found, Known, disk_of, look_at, unchanged_folders
from assetd_server.cache.staging import bytes_kept, delete_unused, kept_downloads, path_of
from assetd_server.cache.use_order import (
    Remembered,
    note_end,
    read_order,
    take_end,
    write_order,
)
from assetd_server.errors import AssetError

_BATCH_VERSIONS = 500
# A walk may take this share of the time: where it takes 1 s, the next begins 20 s later.
_WALK_SHARE = 0.05
# Somebody who looks every few seconds may have one for each look.
_QUICK_WALK_SECONDS = 0.5
# Looking for leases costs some 30 us a version.
_SAMPLE_VERSIONS = 1000


class Ledger:
    """What takes room in one ASSETS_DIR, and who used it last."""

    def __init__(self, assets_dir: AssetsDir, limits: Limits, disk: Threads, clock: Clock) -> None:
        self.budget = Budget(limits)
        self._dir = assets_dir
        self._disk = disk
        self._clock = clock
        self._walker = Walker(assets_dir, disk, clock)
        self._folder_times: Mapping[str, int] = {}
        self._paths: dict[str, VersionPaths] = {}
        self._walking = asyncio.Lock()
        self._next_walk_at: float | None = None
        self._walk_seconds = 0.0
        # What changed while a walk was under way is newer than what the walk found.
        self._changed: set[str] = set()
        # Uses of versions that no walk has found yet, the latest last.
        self._early_uses: dict[str, float] = {}
        self._downloading: set[str] = set()
        self._leased: set[str] = set()
        self._sampled_count = 0
        self._saved: list[tuple[str, int | None]] = []
        self._knows_ages = False

    async def load(self) -> None:
        """Find out whether the run before this one told its last uses. Before the first request."""
        self._knows_ages = await self._disk.run(take_end, self._dir)

    def paths(self, key: str) -> VersionPaths | None:
        """Return the version that the budget knows by `key`; None where it is gone by now."""
        return self._paths.get(key)

    def is_partial(self, entry: Entry) -> bool:
        """Tell whether the entry is a partial version."""
        return isinstance(self._paths.get(entry.key), PartialPaths)

    def all_paths(self) -> list[VersionPaths]:
        """Return all versions that the budget knows, in no order."""
        return list(self._paths.values())

    def versions(self) -> list[Entry]:
        """Return the entries that are versions, least recently used first."""
        return [entry for entry in self.budget if not entry.is_download]

    async def refresh(self, *, now: bool = False) -> None:
        """Return when the budget shows the tree as it was a moment ago.

        With `now` as it is: for people, unless the tree is so large that a walk takes long.

        Raises:
            ReadOnlyError, UnsafePathError, IoError: ASSETS_DIR cannot be read.
        """
        async with self._walking:
            began = self._clock.monotonic()
            if self._is_fresh(began) and not (now and self._walk_seconds < _QUICK_WALK_SECONDS):
                return
            self._changed.clear()
            first = self._next_walk_at is None
            remembered = await self._disk.run(read_order, self._dir) if first else ()
            walked = await self._walker.walk(self._known_sizes(remembered))
            downloads = await self._disk.run(kept_downloads, self._dir)
            self._folder_times = walked.folder_times
            with in_bulk():
                self._apply(walked.found, remembered)
            self._apply_downloads(downloads)
            self._walk_seconds = self._clock.monotonic() - began
            self._next_walk_at = began + self._walk_seconds / _WALK_SHARE

    def _is_fresh(self, now: float) -> bool:
        return self._next_walk_at is not None and now < self._next_walk_at

    def _known_sizes(self, remembered: Iterable[Remembered]) -> dict[str, Known]:
        known = {
            one.key: Known(one.marker_time_ns, one.size_bytes, one.folder_time_ns)
            for one in remembered
            if one.marker_time_ns is not None and one.size_bytes is not None
        }
        known |= {entry.key: one for entry in self.budget if (one := _known(entry))}
        return known

    def _apply(self, found: Iterable[Found], remembered: Sequence[Remembered]) -> None:
        """Take over what a walk found; on the first one, what an earlier run remembered of it."""
        now = self._clock.monotonic()
        by_key = {one.key: one for one in found if self._counts(one.key)}
        for entry in self.versions():
            if entry.key not in by_key and entry.key not in self._changed:
                self._forget(entry.key)
        uses = dict(self._early_uses)
        self._early_uses.clear()
        if self._next_walk_at is None:
            # What this run has fetched before its first walk was used after all that it finds.
            uses |= {entry.key: entry.used_at for entry in self.versions()}
        # A run that was killed may have used anything a moment before.
        ages = {one.key: one for one in remembered} if self._knows_ages else {}
        new = [one for one in by_key.values() if not self._is_known(one, now)]
        for one in _in_order_of_use(new, remembered):
            known = ages.get(one.key)
            unused = known is not None and known.marker_time_ns == one.marker_time_ns
            age = known.age_seconds if known is not None and unused else 0.0
            self._put(one, now - age)
        for key, used_at in sorted(uses.items(), key=lambda use: use[1]):
            self.budget.touch(key, used_at)

    def _counts(self, key: str) -> bool:
        """Tell whether what a walk found there is to be noted: nothing else told of it better."""
        # For what is being published this moment room is still set aside.
        landing = key in self._downloading and self.budget.get(key) is None
        return not landing and key not in self._changed

    def _forget(self, key: str) -> None:
        self.budget.remove(key)
        self._paths.pop(key, None)
        self._leased.discard(key)

    def _apply_downloads(self, found: Mapping[str, int]) -> None:
        known = [entry.key for entry in self.budget if entry.is_download]
        new = sorted(found.keys() - set(known))
        for key in [*known, *new]:
            if key not in self._changed | self._downloading:
                self._put_download(key, found.get(key, 0))

    def _put_download(self, key: str, size_bytes: int) -> None:
        """Note what an interrupted download takes up; 0 = there is none."""
        entry = self.budget.get(key)
        self.budget.remove(key)
        if size_bytes:
            used_at = entry.used_at if entry else self._clock.monotonic()
            self.budget.put(Entry(key, size_bytes, False, used_at=used_at, is_download=True))

    def _is_known(self, found: Found, now: float) -> bool:
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
        now = self._clock.monotonic()
        if self.budget.get(paths.data) is None:
            self._early_uses.pop(paths.data, None)
            self._early_uses[paths.data] = now
        self.budget.touch(paths.data, now)

    def last_use_time(self, paths: VersionPaths) -> datetime | None:
        """Return when this run last saw the version used; None where it has not, yet.

        By the wall clock, for people: what decides are our own seconds.
        """
        entry = self.budget.get(paths.data)
        seen = entry.used_at if entry and entry.use_count else self._early_uses.get(paths.data)
        if seen is None:
            return None
        return self._clock.now() - timedelta(seconds=self._clock.monotonic() - seen)

    def is_unused(self, paths: VersionPaths) -> bool:
        """Tell whether the version stands, and its last use lies `min_age` back."""
        entry = self.budget.get(paths.data)
        return entry is not None and self.budget.old_enough(entry, self._clock.monotonic())

    def landed(self, paths: VersionPaths, size_bytes: int) -> None:
        """Note that the version, or that many bytes of it, stand now, with our receipt."""
        self._changed.add(paths.data)
        self._early_uses.pop(paths.data, None)
        marked = not isinstance(paths, PartialPaths)
        found = Found(paths, size_bytes, has_receipt=True, marked=marked, marker_time_ns=None)
        self._put(found, self._clock.monotonic())

    async def look_again(self, paths: VersionPaths) -> None:
        """Look at a version that has just landed, so that the next change of it is noticed."""
        looked = await self._disk.run(look_at, self._dir, paths.folder, [paths])
        entry = self.budget.get(paths.data)
        if entry is not None and looked:
            entry.marker_time_ns = looked[0].marker_time_ns

    def asked(self, paths: VersionPaths, *, in_store: bool) -> None:
        """Note whether the store could give the version back, as it has just said."""
        entry = self.budget.get(paths.data)
        if entry is not None:
            entry.in_store = in_store

    def gone(self, paths: VersionPaths) -> None:
        """Note that the version does not stand any more. Idempotent."""
        self._changed.add(paths.data)
        self._early_uses.pop(paths.data, None)
        self._forget(paths.data)

    def download_begins(self, paths: VersionPaths) -> int:
        """Note that a flight takes over what is staged; return how much that is."""
        key = path_of(paths.key)
        self._downloading |= {key, paths.data}
        entry = self.budget.get(key)
        self.budget.remove(key)
        return entry.size_bytes if entry else 0

    async def download_ends(self, paths: VersionPaths) -> None:
        """Note what a flight has left in staging."""
        key = path_of(paths.key)
        try:
            self._put_download(key, await self._disk.run(bytes_kept, self._dir, key))
        finally:
            self._changed.add(key)
            self._downloading -= {key, paths.data}

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
        return await self._disk.run(disk_of, self._dir)

    async def leased(self, entries: Sequence[Entry]) -> set[str]:
        """Return the keys of those that somebody holds a lease on; that counts as a use."""
        known = {entry.key: known for entry in entries if (known := _known(entry))}
        versions = [paths for entry in entries if (paths := self._paths.get(entry.key))]
        looked = await self._disk.run(_look_for_leases, self._dir, versions, known)
        now = self._clock.monotonic()
        for key, (is_held, marker_time_ns) in looked.items():
            entry = self.budget.get(key)
            if entry is None:
                continue
            self._note_marker(entry, marker_time_ns, now)
            if is_held:
                self.budget.touch(key, now)
                self._leased.add(key)
            else:
                self._leased.discard(key)
        return {key for key, (is_held, _) in looked.items() if is_held}

    async def all_leased(self) -> set[str]:
        """Return the keys of all that somebody holds a lease on.

        Of many versions most are told as they were when they were last looked at (`tend`).
        """
        versions = self.versions()
        if len(versions) <= _SAMPLE_VERSIONS:
            await self.leased(versions)
        else:
            await self.leased([entry for entry in versions if entry.key in self._leased])
        return set(self._leased)

    async def tend(self, *, is_last: bool = False) -> None:
        """See uses that made no call, of the least recently used and some more; save the order.

        `is_last`: nothing is used in this run after that, so that the next one may rely on it.
        """
        if self._next_walk_at is None:
            return
        versions = self.versions()
        for batch in cut(self._sample(versions), _BATCH_VERSIONS):
            await self.leased(batch)
        await self._save(is_last=is_last)

    def _sample(self, versions: Sequence[Entry]) -> list[Entry]:
        """Choose those whose turn to be evicted is near, and others in turn, so that all are."""
        first, rest = versions[:_SAMPLE_VERSIONS], versions[_SAMPLE_VERSIONS:]
        start = self._sampled_count if self._sampled_count < len(rest) else 0
        others = rest[start : start + 4 * _SAMPLE_VERSIONS]
        self._sampled_count = start + len(others)
        chosen = {entry.key: entry for entry in [*first, *others]}
        chosen |= {entry.key: entry for entry in rest if entry.key in self._leased}
        return list(chosen.values())

    async def _save(self, *, is_last: bool) -> None:
        versions = self.versions()
        order = [(entry.key, entry.marker_time_ns) for entry in versions]
        if order == self._saved and not is_last:
            return
        now = self._clock.monotonic()
        try:
            unchanged = await self._disk.run(unchanged_folders, self._dir, self._folder_times)
            remembered = [
                Remembered(
                    entry.key,
                    now - entry.used_at,
                    entry.marker_time_ns,
                    entry.size_bytes if entry.has_receipt else None,
                    unchanged.get(entry.key.rpartition("/")[0]),
                )
                for entry in versions
            ]
            await self._disk.run(write_order, self._dir, remembered)
            if is_last:
                await self._disk.run(note_end, self._dir)
        except AssetError:
            return  # it is a help for the next start, and no more
        self._saved = order


def _entry(found: Found, used_at: float) -> Entry:
    return Entry(
        key=found.key,
        size_bytes=found.size_bytes,
        has_receipt=found.has_receipt,
        marked=found.marked,
        marker_time_ns=found.marker_time_ns,
        used_at=used_at,
    )


def _known(entry: Entry) -> Known | None:
    if not entry.has_receipt or entry.marker_time_ns is None:
        return None
    return Known(entry.marker_time_ns, entry.size_bytes)


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


def _look_for_leases(
    assets_dir: AssetsDir, versions: Sequence[VersionPaths], known: Mapping[str, Known]
) -> dict[str, tuple[bool, int | None]]:
    looked: dict[str, tuple[bool, int | None]] = {}
    for paths in versions:
        try:
            held = is_leased(assets_dir, paths)
            found = look_at(assets_dir, paths.folder, [paths], known)
        except AssetError:
            continue
        if found:
            looked[paths.data] = (held, found[0].marker_time_ns)
    return looked
