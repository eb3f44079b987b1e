"""Which version a spec means: whom it asks, and what it says of the answer."""

import asyncio
from collections.abc import Sequence

import pytest
from assetd_server.assets.orders import Resolved, ResolveOrder
from assetd_server.assets.settings import AssetsSettings
from assetd_server.errors import (
    AssetNotFoundError,
    BadIndexError,
    MixedVersioningError,
    NoStoreError,
    NotCachedError,
    StoreAccessDeniedError,
    StoreUnavailableError,
    VersionNotFoundError,
)
from assetd_server.model import AssetKind, Freshness, Presence, Resolution
from assetd_server.spec import Spec

from tests.support.assets_bench import Bench, Daemon, digest_of, paths_of
from tests.support.versions import put

STORE, STORE_OR_CACHE, CACHE = Freshness.STORE, Freshness.STORE_OR_CACHE, Freshness.CACHE


async def resolve(
    daemon: Daemon, spec: str, freshness: Freshness | None = None, patience: float | None = None
) -> Resolved:
    """What the spec means, where the store has `patience` seconds to answer."""
    return await daemon.assets.resolve(ResolveOrder(Spec.parse(spec), freshness, patience))


async def push_all(daemon: Daemon, name: str, versions: Sequence[str]) -> None:
    """Push each version, with its number as its content."""
    for version in versions:
        await daemon.push(f"{name}:{version}", version.encode())


@pytest.fixture
async def stale(bench: Bench, daemon: Daemon) -> Daemon:
    """A daemon whose cache holds 0.0 of `x/y`, of which the store has 0.1 by now."""
    await daemon.push("x/y:0.0", b"old")
    await daemon.fetch("x/y:0.0")
    await daemon.push("x/y:0.1", b"new")
    bench.store.calls.clear()
    return daemon


@pytest.mark.parametrize("freshness", [None, STORE, STORE_OR_CACHE])
@pytest.mark.parametrize("spec", ["x/y", "x/y:0"])
async def test_the_store_decides_while_it_answers(
    stale: Daemon, spec: str, freshness: Freshness | None
) -> None:
    """An unpinned spec means the newest in the store's index, whatever the cache holds."""
    resolved = await resolve(stale, spec, freshness)
    assert str(resolved.asset_version) == "x/y:0.1"
    assert resolved.resolution is Resolution.STORE
    assert resolved.cache_state.presence is Presence.ABSENT
    assert resolved.asset_version.digest == digest_of(b"new")


@pytest.mark.parametrize("spec", ["x/y", "x/y:0"])
async def test_the_cache_alone_asks_nobody(bench: Bench, stale: Daemon, spec: str) -> None:
    """Freshness CACHE means the newest version in the cache, and makes no store call."""
    resolved = await resolve(stale, spec, CACHE)
    assert str(resolved.asset_version) == "x/y:0.0"
    assert resolved.resolution is Resolution.CACHE
    assert resolved.cache_state.presence is Presence.PRESENT
    assert bench.store.calls == []


@pytest.mark.parametrize("freshness", [None, STORE, STORE_OR_CACHE, CACHE])
async def test_a_pinned_version_that_is_present_asks_nobody(
    bench: Bench, stale: Daemon, freshness: Freshness | None
) -> None:
    """A pinned version that is present is resolved in every mode without a store call."""
    bench.store.go_down()
    resolved = await resolve(stale, "x/y:0.0", freshness)
    assert resolved.resolution is Resolution.EXACT
    assert resolved.asset_version.digest == digest_of(b"old")
    assert resolved.cache_state.path == str(stale.root / "x/y/0.0")
    assert bench.store.calls == []


@pytest.mark.parametrize("spec", ["x/y", "x/y:0"])
@pytest.mark.parametrize("freshness", [None, STORE])
async def test_a_store_that_is_down_fails_a_strict_caller(
    bench: Bench, stale: Daemon, spec: str, freshness: Freshness | None
) -> None:
    """Freshness STORE, the default, fails when the store cannot answer."""
    bench.store.go_down()
    with pytest.raises(StoreUnavailableError):
        await resolve(stale, spec, freshness)


@pytest.mark.parametrize("spec", ["x/y", "x/y:0"])
async def test_a_store_that_is_down_lets_the_cache_answer(
    bench: Bench, stale: Daemon, spec: str
) -> None:
    """STORE_OR_CACHE falls back to the newest cached version, and says FALLBACK."""
    bench.store.go_down()
    resolved = await resolve(stale, spec, STORE_OR_CACHE)
    assert str(resolved.asset_version) == "x/y:0.0"
    assert resolved.resolution is Resolution.FALLBACK


@pytest.mark.parametrize("spec", ["x/q", "x/y:7"])
async def test_nothing_to_fall_back_to_is_the_stores_failure(
    bench: Bench, stale: Daemon, spec: str
) -> None:
    """Where the cache has nothing that fits, the caller hears of the store, not of the cache."""
    bench.store.go_down()
    with pytest.raises(StoreUnavailableError):
        await resolve(stale, spec, STORE_OR_CACHE)


