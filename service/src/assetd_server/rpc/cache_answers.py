"""What operators are told of the cache, as messages of the wire; see `rpc.answers`."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, assert_never

from assetd.v1 import cache_service_pb2

from assetd_server.assets.cache_orders import (
    EvictEntry,
    EvictOutcome,
    Pinned,
    VerifyCompleted,
    VerifyEvent,
    VerifyOutcome,
    VerifyProgress,
    VerifyResult,
)
from assetd_server.model import AssetVersion
from assetd_server.rpc.answers import asset_version, cache_state, fitting, timestamp

# Some 50,000 versions of common names; see `answers.MAX_LISTED_BYTES`.
_MAX_EVICTED_BYTES: Final = 3 * 2**20

EVICT_OUTCOMES: Mapping[EvictOutcome, cache_service_pb2.EvictResponse.Entry.Outcome.ValueType] = {
    EvictOutcome.EVICTED: cache_service_pb2.EvictResponse.Entry.OUTCOME_EVICTED,
    EvictOutcome.LEASED: cache_service_pb2.EvictResponse.Entry.OUTCOME_LEASED,
    EvictOutcome.PINNED: cache_service_pb2.EvictResponse.Entry.OUTCOME_PINNED,
}
VERIFY_OUTCOMES: Mapping[VerifyOutcome, cache_service_pb2.VerifyResult.Outcome.ValueType] = {
    VerifyOutcome.SOUND: cache_service_pb2.VerifyResult.OUTCOME_SOUND,
    VerifyOutcome.DAMAGED: cache_service_pb2.VerifyResult.OUTCOME_DAMAGED,
    VerifyOutcome.REPAIRED: cache_service_pb2.VerifyResult.OUTCOME_REPAIRED,
    VerifyOutcome.UNVERIFIABLE: cache_service_pb2.VerifyResult.OUTCOME_UNVERIFIABLE,
}


def evict_response(entries: Sequence[EvictEntry]) -> cache_service_pb2.EvictResponse:
    """Return the answer to Evict."""
    entry_type = cache_service_pb2.EvictResponse.Entry
    return cache_service_pb2.EvictResponse(
        entries=fitting(map(_evict_entry, entries), entry_type.ByteSize, _MAX_EVICTED_BYTES),
        freed_bytes=sum(entry.freed_bytes for entry in entries),
    )


def _evict_entry(entry: EvictEntry) -> cache_service_pb2.EvictResponse.Entry:
    version = entry.asset_version
    return cache_service_pb2.EvictResponse.Entry(
        # What else is known of it would fill the answer, which has no pages.
        asset_version=asset_version(AssetVersion(version.name, version.version)),
        outcome=EVICT_OUTCOMES[entry.outcome],
        freed_bytes=entry.freed_bytes,
    )


def pin_response(pinned: Pinned) -> cache_service_pb2.PinResponse:
    """Return the answer to Pin."""
    return cache_service_pb2.PinResponse(
        asset_version=asset_version(pinned.asset_version),
        cache_state=cache_state(pinned.cache_state),
    )


def unpin_response(pinned: Pinned) -> cache_service_pb2.UnpinResponse:
    """Return the answer to Unpin."""
    return cache_service_pb2.UnpinResponse(
        asset_version=asset_version(pinned.asset_version),
        cache_state=cache_state(pinned.cache_state),
    )


def verify_response(event: VerifyEvent, event_time: datetime) -> cache_service_pb2.VerifyResponse:
    """Return one event of Verify."""
    response, time = cache_service_pb2.VerifyResponse, timestamp(event_time)
    match event:
        case VerifyProgress():
            return response(event_time=time, progress=_verify_progress(event))
        case VerifyResult():
            return response(event_time=time, result=_verify_result(event))
        case VerifyCompleted():
            return response(event_time=time, completed=_verify_completed(event))
    assert_never(event)


def _verify_progress(progress: VerifyProgress) -> cache_service_pb2.VerifyProgress:
    return cache_service_pb2.VerifyProgress(
        hashed_bytes=progress.hashed_bytes, total_bytes=progress.total_bytes
    )


def _verify_result(result: VerifyResult) -> cache_service_pb2.VerifyResult:
    return cache_service_pb2.VerifyResult(
        asset_version=asset_version(result.asset_version),
        outcome=VERIFY_OUTCOMES[result.outcome],
        damaged_paths=fitting(
            sorted(result.damaged_parts, key=str.encode), lambda path: len(path.encode())
        ),
    )


def _verify_completed(completed: VerifyCompleted) -> cache_service_pb2.VerifyCompleted:
    return cache_service_pb2.VerifyCompleted(
        sound_count=completed.sound_count, damaged_count=completed.damaged_count
    )
