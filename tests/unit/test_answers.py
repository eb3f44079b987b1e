"""Answers into messages: every value arrives, and what is not known stays unset."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import Enum

import pytest
from assetd.v1 import asset_pb2
from assetd.v1 import asset_service_pb2 as pb
from assetd_server.assets.orders import (
    CacheState,
    CacheStatus,
    FetchCompleted,
    FetchPhase,
    FetchProgress,
    FetchStarted,
    FilesPage,
    FlightStatus,
    HoldStatus,
    ListedFile,
    ListEntry,
    ListPage,
    PushAccepted,
    PushCompleted,
    PushPhase,
    PushProgress,
    PushWanted,
    Resolved,
)
from assetd_server.manifest import Part
from assetd_server.model import (
    AssetKind,
    AssetName,
    AssetVersion,
    Digest,
    PartPath,
    Presence,
    Resolution,
    Source,
    Verification,
)
from assetd_server.rpc import answers
from assetd_server.versioning import Version
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

NOW = datetime(2026, 11, 23, 9, 30, 0, 500000, tzinfo=UTC)
NOW_TEXT = "2026-11-23T09:30:00.500Z"
HEX = "0123456789abcdef" * 4
KNOWN = AssetVersion(
    name=AssetName("nlp/ranker"),
    version=Version.of(1, 2),
    kind=AssetKind.DIRECTORY,
    size_bytes=0,
    file_count=3,
    digest=Digest.of_hex(HEX),
    push_time=NOW,
    labels={"stage": "prod"},
    pushed_by="ci",
)
KNOWN_TEXT = {
    "name": "nlp/ranker",
    "version": "1.2",
    "kind": "ASSET_KIND_DIRECTORY",
    "sizeBytes": "0",
    "fileCount": 3,
    "digest": f"sha256:{HEX}",
    "pushTime": NOW_TEXT,
    "labels": {"stage": "prod"},
    "pushedBy": "ci",
}
UNLABELLED_TEXT = {
    key: value for key, value in KNOWN_TEXT.items() if key not in ("labels", "pushedBy")
}
BARE = AssetVersion(name=AssetName("a"), version=None)
PRESENT = CacheState(
    presence=Presence.PRESENT,
    relative_path="nlp/ranker/1.2",
    path="/assets/nlp/ranker/1.2",
    disk_bytes=7,
    last_used_time=NOW,
    pinned=True,
    leased=True,
    hold_count=2,
)
PRESENT_TEXT = {
    "presence": "PRESENCE_PRESENT",
    "relativePath": "nlp/ranker/1.2",
    "path": "/assets/nlp/ranker/1.2",
    "diskBytes": "7",
    "lastUsedTime": NOW_TEXT,
    "pinned": True,
    "leased": True,
    "holdCount": 2,
}
ABSENT = CacheState(presence=Presence.ABSENT)
PROGRESS = FetchProgress(
    phase=FetchPhase.DOWNLOADING,
    present_bytes=4,
    total_bytes=8,
    present_files=1,
    total_files=2,
    bytes_per_second=16,
    eta=timedelta(seconds=0.25),
    since_last_byte=timedelta(seconds=1),
    attempt=2,
)
PROGRESS_TEXT = {
    "phase": "FETCH_PHASE_DOWNLOADING",
    "presentBytes": "4",
    "totalBytes": "8",
    "presentFiles": 1,
    "totalFiles": 2,
    "bytesPerSecond": "16",
    "eta": "0.250s",
    "sinceLastByte": "1s",
    "attempt": 2,
}


def text(message: Message) -> dict[str, object]:
    """The message as its canonical JSON: what is unset is not there."""
    return MessageToDict(message)


def test_a_version_of_which_all_is_known() -> None:
    """Zero bytes are said; they are not the same as not known."""
    response = answers.resolve_response(Resolved(KNOWN, Resolution.EXACT, PRESENT))
    assert text(response) == {
        "assetVersion": KNOWN_TEXT,
        "resolution": "RESOLUTION_EXACT",
        "cacheState": PRESENT_TEXT,
    }


def test_a_version_of_which_little_is_known() -> None:
    """What an index does not say is unset, not zero; a path without versions has none."""
    response = answers.resolve_response(Resolved(BARE, Resolution.CACHE, ABSENT))
    assert text(response) == {
        "assetVersion": {"name": "a"},
        "resolution": "RESOLUTION_CACHE",
        "cacheState": {"presence": "PRESENCE_ABSENT"},
    }


def test_events_of_a_fetch() -> None:
    """Each event is one field, and has its time."""
    started = FetchStarted(KNOWN, Resolution.STORE, 8, 2, 4, joined=True, flight_id="f1")
    assert text(answers.fetch_response(started, NOW)) == {
        "eventTime": NOW_TEXT,
        "started": {
            "assetVersion": KNOWN_TEXT,
            "resolution": "RESOLUTION_STORE",
            "totalBytes": "8",
            "totalFiles": 2,
            "presentBytes": "4",
            "joined": True,
            "flightId": "f1",
        },
    }
    assert text(answers.fetch_response(PROGRESS, NOW)) == {
        "eventTime": NOW_TEXT,
        "progress": PROGRESS_TEXT,
    }
    completed = FetchCompleted(
        path="/assets/a",
        relative_path="a",
        asset_version=KNOWN,
        source=Source.STORE,
        transferred_bytes=5,
        reused_bytes=3,
        elapsed=timedelta(seconds=2),
        verification=Verification.CHECKSUM,
        keep_until_time=NOW,
    )
    assert text(answers.fetch_response(completed, NOW)) == {
        "eventTime": NOW_TEXT,
        "completed": {
            "path": "/assets/a",
            "relativePath": "a",
            "assetVersion": KNOWN_TEXT,
            "source": "SOURCE_STORE",
            "transferredBytes": "5",
            "reusedBytes": "3",
            "elapsed": "2s",
            "verification": "VERIFICATION_CHECKSUM",
            "keepUntilTime": NOW_TEXT,
        },
    }


def test_progress_before_anything_is_known() -> None:
    """Totals are unset until the version is resolved."""
    response = answers.fetch_response(FetchProgress(FetchPhase.QUEUED), NOW)
    assert text(response.progress) == {"phase": "FETCH_PHASE_QUEUED", "attempt": 1}


def test_events_of_a_push() -> None:
    """Each event is one field, and has its time; that nothing is wanted is an event too."""
    accepted = PushAccepted("p1", "1.3", version_final=True)
    assert text(answers.push_response(accepted, NOW)) == {
        "eventTime": NOW_TEXT,
        "accepted": {
            "pushId": "p1",
            "version": "1.3",
            "versionFinal": True,
            "takesChunks": True,
        },
    }
    wanted = PushWanted([(PartPath("a/b"), 7), (PartPath.of_file(), 0)])
    assert text(answers.push_response(wanted, NOW)) == {
        "eventTime": NOW_TEXT,
        "wanted": {"parts": [{"path": "a/b", "offset": "7"}, {}]},
    }
    nothing = answers.push_response(PushWanted([]), NOW)
    assert text(nothing) == {"eventTime": NOW_TEXT, "wanted": {}}
    progress = PushProgress(PushPhase.STORING, 3, 2, total_bytes=0)
    assert text(answers.push_response(progress, NOW)) == {
        "eventTime": NOW_TEXT,
        "progress": {
            "phase": "PHASE_STORING",
            "receivedBytes": "3",
            "storedBytes": "2",
            "totalBytes": "0",
        },
    }
    completed = PushCompleted(KNOWN, already_existed=True, elapsed=timedelta(seconds=1))
    assert text(answers.push_response(completed, NOW)) == {
        "eventTime": NOW_TEXT,
        "completed": {"assetVersion": KNOWN_TEXT, "alreadyExisted": True, "elapsed": "1s"},
    }


def test_a_page_of_versions() -> None:
    """Whether the store has one is told only where the store was asked."""
    page = ListPage(
        [
            ListEntry(KNOWN, PRESENT, in_store=None),
            ListEntry(BARE, ABSENT, in_store=False),
            ListEntry(BARE, ABSENT, in_store=True),
        ],
        "next",
        [Source.STORE],
    )
    bare = {"assetVersion": {"name": "a"}, "cacheState": {"presence": "PRESENCE_ABSENT"}}
    assert text(answers.list_response(page)) == {
        "entries": [
            {"assetVersion": KNOWN_TEXT, "cacheState": PRESENT_TEXT},
            {**bare, "inStore": False},
            {**bare, "inStore": True},
        ],
        "nextPageToken": "next",
        "unreachable": ["SOURCE_STORE"],
    }


def test_a_page_of_files() -> None:
    """Sizes and digests are there where the manifest has them."""
    page = FilesPage(
        KNOWN,
        [
            ListedFile(Part(PartPath("a/b"), 0, HEX), cached=True),
            ListedFile(Part(PartPath.of_file()), cached=False),
        ],
        "next",
    )
    assert text(answers.list_files_response(page)) == {
        "assetVersion": KNOWN_TEXT,
        "files": [
            {"file": {"path": "a/b", "sizeBytes": "0", "digest": f"sha256:{HEX}"}, "cached": True},
            {"file": {}},
        ],
        "nextPageToken": "next",
    }


def test_the_state_of_the_cache() -> None:
    """All of it, with the daemon's version, and no labels: thousands may hold one version."""
    status = CacheStatus(
        assets_dir="/assets",
        used_bytes=1,
        limit_bytes=0,
        reserved_bytes=3,
        evictable_bytes=4,
        disk_free_bytes=5,
        version_count=6,
        pinned_count=7,
        leased_count=8,
        flights=[FlightStatus("f1", KNOWN, PROGRESS, 2, NOW)],
        holds=[HoldStatus(KNOWN, "ranker-server", NOW)],
        store="s3://bucket/prefix",
        store_last_ok_time=NOW,
        warnings=["look"],
        start_time=NOW,
    )
    assert text(answers.cache_status_response(status, "1.2.3")) == {
        "assetsDir": "/assets",
        "usedBytes": "1",
        "limitBytes": "0",
        "reservedBytes": "3",
        "evictableBytes": "4",
        "diskFreeBytes": "5",
        "versionCount": 6,
        "pinnedCount": 7,
        "leasedCount": 8,
        "flights": [
            {
                "flightId": "f1",
                "assetVersion": UNLABELLED_TEXT,
                "progress": PROGRESS_TEXT,
                "waiterCount": 2,
                "startTime": NOW_TEXT,
            }
        ],
        "holds": [
            {"assetVersion": UNLABELLED_TEXT, "caller": "ranker-server", "startTime": NOW_TEXT}
        ],
        "store": "s3://bucket/prefix",
        "storeLastOkTime": NOW_TEXT,
        "warnings": ["look"],
        "serverVersion": "1.2.3",
        "startTime": NOW_TEXT,
    }


@pytest.mark.parametrize(
    ("names", "members", "prefix"),
    [
        (answers.KINDS, AssetKind, "ASSET_KIND_"),
        (answers.RESOLUTIONS, Resolution, "RESOLUTION_"),
        (answers.SOURCES, Source, "SOURCE_"),
        (answers.VERIFICATIONS, Verification, "VERIFICATION_"),
        (answers.FETCH_PHASES, FetchPhase, "FETCH_PHASE_"),
        (answers.PRESENCES, Presence, "PRESENCE_"),
        (answers.PUSH_PHASES, PushPhase, "PHASE_"),
    ],
)
def test_enums_have_the_names_of_the_contract(
    names: Mapping[Enum, int], members: type[Enum], prefix: str
) -> None:
    """Each member stands for the value of its own name."""
    holders = (asset_pb2, asset_pb2.CacheState, pb.PushProgress)
    for member in members:
        expected = {getattr(holder, prefix + member.name, None) for holder in holders}
        assert names[member] in expected - {None}
