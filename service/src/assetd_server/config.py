"""The configuration: the only reader of the environment, which becomes frozen values once.

All faults are found before any is told. Which variables there are stands in `variables`; what the
values are for is `app`'s business.
"""

import difflib
import os
import re
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeVar

from assetd_server import parsing, variables
from assetd_server.assets.source_uris import SourceUri
from assetd_server.listen import Address, UnixAddress
from assetd_server.location import DirectoryLocation, S3Location, StoreLocation
from assetd_server.model import Freshness
from assetd_server.reader import Reader
from assetd_server.versioning import VersioningSystem

__all__ = [
    "Config",
    "ConfigError",
    "DirectoryLocation",
    "PushSources",
    "S3Location",
    "StoreLocation",
    "load",
]

T = TypeVar("T")

_OURS: Final = "ASSETD_"
# Kubernetes puts these beside every service that is called assetd.
_INJECTED: Final = re.compile(r"ASSETD_(?:\w+_)?(?:PORT|SERVICE)(?:_|$)")
# The client's.
_NEIGHBOURS: Final = {"ASSETD_ADDRESS"}
_ROOT_SOCKET: Final = "/run/assetd/assetd.sock"

# gRPC's core writes lines of its own, as of callers that hang up rudely, and the log has an object
# in each line; what fails it raises besides. It can be told by its environment alone, before it is
# first imported, as `rpc` does after us. Who looks for a fault in it may say more.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")


