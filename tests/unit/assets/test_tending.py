"""What operators ask of the cache: evict, pin, unpin, and what they are told of each version."""

import asyncio
import errno
import fcntl
import os
import threading
from dataclasses import replace

import pytest
from assetd_server.assets.cache_orders import EvictOrder, EvictOutcome, Selector
from assetd_server.assets.orders import ResolveOrder
from assetd_server.errors import (
    DiskFullError,
    LockBusyError,
    NoStoreError,
    NotCachedError,
    ReadOnlyError,
    ShuttingDownError,
    StoreUnavailableError,
    UnsafePathError,
)
from assetd_server.model import AssetKind, Source
from assetd_server.spec import Spec

from tests.support.assets_bench import SETTINGS, Bench, Daemon, PassingClock, flocked, paths_of
from tests.support.file_systems import Call
from tests.support.limited import evict, filled, held, limited, outcomes, present, turns
from tests.support.trees import read_tree
from tests.support.versions import left_overs, put

EVICTED, LEASED, PINNED = EvictOutcome.EVICTED, EvictOutcome.LEASED, EvictOutcome.PINNED
TREE = {"a": b"1" * 60, "sub/b": b"2" * 40}


async def pin(daemon: Daemon, spec: str) -> None:
    """Pin a version, as an operator does."""
    pinned = await daemon.assets.pin(Spec.parse(spec))
    assert (str(pinned.asset_version), pinned.cache_state.pinned) == (spec, True)


# Evict


async def test_an_operator_evicts_what_is_selected(daemon: Daemon) -> None:
    """By one spec, by the beginning of names, or all; the rest stays."""
    await filled(daemon, "team/a:0.0", "team/b:0.0", "teammate/c:0.0", "x/d:0.0")
    assert outcomes(await evict(daemon, spec="x/d:0.0")) == {"x/d:0.0": EVICTED}
    assert present(daemon) == ["team/a:0.0", "team/b:0.0", "teammate/c:0.0"]
    assert list(outcomes(await evict(daemon, name_prefix="team/"))) == ["team/a:0.0", "team/b:0.0"]
    assert present(daemon) == ["teammate/c:0.0"]
    assert outcomes(await evict(daemon)) == {"teammate/c:0.0": EVICTED}
    assert await evict(daemon) == []
    assert await evict(daemon, name_prefix="nobody") == []


async def test_the_answer_is_in_order_with_the_bytes_of_each(daemon: Daemon) -> None:
    """By name, then newest first, by number and not by letters."""
    await filled(daemon, "x/b:9.0", "x/b:10.0", "x/a:0.0", size_bytes=70)
    entries = await evict(daemon)
    assert list(outcomes(entries)) == ["x/a:0.0", "x/b:10.0", "x/b:9.0"]
    assert [entry.freed_bytes for entry in entries] == [70, 70, 70]
    status = await daemon.assets.status()
    assert (status.used_bytes, status.version_count) == (0, 0)


async def test_what_is_gone_is_gone_and_comes_again(daemon: Daemon) -> None:
    """What is evicted is gone at once; who has a file of it open reads on.

    At once for new readers; those who have it open read on; a fetch brings it back.
    """
    await daemon.push("x/d", TREE)
    path = (await daemon.fetched("x/d:0.0")).path
    with open(f"{path}/sub/b", "rb") as reader:  # noqa: ASYNC230, PTH123
        assert outcomes(await evict(daemon, spec="x/d:0.0")) == {"x/d:0.0": EVICTED}
        assert not os.path.exists(path)  # noqa: ASYNC240, PTH110
        assert reader.read() == TREE["sub/b"]
    await daemon.fetch("x/d:0.0")
    assert read_tree(daemon.root / "x/d/0.0") == TREE


