"""Push: one new immutable version, or nothing (`api.md`, "Push"; `layout.md`, "Push").

The caller's steps come lock-step: header, files, chunks, commit. What becomes of the bytes is the
intake's business; here the version is claimed, and committed once the store holds all of it.
Whatever ends a push early releases its claim.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TypeVar

from assetd_server.assets.byte_budget import ByteBudget
from assetd_server.assets.claimed import ClaimedVersion, ClaimedVersions, ClaimLostError
from assetd_server.assets.claiming import Claiming
from assetd_server.assets.clock import Clock
from assetd_server.assets.intake import (
    Intake,
    NothingWanted,
    SourceIntake,
    SpooledIntake,
    StreamedIntake,
    claim_lost,
)
from assetd_server.assets.kept_uploads import KeptUploads
from assetd_server.assets.orders import (
    PushAccepted,
    PushChunk,
    PushChunks,
    PushCommit,
    PushCompleted,
    PushEvent,
    PushFiles,
    PushHeader,
    PushPhase,
    PushProgress,
    PushStep,
    PushWanted,
)
from assetd_server.assets.part_upload import Place
from assetd_server.assets.push_plan import NOT_KNOWN_YET, ExistingVersion, PushPlan
from assetd_server.assets.receiving import Received, described, in_time
from assetd_server.assets.safety import StoreSafety
from assetd_server.assets.settings import AssetsSettings
from assetd_server.assets.shielding import ended, to_the_end
from assetd_server.assets.source_uris import SourceUri, StagedPath, not_allowed
from assetd_server.assets.sources import Sources
from assetd_server.assets.storing import confirm
from assetd_server.assets.threads import Threads
from assetd_server.cache.layout import AssetsDir
from assetd_server.cache.spool import Spool
from assetd_server.errors import (
    InvalidFieldError,
    InvalidPushStreamError,
    PushNotCommittedError,
)
from assetd_server.manifest import Part
from assetd_server.store.catalog import Catalog
from assetd_server.store.known_versions import KnownVersions

T = TypeVar("T")

_BEGINNINGS = 10
_PROGRESS_INTERVAL_SECONDS = 0.5
# What all pushes of the daemon hold in memory together, and the calls that carry it.
_MEMORY_BYTES = 96 * 2**20
_CALLS_AT_ONCE = 32


@dataclass
class _Push:
    """One push under way."""

    received: Received
    intake: Intake
    began: float
    # The caller left, or its connection broke: it may come again.
    is_cut: bool = False

    @property
    def plan(self) -> PushPlan:
        return self.received.plan


class Pusher:
    """Runs the pushes of one daemon; each is one call of `push`."""

    def __init__(
        self,
        catalog: Catalog,
        versions: KnownVersions,
        claiming: Claiming,
        claimed: ClaimedVersions,
        kept: KeptUploads,
        safety: StoreSafety,
        assets_dir: AssetsDir,
        disk: Threads,
        clock: Clock,
        sources: Sources | None,
        settings: AssetsSettings,
    ) -> None:
        self._catalog = catalog
        self._kept = kept
        self._versions = versions
        self._claiming = claiming
        self._claimed = claimed
        self._safety = safety
        self._dir = assets_dir
        self._disk = disk
        self._clock = clock
        self._sources = sources
        self._settings = settings
        self._budget = ByteBudget(_MEMORY_BYTES)
        self._turns = asyncio.Semaphore(_CALLS_AT_ONCE)

    async def push(self, steps: AsyncIterator[PushStep]) -> AsyncGenerator[PushEvent, None]:
        """Create the version that `steps` describe, telling how far it is.

        Raises:
            InvalidPushStreamError: the steps come in another order than header, files, chunks,
            commit.
            PushMismatchError: sizes, digests or offsets contradict what was announced.
            PushNotCommittedError: the steps end without a commit, or the next one is overdue.
            and what `StoreSafety.require`, `Claiming.claim` and `Intake.store` raise.
        """
        began = self._clock.monotonic()
        idle_seconds = self._settings.push_idle_timeout_seconds
        async with (
            aclosing(in_time(steps, idle_seconds)) as timely,
            aclosing(self._push(timely, began)) as events,
        ):
            async for event in events:
                yield event

    async def _push(
        self, steps: AsyncIterator[PushStep], began: float
    ) -> AsyncGenerator[PushEvent, None]:
        header = await anext(steps, None)
        if not isinstance(header, PushHeader):
            raise InvalidPushStreamError("a push begins with its header", field="header")
        received = Received(header, self._plan(header))
        push = _Push(received, NothingWanted(received), began)
        if not header.validate_only:
            await self._safety.require()
        try:
            async with aclosing(self._run(push, steps)) as events:
                async for event in events:
                    yield event
        except (asyncio.CancelledError, GeneratorExit):
            push.is_cut = True
            raise
        finally:
            await to_the_end(self._end(push))

    def _plan(self, header: PushHeader) -> PushPlan:
        spec = header.spec
        spec.name.require_pushable()
        self._catalog.require_short_keys(spec.name)
        if header.bump is not None and str(spec.selector):
            raise InvalidFieldError(
                "bump is for a spec without a version, and {spec} has one",
                field="header.bump",
                spec=spec,
            )
        return PushPlan.of(header, self._settings.versioning)

    async def _run(
        self, push: _Push, steps: AsyncIterator[PushStep]
    ) -> AsyncGenerator[PushEvent, None]:
        yield await self._accept(push)
        commit: PushCommit | None = None
        async with aclosing(self._take_until_commit(push, steps)) as taken:
            async for event in taken:
                if isinstance(event, PushCommit):
                    commit = event
                else:
                    yield event
        if commit is None:
            raise PushNotCommittedError(
                "the push of {spec} ended without a commit: nothing was created",
                spec=push.received.header.spec,
            )
        finish = self._preview if push.received.header.validate_only else self._commit
        finishing = asyncio.create_task(finish(push, commit))
        async with aclosing(self._telling(push, finishing)) as telling:
            async for progress in telling:
                yield progress
        yield finishing.result()

    async def _accept(self, push: _Push) -> PushAccepted:
        header = push.received.header
        if header.content is not None:
            push.intake = await self._sourced(push, header.content)
        plan = push.plan
        if header.validate_only:
            version, is_final = await self._claiming.preview(plan), False
        elif header.digest is None:
            version, is_final = await self._claiming.preview(plan), plan.selector.exact is not None
            if header.content is None:
                push.intake = await self._spooled(push)
        else:
            claimed = push.received.claimed = await self._claiming.claim(plan)
            version, is_final = claimed.version, True
            if isinstance(claimed, ClaimedVersion) and header.content is None:
                push.intake = StreamedIntake(
                    push.received, self._place(push, claimed), self._versions, self._kept
                )
        return PushAccepted(plan.push_id, str(version), is_final)

    async def _sourced(self, push: _Push, content: StagedPath | SourceUri) -> Intake:
        if self._sources is None:
            raise not_allowed(content)
        source = await self._sources.open(content, push.received.header.kind)
        push.received.plan = replace(push.plan, kind=source.kind)
        return SourceIntake(push.received, source, self._versions)

    async def _spooled(self, push: _Push) -> Intake:
        # The folder is this call's own: a repeat may come while the first call still cleans up.
        claim_id = push.plan.claim_id
        spool = await self._disk.obtain(Spool.discard, Spool, self._dir, claim_id)
        return SpooledIntake(push.received, spool, self._disk)

    def _place(self, push: _Push, claimed: ClaimedVersion) -> Place:
        return Place(
            self._catalog,
            self._claimed,
            claimed,
            self._budget,
            self._turns,
            self._disk,
            push.received.count,
        )

    async def _take_until_commit(
        self, push: _Push, steps: AsyncIterator[PushStep]
    ) -> AsyncGenerator[PushWanted | PushProgress | PushCommit, None]:
        told = self._clock.monotonic()
        async for step in steps:
            if isinstance(step, PushFiles):
                looking = asyncio.create_task(self._announce(push, step))
                # Mostly the store has nothing, and says so at once.
                await asyncio.wait([looking], timeout=_PROGRESS_INTERVAL_SECONDS)
                async with aclosing(self._telling(push, looking)) as telling:
                    async for progress in telling:
                        yield progress
                yield looking.result()
            elif isinstance(step, PushChunk | PushChunks):
                for chunk in step.chunks if isinstance(step, PushChunks) else (step,):
                    await self._take(push, chunk)
                    if self._clock.monotonic() - told >= _PROGRESS_INTERVAL_SECONDS:
                        told = self._clock.monotonic()
                        yield push.received.progress(PushPhase.RECEIVING)
            elif isinstance(step, PushCommit):
                yield step
                return
            else:
                raise InvalidPushStreamError("a push has one header", field="header")

    async def _announce(self, push: _Push, step: PushFiles) -> PushWanted:
        self._require_storable(push, step.files)
        push.received.announce(step.files)
        wanted = await self._unless_lost(push, lambda: push.intake.wanted(step.files))
        push.received.wanted.update(wanted)
        return PushWanted(tuple(wanted.items()))

    def _require_storable(self, push: _Push, parts: Iterable[Part]) -> None:
        """Check, once for each part, that the store can hold it and the manifest name it."""
        for part in parts:
            self._catalog.require_short_keys(push.plan.name, part.path)
            push.received.manifest_size.add(part)

    async def _take(self, push: _Push, chunk: PushChunk) -> None:
        received = push.received
        announced = received.announced.get(chunk.path)
        if announced is not None and announced.size_bytes and chunk.path not in received.wanted:
            return  # who sends without looking back sends also what is not wanted
        # Whoever sends bytes has named all files.
        received.is_announced = True
        await self._unless_lost(push, lambda: push.intake.take(chunk))
        received.received_bytes += len(chunk.data)

    async def _telling(
        self, push: _Push, work: asyncio.Task[T]
    ) -> AsyncGenerator[PushProgress, None]:
        """Tell how far the push is until the work ends; a caller who leaves cancels it."""
        try:
            # It has begun then, and says in which phase.
            await asyncio.sleep(0)
            while not work.done():
                yield push.received.progress(push.received.phase_now)
                await asyncio.wait([work], timeout=_PROGRESS_INTERVAL_SECONDS)
        finally:
            work.cancel()
            await ended(work)

    async def _preview(self, push: _Push, commit: PushCommit) -> PushCompleted:
        """Tell what the push would create now, creating nothing."""
        parts = await push.intake.parts()
        if push.received.header.content is not None:
            self._require_storable(push, parts)
        push.received.require_announced()
        digest = None
        if all(part.sha256_hex for part in parts):
            digest = push.received.require_digest(parts, commit.digest)
        version = await self._claiming.preview(push.plan)
        plan = replace(push.plan, digest=digest or NOT_KNOWN_YET)
        existing = await self._claiming.existing(plan, version)
        if existing is not None:
            return self._completed(push, existing)
        would_be = described(push.plan, version, parts, digest)
        return PushCompleted(would_be, already_existed=False, elapsed=self._elapsed(push))

    async def _commit(self, push: _Push, commit: PushCommit) -> PushCompleted:
        if isinstance(push.received.claimed, ExistingVersion):
            return self._completed(push, push.received.claimed)
        is_sourced = push.received.header.content is not None
        if not is_sourced:
            self._require_announced(push, commit)
        parts = await self._unless_lost(push, push.intake.parts)
        if is_sourced:
            self._require_storable(push, parts)
        digest = push.received.require_digest(parts, commit.digest)
        push.received.plan = replace(push.plan, digest=digest)
        return self._completed(push, await self._create(push))

    def _require_announced(self, push: _Push, commit: PushCommit) -> None:
        push.received.require_announced()
        push.received.is_announced = True
        if push.received.header.digest is not None:
            push.received.require_digest(list(push.received.announced.values()), commit.digest)

    def _completed(self, push: _Push, created: ExistingVersion) -> PushCompleted:
        return PushCompleted(
            asset_version=created.manifest.describe(created.name, created.version),
            already_existed=created.manifest.push_id != push.plan.push_id,
            elapsed=self._elapsed(push),
        )

    def _elapsed(self, push: _Push) -> timedelta:
        return timedelta(seconds=self._clock.monotonic() - push.began)

    async def _create(self, push: _Push) -> ExistingVersion:
        """Store the parts under the claim and commit; begin again when the claim is lost."""
        for _ in range(_BEGINNINGS):
            claimed = push.received.claimed or await self._claiming.claim(push.plan)
            push.received.claimed = claimed
            if isinstance(claimed, ExistingVersion):
                return claimed
            created = await self._create_claimed(push, claimed)
            if created is not None:
                return created
        raise claim_lost(push.received)

    async def _create_claimed(self, push: _Push, claimed: ClaimedVersion) -> ExistingVersion | None:
        """Store and commit under this claim; None where it is lost, or another's push won."""
        place = self._place(push, claimed)
        try:
            stored = await push.intake.store(place)
            await confirm(place, push.plan.kind, stored.values())
            parts = sorted((one.part for one in stored.values()), key=lambda p: p.path.encode())
            await self._claimed.begin_commit(claimed, tuple(parts))
        except ClaimLostError:
            push.received.claimed = None
            await to_the_end(self._claimed.give_up(claimed.record))
            return None
        # From here on whoever meets the claim finishes it, so a cancelled caller changes nothing:
        # let it end rather than leave it to the next one.
        manifest = await to_the_end(self._claimed.commit(claimed))
        push.received.claimed = None
        is_ours = push.plan.selector.exact or manifest.push_id == push.plan.push_id
        if push.plan.is_of(manifest) and is_ours:
            return ExistingVersion(claimed.name, claimed.version, manifest)
        return None

    async def _unless_lost(self, push: _Push, work: Callable[[], Awaitable[T]]) -> T:
        """Return what `work` returns; a claim that is lost while bytes come ends the push."""
        try:
            return await work()
        except ClaimLostError:
            plan = push.plan
            if plan.selector.exact is not None:
                await self._claiming.existing(plan, plan.selector.exact)
            raise claim_lost(push.received) from None

    async def _end(self, push: _Push) -> None:
        """Leave nothing behind: no open claim of ours, no spool. A committing claim is finished."""
        try:
            await push.intake.discard(is_cut=push.is_cut)
        finally:
            if isinstance(push.received.claimed, ClaimedVersion):
                await self._claimed.give_up(push.received.claimed.record)
