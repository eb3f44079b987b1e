"""What a push may do with a version that it has claimed (`layout.md`, "Push", steps 5 to 7).

Each is one swap of the claim, settled by reading again, until the claim is done with: committed and
deleted, or released. How a version is claimed is `assets.claiming`.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace

from assetd_server.manifest import Manifest, Part
from assetd_server.model import AssetName
from assetd_server.store.base import Upload
from assetd_server.store.claims import Claims, ClaimState, HeldClaim
from assetd_server.store.commits import Commits
from assetd_server.versioning import Version

# Each further try means that somebody else swapped the same claim meanwhile.
_TRIES = 100


@dataclass
class ClaimedVersion:
    """A version that this push may write. `held` follows the claim's swaps."""

    name: AssetName
    version: Version
    held: HeldClaim
    committed: frozenset[Version] = frozenset()


class ClaimLostError(Exception):
    """The claim was released, or is another's by now: begin again. Never reaches a caller."""


class ClaimedVersions:
    """Changes the claims that pushes of this daemon hold or have joined."""

    def __init__(self, claims: Claims, commits: Commits) -> None:
        self._claims = claims
        self._commits = commits

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
        committed: Collection[Version] = (),
    ) -> Manifest:
        """Finish a committing claim as it says, whoever began it; return what is committed.

        Idempotent, and the same whoever does it: all of the manifest stands in the claim. Of
        `committed`, versions known to exist, those that the index has lost are listed again.
        """
        claim = held.claim
        manifest = await self._commits.create_manifest(
            name,
            version,
            Manifest(
                kind=claim.kind,
                push_time=claim.time,
                parts=claim.parts,
                push_id=claim.push_id,
                pushed_by=claim.pushed_by,
            ),
        )
        await self._commits.list_version(name, version, committed)
        await self._claims.delete(name, version)
        return manifest

    async def give_up(self, name: AssetName, version: Version, claim_id: str) -> None:
        """Release the claim, if it is ours; never delete it. A committing claim is finished."""
        for _ in range(_TRIES):
            held = await self._claims.read(name, version)
            if held is None or held.claim.claim_id != claim_id:
                return
            if held.claim.state is ClaimState.COMMITTING:
                await self.finish(name, version, held)
                return
            if held.claim.state is ClaimState.RELEASED:
                return
            released = replace(held.claim, state=ClaimState.RELEASED)
            if await self._claims.swap(name, version, held, released) is not None:
                return