async def test_a_dry_run_says_what_would_happen(bench: Bench, daemon: Daemon) -> None:
    """A dry run evicts nothing, and says what would happen.

    And does nothing; the real run says the same.
    """
    await filled(daemon, "x/a:0.0", "x/b:0.0", "x/c:0.0")
    await pin(daemon, "x/b:0.0")
    async with held(daemon, "x/c:0.0"):
        would = await evict(daemon, dry_run=True)
        assert outcomes(would) == {"x/a:0.0": EVICTED, "x/b:0.0": PINNED, "x/c:0.0": LEASED}
        assert [entry.freed_bytes for entry in would] == [100, 0, 0]
        assert len(present(daemon)) == 3
        assert await evict(daemon) == would
    assert present(daemon) == ["x/b:0.0", "x/c:0.0"]
    assert len(bench.daemons) == 1


@pytest.mark.parametrize("kept", ["hold", "flock"])
async def test_what_is_leased_stays_and_is_told(daemon: Daemon, kept: str) -> None:
    """An operator's evict leaves what is leased, and says so.

    By a stream of ours or by any process; it goes once the lease is over.
    """
    await filled(daemon, "x/a:0.0")
    if kept == "hold":
        async with held(daemon, "x/a:0.0"):
            [entry] = await evict(daemon, spec="x/a:0.0")
    else:
        with flocked(daemon.root / "x/a/0.0", fcntl.LOCK_SH):
            [entry] = await evict(daemon, spec="x/a:0.0")
    assert (entry.outcome, entry.freed_bytes) == (LEASED, 0)
    assert outcomes(await evict(daemon, spec="x/a:0.0")) == {"x/a:0.0": EVICTED}


async def test_a_lease_that_comes_between_the_choice_and_the_lock_wins(daemon: Daemon) -> None:
    """Also a lease that begins between the choice of a version and its lock keeps it.

    The lock is what counts, not what was seen before it.
    """
    await filled(daemon, "x/a:0.0")
    lease: list[int] = []

    def take() -> None:
        lease.append(os.open(daemon.root / "x/a/0.0", os.O_RDONLY))
        fcntl.flock(lease[0], fcntl.LOCK_SH)

    # The looks of the choice, modelkit's lock, then the one on the version.
    daemon.fs.before("flock", take, number=3)
    try:
        assert outcomes(await evict(daemon, spec="x/a:0.0")) == {"x/a:0.0": LEASED}
    finally:
        os.close(lease[0])
    assert present(daemon) == ["x/a:0.0"]


async def test_what_a_fetch_is_about_stays(bench: Bench, daemon: Daemon) -> None:
    """A fetch that verifies, say, is about to answer the version: it is in use."""
    await filled(daemon, "x/a:0.0")
    gate = bench.store.pause("read", "x/a/0.0")
    fetching = asyncio.create_task(daemon.fetched("x/a:0.0", force_download=True))
    await gate.reached()
    assert outcomes(await evict(daemon, spec="x/a:0.0")) == {"x/a:0.0": LEASED}
    gate.open()
    await fetching
    assert present(daemon) == ["x/a:0.0"]


async def test_a_fetch_waits_for_the_moment_of_an_eviction(daemon: Daemon) -> None:
    """And downloads again: it is never answered a path that is about to go."""
    await filled(daemon, "x/a:0.0")
    await daemon.push("x/b:0.0", b"b" * 100)
    reached, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        reached.set()
        go_on.wait()

    daemon.fs.at(Call("unlink", (paths_of("x/a:0.0").marker(AssetKind.FILE),)), wait)
    evicting = asyncio.create_task(evict(daemon, spec="x/a:0.0"))
    await asyncio.to_thread(reached.wait)
    fetching = asyncio.create_task(daemon.fetched("x/a:0.0"))
    # Another one begins later and is through: there was time for it.
    await daemon.fetch("x/b:0.0")
    assert not fetching.done()
    go_on.set()
    assert outcomes(await evicting) == {"x/a:0.0": EVICTED}
    assert (await fetching).source is Source.STORE
    assert present(daemon) == ["x/a:0.0", "x/b:0.0"]


