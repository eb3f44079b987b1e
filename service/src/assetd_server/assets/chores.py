"""What a daemon does without being asked, and how often. Decides nothing else."""

from collections.abc import Awaitable, Callable

from assetd_server.assets.clock import Clock
from assetd_server.assets.housekeeping import Chore
from assetd_server.assets.ledger import Ledger
from assetd_server.assets.threads import Threads
from assetd_server.assets.tidying import Tidying
from assetd_server.cache.staging import StagingSweep

# What a daemon that is killed forgets of who was used last.
_TEND_INTERVAL_SECONDS = 60.0
_LOOK_INTERVAL_SECONDS = 5.0
# Often enough that what is too old does not stay much longer.
_MAX_SWEEP_INTERVAL_SECONDS = 600.0


def make_chores(
    sweep: StagingSweep,
    tidying: Tidying,
    ledger: Ledger,
    settle_pushes: Callable[[], Awaitable[None]],
    look_again: Callable[[], Awaitable[None]],
    disk: Threads,
    clock: Clock,
) -> list[Chore]:
    """Return all chores of one ASSETS_DIR and its store."""

    async def sweep_staging() -> None:
        await disk.run(sweep.sweep, clock.now().timestamp(), clock.monotonic())

    interval_seconds = min(sweep.max_age_seconds / 4, _MAX_SWEEP_INTERVAL_SECONDS)
    return [
        Chore("sweep of staging", interval_seconds, sweep_staging),
        Chore("partial versions", interval_seconds, tidying.run),
        Chore("order of use", _TEND_INTERVAL_SECONDS, ledger.tend),
        Chore("ended pushes", _TEND_INTERVAL_SECONDS, settle_pushes),
        Chore("dropped versions", _LOOK_INTERVAL_SECONDS, look_again),
    ]