async def test_a_refusal_is_no_silence(bench: Bench, stale: Daemon) -> None:
    """Refused credentials are an operator's fault to mend, and nothing to fall back from."""
    error = StoreAccessDeniedError("the store refuses")
    bench.store.fail("get", "x/y.versions", error=error)
    with pytest.raises(StoreAccessDeniedError):
        await resolve(stale, "x/y", STORE_OR_CACHE)


async def test_a_slow_store_counts_as_down(bench: Bench, stale: Daemon) -> None:
    """After store_timeout the store has not answered: STORE fails, STORE_OR_CACHE falls back."""
    for _ in range(2):
        bench.store.pause("get", "x/y.versions")
    with pytest.raises(StoreUnavailableError) as failure:
        await resolve(stale, "x/y", STORE, patience=0.001)
    assert failure.value.metadata["limit_seconds"] == "0.001"
    resolved = await resolve(stale, "x/y", STORE_OR_CACHE, patience=0.001)
    assert resolved.resolution is Resolution.FALLBACK


async def test_the_operator_sets_what_counts_unless_said(bench: Bench) -> None:
    """Freshness and patience default to the daemon's settings."""
    settings = AssetsSettings(freshness=STORE_OR_CACHE, store_timeout_seconds=0.001)
    daemon = bench.daemon(settings)
    await daemon.push("x/y:0.0", b"old")
    await daemon.fetch("x/y:0.0")
    bench.store.pause("get", "x/y.versions")
    assert (await resolve(daemon, "x/y")).resolution is Resolution.FALLBACK


async def test_describing_a_pinned_version_has_the_same_patience(
    bench: Bench, daemon: Daemon
) -> None:
    """The store may also be slow to say what a version consists of."""
    await daemon.push("x/y:0.0", b"old")
    bench.store.pause("get", "0.0.meta")
    with pytest.raises(StoreUnavailableError):
        await resolve(daemon, "x/y:0.0", patience=0.001)


async def test_a_pinned_version_that_is_absent_is_described_by_the_store(daemon: Daemon) -> None:
    """What is not cached is described by its manifest, and nothing is downloaded."""
    await daemon.push("x/d:0.0", {"a": b"1", "sub/b": b"22"})
    resolved = await resolve(daemon, "x/d:0.0")
    assert resolved.resolution is Resolution.EXACT
    assert resolved.asset_version.kind is AssetKind.DIRECTORY
    assert resolved.asset_version.size_bytes == 3
    assert resolved.asset_version.file_count == 2
    assert resolved.cache_state.presence is Presence.ABSENT
    assert not (daemon.root / "x").exists()


async def test_the_cache_alone_knows_no_absent_version(bench: Bench, daemon: Daemon) -> None:
    """Freshness CACHE answers NOT_CACHED for what is not there, pinned or not."""
    await daemon.push("x/y:0.0", b"old")
    bench.store.calls.clear()
    for spec in ("x/y", "x/y:0", "x/y:0.0", "x/q"):
        with pytest.raises(NotCachedError):
            await resolve(daemon, spec, CACHE)
    assert bench.store.calls == []


async def test_a_major_is_compared_as_a_number(daemon: Daemon) -> None:
    """`name:1` means the newest 1.x, compared as numbers: never 10.0 or 12.0."""
    await push_all(daemon, "x/y", ["1.5", "2.0", "10.0", "10.9", "10.10"])
    assert str((await resolve(daemon, "x/y:1")).asset_version) == "x/y:1.5"
    assert str((await resolve(daemon, "x/y:2")).asset_version) == "x/y:2.0"
    assert str((await resolve(daemon, "x/y:10")).asset_version) == "x/y:10.10"
    assert str((await resolve(daemon, "x/y")).asset_version) == "x/y:10.10"


async def test_what_the_store_lacks_is_named(daemon: Daemon) -> None:
    """No such asset and no such version are two answers; the second names the newest."""
    await push_all(daemon, "x/y", ["1.5", "2.0"])
    with pytest.raises(AssetNotFoundError):
        await resolve(daemon, "x/q")
    with pytest.raises(AssetNotFoundError):
        await resolve(daemon, "x/q:0.0")
    for spec in ("x/y:3", "x/y:1.6"):
        with pytest.raises(VersionNotFoundError) as failure:
            await resolve(daemon, spec)
        assert failure.value.metadata["newest"] == "2.0"


