"""What a push may do with a version that it has claimed (`layout.md`, "Push", steps 5 to 7).

Each is one swap of the claim, settled by reading again, until the claim is done with: committed and
deleted, or released. How a version is claimed is `assets.claiming`.
"""

from dataclasses import dataclass, replace

from assetd_server.assets.lost_uploads import LostUploads
from assetd_server.assets.push_records import PushRecord, PushRecords
from assetd_server.errors import AssetError, BadManifestError
from assetd_server.manifest import Manifest, Part
from assetd_server.model import AssetName
from assetd_server.store.base import Upload
from assetd_server.store.claims import Claims, ClaimState, HeldClaim
from assetd_server.store.commits import Commits
from assetd_server.versioning import NO_VERSIONS, Version, Versions

# Each further try means that somebody else swapped the same claim meanwhile.
_TRIES = 100


@dataclass
class ClaimedVersion:
    """A version that this push may write. `held` follows the claim's swaps.

    `is_new`: nobody claimed the version before, so that nothing of it can lie in the store.
    """

    record: PushRecord
    held: HeldClaim
    committed: Versions = NO_VERSIONS
    is_new: bool = False

    @property
    def name(self) -> AssetName:
        """The asset."""
        return self.record.name

    @property
    def version(self) -> Version:
        """The version."""
        return self.record.version


class ClaimLostError(Exception):
    """The claim was released, or is another's by now: begin again. Never reaches a caller."""


