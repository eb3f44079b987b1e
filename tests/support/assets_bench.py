"""`Assets` as the daemon builds them, over a store in memory and an ASSETS_DIR of the test's own.

What a test does goes through the facade; what it looks at afterwards is the store's keys and the
files on the disk. Every test ends with `require_nothing_left`. Knows no gRPC.
"""

import asyncio
import fcntl
import json
import os
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from assetd_server.assets.facade import Assets
from assetd_server.assets.orders import (
    Bump,
    FetchCompleted,
    FetchEvent,
    FetchOrder,
    FetchStarted,
    PushChunk,
    PushCommit,
    PushCompleted,
    PushEvent,
    PushFiles,
    PushHeader,
    PushMode,
    PushStep,
)
from assetd_server.assets.settings import AssetsSettings
from assetd_server.assets.source_uris import SourceUri
from assetd_server.assets.sources import Sources
from assetd_server.cache.layout import AssetsDir, VersionPaths
from assetd_server.cache.recover import recover
from assetd_server.manifest import Part, encode_index
from assetd_server.model import AssetKind, Digest
from assetd_server.spec import Spec
from assetd_server.store.base import KeyNotFoundError, ObjectStore
from assetd_server.telemetry import Telemetry
from assetd_server.versioning import Version

from tests.support.clocks import ManualClock
from tests.support.file_systems import FaultyFileSystem
from tests.support.memory_store import MemoryStore
from tests.support.pausing_store import PausingStore
from tests.support.staging import kept_downloads
from tests.support.versions import (
    Content,
    by_path,
    kind_of,
    left_overs,
    manifest_of,
    part_of,
)

CHUNK_BYTES = 1000
# Small, so that a few kilobytes make several ranges.
RANGE_BYTES = 4096
SETTINGS = AssetsSettings(range_bytes=RANGE_BYTES, connection_count=4)


class PassingClock(ManualClock):
    """Time passes at once for whoever sleeps, and for nobody else."""

    async def sleep(self, seconds: float) -> None:
        self.advance(seconds)
        await asyncio.sleep(0)


@dataclass
class Daemon:
    """One daemon without its wire: assets over an ASSETS_DIR of its own."""

    root: Path
    fs: FaultyFileSystem
    clock: ManualClock
    assets_dir: AssetsDir
    assets: Assets
    sources: Sources

    def standing_marker(self, spec: str) -> bytes | None:
        """Return the marker's bytes of a file asset's version; None where there is none."""
        with suppress(FileNotFoundError):
            return (self.root / paths_of(spec).marker(AssetKind.FILE)).read_bytes()
        return None

    async def fetch(self, spec: str, **order: Any) -> list[FetchEvent]:
        """Fetch to the end and return all events."""
        async with aclosing(self.assets.fetch(FetchOrder(Spec.parse(spec), **order))) as events:
            return [event async for event in events]

    async def fetched(self, spec: str, **order: Any) -> FetchCompleted:
        """Fetch to the end and return the last event."""
        events = await self.fetch(spec, **order)
        assert isinstance(events[-1], FetchCompleted)
        return events[-1]

    async def push(self, spec: str, content: Content, **how: Any) -> PushCompleted:
        """Push to the end and return the last event."""
        events = await self.push_steps(steps_of(spec, content, **how))
        assert isinstance(events[-1], PushCompleted)
        return events[-1]

    async def push_steps(self, steps: Sequence[PushStep]) -> list[PushEvent]:
        """Push these steps and return all events."""
        return await self.push_stream(told(steps))

    async def push_stream(self, steps: AsyncIterator[PushStep]) -> list[PushEvent]:
        """Push what comes and return all events."""
        async with aclosing(self.assets.push(steps)) as events:
            return [event async for event in events]

    async def until_waiting(self, count: int) -> None:
        """Return once the only flight has that many waiters; with 0, once there is no flight."""
        wanted = [count] if count else []
        # Nothing but the status tells of it.
        while [flight.waiter_count for flight in (await self.assets.status()).flights] != wanted:  # noqa: ASYNC110
            await asyncio.sleep(0)

    async def require_idle(self) -> None:
        """Check that nothing is under way, and nothing left of it but what can be gone on with."""
        # A flight that everybody has left still cleans up.
        async with asyncio.timeout(30):
            await self.until_waiting(0)
        assert list((await self.assets.status()).holds) == []
        await self.assets.settle_pushes()
        # What was evicted is deleted in the background.
        with suppress(TimeoutError):
            async with asyncio.timeout(10):
                while self._lies_about() or self.fs.open_paths != [""]:  # noqa: ASYNC110
                    await asyncio.sleep(0)
        assert self._lies_about() == []
        assert self.fs.open_paths == [""], "descriptors left open"

    def _lies_about(self) -> list[str]:
        return sorted(set(left_overs(self.root)) - set(kept_downloads(self.root)))