async def test_an_index_that_cannot_be_believed_is_no_absence(bench: Bench, daemon: Daemon) -> None:
    """A damaged index, or one of two systems, is told as such, and nothing falls back."""
    await bench.memory.put("x/bad.versions", b'{"versions": 7}')
    with pytest.raises(BadIndexError) as failure:
        await resolve(daemon, "x/bad", STORE_OR_CACHE)
    assert failure.value.metadata["key"] == "x/bad.versions"
    mixed = b'{"versions": ["1.0", "2026-11-23T09-30-00Z"]}'
    await bench.memory.put("x/mixed.versions", mixed)
    with pytest.raises(MixedVersioningError):
        await resolve(daemon, "x/mixed")


async def test_resolving_leaves_no_trace(bench: Bench, daemon: Daemon) -> None:
    """Resolving has no side effect, in the store or on the disk."""
    await daemon.push("x/y:0.0", b"old")
    keys, files = bench.memory.keys, sorted(daemon.root.rglob("*"))
    await resolve(daemon, "x/y")
    assert bench.memory.keys == keys
    assert sorted(daemon.root.rglob("*")) == files


# Without a store


@pytest.fixture
def alone(bench: Bench) -> Daemon:
    """A daemon without a store."""
    return bench.daemon(with_store=False)


@pytest.mark.parametrize("freshness", [None, STORE, STORE_OR_CACHE, CACHE])
async def test_without_a_store_the_cache_is_the_truth(
    alone: Daemon, freshness: Freshness | None
) -> None:
    """Without a store the cache is the truth, unmarked versions included, as in modelkit.

    Every freshness acts as CACHE.
    """
    put(alone.root, b"marked", paths_of("x/y:0.1"), marker=b"")
    put(alone.root, b"unmarked", paths_of("x/y:0.2"))
    resolved = await resolve(alone, "x/y", freshness)
    assert str(resolved.asset_version) == "x/y:0.2"
    assert resolved.resolution is Resolution.CACHE
    assert resolved.cache_state.presence is Presence.PRESENT


async def test_with_a_store_unmarked_data_does_not_count(daemon: Daemon) -> None:
    """Where a store is configured, only data with a marker is complete."""
    put(daemon.root, b"marked", paths_of("x/y:0.1"), marker=b"")
    put(daemon.root, b"unmarked", paths_of("x/y:0.2"))
    assert str((await resolve(daemon, "x/y", CACHE)).asset_version) == "x/y:0.1"


async def test_without_a_store_a_plain_path_is_answered(alone: Daemon) -> None:
    """An unversioned path below ASSETS_DIR that is no asset is answered without a version."""
    (alone.root / "some/folder/sub").mkdir(parents=True)
    (alone.root / "some/folder/sub/file").write_bytes(b"data")
    resolved = await resolve(alone, "some/folder")
    assert resolved.asset_version.version is None
    assert resolved.cache_state.path == str(alone.root / "some/folder")
    inner = await resolve(alone, "some/folder[sub/file]")
    assert inner.cache_state.relative_path == "some/folder/sub/file"


@pytest.mark.parametrize(
    ("spec", "error"),
    [
        ("x/q", AssetNotFoundError),
        ("x/y:3", VersionNotFoundError),
        ("x/y:0.7", VersionNotFoundError),
        ("some/folder:0", AssetNotFoundError),
    ],
)
async def test_without_a_store_what_is_absent_is_not_found(
    alone: Daemon, spec: str, error: type[Exception]
) -> None:
    """What ASSETS_DIR lacks is NOT_FOUND: there is nobody else to ask."""
    put(alone.root, b"data", paths_of("x/y:0.1"))
    (alone.root / "some/folder").mkdir(parents=True)
    with pytest.raises(error):
        await resolve(alone, spec)


async def test_without_a_store_nothing_is_pushed_or_downloaded(alone: Daemon) -> None:
    """Push and force_download need a store: NO_STORE, and nothing changes."""
    put(alone.root, b"data", paths_of("x/y:0.1"))
    with pytest.raises(NoStoreError):
        await alone.push("x/y", b"new")
    with pytest.raises(NoStoreError):
        await alone.fetch("x/y", force_download=True)
    assert (alone.root / "x/y/0.1").read_bytes() == b"data"


async def test_a_caller_who_leaves_ends_the_question(bench: Bench, daemon: Daemon) -> None:
    """A cancelled call stops at once, whatever the store does."""
    gate = bench.store.pause("get", "x/y.versions")
    asking = asyncio.create_task(resolve(daemon, "x/y"))
    await gate.reached()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking


async def test_a_push_that_has_not_committed_is_not_meant(bench: Bench, daemon: Daemon) -> None:
    """A version exists once its manifest stands, not while its parts arrive."""
    await daemon.push("x/y", b"first")
    gate = bench.store.pause("create", "x/y/0.1.meta")
    pushing = asyncio.create_task(daemon.push("x/y", b"second"))
    await gate.reached()
    assert str((await resolve(daemon, "x/y")).asset_version) == "x/y:0.0"
    gate.open()
    await pushing
    assert str((await resolve(daemon, "x/y")).asset_version) == "x/y:0.1"
