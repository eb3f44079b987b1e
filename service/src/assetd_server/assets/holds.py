"""Leases that last as long as a caller's stream, and who has them.

The lease itself is the kernel's (`cache.leases`); this is the list that a status shows. All held by
one daemon end when it drains: helpers hold again with its successor.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from assetd_server.assets.clock import Clock
from assetd_server.assets.orders import HoldStatus
from assetd_server.cache.layout import VersionPaths
from assetd_server.cache.leases import Lease
from assetd_server.model import AssetVersion


class Holds:
    """The holds of this daemon."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._held: dict[int, HoldStatus] = {}
        self._counts: Counter[str] = Counter()
        self._next = 0

    @contextmanager
    def hold(
        self,
        lease: Lease | None,
        paths: VersionPaths | None,
        asset_version: AssetVersion,
        caller: str,
    ) -> Iterator[None]:
        """Show a hold for the length of the block, and end its lease.

        `paths` are those of what is held, a version or parts of it; a plain path has none.
        """
        self._next += 1
        number, key = self._next, paths.data if paths else ""
        self._held[number] = HoldStatus(asset_version, caller, self._clock.now())
        self._counts[key] += 1
        try:
            yield
        finally:
            del self._held[number]
            self._counts[key] -= 1
            if lease is not None:
                lease.release()

    def count(self, paths: VersionPaths) -> int:
        """Return how many holds of this daemon keep the version; of partial paths, its parts."""
        return self._counts[paths.data]

    def __iter__(self) -> Iterator[HoldStatus]:
        return iter(list(self._held.values()))
