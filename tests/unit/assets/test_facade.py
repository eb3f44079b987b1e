"""The whole of it: status, draining, closing, and that the daemon's calls go where they belong."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest
from assetd_server.assets.orders import (
    FetchCompleted,
    FetchOrder,
    FetchPhase,
    ListOrder,
    PushStep,
    ResolveOrder,
)
from assetd_server.assets.settings import AssetsSettings
from assetd_server.errors import NoStoreError, ShuttingDownError
from assetd_server.model import Presence
from assetd_server.spec import Spec

from tests.support.assets_bench import SETTINGS, Bench, Daemon, paths_of, steps_of, told
from tests.support.clocks import BEGINNING
from tests.support.versions import put, put_ours


async def test_an_empty_daemon(daemon: Daemon) -> None:
    """A fresh ASSETS_DIR holds nothing, and the status says what it is and since when."""
    status = await daemon.assets.status()
    assert status.assets_dir == str(daemon.root)
    assert status.store == "memory://"
    assert status.store_last_ok_time is None
    assert status.start_time == BEGINNING
    assert (status.version_count, status.used_bytes, status.leased_count) == (0, 0, 0)
    assert status.limit_bytes is None
    assert status.disk_free_bytes > 0
    assert list(status.warnings) == []


async def test_the_status_counts_what_is_there(bench: Bench, daemon: Daemon) -> None:
    """The status counts versions and bytes of everybody, modelkit's among them.

    Bytes without a marker take room too; as a version they count only where no store is configured.
    """
    put_ours(daemon.root, {"a": b"1" * 100, "b/c": b"2"}, paths_of("x/d:0.0"))
    put(daemon.root, b"modelkit's", paths_of("x/y:0.0"), marker=b"")
    put(daemon.root, b"unmarked", paths_of("x/y:0.1"))
    status = await daemon.assets.status()
    assert (status.version_count, status.used_bytes) == (2, 119)
    alone = bench.daemon(with_store=False, root=daemon.root)
    status = await alone.assets.status()
    assert (status.version_count, status.used_bytes, status.store) == (3, 119, "")


async def test_the_status_shows_what_is_under_way(bench: Bench, daemon: Daemon) -> None:
    """A flight is listed from its first moment on, with what is known of it."""
    await daemon.push("x/y", b"data")
    meta = bench.store.pause("get", "0.0.meta")
    read = bench.store.pause("read", "x/y/0.0")
    fetching = asyncio.create_task(daemon.fetch("x/y"))
    await meta.reached()
    [flight] = (await daemon.assets.status()).flights
    assert str(flight.asset_version) == "x/y:0.0"
    assert flight.asset_version.size_bytes is None
    assert flight.progress.phase is FetchPhase.RESOLVING
    meta.open()
    await read.reached()
    [flight] = (await daemon.assets.status()).flights
    assert flight.asset_version.size_bytes == 4
    assert flight.progress.phase is FetchPhase.DOWNLOADING
    assert (flight.progress.present_bytes, flight.progress.total_bytes) == (0, 4)
    assert flight.waiter_count == 1
    read.open()
    await fetching
    assert (await daemon.assets.status()).store_last_ok_time is not None


async def test_the_status_counts_leases(daemon: Daemon) -> None:
    """A held version is leased, in the status, in a listing and in a resolution."""
    await daemon.push("x/y", b"data")
    order = FetchOrder(Spec.parse("x/y"), hold=True, caller="me")
    async with aclosing(daemon.assets.fetch(order)) as events:
        async for event in events:
            if isinstance(event, FetchCompleted):
                break
        assert (await daemon.assets.status()).leased_count == 1
        resolved = await daemon.assets.resolve(ResolveOrder(Spec.parse("x/y:0.0")))
        assert resolved.cache_state.leased
        assert resolved.cache_state.hold_count == 1
        [entry] = (await daemon.assets.list(ListOrder())).entries
        assert entry.cache_state.leased
    resolved = await daemon.assets.resolve(ResolveOrder(Spec.parse("x/y:0.0")))
    assert not resolved.cache_state.leased


async def test_the_settings_warnings_are_shown(bench: Bench) -> None:
    """What the configuration warned of stays visible."""
    daemon = bench.daemon(AssetsSettings(warnings=("mind the gap",)))
    assert list((await daemon.assets.status()).warnings) == ["mind the gap"]


async def test_a_link_in_the_tree_spoils_nothing_else(bench: Bench, daemon: Daemon) -> None:
    """A link where a version is due is no version: status and listings go on without it."""
    put_ours(daemon.root, b"data", paths_of("x/y:0.0"))
    (daemon.root / "x/y/0.1").symlink_to(bench.folder)
    (daemon.root / "x/z").symlink_to(bench.folder)
    assert (await daemon.assets.status()).version_count == 1
    entries = (await daemon.assets.list(ListOrder())).entries
    present = [e for e in entries if e.cache_state.presence is Presence.PRESENT]
    assert [str(entry.asset_version) for entry in present] == ["x/y:0.0"]


async def test_a_name_that_no_part_may_have_spoils_nothing_else(daemon: Daemon) -> None:
    """A folder of modelkit's with an odd file in it does not hide the other versions."""
    put_ours(daemon.root, b"data", paths_of("x/y:0.0"))
    put(daemon.root, {"good": b"1", "back\\slash": b"2"}, paths_of("x/d:0.0"), marker=b"")
    status = await daemon.assets.status()
    assert status.version_count >= 1
    entries = (await daemon.assets.list(ListOrder())).entries
    assert "x/y:0.0" in [str(entry.asset_version) for entry in entries]


async def test_draining_refuses_what_is_new(daemon: Daemon) -> None:
    """After drain a fetch or push is SHUTTING_DOWN; who only looks is still answered."""
    await daemon.push("x/y", b"data")
    daemon.assets.drain()
    daemon.assets.drain()
    with pytest.raises(ShuttingDownError):
        await daemon.fetch("x/y")
    with pytest.raises(ShuttingDownError):
        await daemon.push("x/y", b"more")
    assert (await daemon.assets.list(ListOrder())).entries
    resolved = await daemon.assets.resolve(ResolveOrder(Spec.parse("x/y")))
    assert str(resolved.asset_version) == "x/y:0.0"


async def test_draining_lets_a_push_end(bench: Bench, daemon: Daemon) -> None:
    """A push under way goes on to its end."""
    gate = bench.store.pause("create", "x/y/0.0")
    pushing = asyncio.create_task(daemon.push("x/y", b"data"))
    await gate.reached()
    daemon.assets.drain()
    gate.open()
    assert str((await pushing).asset_version) == "x/y:0.0"


async def test_closing_closes_the_store(bench: Bench, daemon: Daemon) -> None:
    """What was handed over is released, and ASSETS_DIR stays the caller's."""
    bench.daemons.remove(daemon)
    daemon.assets.drain()
    await daemon.assets.close()
    assert bench.memory.is_closed
    assert daemon.fs.open_paths == [""]
    daemon.assets_dir.close()


async def test_nothing_is_pushed_without_a_store(bench: Bench) -> None:
    """Without a store a push is `NO_STORE` before its first step is read."""
    alone = bench.daemon(SETTINGS, with_store=False)
    read: list[PushStep] = []

    async def steps() -> AsyncIterator[PushStep]:
        async for step in told(steps_of("x/y", b"data")):
            read.append(step)
            yield step

    with pytest.raises(NoStoreError):
        async with aclosing(alone.assets.push(steps())) as events:
            assert [event async for event in events]
    assert read == []