class ConfigError(Exception):
    """The daemon cannot run in this environment; `faults` has a line for each thing wrong."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = tuple(faults)


@dataclass(frozen=True)
class PushSources:
    """The places that pushes may name as their source, and how to reach those that are buckets."""

    allowed: tuple[SourceUri, ...] = ()
    endpoint_url: str | None = None
    region: str | None = None


@dataclass(frozen=True)
class Config:
    """What an operator has chosen; `variables` tells what each value means."""

    assets_dir: Path
    store: StoreLocation | None
    push_sources: PushSources
    listen: tuple[Address, ...]
    freshness: Freshness
    versioning: VersioningSystem
    force_download: bool
    store_timeout_seconds: float
    lock_timeout_seconds: float
    fetch_timeout_seconds: float
    drain_grace_seconds: float
    cache_max_bytes: int | None
    cache_min_free: int | float | None  # bytes, or a share of the disk
    cache_min_age_seconds: float
    restart_grace_seconds: float
    range_bytes: int
    connection_count: int
    transfer_memory_bytes: int
    heap_count: int
    staging_max_age_seconds: float
    push_idle_timeout_seconds: float
    push_resume_max_age_seconds: float
    single_pusher: bool
    max_calls: int
    reflection: bool
    log_level: str
    traces: bool
    warnings: tuple[str, ...]


def load(
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, str | None] | None = None,
    *,
    user_id: int | None = None,
) -> Config:
    """Return the configuration that the environment describes.

    `overrides` are texts of the command line by the variable that they stand for; they win, also
    over a variable's modelkit name. None stands for what the command line does not say.

    Raises:
        ConfigError: something is wrong; all of it is told.
    """
    reader = Reader(_texts(environ, overrides))
    config = _read(reader, os.geteuid() if user_id is None else user_id)
    if reader.faults:
        raise ConfigError(reader.faults)
    return config


def load_store(
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, str | None] | None = None,
) -> StoreLocation | None:
    """Return where the store is, as `load` would, for who needs nothing else.

    Raises:
        ConfigError: something is wrong with what says so.
    """
    reader = Reader(_texts(environ, overrides))
    store = _read_store(reader)
    if reader.faults:
        raise ConfigError(reader.faults)
    return store


def _texts(
    environ: Mapping[str, str] | None, overrides: Mapping[str, str | None] | None
) -> dict[str, str]:
    chosen = {name: text for name, text in (overrides or {}).items() if text}
    texts = {**(os.environ if environ is None else environ), **chosen}
    if variables.ASSETS_DIR.name in chosen:
        texts.pop(variables.MODELKIT_ASSETS_DIR.name, None)
    return texts


def _read(reader: Reader, user_id: int) -> Config:
    listen = _read_listen(reader, user_id)
    assets_dir, store = _read_assets_dir(reader), _read_store(reader)
    _require_apart(reader, assets_dir, store)
    push_sources = _read_push_sources(reader, assets_dir, store)
    _warn_of_unknown(reader)
    return Config(
        assets_dir=assets_dir,
        store=store,
        push_sources=push_sources,
        listen=listen,
        freshness=reader.value(variables.FRESHNESS),
        versioning=_read_versioning(reader),
        force_download=_read_force_download(reader),
        store_timeout_seconds=reader.value(variables.STORE_TIMEOUT),
        lock_timeout_seconds=reader.value(variables.LOCK_TIMEOUT),
        fetch_timeout_seconds=reader.value(variables.FETCH_TIMEOUT),
        drain_grace_seconds=reader.value(variables.DRAIN_GRACE),
        cache_max_bytes=reader.value(variables.CACHE_MAX_BYTES),
        cache_min_free=reader.value(variables.CACHE_MIN_FREE),
        cache_min_age_seconds=reader.value(variables.CACHE_MIN_AGE),
        restart_grace_seconds=reader.value(variables.RESTART_GRACE),
        range_bytes=reader.value(variables.RANGE_BYTES),
        connection_count=reader.value(variables.CONNECTIONS),
        transfer_memory_bytes=reader.value(variables.TRANSFER_MEMORY),
        heap_count=reader.value(variables.HEAPS),
        staging_max_age_seconds=reader.value(variables.STAGING_MAX_AGE),
        push_idle_timeout_seconds=reader.value(variables.PUSH_IDLE_TIMEOUT),
        push_resume_max_age_seconds=reader.value(variables.PUSH_RESUME_MAX_AGE),
        single_pusher=_read_single_pusher(reader),
        max_calls=reader.value(variables.MAX_CALLS),
        reflection=_read_reflection(reader, listen),
        log_level=reader.value(variables.LOG_LEVEL),
        traces=_read_traces(reader),
        # Last: reading the others may add to them.
        warnings=tuple(reader.warnings),
    )


def _read_assets_dir(reader: Reader) -> Path:
    ours, modelkits = variables.ASSETS_DIR, variables.MODELKIT_ASSETS_DIR
    chosen = ours if reader.text(ours) else modelkits
    if not reader.text(chosen):
        reader.faults.append(
            f"{ours.name} is not set, nor is {modelkits.name}: set it to the directory that keeps"
            " the assets"
        )
        return Path()
    path = Path(reader.text(chosen)).absolute()
    if not _is_directory(path):
        reader.fault(chosen, "is no directory: make it, or mount it")
    if reader.text(modelkits) and _real(path) != _real(Path(reader.text(modelkits))):
        reader.faults.append(
            f"{reader.shown(ours)} and {reader.shown(modelkits)} are two directories: unset one, or"
            " set both alike"
        )
    return path


def _read_store(reader: Reader) -> StoreLocation | None:
    chosen = variables.STORE if reader.text(variables.STORE) else None
    store = reader.value(chosen) if chosen else _read_modelkit_store(reader)
    if isinstance(store, S3Location):
        return replace(
            store,
            endpoint_url=reader.value(variables.S3_ENDPOINT),
            kms_key_id=reader.value(variables.KMS_KEY_ID),
            region=_read_region(reader),
        )
    return store


def _read_region(reader: Reader) -> str | None:
    """Return what the AWS library would not find by itself."""
    return None if reader.texts.get("AWS_DEFAULT_REGION") else reader.value(variables.REGION)


def _read_modelkit_store(reader: Reader) -> StoreLocation | None:
    provider = reader.value(variables.STORAGE_PROVIDER)
    bucket = variables.STORAGE_BUCKET
    if not provider:
        if reader.text(bucket) and not reader.text(variables.STORAGE_PROVIDER):
            reader.warnings.append(
                f"{reader.shown(bucket)} without {variables.STORAGE_PROVIDER.name} names no store:"
                " none is used"
            )
        return None
    prefix = reader.value(variables.STORAGE_PREFIX)
    if not reader.text(bucket):
        reader.faults.append(
            f"{bucket.name} is not set, and {reader.shown(variables.STORAGE_PROVIDER)} needs it"
        )
        return None
    if provider == "local":
        return DirectoryLocation(Path(reader.text(bucket)).absolute() / prefix)
    try:
        return S3Location(parsing.parse_bucket(reader.text(bucket)), prefix)
    except ValueError as wrong:
        reader.fault(bucket, wrong)
        return None


def _require_apart(reader: Reader, assets_dir: Path, store: StoreLocation | None) -> None:
    if not isinstance(store, DirectoryLocation):
        return
    if _is_within(store.path, assets_dir) or _is_within(assets_dir, store.path):
        reader.faults.append(
            f"the store {store.path} and ASSETS_DIR {assets_dir} lie one in the other, and only the"
            " cache may ever be lost: give each a directory of its own"
        )
    elif not _is_directory(store.path):
        reader.warnings.append(
            f"the store {store.path} is not there yet: it is made where the directory above it is"
            " there; if a disk belongs there, mount it"
        )


def _read_push_sources(
    reader: Reader, assets_dir: Path, store: StoreLocation | None
) -> PushSources:
    allowed = reader.value(variables.PUSH_SOURCES)
    for uri in allowed:
        if not uri.bucket:
            _require_source(reader, Path(uri.path), assets_dir)
    if isinstance(store, S3Location):
        return PushSources(allowed, store.endpoint_url, store.region)
    if not any(uri.bucket for uri in allowed):
        return PushSources(allowed)
    return PushSources(allowed, reader.value(variables.S3_ENDPOINT), _read_region(reader))


def _require_source(reader: Reader, directory: Path, assets_dir: Path) -> None:
    if not _is_directory(directory):
        reader.fault(
            variables.PUSH_SOURCES, f"names {directory}, which is no directory: make or mount it"
        )
    elif _is_within(directory, assets_dir) or _is_within(assets_dir, directory):
        reader.fault(
            variables.PUSH_SOURCES,
            f"names {directory}, which is in ASSETS_DIR or holds it, so that pushes could read what"
            " others are pushing: name a directory beside it; .assetd/push in ASSETS_DIR is always"
            " allowed",
        )


def _is_within(inner: Path, outer: Path) -> bool:
    """Compare inodes, not texts: a symlink or a bind mount has another path to the same place."""
    real, status = _real(inner), _status(outer)
    places = (_status(path) for path in (real, *real.parents))
    return status is not None and any(
        place is not None and os.path.samestat(place, status) for place in places
    )


def _is_directory(path: Path) -> bool:
    status = _status(path)
    return status is not None and stat.S_ISDIR(status.st_mode)


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None


def _real(path: Path) -> Path:
    # Path.resolve raises where links run in a circle.
    return Path(os.path.realpath(path))


def _read_listen(reader: Reader, user_id: int) -> tuple[Address, ...]:
    listen, runtime_dir = variables.LISTEN, variables.RUNTIME_DIR
    if reader.text(listen):
        return reader.value(listen)
    if user_id == 0:
        return listen.parse(f"unix://{_ROOT_SOCKET}")
    if not reader.text(runtime_dir):
        reader.faults.append(
            f"{listen.name} is not set, and neither is {runtime_dir.name}, which would say where"
            f" the socket goes: set {listen.name}=unix:///directory/assetd.sock"
        )
        return ()
    try:
        return listen.parse(f"unix://{reader.text(runtime_dir)}/assetd/assetd.sock")
    except ValueError as wrong:
        reader.fault(runtime_dir, f"{wrong}; or set {listen.name}")
        return ()


def _read_reflection(reader: Reader, listen: tuple[Address, ...]) -> bool:
    wanted = reader.value(variables.REFLECTION)
    if wanted is None:
        return all(isinstance(address, UnixAddress) for address in listen)
    return wanted


def _read_versioning(reader: Reader) -> VersioningSystem:
    if reader.text(variables.VERSIONING):
        return reader.value(variables.VERSIONING)
    return reader.value(variables.MODELKIT_VERSIONING)


def _read_force_download(reader: Reader) -> bool:
    wanted = reader.value(variables.FORCE_DOWNLOAD)
    if wanted:
        reader.warnings.append(
            f"{reader.shown(variables.FORCE_DOWNLOAD)}: every fetch downloads anew, as in modelkit,"
            " where any text means yes"
        )
    return wanted


def _read_single_pusher(reader: Reader) -> bool:
    declared = reader.value(variables.PUSH_SINGLE_PUSHER)
    if declared:
        reader.warnings.append(
            f"{reader.shown(variables.PUSH_SINGLE_PUSHER)}: the store is not tried before a push,"
            " and a second daemon that pushes there may lose versions"
        )
    return declared


def _read_traces(reader: Reader) -> bool:
    """Tell whether OpenTelemetry's own variables ask for traces that we can send."""
    endpoints = (variables.OTLP_ENDPOINT, variables.OTLP_TRACES_ENDPOINT)
    if not any(reader.text(endpoint) for endpoint in endpoints):
        return False
    if reader.value(variables.OTEL_DISABLED):
        return False
    protocol = variables.OTLP_TRACES_PROTOCOL
    if not reader.text(protocol):
        protocol = variables.OTLP_PROTOCOL
    if reader.text(protocol) not in ("", "http/protobuf"):
        reader.warnings.append(
            f"{reader.shown(protocol)} is not spoken, only http/protobuf: no traces are sent"
        )
        return False
    return True


def _warn_of_unknown(reader: Reader) -> None:
    known = {variable.name for variable in variables.ALL} | _NEIGHBOURS
    for name in sorted(reader.texts):
        if name.startswith(_OURS) and name not in known and not _INJECTED.match(name):
            similar = difflib.get_close_matches(name, known, n=1, cutoff=0.8)
            hint = f": is {similar[0]} meant?" if similar else ""
            reader.warnings.append(f"{name} is no variable of assetd{hint}")
