"""What the assets answer, as messages of the wire. What is not known stays unset.

Decides nothing: every value here has a field there.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final, TypeVar, assert_never

from assetd.v1 import asset_pb2, asset_service_pb2, cache_service_pb2
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from assetd_server.assets.orders import (
    CacheState,
    CacheStatus,
    FetchCompleted,
    FetchEvent,
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
    PushEvent,
    PushPhase,
    PushProgress,
    PushWanted,
    Resolved,
)
from assetd_server.model import (
    AssetKind,
    AssetVersion,
    Digest,
    Presence,
    Resolution,
    Source,
    Verification,
)

T = TypeVar("T")

# Of a list that has no pages. What stands in one message beside each other stays below gRPC's
# limit of 4 MiB, which ends a call whose work was done.
MAX_LISTED_BYTES: Final = 2**20
# What a message inside of another takes beside its own bytes.
_FRAME_BYTES: Final = 6

KINDS: Mapping[AssetKind | None, asset_pb2.AssetKind.ValueType] = {
    None: asset_pb2.ASSET_KIND_UNSPECIFIED,
    AssetKind.FILE: asset_pb2.ASSET_KIND_FILE,
    AssetKind.DIRECTORY: asset_pb2.ASSET_KIND_DIRECTORY,
}
RESOLUTIONS: Mapping[Resolution, asset_pb2.Resolution.ValueType] = {
    Resolution.EXACT: asset_pb2.RESOLUTION_EXACT,
    Resolution.STORE: asset_pb2.RESOLUTION_STORE,
    Resolution.CACHE: asset_pb2.RESOLUTION_CACHE,
    Resolution.FALLBACK: asset_pb2.RESOLUTION_FALLBACK,
}
SOURCES: Mapping[Source, asset_pb2.Source.ValueType] = {
    Source.CACHE: asset_pb2.SOURCE_CACHE,
    Source.STORE: asset_pb2.SOURCE_STORE,
}
VERIFICATIONS: Mapping[Verification, asset_pb2.Verification.ValueType] = {
    Verification.NONE: asset_pb2.VERIFICATION_NONE,
    Verification.SIZE: asset_pb2.VERIFICATION_SIZE,
    Verification.CHECKSUM: asset_pb2.VERIFICATION_CHECKSUM,
    Verification.DIGEST: asset_pb2.VERIFICATION_DIGEST,
}
FETCH_PHASES: Mapping[FetchPhase, asset_pb2.FetchPhase.ValueType] = {
    FetchPhase.QUEUED: asset_pb2.FETCH_PHASE_QUEUED,
    FetchPhase.RESOLVING: asset_pb2.FETCH_PHASE_RESOLVING,
    FetchPhase.DOWNLOADING: asset_pb2.FETCH_PHASE_DOWNLOADING,
    FetchPhase.VERIFYING: asset_pb2.FETCH_PHASE_VERIFYING,
    FetchPhase.PUBLISHING: asset_pb2.FETCH_PHASE_PUBLISHING,
}
PRESENCES: Mapping[Presence, asset_pb2.CacheState.Presence.ValueType] = {
    Presence.ABSENT: asset_pb2.CacheState.PRESENCE_ABSENT,
    Presence.PARTIAL: asset_pb2.CacheState.PRESENCE_PARTIAL,
    Presence.PRESENT: asset_pb2.CacheState.PRESENCE_PRESENT,
}
PUSH_PHASES: Mapping[PushPhase, asset_service_pb2.PushProgress.Phase.ValueType] = {
    PushPhase.RECEIVING: asset_service_pb2.PushProgress.PHASE_RECEIVING,
    PushPhase.HASHING: asset_service_pb2.PushProgress.PHASE_HASHING,
    PushPhase.STORING: asset_service_pb2.PushProgress.PHASE_STORING,
    PushPhase.COMMITTING: asset_service_pb2.PushProgress.PHASE_COMMITTING,
}


def resolve_response(resolved: Resolved) -> asset_service_pb2.ResolveVersionResponse:
    """Return the answer to ResolveVersion."""
    return asset_service_pb2.ResolveVersionResponse(
        asset_version=asset_version(resolved.asset_version),
        resolution=RESOLUTIONS[resolved.resolution],
        cache_state=cache_state(resolved.cache_state),
    )


def fetch_response(event: FetchEvent, event_time: datetime) -> asset_service_pb2.FetchResponse:
    """Return one event of Fetch."""
    response, time = asset_service_pb2.FetchResponse, timestamp(event_time)
    match event:
        case FetchStarted():
            return response(event_time=time, started=_fetch_started(event))
        case FetchProgress():
            return response(event_time=time, progress=_fetch_progress(event))
        case FetchCompleted():
            return response(event_time=time, completed=_fetch_completed(event))
    assert_never(event)


def push_response(event: PushEvent, event_time: datetime) -> asset_service_pb2.PushResponse:
    """Return one event of Push."""
    response, time = asset_service_pb2.PushResponse, timestamp(event_time)
    match event:
        case PushAccepted():
            return response(event_time=time, accepted=_push_accepted(event))
        case PushWanted():
            return response(event_time=time, wanted=_push_wanted(event))
        case PushProgress():
            return response(event_time=time, progress=_push_progress(event))
        case PushCompleted():
            return response(event_time=time, completed=_push_completed(event))
    assert_never(event)


def list_response(page: ListPage) -> asset_service_pb2.ListResponse:
    """Return the answer to List."""
    return asset_service_pb2.ListResponse(
        entries=[_list_entry(entry) for entry in page.entries],
        next_page_token=page.next_page_token,
        unreachable=[SOURCES[source] for source in page.unreachable],
    )


def list_files_response(page: FilesPage) -> asset_service_pb2.ListFilesResponse:
    """Return the answer to ListFiles."""
    return asset_service_pb2.ListFilesResponse(
        files=[_listed_file(file) for file in page.files],
        next_page_token=page.next_page_token,
        asset_version=asset_version(page.asset_version),
    )


def cache_status_response(
    status: CacheStatus, server_version: str
) -> cache_service_pb2.GetCacheStatusResponse:
    """Return the answer to GetCacheStatus."""
    return cache_service_pb2.GetCacheStatusResponse(
        assets_dir=status.assets_dir,
        used_bytes=status.used_bytes,
        limit_bytes=status.limit_bytes,
        reserved_bytes=status.reserved_bytes,
        evictable_bytes=status.evictable_bytes,
        disk_free_bytes=status.disk_free_bytes,
        version_count=status.version_count,
        pinned_count=status.pinned_count,
        leased_count=status.leased_count,
        flights=fitting(map(_flight, status.flights), cache_service_pb2.Flight.ByteSize),
        holds=fitting(map(_hold, status.holds), cache_service_pb2.Hold.ByteSize),
        store=status.store,
        store_last_ok_time=timestamp(status.store_last_ok_time),
        warnings=status.warnings,
        server_version=server_version,
        start_time=timestamp(status.start_time),
    )


def asset_version(version: AssetVersion) -> asset_pb2.AssetVersion:
    """Return a version as the wire knows it."""
    return asset_pb2.AssetVersion(
        name=version.name,
        version=str(version.version) if version.version else "",
        kind=KINDS[version.kind],
        size_bytes=version.size_bytes,
        file_count=version.file_count,
        digest=version.digest or "",
        push_time=timestamp(version.push_time),
        labels=version.labels,
        pushed_by=version.pushed_by,
    )


def cache_state(state: CacheState) -> asset_pb2.CacheState:
    """Return what the cache holds of a version as the wire knows it."""
    return asset_pb2.CacheState(
        presence=PRESENCES[state.presence],
        relative_path=state.relative_path,
        path=state.path,
        disk_bytes=state.disk_bytes,
        last_used_time=timestamp(state.last_used_time),
        pinned=state.pinned,
        leased=state.leased,
        hold_count=state.hold_count,
    )


def _fetch_started(event: FetchStarted) -> asset_service_pb2.FetchStarted:
    return asset_service_pb2.FetchStarted(
        asset_version=asset_version(event.asset_version),
        resolution=RESOLUTIONS[event.resolution],
        total_bytes=event.total_bytes,
        total_files=event.total_files,
        present_bytes=event.present_bytes,
        joined=event.joined,
        flight_id=event.flight_id,
    )


def _fetch_progress(progress: FetchProgress) -> asset_pb2.FetchProgress:
    return asset_pb2.FetchProgress(
        phase=FETCH_PHASES[progress.phase],
        present_bytes=progress.present_bytes,
        total_bytes=progress.total_bytes,
        present_files=progress.present_files,
        total_files=progress.total_files,
        bytes_per_second=progress.bytes_per_second,
        eta=_duration(progress.eta),
        since_last_byte=_duration(progress.since_last_byte),
        attempt=progress.attempt,
    )


def _fetch_completed(event: FetchCompleted) -> asset_service_pb2.FetchCompleted:
    return asset_service_pb2.FetchCompleted(
        path=event.path,
        relative_path=event.relative_path,
        asset_version=asset_version(event.asset_version),
        source=SOURCES[event.source],
        transferred_bytes=event.transferred_bytes,
        reused_bytes=event.reused_bytes,
        elapsed=_duration(event.elapsed),
        verification=VERIFICATIONS[event.verification],
        keep_until_time=timestamp(event.keep_until_time),
    )


def _push_accepted(event: PushAccepted) -> asset_service_pb2.PushAccepted:
    return asset_service_pb2.PushAccepted(
        push_id=event.push_id,
        version=event.version,
        version_final=event.version_final,
        takes_chunks=True,
    )


def _push_wanted(event: PushWanted) -> asset_service_pb2.PushWanted:
    part = asset_service_pb2.PushWanted.Part
    return asset_service_pb2.PushWanted(
        parts=[part(path=path, offset=offset) for path, offset in event.parts]
    )


def _push_completed(event: PushCompleted) -> asset_service_pb2.PushCompleted:
    return asset_service_pb2.PushCompleted(
        asset_version=asset_version(event.asset_version),
        already_existed=event.already_existed,
        elapsed=_duration(event.elapsed),
    )


def _push_progress(progress: PushProgress) -> asset_service_pb2.PushProgress:
    return asset_service_pb2.PushProgress(
        phase=PUSH_PHASES[progress.phase],
        received_bytes=progress.received_bytes,
        stored_bytes=progress.stored_bytes,
        total_bytes=progress.total_bytes,
    )


def _list_entry(entry: ListEntry) -> asset_service_pb2.ListResponse.Entry:
    return asset_service_pb2.ListResponse.Entry(
        asset_version=asset_version(entry.asset_version),
        cache_state=cache_state(entry.cache_state),
        in_store=entry.in_store,
    )


def _listed_file(listed: ListedFile) -> asset_service_pb2.ListFilesResponse.Entry:
    part = listed.part
    file = asset_pb2.AssetFile(
        path=part.path,
        size_bytes=part.size_bytes,
        digest=Digest.of_hex(part.sha256_hex) if part.sha256_hex else "",
    )
    return asset_service_pb2.ListFilesResponse.Entry(file=file, cached=listed.cached)


def _flight(flight: FlightStatus) -> cache_service_pb2.Flight:
    return cache_service_pb2.Flight(
        flight_id=flight.flight_id,
        asset_version=_unlabelled(flight.asset_version),
        progress=_fetch_progress(flight.progress),
        waiter_count=flight.waiter_count,
        start_time=timestamp(flight.start_time),
    )


def _hold(hold: HoldStatus) -> cache_service_pb2.Hold:
    return cache_service_pb2.Hold(
        asset_version=_unlabelled(hold.asset_version),
        caller=hold.caller,
        start_time=timestamp(hold.start_time),
    )


def _unlabelled(version: AssetVersion) -> asset_pb2.AssetVersion:
    """Return a version less what its pusher wrote on it, for lists that have no pages."""
    return asset_version(replace(version, labels={}, pushed_by=""))


def fitting(
    items: Iterable[T], size: Callable[[T], int], max_bytes: int = MAX_LISTED_BYTES
) -> list[T]:
    """Return the first of `items`: as many as fit into a message beside each other."""
    fit, taken = [], 0
    for item in items:
        taken += size(item) + _FRAME_BYTES
        if taken > max_bytes:
            break
        fit.append(item)
    return fit


def timestamp(moment: datetime | None) -> Timestamp | None:
    """Return a time as the wire knows it."""
    if moment is None:
        return None
    message = Timestamp()
    message.FromDatetime(moment)
    return message


def _duration(span: timedelta | None) -> Duration | None:
    if span is None:
        return None
    duration = Duration()
    duration.FromTimedelta(span)
    return duration
