"""What an operator may have done to a store that an inspection has found something in.

Each deed is a step that any pusher may take (`layout.md`, "Push", step 7), so that it is safe
beside pushes under way: claims change only by compare-and-swap, and go only once the index lists
their version. Only a damaged index is for nobody else to mend; it is swapped as well. Parts and
manifests are never deleted.
"""

from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass, replace
from enum import Enum

from assetd_server.assets.claimed import finish_claim
from assetd_server.assets.inspection import FoundClaim, Inspection, Oddity
from assetd_server.errors import AssetError
from assetd_server.store.base import ObjectStore, Upload
from assetd_server.store.claims import Claims, ClaimState, HeldClaim
from assetd_server.store.commits import Commits
from assetd_server.store.index_repair import IndexRepair

# Each further try means that a pusher swapped the claim meanwhile.
_TRIES = 100


class Deed(Enum):
    """What was done, or was to be done."""

    RENEWED = "renewed the index of"
    LISTED = "listed"
    REMOVED = "removed the claim on"
    RELEASED = "released the claim on"
    FINISHED = "finished the push of"
    ABORTED = "aborted the upload of"


@dataclass(frozen=True)
class Mended:
    """One deed, to a version or a key; `failure` says why it could not be done."""

    deed: Deed
    what: str
    failure: AssetError | None = None


class Mender:
    """Does what is asked for, one thing after the other; a failure keeps none from being tried."""

    def __init__(
        self, store: ObjectStore, claims: Claims, commits: Commits, indexes: IndexRepair
    ) -> None:
        self._store = store
        self._claims = claims
        self._commits = commits
        self._indexes = indexes

    async def repair(self, found: Inspection) -> AsyncIterator[Mended]:
        """Write damaged indexes anew; list what is not listed; remove claims beside what is."""
        # First: no other deed is possible beside a damaged index.
        for damaged in found.damaged:
            yield await _done(Deed.RENEWED, damaged.name, self._indexes.write_anew(damaged))
        for odd in found.odd:
            if odd.oddity not in (Oddity.UNLISTED, Oddity.LITTER):
                continue
            what = f"{odd.name}:{odd.version}"
            listing = self._commits.list_version(odd.name, odd.version)
            listed = await _done(Deed.LISTED, what, listing)
            if odd.oddity is Oddity.UNLISTED:
                yield listed
            if odd.has_claim and listed.failure is None:
                yield await _done(Deed.REMOVED, what, self._claims.delete(odd.name, odd.version))

    async def release(self, found: Inspection, older_than_seconds: float) -> AsyncIterator[Mended]:
        """End the pushes that began longer ago than that, and the uploads that did.

        An open claim is released, and the uploads that it lists are aborted; a committing one is
        finished. A pusher that is alive after all begins again.
        """
        old = [claim for claim in found.claims if claim.age_seconds > older_than_seconds]
        ended: set[Upload] = set()
        for claim in old:
            for mended in await self._end(claim, ended):
                yield mended
        # The clocks of stores and pushers differ: a push that goes on needs its uploads.
        for claim in found.claims:
            if claim not in old:
                ended.update(claim.claim.uploads)
        for one in found.uploads:
            upload = one.upload.upload
            if one.age_seconds > older_than_seconds and upload not in ended:
                yield await self._abort(upload)

    async def _end(self, found: FoundClaim, ended: set[Upload]) -> list[Mended]:
        """End one claim, unless it has changed hands since it was found; note what was aborted."""
        what = f"{found.name}:{found.version}"
        try:
            held = await self._released(found)
        except AssetError as failure:
            return [Mended(Deed.RELEASED, what, failure)]
        if held is None:
            return []
        if held.claim.state is ClaimState.COMMITTING:
            finishing = finish_claim(self._claims, self._commits, found.name, found.version, held)
            return [await _done(Deed.FINISHED, what, finishing)]
        ended.update(held.claim.uploads)
        aborted = [await self._abort(upload) for upload in held.claim.uploads]
        return [Mended(Deed.RELEASED, what), *aborted]

    async def _released(self, found: FoundClaim) -> HeldClaim | None:
        """Release the claim, and return it as it stands then; None where it is not to be ended."""
        for _ in range(_TRIES):
            held = await self._claims.read(found.name, found.version)
            if held is None or held.claim.claim_id != found.claim.claim_id:
                return None
            if held.claim.state is not ClaimState.OPEN:
                return held if held.claim.state is ClaimState.COMMITTING else None
            released = replace(held.claim, state=ClaimState.RELEASED)
            swapped = await self._claims.swap(found.name, found.version, held, released)
            if swapped is not None:
                return swapped
        return None

    async def _abort(self, upload: Upload) -> Mended:
        return await _done(Deed.ABORTED, upload.key, self._store.abort_upload(upload))


async def _done(deed: Deed, what: str, work: Awaitable[object]) -> Mended:
    try:
        await work
    except AssetError as failure:
        return Mended(deed, what, failure)
    return Mended(deed, what)
