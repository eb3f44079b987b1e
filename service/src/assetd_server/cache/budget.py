"""The ledger of ASSETS_DIR: bytes used and reserved, and the order in which versions were used.

Pure: no I/O, no clock of its own, no path is opened. Times are seconds of the daemon's monotonic
clock, so that no jump of the wall clock makes a version older than it is. What stands on the disk
is told to the ledger by those who look (`cache.scan`) or change it (`assets.room`); who may be
evicted at all (leases, pins, the store's word) is decided there too.
"""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """How much room the cache may take; None where the operator set no bound.

    `min_free_fraction` is a share of the whole disk; it and `min_free_bytes` exclude each other.
    """

    max_bytes: int | None = None
    min_free_bytes: int | None = None
    min_free_fraction: float | None = None
    min_age_seconds: float = 90.0
    restart_grace_seconds: float = 90.0

    @property
    def any(self) -> bool:
        """Whether there is a limit: without one nothing is evicted."""
        return self.max_bytes is not None or self.keeps_free

    @property
    def keeps_free(self) -> bool:
        """Whether some of the disk has to stay free."""
        return self.min_free_bytes is not None or self.min_free_fraction is not None

    def kept_free(self, disk_total_bytes: int) -> int:
        """Return the bytes that have to stay free on a disk of that size."""
        if self.min_free_fraction is not None:
            return int(disk_total_bytes * self.min_free_fraction)
        return self.min_free_bytes or 0


@dataclass(frozen=True)
class Disk:
    """What the disk of ASSETS_DIR has, and what of it is free for us."""

    total_bytes: int
    free_bytes: int


@dataclass
class Entry:
    """A version, or an interrupted download, that takes room. `key` is its path below ASSETS_DIR.

    `marked`: it counts as complete. `has_receipt`: the mark is ours, so that the store can be asked
    whether it could give the version back; `in_store` is what it said last, if it was asked.
    `marker_time_ns` is the marker's mtime when last seen; only a *change* of it means anything.
    """

    key: str
    size_bytes: int
    has_receipt: bool
    marked: bool = True
    marker_time_ns: int | None = None
    used_at: float = 0.0
    use_count: int = 0
    is_download: bool = False
    in_store: bool = True


class Reservation:
    """Room set aside for one download, until it is released. The bytes may be there in part."""

    def __init__(self, size_bytes: int, written_bytes: Callable[[], int]) -> None:
        self.size_bytes = size_bytes
        self._written_bytes = written_bytes

    @property
    def remaining_bytes(self) -> int:
        """What the disk has still to give."""
        return max(self.size_bytes - self._written_bytes(), 0)


