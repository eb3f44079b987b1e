"""What callers ask of the assets, and what they are told: plain values, no wire and no I/O.

`rpc.convert` and `rpc.push_convert` turn requests into these, `rpc.answers` these into responses.
Field for field they follow `api.md`; a field that is not here is refused there, by name.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum

from assetd_server.assets.selection import Selection
from assetd_server.assets.source_uris import SourceUri, StagedPath
from assetd_server.manifest import Part
from assetd_server.model import (
    AssetKind,
    AssetVersion,
    Digest,
    Freshness,
    PartPath,
    Presence,
    Resolution,
    Source,
    Verification,
)
from assetd_server.spec import Spec


@dataclass(frozen=True)
class CacheState:
    """What ASSETS_DIR holds of one version."""

    presence: Presence
    relative_path: str = ""
    path: str = ""
    disk_bytes: int = 0
    last_used_time: datetime | None = None
    pinned: bool = False
    leased: bool = False
    hold_count: int = 0


@dataclass(frozen=True)
class ResolveOrder:
    """Which version does `spec` mean? None = the daemon's default."""

    spec: Spec
    freshness: Freshness | None = None
    store_timeout_seconds: float | None = None


@dataclass(frozen=True)
class Resolved:
    """The answer: the version, how it was found, what the cache holds of it."""

    asset_version: AssetVersion
    resolution: Resolution
    cache_state: CacheState


@dataclass(frozen=True)
class FetchOrder:
    """Make `spec` present, or the parts of it in `selection`. None = the daemon's default."""

    spec: Spec
    freshness: Freshness | None = None
    store_timeout_seconds: float | None = None
    expected_digest: Digest | None = None
    selection: Selection | None = None
    verify: bool = False
    force_download: bool = False
    hold: bool = False
    progress_interval_seconds: float = 0.5
    caller: str = ""


class FetchPhase(Enum):
    """How far a fetch is."""

    QUEUED = "queued"
    RESOLVING = "resolving"
    DOWNLOADING = "downloading"
    VERIFYING = "verifying"
    PUBLISHING = "publishing"


@dataclass(frozen=True)
class FetchProgress:
    """Absolute figures; within one `attempt` they never fall."""

    phase: FetchPhase
    present_bytes: int = 0
    total_bytes: int | None = None
    present_files: int = 0
    total_files: int | None = None
    bytes_per_second: int = 0
    eta: timedelta | None = None
    since_last_byte: timedelta | None = None
    attempt: int = 1


@dataclass(frozen=True)
class FetchStarted:
    """The version is known; `joined` tells that somebody else's download serves this call too."""

    asset_version: AssetVersion
    resolution: Resolution
    total_bytes: int
    total_files: int
    present_bytes: int
    joined: bool
    flight_id: str


@dataclass(frozen=True)
class FetchCompleted:
    """The version, or the part that the spec names, stands at `path`, durable."""

    path: str
    relative_path: str
    asset_version: AssetVersion
    source: Source
    transferred_bytes: int
    reused_bytes: int
    elapsed: timedelta
    verification: Verification
    keep_until_time: datetime | None = None


FetchEvent = FetchStarted | FetchProgress | FetchCompleted


class Bump(Enum):
    """Which number a push raises."""

    MINOR = "minor"
    MAJOR = "major"


class PushMode(Enum):
    """Whether the asset must be new, or must exist."""

    NEW = "new"
    UPDATE = "update"


@dataclass(frozen=True)
class PushHeader:
    """What is about to be pushed. `digest` lets the version be claimed before the bytes come.

    With `content` no bytes come: they are read there, and `kind` may be None.
    """

    spec: Spec
    kind: AssetKind | None
    bump: Bump | None = None
    mode: PushMode | None = None
    content: StagedPath | SourceUri | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    validate_only: bool = False
    push_id: str | None = None
    digest: Digest | None = None
    pushed_by: str = ""


@dataclass(frozen=True)
class PushFiles:
    """Some of the files of the push; sha256 where the caller hashed first."""

    files: Sequence[Part]


