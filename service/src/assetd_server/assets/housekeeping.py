"""What is due once in a while, whoever calls: one task for all of it.

A chore is done at the start, then whenever its interval has passed; never two at once. One that
fails is told in the log, and is due again as if it had not.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import structlog

from assetd_server.assets.clock import Clock
from assetd_server.errors import AssetError


@dataclass(frozen=True)
class Chore:
    """Work that is due every `interval_seconds`."""

    name: str
    interval_seconds: float
    work: Callable[[], Awaitable[None]]


class Housekeeping:
    """Does its chores for as long as `run` runs."""

    def __init__(self, clock: Clock, chores: Sequence[Chore]) -> None:
        self._clock = clock
        self._chores = tuple(chores)
        self._log = structlog.get_logger()

    async def run(self) -> None:
        """Do all chores, again and again, until cancelled."""
        due_seconds = dict.fromkeys(self._chores, self._clock.monotonic())
        while True:
            for chore in self._chores:
                if due_seconds[chore] <= self._clock.monotonic():
                    await self._do(chore)
                    due_seconds[chore] = self._clock.monotonic() + chore.interval_seconds
            await self._clock.sleep(min(due_seconds.values()) - self._clock.monotonic())

    async def _do(self, chore: Chore) -> None:
        try:
            await chore.work()
        except AssetError as error:
            self._log.warning("a chore failed", chore=chore.name, error=str(error))
        except Exception:  # noqa: BLE001 - a defect, in one chore; the others are due all the same
            self._log.exception("a chore failed", chore=chore.name)