class Budget:
    """Who takes how much room, least recently used first. For one thread: the event loop's."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        # A dict keeps the order of insertion: whoever is used is taken out and put at the end.
        self._entries: dict[str, Entry] = {}
        self._reservations: set[Reservation] = set()
        self._used_bytes = 0

    @property
    def used_bytes(self) -> int:
        """Bytes of all entries."""
        return self._used_bytes

    @property
    def reserved_bytes(self) -> int:
        """Bytes set aside for downloads under way, those that have arrived included."""
        return sum(reservation.size_bytes for reservation in self._reservations)

    @property
    def remaining_bytes(self) -> int:
        """Bytes that downloads under way will still need."""
        return sum(reservation.remaining_bytes for reservation in self._reservations)

    @property
    def written_bytes(self) -> int:
        """Bytes of downloads under way that have arrived."""
        return self.reserved_bytes - self.remaining_bytes

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        """Iterate over the entries, least recently used first; they may change meanwhile."""
        return iter(list(self._entries.values()))

    def get(self, key: str) -> Entry | None:
        """Return the entry, if there is one."""
        return self._entries.get(key)

    def put(self, entry: Entry) -> None:
        """Add or replace an entry as the one used last."""
        self.remove(entry.key)
        self._entries[entry.key] = entry
        self._used_bytes += entry.size_bytes

    def resize(self, entry: Entry) -> None:
        """Take over what was found of a known entry, which keeps its place and its last use."""
        known = self._entries[entry.key]
        self._used_bytes += entry.size_bytes - known.size_bytes
        known.size_bytes, known.has_receipt = entry.size_bytes, entry.has_receipt
        known.marked = entry.marked

    def touch(self, key: str, now: float) -> None:
        """Note a use; an unknown key is none of ours."""
        entry = self._entries.pop(key, None)
        if entry is not None:
            entry.used_at = now
            entry.use_count += 1
            self._entries[key] = entry

    def remove(self, key: str) -> None:
        """Forget an entry. Idempotent."""
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._used_bytes -= entry.size_bytes

    def old_enough(self, entry: Entry, now: float) -> bool:
        """Tell whether the entry's last use lies `min_age` back."""
        return now - entry.used_at >= self.limits.min_age_seconds

    def reserve(self, size_bytes: int, written_bytes: Callable[[], int]) -> Reservation:
        """Set room aside, whether there is any or not: ask `missing_bytes` first."""
        reservation = Reservation(size_bytes, written_bytes)
        self._reservations.add(reservation)
        return reservation

    def release(self, reservation: Reservation) -> None:
        """Give room back. Idempotent."""
        self._reservations.discard(reservation)

    def missing_bytes(self, needed_bytes: int, disk: Disk, replaced: Collection[str] = ()) -> int:
        """Return how much has to be freed before `needed_bytes` may be written; 0 = they fit.

        What they replace (the keys of entries, where there are such) goes when they stand: it
        counts on the disk, and not against the limit of the cache.
        """
        on_disk = needed_bytes + self.remaining_bytes - self._spendable(disk)
        return max(on_disk, self._above_max_bytes(needed_bytes, replaced), 0)

    def is_disk_full(self, needed_bytes: int, disk: Disk, replaced: Collection[str] = ()) -> bool:
        """Tell whether it is the disk that has no room for them, whatever the limits say.

        False where `max_bytes` leaves no room for them either: there it is the cache that is full.
        """
        return needed_bytes > self.disk_left_bytes(disk) and (
            self._above_max_bytes(needed_bytes, replaced) <= 0
        )

    def disk_left_bytes(self, disk: Disk) -> int:
        """Return what of the disk no download under way will need, were nothing to stay free."""
        return max(disk.free_bytes - self.remaining_bytes, 0)

    def _above_max_bytes(self, needed_bytes: int, replaced: Collection[str]) -> int:
        if self.limits.max_bytes is None:
            return 0
        standing = (self._entries.get(key) for key in replaced)
        going = sum(entry.size_bytes for entry in standing if entry)
        taken = self._used_bytes + self.reserved_bytes - going
        return taken + needed_bytes - self.limits.max_bytes

    def free_bytes(self, disk: Disk) -> int:
        """Return how much could be written now without freeing anything."""
        free = self._spendable(disk) - self.remaining_bytes
        if self.limits.max_bytes is not None:
            free = min(free, self.limits.max_bytes - self._used_bytes - self.reserved_bytes)
        return max(free, 0)

    def limit_bytes(self, disk: Disk) -> int | None:
        """Return how many bytes the cache may take as the disk is now; None = there is no limit."""
        bounds = []
        if self.limits.max_bytes is not None:
            bounds.append(self.limits.max_bytes)
        if self.limits.keeps_free:
            bounds.append(self.used_bytes + self.written_bytes + max(self._spendable(disk), 0))
        return min(bounds, default=None)

    def largest_bytes(self, disk: Disk) -> int:
        """Return how large a version may be that fits into an empty cache."""
        largest = disk.total_bytes - self.limits.kept_free(disk.total_bytes)
        if self.limits.max_bytes is not None:
            largest = min(largest, self.limits.max_bytes)
        return max(largest, 0)

    def never_fits(self, needed_bytes: int, disk: Disk) -> bool:
        """Tell whether the version is too large even for an empty cache."""
        return needed_bytes > self.largest_bytes(disk)

    def _spendable(self, disk: Disk) -> int:
        return disk.free_bytes - self.limits.kept_free(disk.total_bytes)
