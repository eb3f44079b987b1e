"""Where everything is made: configuration, then parts, then server; and the way they end.

The only module that constructs. Knows no policy: each part gets the few values that concern it.
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version

import structlog
import uvloop

from assetd_server import logs
from assetd_server.allocator import share_heaps
from assetd_server.assets.clock import Clock
from assetd_server.assets.facade import Assets
from assetd_server.assets.settings import AssetsSettings
from assetd_server.assets.sources import Sources
from assetd_server.assets.upkeep import Upkeep
from assetd_server.cache.budget import Limits
from assetd_server.cache.layout import AssetsDir
from assetd_server.cache.linux import FileSystem
from assetd_server.cache.recover import Recovered, recover
from assetd_server.config import (
    Config,
    ConfigError,
    DirectoryLocation,
    PushSources,
    S3Location,
    StoreLocation,
    load,
    load_store,
)
from assetd_server.listen import Address, ListenError
from assetd_server.rpc.server import Server, ServerSettings
from assetd_server.store.base import ObjectStore
from assetd_server.store.local import LocalStore
from assetd_server.store.retrying import RetryingStore
from assetd_server.telemetry import Telemetry

__all__ = ["ConfigError", "ListenError", "Parts", "StartError", "running", "serve"]

_UNTRUSTED_LEASES = (
    "the file system of ASSETS_DIR does not keep locks between processes (a network or FUSE file"
    " system, or flock fails): nobody can know who uses a version, so nothing is evicted"
)
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StartError(Exception):
    """The daemon cannot start; the message says why, and what to do."""


@dataclass(frozen=True)
class Parts:
    """What the daemon is made of, ready to serve."""

    assets: Assets
    server: Server
    writable: bool


def serve(overrides: Mapping[str, str], fs: FileSystem | None = None) -> None:
    """Run the daemon until SIGTERM or Ctrl-C, then drain and return.

    Prints one line on standard output once it serves. `overrides` win over the environment; `fs`
    stands in for the real calls of the cache where something else is measured or tested.

    Raises:
        ConfigError: the environment is not one to run in; all its faults at once.
        StartError, ListenError, AssetError: ASSETS_DIR or an address is not to be had.
    """
    config = load(overrides=overrides)
    logs.configure(config.log_level)
    share_heaps(config.heap_count)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(config, fs))


async def _serve(config: Config, fs: FileSystem | None) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in _STOP_SIGNALS:
        loop.add_signal_handler(number, stopping.set)
    log = structlog.get_logger()
    async with running(config, fs=fs) as (parts, addresses):
        for warning in parts.assets.warnings:
            log.warning(warning)
        if not parts.writable:
            log.warning("ASSETS_DIR is read-only: hits are served, misses are refused")
        where = ", ".join(str(address) for address in addresses)
        store = store_name(config.store)
        log.info("serving", addresses=where, assets_dir=str(config.assets_dir), store=store)
        print(f"assetd serves {config.assets_dir} on {where} (store: {store})", flush=True)  # noqa: T201 - the one line that `assetd serve` promises
        await stopping.wait()
        # A second signal does not wait for anybody.
        for number in _STOP_SIGNALS:
            loop.remove_signal_handler(number)
        log.info("draining", grace_seconds=config.drain_grace_seconds)


@asynccontextmanager
async def running(
    config: Config, clock: Clock | None = None, fs: FileSystem | None = None
) -> AsyncIterator[tuple[Parts, tuple[Address, ...]]]:
    """Serve for the length of the block; on leaving it drain, stop, and release everything.

    Raises:
        StartError: another daemon owns this ASSETS_DIR.
        ListenError, AssetError: an address or ASSETS_DIR is not to be had.
    """
    clock, telemetry = clock or Clock(), _telemetry(config)
    assets_dir = AssetsDir(str(config.assets_dir), fs or FileSystem())
    try:
        # Before the socket: a second daemon would steal it without a word.
        if not assets_dir.try_lock_instance():
            raise StartError(
                f"another assetd serves {config.assets_dir}: stop it, or choose another ASSETS_DIR"
            )
        recovered = await asyncio.to_thread(
            recover, assets_dir, with_store=config.store is not None
        )
        # botocore reads files, and may ask the machine for its role.
        store = await asyncio.to_thread(_open_store, config.store)
        settings = _assets_settings(config, recovered)
        sources = _make_sources(config.push_sources, assets_dir)
        assets = Assets(store, assets_dir, settings, telemetry, clock, sources)
        server = Server(
            _server_settings(config),
            assets,
            telemetry,
            now=clock.now,
            monotonic=clock.monotonic,
        )
        try:
            await sources.load()
            await assets.load()
            addresses = await server.start()
            await assets.start()
            server.set_ready(ready=True)
            yield Parts(assets, server, recovered.writable), addresses
        finally:
            assets.drain()
            await server.stop(config.drain_grace_seconds)
            await assets.close()
            await sources.close()
    finally:
        assets_dir.close()
        await asyncio.to_thread(telemetry.shutdown)


def store_name(location: StoreLocation | None) -> str:
    """Return where the store is, for people."""
    match location:
        case None:
            return "none"
        case DirectoryLocation(path):
            return f"file://{path}"
        case S3Location(bucket=bucket, prefix=prefix):
            return f"s3://{bucket}/{prefix}"


def configured_upkeep(overrides: Mapping[str, str]) -> Upkeep | None:
    """Return what looks after the store that the environment names; None where it names none.

    Needs no daemon and no ASSETS_DIR, and creates nothing. May block for seconds. Warnings are
    logged to standard error.

    Raises:
        ConfigError: what names the store is at fault.
        StoreAccessDeniedError, StoreUnavailableError: the store cannot be such.
    """
    logs.configure("warning")
    store = _make_store(load_store(overrides=overrides))
    return Upkeep(store, Clock()) if store else None


def _open_store(location: StoreLocation | None) -> ObjectStore | None:
    if isinstance(location, DirectoryLocation):
        # More than the last folder would hide a typo, or a disk that is not mounted; the store
        # itself says what is missing.
        with suppress(OSError):
            location.path.mkdir()
    return _make_store(location)


def _make_store(location: StoreLocation | None) -> ObjectStore | None:
    match location:
        case None:
            return None
        case DirectoryLocation(path):
            return RetryingStore(LocalStore(path))
        case S3Location(bucket, prefix, endpoint_url, region, kms_key_id):
            return _open_bucket(bucket, prefix, endpoint_url, region, kms_key_id)


def _open_bucket(
    bucket: str,
    prefix: str,
    endpoint_url: str | None,
    region: str | None,
    kms_key_id: str | None = None,
) -> ObjectStore:
    # A third of all that a start imports, and only those who use it need it.
    from assetd_server.store.objects import S3Settings, open_s3_store

    settings = S3Settings(bucket, prefix, endpoint_url, region, kms_key_id)
    return RetryingStore(open_s3_store(settings))


def _make_sources(sources: PushSources, assets_dir: AssetsDir) -> Sources:
    def open_bucket(bucket: str) -> ObjectStore:
        return _open_bucket(bucket, "", sources.endpoint_url, sources.region)

    return Sources(assets_dir, sources.allowed, open_bucket)


def _telemetry(config: Config) -> Telemetry:
    return Telemetry.exporting(version("assetd-server")) if config.traces else Telemetry()


def _assets_settings(config: Config, recovered: Recovered) -> AssetsSettings:
    warnings = list(config.warnings)
    limits = _limits(config)
    if limits.any and not recovered.leases_trusted and recovered.writable:
        warnings.append(_UNTRUSTED_LEASES)
    return AssetsSettings(
        freshness=config.freshness,
        store_timeout_seconds=config.store_timeout_seconds,
        lock_timeout_seconds=config.lock_timeout_seconds,
        fetch_timeout_seconds=config.fetch_timeout_seconds,
        versioning=config.versioning,
        force_download=config.force_download,
        connection_count=config.connection_count,
        transfer_memory_bytes=config.transfer_memory_bytes,
        range_bytes=config.range_bytes,
        single_pusher=config.single_pusher,
        staging_max_age_seconds=config.staging_max_age_seconds,
        push_idle_timeout_seconds=config.push_idle_timeout_seconds,
        push_resume_max_age_seconds=config.push_resume_max_age_seconds,
        limits=limits,
        writable=recovered.writable,
        leases_trusted=recovered.leases_trusted,
        warnings=tuple(warnings),
    )


def _limits(config: Config) -> Limits:
    free = config.cache_min_free
    return Limits(
        max_bytes=config.cache_max_bytes,
        min_free_bytes=free if isinstance(free, int) else None,
        min_free_fraction=free if isinstance(free, float) else None,
        min_age_seconds=config.cache_min_age_seconds,
        restart_grace_seconds=config.restart_grace_seconds,
    )


def _server_settings(config: Config) -> ServerSettings:
    return ServerSettings(
        addresses=config.listen,
        server_version=version("assetd-server"),
        reflection=config.reflection,
        max_calls=config.max_calls,
    )