@dataclass
class Bench:
    """One store and the daemons that share it."""

    folder: Path
    memory: MemoryStore = field(default_factory=lambda: MemoryStore(chunk_bytes=1024))
    daemons: list[Daemon] = field(default_factory=list)
    store: PausingStore = field(init=False)

    def __post_init__(self) -> None:
        self.store = PausingStore(self.memory)

    def daemon(
        self,
        settings: AssetsSettings = SETTINGS,
        *,
        with_store: bool = True,
        store: ObjectStore | None = None,
        clock: ManualClock | None = None,
        fs: FaultyFileSystem | None = None,
        root: Path | None = None,
        allowed: Sequence[SourceUri] = (),
        probes: bool = False,
    ) -> Daemon:
        """Start another daemon, by default with an empty ASSETS_DIR.

        It takes the store for safe, so that what a test counts are the calls of what it does.
        """
        settings = replace(settings, single_pusher=not probes)
        root = root or self.folder / f"assets{len(self.daemons)}"
        root.mkdir(exist_ok=True)
        fs, clock = fs or FaultyFileSystem(), clock or PassingClock()
        assets_dir = AssetsDir(str(root), fs)
        recover(assets_dir, with_store=with_store)
        used = (store or self.store) if with_store else None
        sources = Sources(assets_dir, allowed, self._no_bucket)
        assets = Assets(used, assets_dir, settings, Telemetry(), clock, sources)
        daemon = Daemon(root, fs, clock, assets_dir, assets, sources)
        self.daemons.append(daemon)
        return daemon

    def _no_bucket(self, bucket: str) -> ObjectStore:
        raise AssertionError(bucket)

    async def successor(self, daemon: Daemon, **how: Any) -> Daemon:
        """End a daemon well, and start another one over its ASSETS_DIR, as `daemon` does."""
        await self.end(daemon)
        successor = self.daemon(root=daemon.root, **how)
        await successor.assets.load()
        return successor

    async def end(self, daemon: Daemon) -> None:
        """End one daemon well."""
        self.daemons.remove(daemon)
        daemon.assets.drain()
        await daemon.assets.close()
        await daemon.sources.close()
        daemon.assets_dir.close()

    async def require_nothing_left(self) -> None:
        """Check that no test leaves work, locks, claims or uploads behind, and end the daemons."""
        self.store.come_back()
        for daemon in self.daemons:
            await daemon.require_idle()
        assert await self.claim_states() <= {"released"}
        assert self.memory.upload_count == 0
        await self.close()

    async def close(self) -> None:
        """End all daemons."""
        while self.daemons:
            await self.end(self.daemons[-1])

    async def claims(self) -> dict[str, dict[str, Any]]:
        """Return the claims in the store, by their keys."""
        keys = [key for key in self.memory.keys if key.startswith(".assetd/claims/")]
        return {key: json.loads(await self.store.bytes_of(key)) for key in keys}

    async def claim_states(self) -> set[str]:
        """Return the states that the claims in the store have."""
        return {claim["state"] for claim in (await self.claims()).values()}

    async def listed(self, name: str) -> list[str]:
        """Return the versions that the index lists."""
        try:
            document = json.loads(await self.store.bytes_of(f"{name}.versions"))
        except KeyNotFoundError:
            return []
        return [str(version) for version in document["versions"]]

    async def stored(self, spec: str) -> Content:
        """Return what the store holds of a version that its manifest names, read back."""
        prefix = str(paths_of(spec).data)
        document = json.loads(await self.store.bytes_of(f"{prefix}.meta"))
        if not document["is_directory"]:
            return await self.store.bytes_of(prefix)
        return {
            part: await self.store.bytes_of(f"{prefix}/{part}") for part in document["contents"]
        }

    async def modelkit_pushes(self, spec: str, content: Content) -> None:
        """Put a version into the store as modelkit does: blindly, without sizes or checksums."""
        paths = paths_of(spec)
        for path, data in by_path(content).items():
            await self.memory.put(f"{paths.data}/{path}" if path else paths.data, data)
        meta: dict[str, object] = {
            "push_date": "2026-11-01T12:00:00+00:00",
            "is_directory": not isinstance(content, bytes),
        }
        if not isinstance(content, bytes):
            meta["contents"] = sorted(content)
        await self.memory.put(f"{paths.data}.meta", json.dumps(meta).encode())
        versions = {Version.parse(text) for text in await self.listed(paths.folder)}
        index = encode_index(versions | {paths.version})
        await self.memory.put(f"{paths.folder}.versions", index)


