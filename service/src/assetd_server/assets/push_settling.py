"""Pushes that ended on their way, settled later (`layout.md`, "Push", step 7).

Those of an earlier run that died, and those of this run that could not tell the store. Each is
finished if it was committing, else released, and its uploads are ended.
"""

import structlog

from assetd_server.assets.claimed import ClaimedVersions
from assetd_server.assets.lost_uploads import LostUploads
from assetd_server.assets.push_records import PushRecord, PushRecords
from assetd_server.errors import AssetError, StoreUnavailableError
from assetd_server.store.base import ObjectStore


class PushSettling:
    """Settles what the records of pushes tell of."""

    def __init__(
        self,
        records: PushRecords,
        claimed: ClaimedVersions,
        lost: LostUploads,
        store: ObjectStore,
    ) -> None:
        self._records = records
        self._claimed = claimed
        self._lost = lost
        self._store = store
        self._log = structlog.get_logger()

    async def settle(self) -> None:
        """Settle all that is left. What cannot be settled now is left for the next time.

        Raises:
            UnsafePathError, IoError: the records cannot be read.
        """
        for record in await self._records.left():
            try:
                await self._settle(record)
            except AssetError as error:
                self._log.warning(
                    "a push that ended early cannot be settled yet",
                    asset=record.name,
                    version=str(record.version),
                    error=str(error),
                )
                if isinstance(error, StoreUnavailableError):
                    return

    async def _settle(self, record: PushRecord) -> None:
        # First, while the record still names them, and the claim keeps others from uploading.
        for upload in record.uploads:
            await self._store.abort_upload(upload)
        await self._lost.end(record)
        await self._claimed.settle(record)
        self._log.info(
            "settled a push that had ended early", asset=record.name, version=str(record.version)
        )
