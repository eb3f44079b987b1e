"""The reference of the configuration: each variable, its default, its meaning, how it is read.

Reads nothing itself: `config` does. What is not in `ALL` is no variable of the daemon.
"""

import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from assetd_server import logs, parsing
from assetd_server.assets.source_uris import parse_allowed
from assetd_server.listen import Address, ListenError, parse_address
from assetd_server.location import parse_location
from assetd_server.model import Freshness
from assetd_server.versioning import VersioningSystem

T = TypeVar("T")


@dataclass(frozen=True)
class Variable(Generic[T]):
    """One variable of the environment. An empty one counts as not set.

    `parse` takes the text, or the default, and fails in the manner of `parsing`.
    """

    name: str
    default: str
    meaning: str
    parse: Callable[[str], T]


def _optional(parse: Callable[[str], T]) -> Callable[[str], T | None]:
    return lambda text: parse(text) if text else None


def _parse_provider(text: str) -> str:
    if text in ("gcs", "az"):
        raise ValueError("is a kind of store that comes in a later release: use s3 or local")
    return parsing.one_of(("s3", "local", ""))(text)


def _parse_addresses(text: str) -> tuple[Address, ...]:
    if not text:
        return ()
    try:
        addresses = tuple(parse_address(part.strip()) for part in text.split(","))
    except ListenError as error:
        raise ValueError(f"cannot be listened on: {error}") from None
    if len(set(addresses)) < len(addresses):
        raise ValueError("names an address twice: leave one out")
    return addresses


def _parse_range_bytes(text: str) -> int:
    size = parsing.parse_bytes(text)
    if not 2**20 <= size <= 2**30:
        raise ValueError("is no size of a range: write 1MiB to 1GiB")
    return size


def _parse_memory_bytes(text: str) -> int:
    size = parsing.parse_bytes(text)
    if size < 2**20:
        raise ValueError("is too little for any download: write 1MiB or more")
    return size


