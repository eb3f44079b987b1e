"""Requests, as they came over the wire, into the orders that the assets understand.

Checks what the form of one message can tell: ranges, enums, what contradicts itself, what is not
built yet. What depends on the store, the cache or an earlier message is not known here.
"""

from collections.abc import Mapping

from assetd.v1 import asset_pb2, asset_service_pb2
from google.protobuf.duration_pb2 import Duration

from assetd_server.assets.orders import (
    FetchOrder,
    ListFilesOrder,
    ListOrder,
    ResolveOrder,
    Scope,
)
from assetd_server.assets.selection import Selection
from assetd_server.errors import (
    InvalidFieldError,
)
from assetd_server.model import Freshness
from assetd_server.rpc.fields import choice, not_negative, optional_digest, out_of_range
from assetd_server.rpc.later_fields import require_built
from assetd_server.rpc.status import cut
from assetd_server.spec import Spec

DEFAULT_PAGE_SIZE = 100
MAX_PAGE_SIZE = 1000
DEFAULT_PROGRESS_INTERVAL_SECONDS = 0.5
MIN_PROGRESS_INTERVAL_SECONDS = 0.05
MAX_PROGRESS_INTERVAL_SECONDS = 5.0
MAX_CALLER_BYTES = 256

_FRESHNESS: Mapping[int, Freshness | None] = {
    asset_pb2.FRESHNESS_UNSPECIFIED: None,
    asset_pb2.FRESHNESS_STORE: Freshness.STORE,
    asset_pb2.FRESHNESS_STORE_OR_CACHE: Freshness.STORE_OR_CACHE,
    asset_pb2.FRESHNESS_CACHE: Freshness.CACHE,
}
_SCOPES: Mapping[int, Scope] = {
    asset_service_pb2.ListRequest.SCOPE_UNSPECIFIED: Scope.ALL,
    asset_service_pb2.ListRequest.SCOPE_ALL: Scope.ALL,
    asset_service_pb2.ListRequest.SCOPE_STORE: Scope.STORE,
    asset_service_pb2.ListRequest.SCOPE_CACHE: Scope.CACHE,
}
_IS_FULL_VIEW: Mapping[int, bool] = {
    asset_service_pb2.ListRequest.VIEW_UNSPECIFIED: False,
    asset_service_pb2.ListRequest.VIEW_BASIC: False,
    asset_service_pb2.ListRequest.VIEW_FULL: True,
}


def resolve_order(request: asset_service_pb2.ResolveVersionRequest) -> ResolveOrder:
    """Return what the request asks.

    Raises:
        NotBuiltError: a field of a later release is set.
        InvalidSpecError, InvalidNameError, InvalidVersionError, InvalidPartError: the spec is none.
        InvalidFieldError: a field is out of its range.
    """
    require_built(request)
    return ResolveOrder(
        spec=Spec.parse(request.spec),
        freshness=choice("freshness", request.freshness, _FRESHNESS),
        store_timeout_seconds=_store_timeout_seconds(request),
    )


def fetch_order(request: asset_service_pb2.FetchRequest) -> FetchOrder:
    """Return what the request asks.

    Raises:
        NotBuiltError: a field of a later release is set.
        InvalidSpecError, InvalidNameError, InvalidVersionError, InvalidPartError: the spec is none.
        InvalidFieldError: a field is out of its range, or contradicts another.
    """
    require_built(request)
    spec = Spec.parse(request.spec)
    return FetchOrder(
        spec=spec,
        freshness=choice("freshness", request.freshness, _FRESHNESS),
        store_timeout_seconds=_store_timeout_seconds(request),
        expected_digest=optional_digest("expected_digest", request.expected_digest),
        selection=_selection(request, spec),
        verify=request.verify,
        force_download=request.force_download,
        hold=request.hold,
        progress_interval_seconds=_progress_interval_seconds(request),
        # A note for people: too long a one is no reason to go without the asset.
        caller=cut(request.caller, MAX_CALLER_BYTES),
    )


def _selection(request: asset_service_pb2.FetchRequest, spec: Spec) -> Selection | None:
    has_globs = bool(request.include or request.exclude)
    if not request.part_only:
        return Selection.of_globs(request.include, request.exclude) if has_globs else None
    if has_globs:
        raise InvalidFieldError(
            "part_only fetches the part that the spec names: leave it unset, or include and"
            " exclude out",
            field="part_only",
        )
    if spec.part is None:
        raise InvalidFieldError(
            "part_only needs a part, and {spec!r} names none: write name:version[sub/part]",
            field="part_only",
            spec=spec,
        )
    return Selection(folder=spec.part)


def list_order(request: asset_service_pb2.ListRequest) -> ListOrder:
    """Return what the request asks.

    Raises:
        NotBuiltError: a field of a later release is set.
        InvalidFieldError: a field is out of its range.
    """
    require_built(request)
    return ListOrder(
        name_prefix=request.name_prefix,
        scope=choice("scope", request.scope, _SCOPES),
        latest_only=request.latest_only,
        full=choice("view", request.view, _IS_FULL_VIEW),
        page_size=_page_size(request.page_size),
        page_token=request.page_token,
    )


def list_files_order(request: asset_service_pb2.ListFilesRequest) -> ListFilesOrder:
    """Return what the request asks.

    Raises:
        NotBuiltError: a field of a later release is set.
        InvalidSpecError, InvalidNameError, InvalidVersionError, InvalidPartError: the spec is none.
        InvalidFieldError: a field is out of its range.
    """
    require_built(request)
    return ListFilesOrder(
        spec=Spec.parse(request.spec),
        freshness=choice("freshness", request.freshness, _FRESHNESS),
        include=tuple(request.include),
        exclude=tuple(request.exclude),
        page_size=_page_size(request.page_size),
        page_token=request.page_token,
    )


def _store_timeout_seconds(
    request: asset_service_pb2.ResolveVersionRequest | asset_service_pb2.FetchRequest,
) -> float | None:
    if not request.HasField("store_timeout"):
        return None
    seconds = _seconds(request.store_timeout)
    if seconds <= 0:
        raise out_of_range("store_timeout", f"{seconds} s", "it must be positive")
    return seconds


def _progress_interval_seconds(request: asset_service_pb2.FetchRequest) -> float:
    if not request.HasField("progress_interval"):
        return DEFAULT_PROGRESS_INTERVAL_SECONDS
    seconds = _seconds(request.progress_interval)
    return min(max(seconds, MIN_PROGRESS_INTERVAL_SECONDS), MAX_PROGRESS_INTERVAL_SECONDS)


def _seconds(duration: Duration) -> float:
    return duration.seconds + duration.nanos / 1e9


def _page_size(page_size: int) -> int:
    return min(not_negative("page_size", page_size) or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)
