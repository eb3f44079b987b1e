"""Push: one new immutable version, or nothing (`api.md`, "Push"; `layout.md`, "Push").

The caller's steps come lock-step: header, files, chunks, commit. Bytes are spooled and hashed here,
then stored under a claim, read back, and committed. Whatever ends a push early releases its claim
and deletes its spool.
"""

import asyncio
import socket
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta

from assetd_server.assets.claimed import ClaimedVersion, ClaimedVersions, ClaimLostError
from assetd_server.assets.claiming import (
    Claiming,
    ExistingVersion,
    PushPlan,
)
from assetd_server.assets.clock import Clock
from assetd_server.assets.orders import (
    Bump,
    PushAccepted,
    PushChunk,
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
from assetd_server.assets.safety import StoreSafety
from assetd_server.assets.shielding import ended, to_the_end
from assetd_server.assets.storing import PartStorage, ReadPart
from assetd_server.assets.threads import Threads
from assetd_server.cache.layout import AssetsDir
from assetd_server.cache.spool import Spool
from assetd_server.errors import (
    AssetError,
    InvalidFieldError,
    InvalidPushStreamError,
    PushInProgressError,
    PushMismatchError,
    PushNotCommittedError,
)
from assetd_server.manifest import Manifest, Part, version_digest
from assetd_server.model import (
    AssetKind,
    Digest,
    PartPath,
    require_distinct_parts,
)
from assetd_server.store.catalog import Catalog
from assetd_server.versioning import VersioningSystem

_BEGINNINGS = 10
_PROGRESS_INTERVAL_SECONDS = 0.5
# Stands in a plan until the bytes have been hashed; no claim is ever made with it.
_NOT_KNOWN_YET = Digest.of_hex("0" * 64)


@dataclass
class _Received:
    """What has come of one push."""

    header: PushHeader
    plan: PushPlan
    spool: Spool
    announced: dict[PartPath, Part] = field(default_factory=dict)
    received_bytes: int = 0
    stored_bytes: int = 0
    claimed: ClaimedVersion | ExistingVersion | None = None

    def count(self, stored_bytes: int) -> None:
        self.stored_bytes += stored_bytes

    @property
    def total_bytes(self) -> int:
        return sum(part.size_bytes or 0 for part in self.announced.values())

    def progress(self, phase: PushPhase) -> PushProgress:
        return PushProgress(phase, self.received_bytes, self.stored_bytes, self.total_bytes)


class Pusher:
    """Runs the pushes of one daemon; each is one call of `push`."""

    def __init__(
        self,
        catalog: Catalog,
        claiming: Claiming,
        claimed: ClaimedVersions,
        safety: StoreSafety,
        assets_dir: AssetsDir,
        disk: Threads,
        clock: Clock,
        default_system: VersioningSystem,
    ) -> None:
        self._catalog = catalog
        self._claiming = claiming
        self._claimed = claimed
        self._safety = safety
        self._dir = assets_dir
        self._disk = disk
        self._clock = clock
        self._default_system = default_system

    async def push(self, steps: AsyncIterator[PushStep]) -> AsyncGenerator[PushEvent, None]:
        """Create the version that `steps` describe, telling how far it is.

        Raises:
            InvalidPushStreamError: the steps come in another order than header, files, chunks,
            commit.
            PushMismatchError: sizes, digests or offsets contradict what was announced.
            PushNotCommittedError: the steps end without a commit.
            and what `StoreSafety.require`, `Claiming.claim` and `PartStorage.store_all` raise.
        """
        began = self._clock.monotonic()
        header = await anext(steps, None)
        if not isinstance(header, PushHeader):
            raise InvalidPushStreamError("a push begins with its header", field="header")
        received = await self._receive(header)
        try:
            async with aclosing(self._run(received, steps, began)) as events:
                async for event in events:
                    yield event
        finally:
            await to_the_end(self._end(received))

    async def _receive(self, header: PushHeader) -> _Received:
        spec = header.spec
        spec.name.require_pushable()
        self._catalog.require_short_keys(spec.name)
        if header.bump is not None and str(spec.selector):
            raise InvalidFieldError(
                "bump is for a spec without a version, and {spec} has one",
                field="header.bump",
                spec=spec,
            )
        await self._safety.require()
        push_id = header.push_id or str(uuid.uuid4())
        plan = PushPlan(
            name=spec.name,
            selector=spec.selector,
            bump_major=header.bump is Bump.MAJOR,
            mode=header.mode,
            kind=header.kind,
            digest=header.digest or _NOT_KNOWN_YET,
            push_id=push_id,
            claim_id=uuid.uuid4().hex,
            owner=socket.gethostname(),
            pushed_by=header.pushed_by or socket.gethostname(),
            default_system=self._default_system,
        )
        # The folder is this call's own: a repeat may come while the first call still cleans up.
        spool = await self._disk.obtain(Spool.discard, Spool, self._dir, plan.claim_id)
        return _Received(header, plan, spool)

    async def _run(
        self, received: _Received, steps: AsyncIterator[PushStep], began: float
    ) -> AsyncGenerator[PushEvent, None]:
        yield await self._accept(received)
        last_progress = self._clock.monotonic()
        commit: PushCommit | None = None
        async for step in steps:
            if commit is not None:
                raise InvalidPushStreamError("nothing follows the commit", field="commit")
            if isinstance(step, PushFiles):
                yield self._announce(received, step)
            elif isinstance(step, PushChunk):
                await self._take(received, step)
                if self._clock.monotonic() - last_progress >= _PROGRESS_INTERVAL_SECONDS:
                    last_progress = self._clock.monotonic()
                    yield received.progress(PushPhase.RECEIVING)
            elif isinstance(step, PushCommit):
                commit = step
                break
            else:
                raise InvalidPushStreamError("a push has one header", field="header")
        if commit is None:
            raise PushNotCommittedError(
                "the push of {spec} ended without a commit: nothing was created",
                spec=received.header.spec,
            )
        async with aclosing(self._commit(received, commit, began)) as events:
            async for event in events:
                yield event

    async def _accept(self, received: _Received) -> PushAccepted:
        plan = received.plan
        if received.header.digest is None:
            version = await self._claiming.preview(plan)
        else:
            received.claimed = await self._claiming.claim(plan)
            version = received.claimed.version
        final = received.claimed is not None or plan.selector.exact is not None
        return PushAccepted(plan.push_id, str(version), final)

    def _announce(self, received: _Received, step: PushFiles) -> PushWanted:
        for part in step.files:
            if received.plan.kind is AssetKind.FILE and (part.path or received.announced):
                raise InvalidFieldError(
                    "a file asset has one file, whose path is empty, and {path!r} was announced",
                    field="files.files.path",
                    path=part.path,
                )
            if received.plan.kind is AssetKind.DIRECTORY and not part.path:
                raise InvalidFieldError(
                    "a file of a directory asset needs a path", field="files.files.path"
                )
            if received.header.digest is not None and part.sha256_hex is None:
                raise InvalidFieldError(
                    "header.digest is set, so each file needs its digest, and {path!r} has none",
                    field="files.files.digest",
                    path=part.path,
                )
            if part.path in received.announced:
                raise InvalidFieldError(
                    "the file {path!r} was announced twice",
                    field="files.files.path",
                    path=part.path,
                )
            received.announced[part.path] = part
        if isinstance(received.claimed, ExistingVersion):
            return PushWanted(())
        return PushWanted([(part.path, 0) for part in step.files if part.size_bytes])

    async def _take(self, received: _Received, chunk: PushChunk) -> None:
        if isinstance(received.claimed, ExistingVersion):
            return  # nothing is wanted of a version that is there
        part = received.announced.get(chunk.path)
        if part is None:
            raise InvalidPushStreamError(
                "a chunk of {path!r} came before the file was announced",
                field="chunk.path",
                path=chunk.path,
            )
        have = received.spool.length(chunk.path)
        if chunk.offset != have:
            raise PushMismatchError(
                "a chunk of {path!r} begins at {offset}, and {expected_offset} bytes have come:"
                " send the chunks of a file in order",
                path=chunk.path,
                offset=chunk.offset,
                expected_offset=have,
                field="chunk.offset",
            )
        if part.size_bytes is not None and have + len(chunk.data) > part.size_bytes:
            raise _wrong_size(part, have + len(chunk.data))
        await self._disk.run(received.spool.append, chunk.path, chunk.data)
        received.received_bytes += len(chunk.data)

    async def _commit(
        self, received: _Received, commit: PushCommit, began: float
    ) -> AsyncGenerator[PushEvent, None]:
        if isinstance(received.claimed, ExistingVersion):
            created = received.claimed
        else:
            storing = asyncio.create_task(
                self._create(received, self._check_received(received, commit))
            )
            async with aclosing(self._waiting(received, storing)) as waiting:
                async for progress in waiting:
                    yield progress
            created = storing.result()
        yield PushCompleted(
            asset_version=created.manifest.describe(created.name, created.version),
            already_existed=created.manifest.push_id != received.plan.push_id,
            elapsed=timedelta(seconds=self._clock.monotonic() - began),
        )

    def _check_received(self, received: _Received, commit: PushCommit) -> tuple[Part, ...]:
        """Compare what came with what was announced; fix the plan's digest."""
        if not received.announced:
            raise InvalidPushStreamError("a push needs at least one file", field="files")
        require_distinct_parts(received.announced)
        for path in received.announced:
            self._catalog.require_short_keys(received.plan.name, path)
        came = [received.spool.part(path) for path in received.announced]
        for part in came:
            announced = received.announced[part.path]
            if announced.size_bytes not in (None, part.size_bytes):
                raise _wrong_size(announced, part.size_bytes or 0)
            if announced.sha256_hex not in (None, part.sha256_hex):
                raise PushMismatchError(
                    "{path!r} has the SHA-256 {found}, and {expected} was announced: the file"
                    " changed while it was sent, or was damaged on the way",
                    field="files.files.digest",
                    path=part.path,
                    found=part.sha256_hex,
                    expected=announced.sha256_hex,
                )
        digest = version_digest(received.plan.kind, came)
        for field_name, expected in (
            ("header.digest", received.header.digest),
            ("commit.digest", commit.digest),
        ):
            if expected not in (None, digest):
                raise PushMismatchError(
                    "what came has the digest {found}, and {expected} was announced",
                    field=field_name,
                    found=digest,
                    expected=expected,
                )
        received.plan = replace(received.plan, digest=digest)
        return tuple(sorted(came, key=lambda part: part.path.encode()))

    async def _waiting(
        self, received: _Received, storing: asyncio.Task[ExistingVersion]
    ) -> AsyncGenerator[PushProgress, None]:
        """Tell how far storing is until it ends; a caller who leaves cancels it."""
        try:
            while not storing.done():
                committing = received.stored_bytes == received.total_bytes
                phase = PushPhase.COMMITTING if committing else PushPhase.STORING
                yield received.progress(phase)
                await asyncio.wait([storing], timeout=_PROGRESS_INTERVAL_SECONDS)
        finally:
            storing.cancel()
            await ended(storing)

    async def _create(self, received: _Received, parts: tuple[Part, ...]) -> ExistingVersion:
        """Store the parts under the claim and commit; begin again when the claim is lost."""
        for _ in range(_BEGINNINGS):
            claimed = received.claimed or await self._claiming.claim(received.plan)
            received.claimed = claimed
            if isinstance(claimed, ExistingVersion):
                return claimed
            try:
                received.stored_bytes = 0
                storage = PartStorage(
                    self._catalog, self._claimed, claimed, self._reader(received), received.count
                )
                await storage.store_all(parts)
                await self._claimed.begin_commit(claimed, parts)
            except ClaimLostError:
                received.claimed = None
                continue
            # From here on whoever meets the claim finishes it, so a cancelled caller changes
            # nothing: let it end rather than leave it to the next one.
            manifest = await to_the_end(self._finish(claimed))
            received.claimed = None
            if manifest.digest == received.plan.digest and (
                received.plan.selector.exact or manifest.push_id == received.plan.push_id
            ):
                return ExistingVersion(claimed.name, claimed.version, manifest)
        raise PushInProgressError(
            "the claim on {spec} was released by somebody every time: push it again",
            spec=received.header.spec,
        )

    async def _finish(self, claimed: ClaimedVersion) -> Manifest:
        return await self._claimed.finish(
            claimed.name, claimed.version, claimed.held, claimed.committed
        )

    def _reader(self, received: _Received) -> ReadPart:
        async def read(path: PartPath, offset: int, length: int) -> bytes:
            return await self._disk.run(received.spool.read, path, offset, length)

        return read

    async def _end(self, received: _Received) -> None:
        """Leave nothing behind: no open claim of ours, no spool. A committing claim is finished."""
        try:
            claimed = received.claimed
            if isinstance(claimed, ClaimedVersion):
                # A store that cannot be told leaves the claim open. Whoever pushes the same content
                # joins it, and the caller has a failure that matters more.
                with suppress(AssetError):
                    await self._claimed.give_up(
                        claimed.name, claimed.version, received.plan.claim_id
                    )
        finally:
            await self._disk.run(received.spool.discard)


def _wrong_size(announced: Part, found: int) -> PushMismatchError:
    return PushMismatchError(
        "{path!r} was announced with {expected_bytes} bytes, and {found_bytes} came: the file"
        " changed while it was sent",
        field="files.files.size_bytes",
        path=announced.path,
        expected_bytes=announced.size_bytes,
        found_bytes=found,
    )
