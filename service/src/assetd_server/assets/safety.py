"""No push to a store whose conditional writes are not atomic, unless an operator answers for it.

The store is tried once in a daemon's life, before its first push and not at its start: a daemon
that never pushes writes nothing. What is tried stands in `store.probe`.
"""

import asyncio

from assetd_server.assets.shielding import ended
from assetd_server.errors import UnsafeStoreError
from assetd_server.store.base import ObjectStore
from assetd_server.store.probe import ProbeReport, probe


class StoreSafety:
    """What is known of the safety of one store.

    With `single_pusher` the store is never tried: an operator says that nobody else pushes to it.
    """

    def __init__(self, store: ObjectStore, *, single_pusher: bool) -> None:
        self._store = store
        self._single_pusher = single_pusher
        self._probing: asyncio.Task[ProbeReport] | None = None

    async def require(self) -> None:
        """Return if pushes are safe; callers at once wait for one and the same run of the probe.

        What came of it holds until the daemon ends: a store that was seen to be unsafe once is not
        believed because it was lucky the next time. A run that could not be made is made again for
        the next caller. A caller who leaves does not disturb it.

        Raises:
            UnsafeStoreError: the store breaks a promise that a push rests on.
            StoreUnavailableError, StoreAccessDeniedError, DiskFullError: it could not be tried.
        """
        if self._single_pusher:
            return
        if self._probing is None:
            self._probing = asyncio.create_task(probe(self._store), name="probe of the store")
        probing = self._probing
        # asyncio.wait neither cancels what it waits for nor raises what comes of it.
        await asyncio.wait([probing])
        if probing.exception() is not None and self._probing is probing:
            self._probing = None
        _require_safe(probing.result(), self._store.url)

    async def close(self) -> None:
        """Return when no probe runs any more; it is let end, so that it leaves nothing behind."""
        if self._probing is not None:
            await ended(self._probing)


def _require_safe(report: ProbeReport, store: str) -> None:
    if not report.failed:
        return
    worst = report.failed[0]
    raise UnsafeStoreError(
        "pushes to the store {store} could be lost, it failed {failed}: {detail}. Use a store with"
        " atomic conditional writes, or declare by ASSETD_PUSH_SINGLE_PUSHER=true that no other"
        " daemon pushes to it, and restart; `assetd doctor` shows all checks",
        store=store,
        failed=", ".join(check.name for check in report.failed),
        detail=worst.detail,
    )
