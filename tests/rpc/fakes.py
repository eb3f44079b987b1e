"""Assets that answer what a test tells them to, behind the interface that the services see."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta

from assetd_server.assets.cache_orders import (
    EvictEntry,
    EvictOrder,
    EvictOutcome,
    Pinned,
    VerifyCompleted,
    VerifyEvent,
    VerifyOrder,
    VerifyOutcome,
    VerifyProgress,
    VerifyResult,
)
from assetd_server.assets.orders import (
    CacheState,
    CacheStatus,
    FetchCompleted,
    FetchEvent,
    FetchOrder,
    FetchStarted,
    FilesPage,
    ListFilesOrder,
    ListOrder,
    ListPage,
    PushCompleted,
    PushEvent,
    PushStep,
    Resolved,
    ResolveOrder,
)
from assetd_server.model import (
    AssetKind,
    AssetName,
    AssetVersion,
    PartPath,
    Presence,
    Resolution,
    Source,
    Verification,
)
from assetd_server.spec import Spec
from assetd_server.versioning import Version

NOW = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
RANKER = AssetVersion(AssetName("nlp/ranker"), Version.of(1, 2), AssetKind.FILE, size_bytes=5)
RESOLVED = Resolved(RANKER, Resolution.STORE, CacheState(Presence.ABSENT))
STARTED = FetchStarted(
    RANKER,
    Resolution.STORE,
    total_bytes=5,
    total_files=1,
    present_bytes=0,
    joined=False,
    flight_id="f1",
)
COMPLETED = FetchCompleted(
    path="/assets/nlp/ranker/1.2",
    relative_path="nlp/ranker/1.2",
    asset_version=RANKER,
    source=Source.STORE,
    transferred_bytes=5,
    reused_bytes=0,
    elapsed=timedelta(seconds=2),
    verification=Verification.CHECKSUM,
)
STATUS = CacheStatus(
    assets_dir="/assets",
    used_bytes=5,
    limit_bytes=None,
    reserved_bytes=0,
    evictable_bytes=0,
    disk_free_bytes=100,
    version_count=1,
    pinned_count=0,
    leased_count=0,
    flights=[],
    holds=[],
    store="s3://bucket/prefix",
    store_last_ok_time=None,
    warnings=[],
    start_time=NOW,
)


class FakeAssets:
    """Keeps what it is asked; answers with its attributes, or fails with `error`."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error
        self.asked: list[object] = []
        self.resolved = RESOLVED
        self.fetch_events: list[FetchEvent] = [STARTED, COMPLETED]
        self.push_events: list[PushEvent] = [
            PushCompleted(RANKER, already_existed=False, elapsed=timedelta(seconds=1))
        ]
        self.page = ListPage([], "", [])
        self.files = FilesPage(RANKER, [], "")
        self.cache_status = STATUS
        self.evicted = [EvictEntry(RANKER, EvictOutcome.EVICTED, 5)]
        self.verify_events: list[VerifyEvent] = [
            VerifyProgress(2, 5),
            VerifyResult(RANKER, VerifyOutcome.DAMAGED, [PartPath("b"), PartPath("a")]),
            VerifyCompleted(sound_count=0, damaged_count=1),
        ]

    def _ask(self, what: object) -> None:
        self.asked.append(what)
        if self.error is not None:
            raise self.error

    async def resolve(self, order: ResolveOrder) -> Resolved:
        self._ask(order)
        return self.resolved

    async def fetch(self, order: FetchOrder) -> AsyncGenerator[FetchEvent, None]:
        self._ask(order)
        for event in self.fetch_events:
            yield event

    async def push(self, steps: AsyncIterator[PushStep]) -> AsyncGenerator[PushEvent, None]:
        async for step in steps:
            self._ask(step)
        for event in self.push_events:
            yield event

    async def list(self, order: ListOrder) -> ListPage:
        self._ask(order)
        return self.page

    async def list_files(self, order: ListFilesOrder) -> FilesPage:
        self._ask(order)
        return self.files

    async def status(self) -> CacheStatus:
        self._ask(None)
        return self.cache_status

    async def evict(self, order: EvictOrder) -> Sequence[EvictEntry]:
        self._ask(order)
        return self.evicted

    async def pin(self, spec: Spec) -> Pinned:
        self._ask(("pin", spec))
        return Pinned(RANKER, CacheState(Presence.PRESENT, pinned=True))

    async def unpin(self, spec: Spec) -> Pinned:
        self._ask(("unpin", spec))
        return Pinned(RANKER, CacheState(Presence.PRESENT))

    async def verify(self, order: VerifyOrder) -> AsyncGenerator[VerifyEvent, None]:
        self._ask(order)
        for event in self.verify_events:
            yield event


class HoldingAssets(FakeAssets):
    """Fetches that hold until they are closed; says when one has begun, and when it has ended."""

    def __init__(self) -> None:
        super().__init__()
        self.holding = asyncio.Event()
        self.released = asyncio.Event()

    async def fetch(self, order: FetchOrder) -> AsyncGenerator[FetchEvent, None]:
        self._ask(order)
        try:
            yield STARTED
            yield COMPLETED
            self.holding.set()
            await asyncio.Event().wait()
        finally:
            # As when a lease is given back: it takes the loop.
            await asyncio.sleep(0)
            self.released.set()
