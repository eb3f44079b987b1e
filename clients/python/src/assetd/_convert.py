"""Arguments and answers of the helper <-> messages of the contract.

Knows no call: what is made here is sent, and what is read here came, elsewhere.
"""

import os
import uuid
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from google.protobuf.duration_pb2 import Duration

from assetd._retry import LONGEST_SECONDS, require_number
from assetd.asset import (
    Asset,
    AssetKind,
    Freshness,
    Holding,
    PushedVersion,
    Resolution,
    Scope,
    Source,
    Verification,
)
from assetd.errors import InvalidFieldError
from assetd.v1 import asset_pb2
from assetd.v1.asset_service_pb2 import (
    FetchCompleted,
    FetchRequest,
    FetchStarted,
    ListFilesRequest,
    ListRequest,
    PushCompleted,
    PushHeader,
    ResolveVersionRequest,
)
from assetd.v1.cache_service_pb2 import CacheSelector, EvictRequest, VerifyRequest

Number = TypeVar("Number")
Word = TypeVar("Word", bound=StrEnum)


def word(
    words: type[Word], wire_name: Callable[[Number], str], number: Number, prefix: str
) -> Word:
    """Return the helper's word for an enum value; `unspecified` for one of a newer daemon."""
    try:
        return words(wire_name(number).removeprefix(prefix).lower())
    except ValueError:
        return words("unspecified")


def freshness_number(freshness: str | None) -> asset_pb2.Freshness.ValueType:
    """Return the contract's value; unset for None.

    Raises:
        ValueError: it is none of `Freshness`.
    """
    if freshness is None:
        return asset_pb2.FRESHNESS_UNSPECIFIED
    return asset_pb2.Freshness.Value(f"FRESHNESS_{Freshness(freshness).name}")