@asynccontextmanager
async def opened_bench(folder: Path) -> AsyncIterator[Bench]:
    """Return a bench, and check at the end of the block that nothing is left behind."""
    bench = Bench(folder)
    try:
        yield bench
        await bench.require_nothing_left()
    finally:
        await bench.close()


def paths_of(spec: str) -> VersionPaths:
    """Return the paths of the exact version that `spec` names."""
    parsed = Spec.parse(spec)
    assert parsed.exact is not None
    return VersionPaths(parsed.name, parsed.exact)


def digest_of(content: Content) -> Digest:
    """Return the digest that a version with this content has."""
    digest = manifest_of(content).digest
    assert digest is not None
    return digest


def steps_of(
    spec: str,
    content: Content,
    *,
    with_digest: bool = True,
    push_id: str | None = None,
    bump: Bump | None = None,
    mode: PushMode | None = None,
    labels: Mapping[str, str] | None = None,
    validate_only: bool = False,
    chunk_bytes: int = CHUNK_BYTES,
) -> list[PushStep]:
    """Return the steps of a push; without a digest the daemon hashes what comes."""
    parts = [part_of(path, data) for path, data in by_path(content).items()]
    announced = [
        Part(part.path, part.size_bytes, part.sha256_hex if with_digest else None) for part in parts
    ]
    return [
        PushHeader(
            spec=Spec.parse(spec),
            kind=kind_of(content),
            bump=bump,
            mode=mode,
            labels=labels or {},
            validate_only=validate_only,
            push_id=push_id,
            digest=digest_of(content) if with_digest else None,
        ),
        PushFiles(announced),
        *(
            PushChunk(part.path, start, data[start : start + chunk_bytes])
            for part, data in zip(parts, by_path(content).values(), strict=True)
            for start in range(0, len(data), chunk_bytes)
        ),
        PushCommit(),
    ]


async def told(steps: Sequence[PushStep]) -> AsyncIterator[PushStep]:
    """Yield the steps as a caller's stream does."""
    for step in steps:
        await asyncio.sleep(0)
        yield step


def started_of(events: Sequence[FetchEvent]) -> FetchStarted:
    """Return the one event that says that the version is known."""
    [started] = [event for event in events if isinstance(event, FetchStarted)]
    return started


def names_of(events: Sequence[object]) -> list[str]:
    """Return the kinds of the events, in order."""
    return [type(event).__name__ for event in events]


@contextmanager
def flocked(path: Path, operation: int) -> Iterator[bool]:
    """Try to lock a file or folder as another process would; tells whether it was to be had."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, operation | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
    else:
        yield True
    finally:
        os.close(descriptor)


def may_be_moved(path: Path) -> bool:
    """Whether nobody holds a lease on it."""
    with flocked(path, fcntl.LOCK_EX) as free:
        return free


async def first_of(events: AsyncGenerator[FetchEvent, None], kind: type) -> FetchEvent:
    """Read on until an event of this kind comes."""
    return await anext(event async for event in events if isinstance(event, kind))


def flip_byte(path: Path) -> None:
    """Rot: another first byte, of the same length."""
    data = bytearray(path.read_bytes())
    data[0] ^= 1
    path.write_bytes(data)