ASSETS_DIR: Final = Variable(
    "ASSETS_DIR",
    "",
    "The directory that keeps the assets: the cache. Required, and has to be there.",
    str,
)
MODELKIT_ASSETS_DIR: Final = Variable(
    "MODELKIT_ASSETS_DIR",
    "",
    "Read where ASSETS_DIR is not set; where both are, they have to name the same directory.",
    str,
)
STORE: Final = Variable(
    "ASSETD_STORE",
    "",
    "Where assets come from and are pushed to: s3://bucket/prefix, file:///directory or none. Where"
    " it is not set, MODELKIT_STORAGE_PROVIDER, _BUCKET and _PREFIX say it; without those there is"
    " no store.",
    parse_location,
)
STORAGE_PROVIDER: Final = Variable(
    "MODELKIT_STORAGE_PROVIDER",
    "",
    "s3, or local, where the bucket is a directory. Read where ASSETD_STORE is not set.",
    _parse_provider,
)
STORAGE_BUCKET: Final = Variable(
    "MODELKIT_STORAGE_BUCKET",
    "",
    "The bucket, or with local the directory, that goes with MODELKIT_STORAGE_PROVIDER.",
    str,
)
STORAGE_PREFIX: Final = Variable(
    "MODELKIT_STORAGE_PREFIX",
    "modelkit-assets",
    "The folder in the bucket, with MODELKIT_STORAGE_PROVIDER.",
    parsing.parse_prefix,
)
FORCE_DOWNLOAD: Final = Variable(
    "MODELKIT_STORAGE_FORCE_DOWNLOAD",
    "",
    "With any text at all, as in modelkit, every fetch that asks the daemon downloads anew.",
    bool,
)
S3_ENDPOINT: Final = Variable(
    "S3_ENDPOINT",
    "",
    "The URL of an S3 server that is not AWS.",
    _optional(parsing.parse_endpoint),
)
KMS_KEY_ID: Final = Variable(
    "AWS_KMS_KEY_ID",
    "",
    "The key that S3 encrypts pushed objects with. Other AWS_ variables are read by the AWS library"
    " itself.",
    _optional(str),
)
REGION: Final = Variable(
    "AWS_REGION",
    "",
    "The region of the bucket, where AWS_DEFAULT_REGION does not name it: the AWS library for"
    " Python reads that one only.",
    _optional(str),
)
PUSH_SOURCES: Final = Variable(
    "ASSETD_PUSH_SOURCES",
    "",
    "What a push may name as its source_uri, separated by spaces or commas: directories as"
    " file:///directory and prefixes of buckets as s3://bucket/prefix, each with all that is below"
    " it. Whoever may push may read all of that. By default nothing.",
    parse_allowed,
)
LISTEN: Final = Variable(
    "ASSETD_LISTEN",
    "",
    "Where callers find the daemon, separated by commas: unix:///directory/assetd.sock, or a port"
    " on loopback such as 127.0.0.1:7070. By default /run/assetd/assetd.sock for root, else"
    " $XDG_RUNTIME_DIR/assetd/assetd.sock.",
    _parse_addresses,
)
RUNTIME_DIR: Final = Variable(
    "XDG_RUNTIME_DIR", "", "Where the default socket lies of a daemon that is not root's.", str
)
FRESHNESS: Final = Variable(
    "ASSETD_FRESHNESS",
    "store",
    "Who says what a spec without a full version means, unless the caller chooses: store;"
    " store_or_cache, which takes the cache while the store does not answer; or cache.",
    parsing.member_of(Freshness),
)
VERSIONING: Final = Variable(
    "ASSETD_VERSIONING",
    "major_minor",
    "How new assets are numbered: major_minor or simple_date. Where it is not set,"
    " MODELKIT_ASSETS_VERSIONING_SYSTEM says it.",
    parsing.member_of(VersioningSystem),
)
MODELKIT_VERSIONING: Final = Variable(
    "MODELKIT_ASSETS_VERSIONING_SYSTEM",
    VERSIONING.default,
    "Read where ASSETD_VERSIONING is not set.",
    VERSIONING.parse,
)
STORE_TIMEOUT: Final = Variable(
    "ASSETD_STORE_TIMEOUT",
    "10s",
    "How long the store may take to say what a spec means, unless the caller chooses.",
    parsing.parse_timeout_seconds,
)
LOCK_TIMEOUT: Final = Variable(
    "ASSETD_LOCK_TIMEOUT",
    "60s",
    "How long a fetch waits for a modelkit process that holds its lock on the asset.",
    parsing.parse_timeout_seconds,
)
FETCH_TIMEOUT: Final = Variable(
    "ASSETD_FETCH_TIMEOUT",
    "6h",
    "How long one download may take before it is given up.",
    parsing.parse_timeout_seconds,
)
DRAIN_GRACE: Final = Variable(
    "ASSETD_DRAIN_GRACE",
    "30s",
    "How long calls may go on after SIGTERM before they are cancelled.",
    parsing.parse_duration_seconds,
)
CACHE_MAX_BYTES: Final = Variable(
    "ASSETD_CACHE_MAX_BYTES",
    "",
    "How many bytes all versions in ASSETS_DIR may have together; the least recently used go first."
    " Without it and ASSETD_CACHE_MIN_FREE nothing is ever evicted to make room.",
    _optional(parsing.parse_bytes),
)
CACHE_MIN_FREE: Final = Variable(
    "ASSETD_CACHE_MIN_FREE",
    "",
    "How much of the disk of ASSETS_DIR stays free: bytes, or a share of the disk such as 10%.",
    _optional(parsing.parse_bytes_or_share),
)
CACHE_MIN_AGE: Final = Variable(
    "ASSETD_CACHE_MIN_AGE",
    "90s",
    "How long a version stays at least after its last use, whoever needs room. An operator's own"
    " evict does not ask for it.",
    parsing.parse_duration_seconds,
)
RESTART_GRACE: Final = Variable(
    "ASSETD_RESTART_GRACE",
    "90s",
    "How long after its start the daemon evicts nothing to make room, so that callers whose holds"
    " ended with its predecessor can hold again. An operator's own evict does not ask for it.",
    parsing.parse_duration_seconds,
)
RANGE_BYTES: Final = Variable(
    "ASSETD_RANGE_BYTES",
    "8MiB",
    "The size of the pieces in which large objects are downloaded at once.",
    _parse_range_bytes,
)
CONNECTIONS: Final = Variable(
    "ASSETD_CONNECTIONS",
    "32",
    "How many requests to the store run at once.",
    parsing.parse_count,
)
TRANSFER_MEMORY: Final = Variable(
    "ASSETD_TRANSFER_MEMORY",
    "192MiB",
    "How many bytes of all downloads together are held in memory.",
    _parse_memory_bytes,
)
HEAPS: Final = Variable(
    "MALLOC_ARENA_MAX",
    "2",
    "How many heaps the daemon's threads share, where the C library is glibc. More are a little"
    " faster, and may keep hundreds of MiB that nobody uses.",
    parsing.parse_count,
)
STAGING_MAX_AGE: Final = Variable(
    "ASSETD_STAGING_MAX_AGE",
    "24h",
    "How long an interrupted download is kept for whoever fetches the version again.",
    parsing.parse_timeout_seconds,
)
MAX_CALLS: Final = Variable(
    "ASSETD_MAX_CALLS",
    "4096",
    "How many calls run at once, holds among them; more are refused with TOO_MANY_REQUESTS.",
    parsing.parse_count,
)
PUSH_IDLE_TIMEOUT: Final = Variable(
    "ASSETD_PUSH_IDLE_TIMEOUT",
    "5m",
    "How long a push waits for the next message of its caller before it is given up.",
    parsing.parse_timeout_seconds,
)
PUSH_RESUME_MAX_AGE: Final = Variable(
    "ASSETD_PUSH_RESUME_MAX_AGE",
    "1m",
    "How long the store keeps what has come of a large file whose push was cut, so that the same"
    " push goes on there; 0s: not at all.",
    parsing.parse_duration_seconds,
)
PUSH_SINGLE_PUSHER: Final = Variable(
    "ASSETD_PUSH_SINGLE_PUSHER",
    "false",
    "With true, the store is not tried before the first push, and pushes to a store without atomic"
    " conditional writes are not refused: the operator answers for it that no other daemon pushes"
    " there.",
    parsing.parse_switch,
)
REFLECTION: Final = Variable(
    "ASSETD_REFLECTION",
    "",
    "Whether the daemon describes its methods, for grpcurl and the like: true or false. By default"
    " true, unless it listens on a port.",
    _optional(parsing.parse_switch),
)
LOG_LEVEL: Final = Variable(
    "ASSETD_LOG_LEVEL",
    "info",
    "What is logged, as JSON on standard error: debug, info, warning or error.",
    parsing.one_of(logs.LEVELS),
)
OTLP_ENDPOINT: Final = Variable(
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "",
    "Where traces are sent by OTLP. Without it, or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT, there are"
    " none. All OTEL_ variables that are not listed here are read by OpenTelemetry itself.",
    str,
)
OTLP_TRACES_ENDPOINT: Final = Variable(
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "", "The same, as a full URL for traces alone.", str
)
OTLP_PROTOCOL: Final = Variable(
    "OTEL_EXPORTER_OTLP_PROTOCOL",
    "http/protobuf",
    "Nothing else is spoken: with another protocol no traces are sent, and the log says so.",
    str,
)
OTLP_TRACES_PROTOCOL: Final = Variable(
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "", "The same, for traces alone.", str
)
OTEL_DISABLED: Final = Variable(
    "OTEL_SDK_DISABLED",
    "false",
    "With true, no traces are made.",
    lambda text: text.strip().lower() == "true",
)

