"""Uploads that a push has begun without hearing their names (`layout.md`, "Push", step 7).

The call that begins one is repeated where no answer comes, and may have been carried out all the
same. The order of the two looks is the protocol (`docs/models/push_model.py`, `sweep`): change the
model before the code.
"""

from collections.abc import Set

import structlog

from assetd_server.assets.push_records import PushRecord
from assetd_server.errors import BadManifestError, StoreAccessDeniedError, UnsafeStoreError
from assetd_server.store.base import ObjectStore, Upload
from assetd_server.store.claims import Claims, ClaimState, is_upload_of
from assetd_server.store.commits import Commits


class LostUploads:
    """Finds them by their keys, and ends them."""

    def __init__(self, store: ObjectStore, claims: Claims, commits: Commits) -> None:
        self._store = store
        self._claims = claims
        self._commits = commits
        self._log = structlog.get_logger()

    async def end(self, record: PushRecord, *, but: Set[Upload] = frozenset()) -> None:
        """End the uploads below a push's version, unless they may be another push's work.

        To be called when the push itself needs none of them any more, or `but` those. Where the
        daemon may not list uploads, or the store cannot, they are left to the operator.

        Raises:
            StoreUnavailableError and other failures of the store: call again.
        """
        try:
            found = [upload for upload in await self._below_version(record) if upload not in but]
        except (StoreAccessDeniedError, UnsafeStoreError) as error:
            self._log.warning(
                "uploads may be left of a push, which `assetd doctor` finds",
                asset=record.name,
                version=str(record.version),
                error=str(error),
            )
            return
        # First the list, then this look: what was listed was begun under this claim or an earlier
        # one, as long as the claim stands; and nobody can use it once the version is committed.
        if not found or not await self._are_useless(record):
            return
        for upload in found:
            await self._store.abort_upload(upload)

    async def _below_version(self, record: PushRecord) -> list[Upload]:
        return [
            unfinished.upload
            async for unfinished in self._store.uploads(f"{record.name}/")
            if is_upload_of(unfinished.upload, record.name, record.version)
        ]

    async def _are_useless(self, record: PushRecord) -> bool:
        return await self._is_held(record) or await self._commits.is_committed(
            record.name, record.version
        )

    async def _is_held(self, record: PushRecord) -> bool:
        try:
            held = await self._claims.read(record.name, record.version)
        except BadManifestError:
            return False
        if held is None or held.claim.claim_id != record.claim.claim_id:
            return False
        return held.claim.state is not ClaimState.RELEASED
