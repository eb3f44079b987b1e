"""Holds inside the daemon: which versions a call is about, from its first look to its answer.

An eviction needs a version for itself (`layout.md`, "Evict"); a fetch shares it with other fetches,
and waits the moment that an eviction takes. Leases, which other processes see, are the kernel's.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager


class Uses:
    """Shared and exclusive holds on versions by their key, within one event loop."""

    def __init__(self) -> None:
        self._shared: Counter[str] = Counter()
        self._exclusive: dict[str, asyncio.Event] = {}

    @asynccontextmanager
    async def shared(self, key: str) -> AsyncIterator[None]:
        """Use a version for the length of the block, once nobody evicts it."""
        while (busy := self._exclusive.get(key)) is not None:
            await busy.wait()
        self._shared[key] += 1
        try:
            yield
        finally:
            self._shared[key] -= 1
            if not self._shared[key]:
                del self._shared[key]

    @contextmanager
    def exclusive(self, key: str) -> Iterator[bool]:
        """Have a version for the length of the block; yields False, at once, where it is in use."""
        if self.in_use(key):
            yield False
            return
        ended = self._exclusive[key] = asyncio.Event()
        try:
            yield True
        finally:
            del self._exclusive[key]
            ended.set()

    def in_use(self, key: str) -> bool:
        """Tell whether a call uses the version, or an eviction has it."""
        return key in self._shared or key in self._exclusive
