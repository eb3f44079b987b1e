"""Which version a push creates, and the claim on it (`layout.md`, "Push", steps 1, 3, 4 and 7).

The order of the looks is the protocol: a model of it was searched exhaustively, with lost answers,
frozen pushers and released claims. Change the model before the code. Knows no bytes:
`assets.storing` moves them once the version is claimed.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from assetd_server.assets.clock import Clock
from assetd_server.assets.orders import PushMode
from assetd_server.errors import (
    AssetExistsError,
    AssetNotFoundError,
    PushInProgressError,
    PushMismatchError,
    VersionExistsError,
)
from assetd_server.manifest import Manifest, Part
from assetd_server.model import AssetKind, AssetName, Digest
from assetd_server.store.base import Upload
from assetd_server.store.catalog import Catalog
from assetd_server.store.claims import Claim, Claims, ClaimState, HeldClaim
from assetd_server.store.commits import Commits
from assetd_server.versioning import (
    Version,
    VersioningSystem,
    VersionSelector,
    next_version,
    one_system,
)

# Each further look means that somebody else made progress on the same version meanwhile.
_LOOKS = 100


@dataclass(frozen=True)
class PushPlan:
    """What is to be created, once its bytes are known."""

    name: AssetName
    selector: VersionSelector
    bump_major: bool
    mode: PushMode | None
    kind: AssetKind
    digest: Digest
    push_id: str
    claim_id: str
    owner: str
    pushed_by: str
    default_system: VersioningSystem


@dataclass
class ClaimedVersion:
    """A version that this push may write. `held` follows the claim's swaps."""

    name: AssetName
    version: Version
    held: HeldClaim
    committed: frozenset[Version] = frozenset()


@dataclass(frozen=True)
class ExistingVersion:
    """The version is there already, with this push's content."""

    name: AssetName
    version: Version
    manifest: Manifest


class ClaimLostError(Exception):
    """The claim was released, or is another's by now: begin again. Never reaches a caller."""