async def test_neither_age_nor_grace_is_asked(bench: Bench) -> None:
    """An operator's own evict asks neither for age nor for grace.

    An operator knows what they do.
    """
    settings = limited(max_bytes=1000, min_age_seconds=10**6, restart_grace_seconds=10**6)
    daemon = bench.daemon(settings, clock=PassingClock())
    await filled(daemon, "x/a:0.0")
    assert outcomes(await evict(daemon, spec="x/a:0.0")) == {"x/a:0.0": EVICTED}


@pytest.mark.parametrize("marker", [b"", None])
async def test_what_is_not_ours_stays_without_a_word(
    bench: Bench, daemon: Daemon, marker: bytes | None
) -> None:
    """Modelkit's versions have no entry, or are not in the cache at all."""
    await bench.modelkit_pushes("m/y:0.0", b"modelkit")
    put(daemon.root, b"modelkit", paths_of("m/y:0.0"), marker=marker)
    assert await evict(daemon) == []
    assert (daemon.root / "m/y/0.0").exists()
    if marker is None:
        with pytest.raises(NotCachedError):
            await evict(daemon, spec="m/y:0.0")
    else:
        assert await evict(daemon, spec="m/y:0.0") == []


@pytest.mark.parametrize("lost", ["x/a/0.0", "x/a/0.0.meta", "content"])
async def test_what_the_store_could_not_give_back_stays(
    bench: Bench, daemon: Daemon, lost: str
) -> None:
    """A part, the manifest, or the very content: another digest is another version."""
    await filled(daemon, "x/a:0.0")
    if lost == "content":
        await bench.memory.delete("x/a/0.0.meta")
        await bench.memory.delete("x/a/0.0")
        await bench.modelkit_pushes("x/a:0.0", b"n" * 101)
    else:
        await bench.memory.delete(lost)
    assert await evict(daemon) == []
    assert await evict(daemon, spec="x/a:0.0") == []
    assert present(daemon) == ["x/a:0.0"]


async def test_a_store_that_is_down_is_told(bench: Bench, daemon: Daemon) -> None:
    """Nothing is evicted on a guess; what is pinned is told all the same."""
    await filled(daemon, "x/a:0.0")
    bench.store.go_down()
    with pytest.raises(StoreUnavailableError):
        await evict(daemon)
    assert present(daemon) == ["x/a:0.0"]
    await pin(daemon, "x/a:0.0")
    assert outcomes(await evict(daemon)) == {"x/a:0.0": PINNED}


async def test_modelkit_at_work_is_told_of_the_one_that_is_named(daemon: Daemon) -> None:
    """LOCK_BUSY for a spec; of many it is left out, and the others go."""
    await filled(daemon, "x/a:0.0", "x/b:0.0")
    with flocked(daemon.root / ".cache/x/a.lock", fcntl.LOCK_EX):
        with pytest.raises(LockBusyError) as refused:
            await evict(daemon, spec="x/a:0.0")
        assert refused.value.metadata["lock"] == ".cache/x/a.lock"
        assert outcomes(await evict(daemon)) == {"x/b:0.0": EVICTED}
    assert present(daemon) == ["x/a:0.0"]


async def test_without_a_store_nothing_is_evicted(bench: Bench) -> None:
    """Without a store nothing is evicted: nothing could be fetched again.

    Nothing could be fetched again.
    """
    alone = bench.daemon(with_store=False)
    put(alone.root, b"data", paths_of("x/a:0.0"), marker=b"")
    with pytest.raises(NoStoreError):
        await evict(alone)
    assert (alone.root / "x/a/0.0").exists()


async def test_where_it_cannot_be_written_nothing_is_evicted(bench: Bench) -> None:
    """READ_ONLY, and not a word of the store."""
    daemon = bench.daemon()
    await filled(daemon, "x/a:0.0")
    settings = replace(SETTINGS, writable=False, leases_trusted=False)
    read_only = await bench.successor(daemon, settings=settings)
    with pytest.raises(ReadOnlyError):
        await evict(read_only)