ALL: Final[tuple[Variable[Any], ...]] = (
    ASSETS_DIR,
    STORE,
    S3_ENDPOINT,
    KMS_KEY_ID,
    REGION,
    PUSH_SOURCES,
    LISTEN,
    FRESHNESS,
    VERSIONING,
    STORE_TIMEOUT,
    LOCK_TIMEOUT,
    FETCH_TIMEOUT,
    DRAIN_GRACE,
    CACHE_MAX_BYTES,
    CACHE_MIN_FREE,
    CACHE_MIN_AGE,
    RESTART_GRACE,
    CONNECTIONS,
    RANGE_BYTES,
    TRANSFER_MEMORY,
    HEAPS,
    STAGING_MAX_AGE,
    PUSH_SINGLE_PUSHER,
    MAX_CALLS,
    PUSH_IDLE_TIMEOUT,
    PUSH_RESUME_MAX_AGE,
    REFLECTION,
    LOG_LEVEL,
    OTLP_ENDPOINT,
    OTLP_TRACES_ENDPOINT,
    OTLP_PROTOCOL,
    OTLP_TRACES_PROTOCOL,
    OTEL_DISABLED,
    RUNTIME_DIR,
    MODELKIT_ASSETS_DIR,
    STORAGE_PROVIDER,
    STORAGE_BUCKET,
    STORAGE_PREFIX,
    FORCE_DOWNLOAD,
    MODELKIT_VERSIONING,
)


def as_text() -> str:
    """Return the reference for a terminal."""
    return "\n".join(
        f"  {variable.name}{f' (default {variable.default})' if variable.default else ''}\n"
        + textwrap.fill(variable.meaning, 92, initial_indent=" " * 6, subsequent_indent=" " * 6)
        for variable in ALL
    )
