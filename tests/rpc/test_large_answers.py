"""Answers that have no pages: whatever they would hold, a caller's gRPC takes them, at 4 MiB."""

from dataclasses import replace

import pytest
from assetd.v1.cache_service_pb2 import (
    CacheSelector,
    EvictRequest,
    GetCacheStatusRequest,
    VerifyRequest,
)
from assetd_server.assets.cache_orders import (
    EvictEntry,
    EvictOutcome,
    VerifyOutcome,
    VerifyResult,
)
from assetd_server.assets.orders import FetchPhase, FetchProgress, FlightStatus, HoldStatus
from assetd_server.model import AssetName, AssetVersion, PartPath
from assetd_server.versioning import Version

from tests.rpc.fakes import NOW, RANKER, STATUS, FakeAssets
from tests.rpc.serving import Served

# As much as a pusher may write on a version.
LABELS = {chr(0x1F300 + n): "\U0001f600" * 512 for n in range(64)}
LABELLED = replace(RANKER, labels=LABELS)
LONG_NAMED = AssetVersion(AssetName("/".join(["n" * 250] * 4)), Version.of(1, 2))
PROGRESS = FetchProgress(FetchPhase.DOWNLOADING, 4, 8, 1, 2, 16, None, None, 1)
ALL = CacheSelector(all=True)


async def test_many_evictions(served: Served, assets: FakeAssets) -> None:
    """Of 30,000 versions with all that pushers may write on them, each has its entry."""
    assets.evicted = [EvictEntry(LABELLED, EvictOutcome.EVICTED, 5)] * 30_000
    answer = await served.cache.Evict(EvictRequest(selector=ALL))
    assert (len(answer.entries), answer.freed_bytes) == (30_000, 150_000)


async def test_too_many_evictions(served: Served, assets: FakeAssets) -> None:
    """Where not all entries fit, the first do; the bytes are those of all."""
    assets.evicted = [
        EvictEntry(version, EvictOutcome.EVICTED, 5) for version in [RANKER, *[LONG_NAMED] * 10_000]
    ]
    answer = await served.cache.Evict(EvictRequest(selector=ALL))
    assert answer.freed_bytes == 50_005
    assert answer.entries[0].asset_version.name == "nlp/ranker"
    assert 2_900 < len(answer.entries) < 3_200


@pytest.mark.parametrize(
    ("version", "count"), [(LABELLED, 4_000), (LONG_NAMED, 820)], ids=["labels", "long name"]
)
async def test_many_holds_and_downloads(
    served: Served, assets: FakeAssets, version: AssetVersion, count: int
) -> None:
    """The status shows thousands of holds and downloads, the oldest where not all fit."""
    assets.cache_status = replace(
        STATUS,
        holds=[HoldStatus(version, str(number), NOW) for number in range(4_000)],
        flights=[FlightStatus("f1", version, PROGRESS, 2, NOW)] * 4_000,
    )
    answer = await served.cache.GetCacheStatus(GetCacheStatusRequest())
    assert len(answer.holds) >= count
    assert len(answer.flights) >= count
    assert [hold.caller for hold in answer.holds] == [str(n) for n in range(len(answer.holds))]


async def test_many_damaged_files(served: Served, assets: FakeAssets) -> None:
    """Of a folder whose 100,000 files are all damaged, the first are named."""
    paths = [PartPath(f"{n:05}/{'p' * 60}") for n in range(100_000)]
    assets.verify_events = [VerifyResult(LABELLED, VerifyOutcome.DAMAGED, paths)]
    [event] = [event async for event in served.cache.Verify(VerifyRequest(selector=ALL))]
    named = list(event.result.damaged_paths)
    assert len(named) > 10_000
    assert named == paths[: len(named)]
