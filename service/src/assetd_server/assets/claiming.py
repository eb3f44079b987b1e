"""Which version a push creates, and the claim on it (`layout.md`, "Push", steps 1, 3, 4 and 7).

The order of the looks is the protocol: a model of it was searched exhaustively, with lost answers,
frozen pushers and released claims. Change the model before the code. Knows no bytes:
`assets.storing` moves them once the version is claimed.
"""

from collections.abc import AsyncIterator, Set
from contextlib import asynccontextmanager
from dataclasses import replace

from assetd_server.assets.claimed import ClaimedVersion, ClaimedVersions
from assetd_server.assets.clock import Clock
from assetd_server.assets.orders import PushMode
from assetd_server.assets.push_plan import (
    ExistingVersion,
    PushPlan,
    contended,
    require_equal,
    require_mode,
    require_same_content,
    require_system,
)
from assetd_server.assets.push_records import PushRecord, PushRecords
from assetd_server.assets.shielding import to_the_end
from assetd_server.assets.surveys import Survey, Surveys
from assetd_server.errors import (
    AssetError,
    PushInProgressError,
    StoreUnavailableError,
    VersionExistsError,
)
from assetd_server.store.catalog import Catalog
from assetd_server.store.claims import Claim, Claims, ClaimState
from assetd_server.store.commits import Commits
from assetd_server.versioning import (
    Version,
    VersioningSystem,
    Versions,
    newest_first,
    next_version,
    one_system,
)

# Each further look means that somebody else made progress on the same version meanwhile.
_LOOKS = 100