class ClaimedVersions:
    """Changes the claims that pushes of this daemon hold or have joined."""

    def __init__(
        self, claims: Claims, commits: Commits, records: PushRecords, lost: LostUploads
    ) -> None:
        self._claims = claims
        self._commits = commits
        self._records = records
        self._lost = lost

    async def begin_commit(self, claimed: ClaimedVersion, parts: tuple[Part, ...]) -> None:
        """Swap the claim to `committing`, with all parts: after this nothing is cancelled.

        Raises:
            ClaimLostError: it was released, or is another's by now.
        """
        await self.update(claimed, state=ClaimState.COMMITTING, parts=parts)

    async def update(
        self,
        claimed: ClaimedVersion,
        *,
        state: ClaimState = ClaimState.OPEN,
        parts: tuple[Part, ...] = (),
        add_upload: Upload | None = None,
    ) -> None:
        """Swap new facts into the claim, which others who joined it may be changing too.

        Raises:
            ClaimLostError: it was released, or is another's by now.
        """
        claim_id = claimed.held.claim.claim_id
        while claimed.held.claim.state is ClaimState.OPEN:
            claim = claimed.held.claim
            uploads = claim.uploads + ((add_upload,) if add_upload else ())
            wanted = replace(claim, state=state, parts=parts or claim.parts, uploads=uploads)
            swapped = await self._claims.swap(claimed.name, claimed.version, claimed.held, wanted)
            if swapped is not None:
                claimed.held = swapped
                return
            there = await self._claims.read(claimed.name, claimed.version)
            if there is None or there.claim.claim_id != claim_id:
                raise ClaimLostError
            claimed.held = there
        # Once somebody commits, the parts that stand there are the ones that were read back.
        if claimed.held.claim.state is ClaimState.RELEASED or add_upload is not None:
            raise ClaimLostError

    async def finish(
        self,
        name: AssetName,
        version: Version,
        held: HeldClaim,
        committed: Versions = NO_VERSIONS,
    ) -> Manifest:
        """Finish a committing claim; see `finish_claim`."""
        return await finish_claim(self._claims, self._commits, name, version, held, committed)

    async def require_held(self, claimed: ClaimedVersion) -> None:
        """Check that what was found in the store cannot be another's work.

        Raises:
            ClaimLostError: the claim was released, or is another's by now.
        """
        there = await self._claims.read(claimed.name, claimed.version)
        claim_id = claimed.held.claim.claim_id
        if there is None or there.claim.claim_id != claim_id:
            raise ClaimLostError
        if there.claim.state is ClaimState.RELEASED:
            raise ClaimLostError

    async def note_upload(self, claimed: ClaimedVersion, upload: Upload) -> None:
        """Note an upload that the push begins, so that a later run can end it.

        Raises:
            DiskFullError, IoError: it must not be used.
        """
        await self._records.note_upload(claimed.record, upload)

    def doubt_uploads(self, claimed: ClaimedVersion) -> None:
        """Note that the push may have uploads in the store that it cannot name, or could not end.

        They are looked for before the claim is released, or once the version is committed.
        """
        self._records.doubt_uploads(claimed.record)

    async def commit(self, claimed: ClaimedVersion) -> Manifest:
        """Finish a push's own committing claim; return what is committed. See `finish`."""
        record, held = claimed.record, claimed.held
        manifest = await self.finish(record.name, record.version, held, claimed.committed)
        try:
            await self._end_lost_uploads(record)
        except AssetError:
            self._records.leave(record)  # the version is there: what is left is settled later
        else:
            await self._records.forget(record)
        return manifest

    async def _end_lost_uploads(self, record: PushRecord) -> None:
        if self._records.doubts_uploads(record):
            await self._lost.end(record, but=self._records.kept_uploads(record))

    async def give_up(self, record: PushRecord) -> None:
        """Release the claim, if it is ours; never delete it. A committing claim is finished.

        For a push whose calls have all been answered. Raises nothing: where the store cannot be
        told now, the record stays, and is settled later.
        """
        try:
            await self._end_lost_uploads(record)
            is_given_up = await self._is_given_up(record)
        except BadManifestError:
            is_given_up = True  # what nobody can read is not ours to change
        except AssetError:
            is_given_up = False
        if is_given_up:
            await self._records.forget(record)
        self._records.leave(record)

    async def _is_given_up(self, record: PushRecord) -> bool:
        for _ in range(_TRIES):
            held = await self._claims.read(record.name, record.version)
            if held is None or held.claim.claim_id != record.claim.claim_id:
                return True
            if await self._is_ended(record, held):
                return True
        return False

    async def settle(self, record: PushRecord) -> None:
        """Settle what a push may have left that ended on its way, calls that come late included.

        A manifest is listed, a committing claim finished, an open claim of ours released. Where
        there is none, a released record of our own takes the place, so that a late create or swap
        of the push finds another write than it expects.

        Raises:
            StoreUnavailableError and other failures of the store: settle again.
        """
        for _ in range(_TRIES):
            if await self._is_settled(record):
                await self._records.forget(record)
                return

    async def _is_settled(self, record: PushRecord) -> bool:
        name, version = record.name, record.version
        try:
            held = await self._claims.read(name, version)
        except BadManifestError:
            return True  # what nobody can read is not ours to change, and keeps late calls off
        if await self._commits.is_committed(name, version):
            await self._commits.list_version(name, version)
            if held is not None:
                await self._claims.delete(name, version)
            return True
        ours = held is not None and held.claim.claim_id == record.claim.claim_id
        if held is None or (held.claim.state is ClaimState.RELEASED and not ours):
            return await self._leave_a_record(record, held)
        # Another's open claim is another's business.
        is_others = held.claim.state is ClaimState.OPEN and not ours
        return is_others or await self._is_ended(record, held)

    async def _leave_a_record(self, record: PushRecord, there: HeldClaim | None) -> bool:
        name, version = record.name, record.version
        released = replace(record.claim, state=ClaimState.RELEASED)
        if there is None:
            return await self._claims.create(name, version, released) is not None
        released = replace(released, uploads=there.claim.uploads)
        return await self._claims.swap(name, version, there, released) is not None

    async def _is_ended(self, record: PushRecord, held: HeldClaim) -> bool:
        """Finish a committing claim, release an open one; tell whether neither is left."""
        name, version = record.name, record.version
        if held.claim.state is ClaimState.COMMITTING:
            await self.finish(name, version, held)
        elif held.claim.state is ClaimState.OPEN:
            released = replace(held.claim, state=ClaimState.RELEASED)
            return await self._claims.swap(name, version, held, released) is not None
        return True


async def finish_claim(
    claims: Claims,
    commits: Commits,
    name: AssetName,
    version: Version,
    held: HeldClaim,
    committed: Versions = NO_VERSIONS,
) -> Manifest:
    """Finish a committing claim as it says, whoever began it; return what is committed.

    Idempotent, and the same whoever does it: all of the manifest stands in the claim. Of
    `committed`, versions known to exist, those that the index has lost are listed again.
    """
    claim = held.claim
    manifest = await commits.create_manifest(
        name,
        version,
        Manifest(
            kind=claim.kind,
            push_time=claim.time,
            parts=claim.parts,
            push_id=claim.push_id,
            labels=claim.labels,
            pushed_by=claim.pushed_by,
        ),
    )
    await commits.list_version(name, version, committed)
    await claims.delete(name, version)
    return manifest