async def test_where_leases_are_not_kept_everything_may_be_in_use(bench: Bench) -> None:
    """Nobody can know who uses what, so all that could go is told to be leased."""
    daemon = bench.daemon(replace(SETTINGS, leases_trusted=False))
    await filled(daemon, "x/a:0.0", "x/b:0.0")
    await pin(daemon, "x/b:0.0")
    assert outcomes(await evict(daemon)) == {"x/a:0.0": LEASED, "x/b:0.0": PINNED}
    assert len(present(daemon)) == 2


async def test_what_is_not_there_cannot_be_evicted(daemon: Daemon) -> None:
    """The one that is named has to be in the cache; a link in its place is told."""
    await filled(daemon, "x/a:0.0")
    with pytest.raises(NotCachedError):
        await evict(daemon, spec="x/a:0.1")
    (daemon.root / "x/b").symlink_to(daemon.root / "x/a")
    with pytest.raises(UnsafePathError):
        await evict(daemon, spec="x/b:0.0")
    assert outcomes(await evict(daemon)) == {"x/a:0.0": EVICTED}


async def test_a_failure_is_told_and_the_rest_can_be_evicted(daemon: Daemon) -> None:
    """READ_ONLY names what failed; whole versions stand, and a repeat goes on."""
    for name in ("x/a", "x/b", "x/c"):
        await daemon.push(name, TREE)
        await daemon.fetch(name)
    daemon.fs.fail(2, errno.EACCES, "rename")
    with pytest.raises(ReadOnlyError):
        await evict(daemon)
    assert present(daemon) == ["x/b:0.0", "x/c:0.0"]
    await evict(daemon)
    assert present(daemon) == []


async def test_files_are_deleted_in_the_background(bench: Bench) -> None:
    """The answer does not wait for them; the end of the daemon does."""
    daemon = bench.daemon()
    await daemon.push("x/d", {f"part{n}": b"." for n in range(300)})
    await daemon.fetch("x/d:0.0")
    entries = await evict(daemon)
    assert [entry.freed_bytes for entry in entries] == [300]
    await bench.end(daemon)
    assert left_overs(daemon.root) == []


async def test_a_caller_who_leaves_leaves_no_half(daemon: Daemon) -> None:
    """Cancelled at any step: every version is there or gone, nothing is locked or left over."""
    await filled(daemon, "x/a:0.0", "x/b:0.0")
    steps, done = 0, False
    while not done:
        steps += 3
        evicting = asyncio.create_task(evict(daemon))
        await turns(steps)
        evicting.cancel()
        [result] = await asyncio.gather(evicting, return_exceptions=True)
        done = not isinstance(result, asyncio.CancelledError)
        await turns(50)
        for name in ("a", "b"):
            marker = daemon.root / f"x/{name}/.0.0.SUCCESS"
            assert marker.exists() == (daemon.root / f"x/{name}/0.0").exists()
            await daemon.fetch(f"x/{name}:0.0")
    await asyncio.sleep(0)
    assert steps > 10


async def test_draining_evicts_nothing_more(daemon: Daemon) -> None:
    """As with every change: ask the successor."""
    await filled(daemon, "x/a:0.0")
    daemon.assets.drain()
    with pytest.raises(ShuttingDownError):
        await daemon.assets.evict(EvictOrder(Selector()))


# Pin