class Claiming:
    """Finds the version that a push creates, and claims it."""

    def __init__(
        self,
        catalog: Catalog,
        claims: Claims,
        commits: Commits,
        claimed: ClaimedVersions,
        surveys: Surveys,
        records: PushRecords,
        clock: Clock,
    ) -> None:
        self._catalog = catalog
        self._claims = claims
        self._commits = commits
        self._claimed = claimed
        self._surveys = surveys
        self._records = records
        self._clock = clock

    async def preview(self, plan: PushPlan) -> Version:
        """Return the version that the push would create now, or has created.

        Another may take it meanwhile.

        Raises: as `claim`, but for what only a claim can tell.
        """
        survey = await self._surveyed(plan)
        version = plan.selector.exact
        if version is None:
            done = survey.committed_by(plan.push_id)
            mine = done or next(iter(survey.claimed_by(plan.push_id)), None)
            return mine or self._next(plan, survey, set())
        if version in survey.listed:
            await self._require_not_deleted(plan, version)
        return version

    async def claim(self, plan: PushPlan) -> ClaimedVersion | ExistingVersion:
        """Claim the version that the push creates, or return it where it exists already.

        Raises:
            VersionExistsError: the exact version exists with other, or incomparable, content; or
            it was deleted by hand.
            AssetExistsError, AssetNotFoundError: `mode` does not fit.
            InvalidVersionError: the asset counts by dates, and the exact version is a number, or
            the reverse.
            PushInProgressError: another push of the exact version, or of this push_id, is under
            way; or one that begins the asset, which this one means to begin otherwise.
            PushMismatchError: this push_id stands for other content.
            ReadOnlyError, DiskFullError, IoError: the claim cannot be noted here.
        """
        if plan.selector.exact is not None:
            return await self._claim_exact(plan, plan.selector.exact)
        return await self._claim_next(plan)

    async def existing(self, plan: PushPlan, version: Version) -> ExistingVersion | None:
        """Return the version where it exists with the plan's content; None where it does not.

        Raises:
            VersionExistsError: it exists with other, or incomparable, content.
        """
        manifest = await self._catalog.find_manifest(plan.name, version)
        if manifest is None:
            return None
        require_equal(plan, version, manifest)
        return ExistingVersion(plan.name, version, manifest)

    async def _claim_exact(
        self, plan: PushPlan, version: Version
    ) -> ClaimedVersion | ExistingVersion:
        survey = await self._surveyed(plan)
        for _ in range(_LOOKS):
            existing = await self.existing(plan, version)
            if existing is not None:
                return await self._listed(existing)
            if version in survey.listed:
                await self._require_not_deleted(plan, version)
            async with self._attempt(plan, version) as attempt:
                claimed = await self._take(plan, attempt, joins=True)
                if claimed is None:
                    await self._records.forget(attempt)
                    continue
                if not survey.is_begun:
                    # Now that the claim shows, nobody else can begin the asset without seeing it.
                    await self._surveyed(plan)
                if await self._catalog.find_manifest(plan.name, version) is None:
                    return claimed
                # Somebody committed and deleted the claim between our two looks.
                await self._claimed.settle(attempt)
        raise contended(plan)

    async def _surveyed(self, plan: PushPlan) -> Survey:
        """Look at the asset, and refuse what does not fit it before anything is stored."""
        survey = await self._surveys.of(plan.name)
        require_mode(plan, survey)
        if plan.selector.exact is not None:
            require_system(plan, survey, plan.selector.exact)
        return survey

    async def _require_not_deleted(self, plan: PushPlan, version: Version) -> None:
        """Refuse a number that was used once, and is listed still: caches may have its content."""
        if await self._catalog.find_manifest(plan.name, version) is None:
            raise VersionExistsError(
                "{name}:{version} was deleted from the store, and its index still lists it: push"
                " the next version, numbers are not used again",
                name=plan.name,
                version=version,
            )

    async def _claim_next(self, plan: PushPlan) -> ClaimedVersion | ExistingVersion:
        taken: set[Version] = set()
        for _ in range(_LOOKS):
            survey = await self._surveyed(plan)
            mine = next(iter(survey.claimed_by(plan.push_id).items()), None)
            if mine is not None:
                require_same_content(plan, mine[1].claim)
            elif (done := survey.committed_by(plan.push_id)) is not None:
                return await self._made_before(plan, done)
            version = mine[0] if mine else self._next(plan, survey, taken)
            async with self._attempt(plan, version) as attempt:
                claimed = await self._take(plan, attempt, joins=mine is not None)
                if claimed is None:
                    await self._records.forget(attempt)
                elif await self._is_only(plan, attempt):
                    return replace(claimed, committed=survey.known)
                taken.add(version)
        raise contended(plan)

    @asynccontextmanager
    async def _attempt(self, plan: PushPlan, version: Version) -> AsyncIterator[PushRecord]:
        """Note what is about to be claimed; leave no open claim of ours where the block fails."""
        attempt = PushRecord(plan.name, version, self._new_claim(plan))
        await self._records.note(attempt)
        try:
            yield attempt
        except BaseException as error:
            await to_the_end(self._withdraw(attempt, is_answered=_is_answer(error)))
            raise

    async def _withdraw(self, attempt: PushRecord, *, is_answered: bool) -> None:
        if is_answered:
            await self._claimed.give_up(attempt)
            return
        try:
            await self._claimed.settle(attempt)
        except AssetError:
            # The failure that ended the push matters more; this one is settled later.
            self._records.leave(attempt)

    def _next(self, plan: PushPlan, survey: Survey, taken: Set[Version]) -> Version:
        """Return the number that follows those that are there, or are being committed.

        Numbers that are claimed are passed over, one by one: a claim far ahead, whose push may
        never commit, moves nobody's number.

        A minor number for which a folder was begun, and given up, is not used for a file, nor the
        reverse: a store that keeps objects as files could not hold what is left beside the new.

        Raises:
            PushInProgressError: the asset is to be new, and somebody else is making it.
        """
        others = survey.claimed_by_others(plan.push_id) | taken
        others |= self._records.versions_of_others(plan.name, plan.push_id)
        if plan.mode is PushMode.NEW and not survey.is_begun and others:
            raise contended(plan)
        system = survey.known.system or one_system(others) or plan.default_system
        committing = survey.committing_by_others(plan.push_id)
        known = survey.known.joined_by([one for one in committing if one.system is system])
        version = self._following(plan, system, known)
        while version in others or (
            not plan.bump_major and survey.is_given_up(version, not_by=plan.kind)
        ):
            version = self._following(plan, system, newest_first([version]))
        return version

    def _following(self, plan: PushPlan, system: VersioningSystem, known: Versions) -> Version:
        return next_version(
            known,
            system,
            self._clock.now(),
            major=plan.selector.major,
            bump_major=plan.bump_major,
        )

    async def _take(
        self, plan: PushPlan, attempt: PushRecord, *, joins: bool
    ) -> ClaimedVersion | None:
        """Claim the version, or join a claim of the same bytes; None: look again.

        `joins`: the push means this version and no other, so it finishes, joins or is refused.
        """
        name, version, ours = attempt.name, attempt.version, attempt.claim
        held = await self._claims.create(name, version, ours)
        if held is not None:
            return ClaimedVersion(attempt, held, is_new=True)
        there = await self._claims.read(name, version)
        if there is None:
            return None
        if there.claim.state is ClaimState.RELEASED:
            # What a released claim lists could still be completed over our parts: end it first.
            for upload in there.claim.uploads:
                await self._catalog.store.abort_upload(upload)
            held = await self._claims.swap(name, version, there, ours)
            return ClaimedVersion(attempt, held) if held else None
        if not joins:
            return None
        if there.claim.state is ClaimState.COMMITTING:
            await self._claimed.finish(name, version, there)
            return None
        if plan.is_of(there.claim):
            return ClaimedVersion(attempt, there)
        if there.claim.push_id == plan.push_id:
            require_same_content(plan, there.claim)
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
            labels=plan.labels,
        )

    async def _is_only(self, plan: PushPlan, attempt: PushRecord) -> bool:
        """Look again, now that the claim keeps others off the number. False: it is taken.

        Raises:
            PushInProgressError: this push_id is at work, or done, at another number; a repeat of
                the push finds it there. Or the asset is begun by others in another system.
            InvalidVersionError: it was begun so.
        """
        survey = await self._surveys.of(plan.name)
        require_system(plan, survey, attempt.version)
        is_done = survey.committed_by(plan.push_id) is not None
        elsewhere = set(survey.claimed_by(plan.push_id)) - {attempt.version}
        is_there = await self._commits.is_committed(plan.name, attempt.version)
        if not is_done and not elsewhere and not is_there:
            return True
        if is_done or elsewhere:
            await self._claimed.give_up(attempt)
            raise contended(plan)
        # A claim beside a manifest would be litter, which every later push looks at.
        await self._claimed.settle(attempt)
        if attempt.version not in survey.listed:
            self._surveys.doubt(plan.name)
        return False

    async def _made_before(self, plan: PushPlan, version: Version) -> ExistingVersion:
        manifest = await self._catalog.manifest(plan.name, version)
        require_equal(plan, version, manifest)
        return await self._listed(ExistingVersion(plan.name, version, manifest))

    async def _listed(self, existing: ExistingVersion) -> ExistingVersion:
        """See to it that the index lists a version before anybody is told that it exists."""
        name, version = existing.name, existing.version
        await self._commits.list_version(name, version)
        held = await self._claims.read(name, version)
        if held is not None and held.claim.state is ClaimState.COMMITTING:
            await self._claims.delete(name, version)
        return existing

    def _in_progress(self, plan: PushPlan, version: Version, claim: Claim) -> PushInProgressError:
        # By the pusher's clock, which may be ahead of ours.
        age = max(0.0, (self._clock.now() - claim.time).total_seconds())
        return PushInProgressError(
            "{name}:{version} is being pushed by {owner} since {age_seconds} s: push the next"
            " version, or try again when that push has ended",
            name=plan.name,
            version=version,
            owner=claim.owner,
            age_seconds=round(age),
        )


def _is_answer(error: BaseException) -> bool:
    """Tell whether no call that failed so can still take effect later."""
    return isinstance(error, AssetError) and not isinstance(error, StoreUnavailableError)