@dataclass(frozen=True)
class PushChunk:
    """Bytes of one file, from `offset` on."""

    path: PartPath
    offset: int
    data: bytes | memoryview


@dataclass(frozen=True)
class PushChunks:
    """Bytes that came together, mostly of small files."""

    chunks: Sequence[PushChunk]


@dataclass(frozen=True)
class PushCommit:
    """All is sent; `digest`, where given, is what the whole must have."""

    digest: Digest | None = None


PushStep = PushHeader | PushFiles | PushChunk | PushChunks | PushCommit


@dataclass(frozen=True)
class PushAccepted:
    """The push may go on; `version` is what it will create, for sure where it is `final`."""

    push_id: str
    version: str
    version_final: bool


@dataclass(frozen=True)
class PushWanted:
    """Which of the files last named are to be sent, each from its offset on."""

    parts: Sequence[tuple[PartPath, int]]


class PushPhase(Enum):
    """How far a push is."""

    RECEIVING = "receiving"
    HASHING = "hashing"
    STORING = "storing"
    COMMITTING = "committing"


@dataclass(frozen=True)
class PushProgress:
    """Absolute figures of a push."""

    phase: PushPhase
    received_bytes: int
    stored_bytes: int
    total_bytes: int | None


@dataclass(frozen=True)
class PushCompleted:
    """The version exists, is listed, and was read back."""

    asset_version: AssetVersion
    already_existed: bool
    elapsed: timedelta


PushEvent = PushAccepted | PushWanted | PushProgress | PushCompleted


class Scope(Enum):
    """Whom a listing asks."""

    ALL = "all"
    STORE = "store"
    CACHE = "cache"


@dataclass(frozen=True)
class ListOrder:
    """Which versions are there? `page_size` is within its range already."""

    name_prefix: str = ""
    scope: Scope = Scope.ALL
    latest_only: bool = False
    full: bool = False
    page_size: int = 100
    page_token: str = ""


@dataclass(frozen=True)
class ListEntry:
    """One version; `in_store` is None where the store was not or could not be asked."""

    asset_version: AssetVersion
    cache_state: CacheState
    in_store: bool | None


@dataclass(frozen=True)
class ListPage:
    """Ordered by name, then newest first; `unreachable` names whom we could not ask."""

    entries: Sequence[ListEntry]
    next_page_token: str
    unreachable: Sequence[Source]


@dataclass(frozen=True)
class ListFilesOrder:
    """Which files does a version consist of? In globs `*` stops at `/`, `**` crosses it."""

    spec: Spec
    freshness: Freshness | None = None
    include: Sequence[str] = ()
    exclude: Sequence[str] = ()
    page_size: int = 100
    page_token: str = ""


@dataclass(frozen=True)
class ListedFile:
    """One file of a version, and whether the cache holds it."""

    part: Part
    cached: bool


@dataclass(frozen=True)
class FilesPage:
    """Files in bytewise order of their paths."""

    asset_version: AssetVersion
    files: Sequence[ListedFile]
    next_page_token: str


@dataclass(frozen=True)
class FlightStatus:
    """One download under way."""

    flight_id: str
    asset_version: AssetVersion
    progress: FetchProgress
    waiter_count: int
    start_time: datetime


@dataclass(frozen=True)
class HoldStatus:
    """One lease that lasts as long as a caller's stream."""

    asset_version: AssetVersion
    caller: str
    start_time: datetime


@dataclass(frozen=True)
class CacheStatus:
    """The state of ASSETS_DIR and of the daemon."""

    assets_dir: str
    used_bytes: int
    limit_bytes: int | None
    reserved_bytes: int
    evictable_bytes: int
    disk_free_bytes: int
    version_count: int
    pinned_count: int
    leased_count: int
    flights: Sequence[FlightStatus]
    holds: Sequence[HoldStatus]
    store: str
    store_last_ok_time: datetime | None
    warnings: Sequence[str]
    start_time: datetime