def duration(seconds: float | None) -> Duration | None:
    """Return the duration, to the nanosecond; None stays unset, and infinity is thirty years.

    Raises:
        ValueError: it is NaN.
    """
    if seconds is None:
        return None
    require_number(seconds)
    nanoseconds = round(max(-LONGEST_SECONDS, min(seconds, LONGEST_SECONDS)) * 1e9)
    return Duration(seconds=nanoseconds // 10**9, nanos=nanoseconds % 10**9)


def globs(given: Iterable[str]) -> list[str]:
    """Return the globs; a single text is one of them, and not as many as it has letters."""
    return [given] if isinstance(given, str) else list(given)


def fetch_request(
    spec: str,
    *,
    freshness: str | None,
    store_timeout: float | None,
    expected_digest: str | None,
    verify: bool,
    force_download: bool,
    hold: bool,
    include: Iterable[str],
    exclude: Iterable[str],
    part_only: bool,
    progress_interval: float | None,
    caller: str,
) -> FetchRequest:
    """Return the request for `Client.fetch`."""
    return FetchRequest(
        spec=spec,
        freshness=freshness_number(freshness),
        store_timeout=duration(store_timeout),
        expected_digest=expected_digest or "",
        verify=verify,
        force_download=force_download,
        hold=hold,
        include=globs(include),
        exclude=globs(exclude),
        part_only=part_only,
        progress_interval=duration(progress_interval),
        caller=caller,
    )


def resolve_request(
    spec: str, *, freshness: str | None, store_timeout: float | None
) -> ResolveVersionRequest:
    """Return the request for `Client.resolve`."""
    return ResolveVersionRequest(
        spec=spec,
        freshness=freshness_number(freshness),
        store_timeout=duration(store_timeout),
    )


def push_header(
    spec: str,
    *,
    new: bool,
    update: bool,
    bump_major: bool,
    labels: Mapping[str, str] | None,
    validate_only: bool,
    push_id: str | None,
) -> PushHeader:
    """Return the header of a push, without what it is of.

    If no `push_id` is given, the push is a new one: it gets one like no other.

    Raises:
        ValueError: both `new` and `update`.
        InvalidFieldError: the `push_id` is no UUID4 in its canonical form.
    """
    if new and update:
        raise ValueError("a push is for a new asset or for an update, not for both")
    mode = PushHeader.MODE_UPDATE if update else PushHeader.MODE_UNSPECIFIED
    return PushHeader(
        spec=spec,
        bump=PushHeader.BUMP_MAJOR if bump_major else PushHeader.BUMP_UNSPECIFIED,
        mode=PushHeader.MODE_NEW if new else mode,
        labels=labels,
        validate_only=validate_only,
        push_id=str(uuid.uuid4()) if push_id is None else _canonical(push_id),
    )


def _canonical(push_id: str) -> str:
    try:
        parsed = uuid.UUID(push_id)
    except ValueError:
        parsed = None
    # As the daemon has it, who would see it only once everything is hashed.
    if parsed is None or parsed.version != 4 or str(parsed) != push_id:
        raise InvalidFieldError(
            f"{push_id!r} is no UUID4 in its canonical form, so that no push has it",
            metadata={"field": "header.push_id", "push_id": push_id},
        )
    return push_id


def pushed_version(completed: PushCompleted, push_id: str) -> PushedVersion:
    """Return what a push created."""
    version = completed.asset_version
    return PushedVersion(
        version.version,
        name=version.name,
        digest=version.digest,
        size_bytes=version.size_bytes if version.HasField("size_bytes") else None,
        file_count=version.file_count if version.HasField("file_count") else None,
        labels=version.labels,
        pushed_by=version.pushed_by,
        already_existed=completed.already_existed,
        push_id=push_id,
    )


def list_request(
    prefix: str, *, scope: str, latest_only: bool, full: bool, page_size: int
) -> ListRequest:
    """Return the request for the first page of `Client.list`.

    Raises:
        ValueError: `scope` is none of `Scope`.
    """
    return ListRequest(
        name_prefix=prefix,
        scope=ListRequest.Scope.Value(f"SCOPE_{Scope(scope).name}"),
        latest_only=latest_only,
        view=ListRequest.VIEW_FULL if full else ListRequest.VIEW_BASIC,
        page_size=page_size,
    )


def list_files_request(
    spec: str,
    *,
    freshness: str | None,
    include: Iterable[str],
    exclude: Iterable[str],
    page_size: int,
) -> ListFilesRequest:
    """Return the request for the first page of `Client.list_files`."""
    return ListFilesRequest(
        spec=spec,
        freshness=freshness_number(freshness),
        include=globs(include),
        exclude=globs(exclude),
        page_size=page_size,
    )


def selector(spec: str | None, name_prefix: str | None, everything: bool) -> CacheSelector:
    """Return which cached versions are meant.

    Raises:
        ValueError: none are, or in more than one way; nothing said never means everything.
    """
    if [spec is not None, name_prefix is not None, everything].count(True) != 1:
        raise ValueError("say which versions: a spec, a name_prefix, or everything=True")
    if spec is not None:
        return CacheSelector(spec=spec)
    if name_prefix is not None:
        return CacheSelector(name_prefix=name_prefix)
    return CacheSelector(all=True)


def evict_request(selected: CacheSelector, *, dry_run: bool) -> EvictRequest:
    """Return the request for `Client.evict`."""
    return EvictRequest(selector=selected, dry_run=dry_run)


def verify_request(selected: CacheSelector, *, repair: bool) -> VerifyRequest:
    """Return the request for `Client.verify`."""
    return VerifyRequest(selector=selected, repair=repair)


def asset_from(
    started: FetchStarted,
    completed: FetchCompleted,
    hold: Holding | None,
    assets_dir: Path | None = None,
) -> Asset:
    """Return what a fetch brought; its path is as this process sees it."""
    version = completed.asset_version
    return Asset(
        path=_visible(completed, assets_dir),
        relative_path=completed.relative_path,
        name=version.name,
        version=version.version,
        kind=word(AssetKind, asset_pb2.AssetKind.Name, version.kind, "ASSET_KIND_"),
        digest=version.digest,
        size_bytes=version.size_bytes if version.HasField("size_bytes") else None,
        file_count=version.file_count if version.HasField("file_count") else None,
        resolution=word(Resolution, asset_pb2.Resolution.Name, started.resolution, "RESOLUTION_"),
        source=word(Source, asset_pb2.Source.Name, completed.source, "SOURCE_"),
        verification=word(
            Verification, asset_pb2.Verification.Name, completed.verification, "VERIFICATION_"
        ),
        transferred_bytes=completed.transferred_bytes,
        joined=started.joined,
        reused_bytes=completed.reused_bytes,
        elapsed_seconds=completed.elapsed.ToTimedelta().total_seconds(),
        _hold=hold,
    )


def _visible(completed: FetchCompleted, assets_dir: Path | None) -> Path:
    """Return the daemon's path, or that below our own ASSETS_DIR, where only that one exists."""
    path = Path(completed.path)
    if assets_dir is None or os.access(path, os.F_OK):
        return path
    mounted_elsewhere = assets_dir / completed.relative_path
    return mounted_elsewhere if os.access(mounted_elsewhere, os.F_OK) else path
