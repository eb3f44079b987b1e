"""Which version a push creates, and the claim on it (`layout.md`, "Push", steps 1, 3, 4 and 7).

The order of the looks is the protocol: a model of it was searched exhaustively, with lost answers,
frozen pushers and released claims. Change the model before the code. Knows no bytes:
`assets.storing` moves them once the version is claimed.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace

from assetd_server.assets.claimed import ClaimedVersion, ClaimedVersions
from assetd_server.assets.clock import Clock
from assetd_server.assets.orders import PushMode
from assetd_server.assets.shielding import to_the_end
from assetd_server.errors import (
    AssetError,
    AssetExistsError,
    AssetNotFoundError,
    PushInProgressError,
    PushMismatchError,
    StoreUnavailableError,
    VersionExistsError,
)
from assetd_server.manifest import Manifest
from assetd_server.model import AssetKind, AssetName, Digest
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


@dataclass(frozen=True)
class ExistingVersion:
    """The version is there already, with this push's content."""

    name: AssetName
    version: Version
    manifest: Manifest


class Claiming:
    """Finds the version that a push creates, and claims it."""

    def __init__(
        self,
        catalog: Catalog,
        claims: Claims,
        commits: Commits,
        claimed: ClaimedVersions,
        clock: Clock,
    ) -> None:
        self._catalog = catalog
        self._claims = claims
        self._commits = commits
        self._claimed = claimed
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
            async with self._withdrawn_on_failure(plan, version):
                held = await self._take(plan, version, joins=True)
                if held is None:
                    continue
                if await self._catalog.find_manifest(plan.name, version) is None:
                    return ClaimedVersion(plan.name, version, held)
                # Somebody committed and deleted the claim between our two looks.
                await self._claimed.give_up(plan.name, version, plan.claim_id)
        raise _contended(plan)

    async def _claim_next(self, plan: PushPlan) -> ClaimedVersion | ExistingVersion:
        taken: set[Version] = set()
        for _ in range(_LOOKS):
            claimed = await self._own_claims(plan)
            known = await self._known(plan)
            if taken and plan.mode is PushMode.NEW:
                # Somebody else is making this asset: the next number would not be a new asset.
                raise _contended(plan)
            done = _version_of(plan.push_id, known)
            # A claim beside a manifest is litter, which a call that came late has left.
            mine = next((version for version in claimed if version not in known), None)
            if mine is not None:
                _require_same_content(plan, claimed[mine])
            if mine is None and done is not None:
                manifest = await self._catalog.manifest(plan.name, done)
                return await self._existing(plan, done, manifest)
            version = mine or self._next(plan, set(known) | taken)
            async with self._withdrawn_on_failure(plan, version):
                held = await self._take(plan, version, joins=mine is not None)
                if held is not None and await self._is_only(plan, version):
                    return ClaimedVersion(plan.name, version, held, frozenset(known))
                if held is not None or await self._is_claimed_by_others(plan, version):
                    taken.add(version)
        raise _contended(plan)

    @asynccontextmanager
    async def _withdrawn_on_failure(self, plan: PushPlan, version: Version) -> AsyncIterator[None]:
        """Leave no open claim of ours where the block fails or is cancelled."""
        try:
            yield
        except BaseException as error:
            with suppress(AssetError):
                await to_the_end(self._withdraw(plan, version, is_answered=_is_answer(error)))
            raise

    async def _withdraw(self, plan: PushPlan, version: Version, *, is_answered: bool) -> None:
        if not is_answered and await self._catalog.find_manifest(plan.name, version) is None:
            there = await self._claims.read(plan.name, version)
            record = replace(self._new_claim(plan), state=ClaimState.RELEASED)
            # A create or swap of ours that comes late has to find another write than it expects.
            if there is None:
                await self._claims.create(plan.name, version, record)
            elif there.claim.state is ClaimState.RELEASED:
                record = replace(record, uploads=there.claim.uploads)
                await self._claims.swap(plan.name, version, there, record)
        await self._claimed.give_up(plan.name, version, plan.claim_id)

    async def _own_claims(self, plan: PushPlan) -> dict[Version, Digest]:
        """Return the versions that claims of this very push hold: a repeat goes on there."""
        return {
            version: held.claim.digest
            for version, held in (await self._claims.of_asset(plan.name)).items()
            if held.claim.push_id == plan.push_id and held.claim.state is not ClaimState.RELEASED
        }

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
            await self._claimed.finish(plan.name, version, there)
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
        claimed = await self._own_claims(plan)
        known = await self._catalog.push_ids(plan.name)
        is_done = _version_of(plan.push_id, known) is not None
        elsewhere = any(other != version and other not in known for other in claimed)
        if not is_done and not elsewhere and version not in known:
            return True
        await self._claimed.give_up(plan.name, version, plan.claim_id)
        if is_done or elsewhere:
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


def _is_answer(error: BaseException) -> bool:
    """Tell whether no call that failed so can still take effect later."""
    return isinstance(error, AssetError) and not isinstance(error, StoreUnavailableError)


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