async def test_a_pin_is_kept_until_it_is_undone(bench: Bench) -> None:
    """A pin is kept until it is undone, over restarts too.

    Restarts included; both are idempotent, and the state says so everywhere.
    """
    daemon = bench.daemon(limited(max_bytes=200))
    await filled(daemon, "x/a:0.0", "x/b:0.0")
    for _ in range(2):
        await pin(daemon, "x/a:0.0")
    daemon = await bench.successor(daemon, settings=limited(max_bytes=200))
    resolved = await daemon.assets.resolve(ResolveOrder(Spec.parse("x/a:0.0")))
    assert resolved.cache_state.pinned
    assert (await daemon.assets.status()).pinned_count == 1
    await filled(daemon, "x/c:0.0")
    assert present(daemon) == ["x/a:0.0", "x/c:0.0"]
    for _ in range(2):
        unpinned = await daemon.assets.unpin(Spec.parse("x/a:0.0"))
        assert not unpinned.cache_state.pinned
    daemon = await bench.successor(daemon, settings=limited(max_bytes=200))
    assert (await daemon.assets.status()).pinned_count == 0
    await filled(daemon, "x/d:0.0")
    assert present(daemon) == ["x/c:0.0", "x/d:0.0"]


async def test_what_is_not_cached_cannot_be_pinned(bench: Bench, daemon: Daemon) -> None:
    """What is not cached cannot be pinned: a pin fetches nothing.

    Fetch it first: a pin fetches nothing. There is nothing to unpin either.
    """
    await daemon.push("x/a", b"data")
    bench.store.calls.clear()
    for change in (daemon.assets.pin, daemon.assets.unpin):
        with pytest.raises(NotCachedError):
            await change(Spec.parse("x/a:0.0"))
    assert bench.store.calls == []


async def test_modelkits_versions_can_be_pinned(daemon: Daemon) -> None:
    """Whoever put it there."""
    put(daemon.root, b"data", paths_of("m/y:0.0"), marker=b"")
    await pin(daemon, "m/y:0.0")


async def test_a_pin_outlives_its_version(daemon: Daemon) -> None:
    """A pin outlives its version: what was removed by hand is pinned when it is fetched again.

    Who removes it by hand finds it pinned when it is fetched again.
    """
    await filled(daemon, "x/a:0.0")
    await pin(daemon, "x/a:0.0")
    (daemon.root / "x/a/0.0").unlink()
    await daemon.fetch("x/a:0.0")
    assert outcomes(await evict(daemon)) == {"x/a:0.0": PINNED}


@pytest.mark.parametrize(
    ("call", "code", "error"),
    [("create", errno.EROFS, ReadOnlyError), ("pwritev", errno.ENOSPC, DiskFullError)],
)
async def test_a_pin_that_cannot_be_written_is_none(
    daemon: Daemon, call: str, code: int, error: type[Exception]
) -> None:
    """It is told, and the version can be evicted."""
    await filled(daemon, "x/a:0.0")
    daemon.fs.fail(1, code, call)
    with pytest.raises(error):
        await daemon.assets.pin(Spec.parse("x/a:0.0"))
    assert outcomes(await evict(daemon)) == {"x/a:0.0": EVICTED}


async def test_a_pin_and_an_eviction_do_not_cross(daemon: Daemon) -> None:
    """Pinned or gone: never told to be pinned, and gone."""
    await filled(daemon, "x/a:0.0")
    for steps in range(30):
        evicting = asyncio.create_task(evict(daemon))
        await turns(steps)
        pinning = asyncio.create_task(daemon.assets.pin(Spec.parse("x/a:0.0")))
        [entries, pinned] = await asyncio.gather(evicting, pinning, return_exceptions=True)
        assert not isinstance(entries, BaseException)
        if isinstance(pinned, BaseException):
            assert isinstance(pinned, NotCachedError)
            assert present(daemon) == []
            await daemon.fetch("x/a:0.0")
        else:
            assert present(daemon) == ["x/a:0.0"]
            await daemon.assets.unpin(Spec.parse("x/a:0.0"))


async def test_pins_that_cannot_be_read_keep_the_daemon_from_starting(bench: Bench) -> None:
    """Pins that cannot be read keep the daemon from starting.

    Nobody would know what has to stay.
    """
    daemon = bench.daemon()
    (daemon.root / ".assetd/pins").symlink_to(daemon.root)
    with pytest.raises(UnsafePathError):
        await daemon.assets.load()