class Claiming:
    """Finds the version and claims it; gives claims up, and finishes those that are committing."""

    def __init__(self, catalog: Catalog, claims: Claims, commits: Commits, clock: Clock) -> None:
        self._catalog = catalog
        self._claims = claims
        self._commits = commits
        self._clock = clock

    async def preview(self, plan: PushPlan) -> Version:
        """Return the version that the push would create now; another may take it meanwhile.

        Raises: as `claim`, but for what only a claim can tell.
        """
        known = await self._known(plan)
        return plan.selector.exact or self._next(plan, set(known))

    async def claim(self, plan: PushPlan) -> ClaimedVersion | ExistingVersion:
        """Claim the version that the push creates, or return it where it exists already.

        Raises:
            VersionExistsError: the exact version exists with other, or incomparable, content.
            AssetExistsError, AssetNotFoundError: `mode` does not fit.
            PushInProgressError: another push of the exact version, or of this push_id, is under
            way.
            PushMismatchError: this push_id stands for other content.
        """
        if plan.selector.exact is not None:
            return await self._claim_exact(plan, plan.selector.exact)
        return await self._claim_next(plan)

    async def _claim_exact(
        self, plan: PushPlan, version: Version
    ) -> ClaimedVersion | ExistingVersion:
        if plan.mode is not None:
            await self._known(plan)
        for _ in range(_LOOKS):
            manifest = await self._catalog.find_manifest(plan.name, version)
            if manifest is not None:
                return await self._existing(plan, version, manifest)
            held = await self._take(plan, version, joins=True)
            if held is None:
                continue
            if await self._catalog.find_manifest(plan.name, version) is None:
                return ClaimedVersion(plan.name, version, held)
            # Somebody committed and deleted the claim between our two looks.
            await self.give_up(plan.name, version, plan.claim_id)
        raise _contended(plan)

    async def _claim_next(self, plan: PushPlan) -> ClaimedVersion | ExistingVersion:
        taken: set[Version] = set()
        for _ in range(_LOOKS):
            mine = await self._own_claim(plan)
            known = await self._known(plan)
            done = _version_of(plan.push_id, known)
            if mine is None and done is not None:
                manifest = await self._catalog.manifest(plan.name, done)
                return await self._existing(plan, done, manifest)
            version = mine or self._next(plan, set(known) | taken)
            held = await self._take(plan, version, joins=mine is not None)
            if held is not None and await self._is_only(plan, version):
                return ClaimedVersion(plan.name, version, held, frozenset(known))
            if held is not None or await self._is_claimed_by_others(plan, version):
                taken.add(version)
        raise _contended(plan)

    async def _own_claim(self, plan: PushPlan) -> Version | None:
        """Return the version that a claim of this very push holds: a repeat goes on there."""
        for version, held in (await self._claims.of_asset(plan.name)).items():
            claim = held.claim
            if claim.push_id == plan.push_id and claim.state is not ClaimState.RELEASED:
                _require_same_content(plan, claim.digest)
                return version
        return None

    async def _known(self, plan: PushPlan) -> dict[Version, str]:
        """Return all versions there are, listed or not, each with its push; check `mode`."""
        index = await self._catalog.index(plan.name)
        known = dict.fromkeys(index.versions if index else (), "")
        known |= await self._catalog.push_ids(plan.name)
        if plan.mode is PushMode.UPDATE and not known:
            raise AssetNotFoundError(
                "there is no asset {name} to update: push it as a new one", name=plan.name
            )
        if plan.mode is PushMode.NEW and known and _version_of(plan.push_id, known) is None:
            raise AssetExistsError(
                "the asset {name} exists, its newest version is {newest}: push an update of it",
                name=plan.name,
                newest=max(known),
            )
        return known

    def _next(self, plan: PushPlan, known: set[Version]) -> Version:
        return next_version(
            known,
            one_system(known) or plan.default_system,
            self._clock.now(),
            major=plan.selector.major,
            bump_major=plan.bump_major,
        )

    async def _take(self, plan: PushPlan, version: Version, *, joins: bool) -> HeldClaim | None:
        """Claim the version, or join a claim of the same bytes; None: look again.

        `joins`: the push means this version and no other, so it finishes, joins or is refused.
        """
        ours = self._new_claim(plan)
        held = await self._claims.create(plan.name, version, ours)
        if held is not None:
            return held
        there = await self._claims.read(plan.name, version)
        if there is None:
            return None
        if there.claim.state is ClaimState.RELEASED:
            # What a released claim lists could still be completed over our parts: end it first.
            for upload in there.claim.uploads:
                await self._catalog.store.abort_upload(upload)
            return await self._claims.swap(plan.name, version, there, ours)
        if not joins:
            return None
        if there.claim.state is ClaimState.COMMITTING:
            await self.finish(plan.name, version, there)
            return None
        if there.claim.digest == plan.digest:
            return there
        raise self._in_progress(plan, version, there.claim)

    def _new_claim(self, plan: PushPlan) -> Claim:
        return Claim(
            state=ClaimState.OPEN,
            kind=plan.kind,
            digest=plan.digest,
            push_id=plan.push_id,
            claim_id=plan.claim_id,
            owner=plan.owner,
            time=self._clock.now(),
            pushed_by=plan.pushed_by,
        )

    async def _is_claimed_by_others(self, plan: PushPlan, version: Version) -> bool:
        there = await self._claims.read(plan.name, version)
        return (
            there is not None
            and there.claim.state is not ClaimState.RELEASED
            and there.claim.push_id != plan.push_id
        )

    async def _is_only(self, plan: PushPlan, version: Version) -> bool:
        """Look again, now that the claim keeps others off the number. False: it is taken.

        Raises:
            PushInProgressError: this push_id is at work, or done, at another number; a repeat of
                the push finds it there.
        """
        for other, there in (await self._claims.of_asset(plan.name)).items():
            active = there.claim.state is not ClaimState.RELEASED
            if other != version and active and there.claim.push_id == plan.push_id:
                await self.give_up(plan.name, version, plan.claim_id)
                raise self._in_progress(plan, other, there.claim)
        known = await self._catalog.push_ids(plan.name)
        done = _version_of(plan.push_id, known)
        if done is None and version not in known:
            return True
        await self.give_up(plan.name, version, plan.claim_id)
        if done is not None:
            raise _contended(plan)
        return False

    async def _existing(
        self, plan: PushPlan, version: Version, manifest: Manifest
    ) -> ExistingVersion:
        """Answer with a version that is there: ours if it has our bytes; listed before we do."""
        if manifest.digest != plan.digest:
            if manifest.push_id == plan.push_id:
                _require_same_content(plan, manifest.digest)
            raise VersionExistsError(
                "{name}:{version} exists with {existing}: push the next version, versions never"
                " change",
                name=plan.name,
                version=version,
                existing=manifest.digest or "content that modelkit pushed without a digest",
            )
        await self._commits.list_version(plan.name, version)
        held = await self._claims.read(plan.name, version)
        if held is not None and held.claim.state is ClaimState.COMMITTING:
            await self._claims.delete(plan.name, version)
        return ExistingVersion(plan.name, version, manifest)

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
        for _ in range(_LOOKS):
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

    def _in_progress(self, plan: PushPlan, version: Version, claim: Claim) -> PushInProgressError:
        age = (self._clock.now() - claim.time).total_seconds()
        return PushInProgressError(
            "{name}:{version} is being pushed by {owner} since {age_seconds} s: push the next"
            " version, or try again when that push has ended",
            name=plan.name,
            version=version,
            owner=claim.owner,
            age_seconds=round(age),
        )


def _version_of(push_id: str, known: Mapping[Version, str]) -> Version | None:
    return next((version for version, made_by in known.items() if made_by == push_id), None)


def _require_same_content(plan: PushPlan, digest: Digest | None) -> None:
    if digest != plan.digest:
        raise PushMismatchError(
            "the push {push_id} stands for content with {first}, and now sends {second}: use a new"
            " push_id for new content",
            push_id=plan.push_id,
            first=digest,
            second=plan.digest,
        )


def _contended(plan: PushPlan) -> PushInProgressError:
    return PushInProgressError(
        "other pushes of {name} got in the way every time: push it again", name=plan.name
    )
