"""Room: set aside before the first byte, made by evicting the least recently used, or refused."""

import asyncio
import errno
import fcntl
import os
from dataclasses import replace

import pytest
from assetd_server.assets.orders import FetchCompleted
from assetd_server.errors import (
    AssetExceedsCacheError,
    CacheFullError,
    DiskFullError,
    IoError,
    StoreUnavailableError,
)
from assetd_server.model import Source
from assetd_server.spec import Spec

from tests.support.assets_bench import Bench, Daemon, PassingClock, flocked, paths_of
from tests.support.file_systems import FixedDisk
from tests.support.limited import filled, held, limited, present, until
from tests.support.versions import put

TEN_YEARS = 10 * 365 * 86_400


@pytest.fixture
def small(bench: Bench) -> Daemon:
    """A daemon with room for three versions of 100 bytes."""
    return bench.daemon(limited(max_bytes=300))


# Who goes


async def test_the_least_recently_used_goes_first(small: Daemon) -> None:
    """The least recently used goes first, and a hit is a use.

    By uses, not by age in the cache: a hit is a use.
    """
    await filled(small, "x/a:0.0", "x/b:0.0", "x/c:0.0")
    await small.fetch("x/a:0.0")
    await filled(small, "x/d:0.0")
    assert present(small) == ["x/a:0.0", "x/c:0.0", "x/d:0.0"]
    await filled(small, "x/e:0.0")
    assert present(small) == ["x/a:0.0", "x/d:0.0", "x/e:0.0"]


async def test_as_many_go_as_are_needed_and_no_more(small: Daemon) -> None:
    """As many go as are needed, and no more.

    A large version takes the place of several.
    """
    await filled(small, "x/a:0.0", "x/b:0.0", "x/c:0.0")
    await filled(small, "x/d:0.0", size_bytes=150)
    assert present(small) == ["x/c:0.0", "x/d:0.0"]
    status = await small.assets.status()
    assert (status.used_bytes, status.reserved_bytes) == (250, 0)


@pytest.mark.parametrize("content", [b"file".ljust(100), {"a": b"a" * 60, "sub/b": b"b" * 40}])
async def test_files_and_folders_go_alike(small: Daemon, content: bytes | dict[str, bytes]) -> None:
    """And come again when they are fetched."""
    await small.push("x/first", content)
    await small.fetch("x/first")
    await filled(small, "x/b:0.0", "x/c:0.0", "x/d:0.0")
    assert "x/first:0.0" not in present(small)
    assert (await small.fetched("x/first:0.0")).source is Source.STORE


async def test_the_end_of_a_hold_is_a_use(small: Daemon) -> None:
    """Who was held to the last moment goes last."""
    await filled(small, "x/a:0.0")
    async with held(small, "x/a:0.0"):
        await filled(small, "x/b:0.0", "x/c:0.0")
    await filled(small, "x/d:0.0")
    assert present(small) == ["x/a:0.0", "x/c:0.0", "x/d:0.0"]


async def test_a_lease_that_was_seen_is_a_use(small: Daemon) -> None:
    """A reader of another process makes no call; looking at the leases tells of it."""
    await filled(small, "x/a:0.0", "x/b:0.0", "x/c:0.0")
    with flocked(small.root / "x/a/0.0", fcntl.LOCK_SH):
        assert (await small.assets.status()).leased_count == 1
    await filled(small, "x/d:0.0")
    assert present(small) == ["x/a:0.0", "x/c:0.0", "x/d:0.0"]


@pytest.mark.parametrize("time", [0, 4_070_908_800], ids=["1970", "2099"])
async def test_a_touched_marker_is_a_use_whatever_its_time(small: Daemon, time: int) -> None:
    """The client's fast path touches the marker: its change counts, and its value never does."""
    await filled(small, "x/a:0.0", "x/b:0.0", "x/c:0.0")
    os.utime(small.root / "x/a/.0.0.SUCCESS", (time, time))
    await filled(small, "x/d:0.0")
    assert present(small) == ["x/a:0.0", "x/c:0.0", "x/d:0.0"]


async def test_a_use_that_is_seen_at_the_last_moment_counts(small: Daemon) -> None:
    """A walk may be some time ago: who touched a marker since then is not the next to go."""
    await filled(small, "x/a:0.0", "x/b:0.0", "x/c:0.0")
    await small.push("x/d", b"d" * 100)

    def touch() -> None:
        os.utime(small.root / "x/a/.0.0.SUCCESS", (0, 0))

    # After the walk, before anybody looks for leases.
    small.fs.before("flock", touch)
    await small.fetch("x/d:0.0")
    assert present(small) == ["x/a:0.0", "x/c:0.0", "x/d:0.0"]


async def test_markers_from_the_future_or_the_past_decide_nothing(small: Daemon) -> None:
    """Versions whose markers lie about their time go in the order of their uses."""
    for number, spec in enumerate(["x/a:0.0", "x/b:0.0", "x/c:0.0"]):
        await filled(small, spec)
        time = 4_070_908_800 - number * 10**9
        os.utime(small.root / paths_of(spec).folder / ".0.0.SUCCESS", (time, time))
        await small.assets.status()
    for spec in ("x/a:0.0", "x/b:0.0", "x/c:0.0"):
        await small.fetch(spec)
    await filled(small, "x/d:0.0")
    assert present(small) == ["x/b:0.0", "x/c:0.0", "x/d:0.0"]


@pytest.mark.parametrize("jump", [TEN_YEARS, -TEN_YEARS], ids=["ahead", "back"])
async def test_a_clock_that_jumps_evicts_nobody(bench: Bench, jump: int) -> None:
    """However the clock jumps, no eviction follows from it.

    Ages are of our own seconds: after ten years of the wall clock nobody is any older.
    """
    clock = PassingClock()
    daemon = bench.daemon(limited(max_bytes=300, min_age_seconds=90), clock=clock)
    await filled(daemon, "x/a:0.0", "x/b:0.0", "x/c:0.0")
    clock.jump(jump)
    with pytest.raises(CacheFullError):
        await filled(daemon, "x/d:0.0")
    clock.advance(90)
    await filled(daemon, "x/d:0.0")
    assert present(daemon) == ["x/b:0.0", "x/c:0.0", "x/d:0.0"]


async def test_without_a_limit_nothing_goes(bench: Bench) -> None:
    """Without a limit nothing is ever evicted to make room.

    By default all versions are kept, as modelkit does.
    """
    daemon = bench.daemon(limited())
    await filled(daemon, *(f"x/a{number}:0.0" for number in range(30)))
    assert len(present(daemon)) == 30
    status = await daemon.assets.status()
    assert (status.limit_bytes, status.evictable_bytes) == (None, 0)
    assert (await daemon.fetched("x/a0:0.0")).keep_until_time is None


# Who stays


async def test_the_young_stay(bench: Bench) -> None:
    """Nothing younger than `ASSETD_CACHE_MIN_AGE` since its last use is evicted to make room.

    Not younger than `min_age` since the last use, a hit included.
    """
    clock = PassingClock()
    daemon = bench.daemon(limited(max_bytes=300, min_age_seconds=60), clock=clock)
    await filled(daemon, "x/a:0.0", "x/b:0.0", "x/c:0.0")
    clock.advance(59)
    await daemon.fetch("x/a:0.0")
    with pytest.raises(CacheFullError):
        await filled(daemon, "x/d:0.0")
    clock.advance(1)
    await filled(daemon, "x/d:0.0")
    assert present(daemon) == ["x/a:0.0", "x/c:0.0", "x/d:0.0"]
    clock.advance(58)
    with pytest.raises(CacheFullError) as refused:
        await filled(daemon, "x/e:0.0", size_bytes=250)
    assert refused.value.metadata["evictable_bytes"] == "100"


async def test_after_a_start_nothing_goes_for_a_while(bench: Bench) -> None:
    """Nothing is evicted to make room within `ASSETD_RESTART_GRACE` of a start.

    Whoever held with the predecessor can hold again before anything is evicted.
    """
    clock = PassingClock()
    first = bench.daemon(limited(max_bytes=300), clock=clock)
    await filled(first, "x/a:0.0", "x/b:0.0", "x/c:0.0")
    clock.advance(3600)
    settings = limited(max_bytes=300, restart_grace_seconds=90)
    daemon = await bench.successor(first, settings=settings, clock=clock)
    clock.advance(89)
    assert (await daemon.assets.status()).evictable_bytes == 0
    with pytest.raises(CacheFullError):
        await filled(daemon, "x/d:0.0")
    clock.advance(1)
    await filled(daemon, "x/d:0.0")
    assert present(daemon) == ["x/b:0.0", "x/c:0.0", "x/d:0.0"]


async def test_an_answer_says_how_long_it_stays(bench: Bench) -> None:
    """An answer says until when nobody evicts its version to make room: `keep_until_time`.

    At least `min_age`, or to the end of the start's grace, whichever is later.
    """
    clock = PassingClock()
    settings = limited(max_bytes=300, min_age_seconds=60, restart_grace_seconds=100)
    daemon = bench.daemon(settings, clock=clock)
    await daemon.push("x/a", b"data")

    async def stays_seconds() -> float:
        until = (await daemon.fetched("x/a:0.0")).keep_until_time
        assert until is not None
        return (until - clock.now()).total_seconds()

    assert await stays_seconds() == pytest.approx(100 - clock.monotonic())
    clock.advance(70)
    assert await stays_seconds() == 60


@pytest.mark.parametrize("kept", ["pinned", "held", "leased"])
async def test_who_is_kept_stays_and_the_next_one_goes(small: Daemon, kept: str) -> None:
    """What is leased or pinned is not evicted, whoever holds it.

    A pin, a hold of ours, or a lease of anybody: the next least recently used goes.
    """
    await filled(small, "x/a:0.0", "x/b:0.0", "x/c:0.0")
    if kept == "pinned":
        await small.assets.pin(Spec.parse("x/a:0.0"))
        await filled(small, "x/d:0.0")
    elif kept == "leased":
        with flocked(small.root / "x/a/0.0", fcntl.LOCK_SH):
            await filled(small, "x/d:0.0")
    else:
        async with held(small, "x/a:0.0"):
            await filled(small, "x/d:0.0")
    assert present(small) == ["x/a:0.0", "x/c:0.0", "x/d:0.0"]


async def test_what_is_not_ours_stays(small: Daemon) -> None:
    """What modelkit put there counts as used, and is never evicted.

    What modelkit put there, marked or not, is counted and never evicted.
    """
    put(small.root, b"m" * 100, paths_of("m/marked:0.0"), marker=b"")
    put(small.root, b"m" * 100, paths_of("m/unmarked:0.0"))
    await filled(small, "x/a:0.0")
    await filled(small, "x/b:0.0")
    assert present(small) == ["m/marked:0.0", "x/b:0.0"]
    with pytest.raises(CacheFullError):
        await filled(small, "x/c:0.0", size_bytes=101)
    assert (small.root / "m/unmarked/0.0").exists()


async def test_what_the_store_has_lost_stays(bench: Bench, small: Daemon) -> None:
    """Only what the store can give back is evicted to make room.

    Only what the store can give back goes: its manifest, and every part at its size.
    """
    await filled(small, "x/a:0.0", "x/b:0.0", "x/c:0.0")
    await bench.memory.delete("x/a/0.0")
    await filled(small, "x/d:0.0")
    assert present(small) == ["x/a:0.0", "x/c:0.0", "x/d:0.0"]
    await bench.memory.delete("x/c/0.0.meta")
    await filled(small, "x/e:0.0")
    assert present(small) == ["x/a:0.0", "x/c:0.0", "x/e:0.0"]
    await bench.memory.put("x/e/0.0", b"short")
    with pytest.raises(CacheFullError) as refused:
        await filled(small, "x/f:0.0")
    assert "not in the store" in str(refused.value)


async def test_a_store_that_is_down_evicts_nobody(bench: Bench, small: Daemon) -> None:
    """Where the store does not answer nothing is evicted, and the fetch fails.

    Nobody can say what it could give back: the fetch fails, and everything stays.
    """
    await filled(small, "x/a:0.0", "x/b:0.0", "x/c:0.0")
    await small.push("x/d", b"d" * 100)
    bench.store.fail("*", "x/a/0.0.meta", times=100)
    with pytest.raises(StoreUnavailableError):
        await small.fetch("x/d:0.0")
    assert present(small) == ["x/a:0.0", "x/b:0.0", "x/c:0.0"]
    await small.require_idle()
    assert (await small.assets.status()).reserved_bytes == 0


async def test_where_leases_are_not_kept_nothing_goes(bench: Bench) -> None:
    """Where locks cannot be trusted to tell who uses what, nothing is evicted to make room.

    Nobody can know who uses what.
    """
    daemon = bench.daemon(replace(limited(max_bytes=300), leases_trusted=False))
    await filled(daemon, "x/a:0.0", "x/b:0.0", "x/c:0.0")
    with pytest.raises(CacheFullError, match="nothing is evicted"):
        await filled(daemon, "x/d:0.0")
    assert (await daemon.assets.status()).evictable_bytes == 0
    assert (await daemon.fetched("x/a:0.0")).keep_until_time is None


async def test_who_is_being_fetched_stays(bench: Bench, small: Daemon) -> None:
    """What is being fetched is not evicted, from the first look to the answer.

    From its first look to its answer nobody evicts what a call is about.
    """
    await filled(small, "x/a:0.0", "x/b:0.0", "x/c:0.0")
    await small.push("x/d", b"d" * 100)
    gate = bench.store.pause("read", "x/d/0.0")
    fetching = asyncio.create_task(small.fetched("x/d:0.0"))
    await gate.reached()
    assert present(small) == ["x/b:0.0", "x/c:0.0"]
    # It is neither there nor to be evicted: 200 are used, 100 set aside.
    with pytest.raises(CacheFullError) as refused:
        await filled(small, "x/e:0.0", size_bytes=201)
    assert refused.value.metadata["evictable_bytes"] == "200"
    gate.open()
    await fetching
    assert "x/d:0.0" in present(small)


async def test_a_version_is_replaced_within_its_own_room(small: Daemon) -> None:
    """A version is replaced within its own room: nobody else has to go for it.

    What it replaces goes when it stands: nobody else has to, however full the cache is.
    """
    await filled(small, "x/a:0.0", "x/b:0.0", "x/c:0.0")
    await small.fetch("x/a:0.0", force_download=True)
    assert present(small) == ["x/a:0.0", "x/b:0.0", "x/c:0.0"]
    assert (await small.assets.status()).used_bytes == 300


# Refusals


async def test_what_never_fits_is_told_apart(small: Daemon) -> None:
    """A version that never fits is `ASSET_EXCEEDS_CACHE`, and nothing is evicted for it.

    Larger than the whole cache: nothing is evicted for it, and the figures are told.
    """
    await filled(small, "x/a:0.0")
    with pytest.raises(AssetExceedsCacheError) as refused:
        await filled(small, "x/big:0.0", size_bytes=301)
    assert refused.value.metadata == {
        "name": "x/big",
        "version": "0.0",
        "needed_bytes": "301",
        "limit_bytes": "300",
    }
    assert present(small) == ["x/a:0.0"]
    await filled(small, "x/fits:0.0", size_bytes=300)
    assert present(small) == ["x/fits:0.0"]


async def test_what_does_not_fit_now_is_told_with_all_figures(small: Daemon) -> None:
    """One that does not fit now is `CACHE_FULL`, with figures and holders, and nothing is evicted.

    Needed, free and evictable bytes, and who holds what; nothing is evicted in vain.
    """
    await filled(small, "x/a:0.0", "x/b:0.0", size_bytes=120)
    await filled(small, "x/c:0.0", size_bytes=50)
    with flocked(small.root / "x/b/0.0", fcntl.LOCK_SH):
        async with held(small, "x/a:0.0", caller="server 7"):
            with pytest.raises(CacheFullError) as refused:
                await filled(small, "x/d:0.0")
    assert refused.value.metadata == {
        "name": "x/d",
        "version": "0.0",
        "needed_bytes": "100",
        "free_bytes": "10",
        "evictable_bytes": "50",
        "holders": "x/a:0.0 by server 7, x/b:0.0 by another process",
    }
    assert present(small) == ["x/a:0.0", "x/b:0.0", "x/c:0.0"]
    await small.fetch("x/d:0.0")
    assert "x/d:0.0" in present(small)


async def test_nobody_is_asked_where_it_cannot_be_enough(bench: Bench, small: Daemon) -> None:
    """A fetch that is refused costs the store nothing but its own manifest."""
    await filled(small, "x/a:0.0", "x/b:0.0", "x/c:0.0")
    await small.push("x/d", b"d" * 250)
    async with held(small, "x/a:0.0"), held(small, "x/b:0.0"):
        bench.store.calls.clear()
        with pytest.raises(CacheFullError):
            await small.fetch("x/d:0.0")
    assert {key for _, key in bench.store.calls} == {"x/d/0.0.meta"}


async def test_interrupted_downloads_are_not_dropped_in_vain(bench: Bench, small: Daemon) -> None:
    """An interrupted download goes before any version does, and not in vain.

    They go before any version does, but only where that makes the fetch possible.
    """
    await filled(small, "x/a:0.0", "x/b:0.0")
    await small.push("x/kept", {f"part{n}": bytes([n]) * 4096 for n in range(2)})
    gate = bench.store.pause("read", "part1")
    wide = await bench.successor(small, settings=limited(max_bytes=30_000))
    fetching = asyncio.create_task(wide.fetch("x/kept:0.0"))
    await gate.reached()
    journal = wide.root / ".assetd/staging" / paths_of("x/kept:0.0").key / "journal"
    await until(lambda: journal.read_bytes().count(b"\n") == 2)
    fetching.cancel()
    await asyncio.gather(fetching, return_exceptions=True)
    await wide.until_waiting(0)
    status = await wide.assets.status()
    kept = status.used_bytes - 200
    assert kept > 0
    narrow = await bench.successor(wide, settings=limited(max_bytes=kept + 210))
    async with held(narrow, "x/a:0.0"), held(narrow, "x/b:0.0"):
        with pytest.raises(CacheFullError):
            await filled(narrow, "x/c:0.0", size_bytes=kept + 100)
        assert (await narrow.assets.status()).used_bytes == kept + 200
        await filled(narrow, "x/d:0.0", size_bytes=100)
    assert present(narrow) == ["x/a:0.0", "x/b:0.0", "x/d:0.0"]
    assert (await narrow.assets.status()).used_bytes == 300


async def test_a_victim_that_cannot_go_is_passed_over(small: Daemon) -> None:
    """What fails for one version, say a folder of somebody else's, keeps nobody from room."""
    await filled(small, "x/a:0.0", "x/b:0.0", "x/c:0.0")
    await small.push("x/d", b"d" * 100)
    small.fs.fail(1, errno.EACCES, "unlink")
    await small.fetch("x/d:0.0")
    assert present(small) == ["x/a:0.0", "x/c:0.0", "x/d:0.0"]


async def test_a_failure_is_told_where_nobody_else_can_go(small: Daemon) -> None:
    """The first one, rather than that the cache is full."""
    await filled(small, "x/a:0.0", "x/b:0.0", "x/c:0.0")
    async with held(small, "x/b:0.0"), held(small, "x/c:0.0"):
        await small.push("x/d", b"d" * 100)
        small.fs.fail(1, errno.EIO, "unlink")
        with pytest.raises(IoError):
            await small.fetch("x/d:0.0")


# Reservations


@pytest.mark.parametrize("end", ["store", "cancelled", "disk", "damaged"])
async def test_room_is_given_back_however_a_download_ends(
    bench: Bench, small: Daemon, end: str
) -> None:
    """However a download ends, the room that was set aside for it is given back.

    Failed, left by its callers, or wrong: nothing stays reserved.
    """
    await small.push("x/a", b"a" * 100)
    if end == "store":
        bench.store.fail("read", "x/a/0.0", times=9)
    elif end == "disk":
        small.fs.fail(1, errno.EIO, "pwritev")
    elif end == "damaged":
        bench.store.damage("x/a/0.0", times=99)
    gate = bench.store.pause("get", "x/a/0.0.meta") if end == "cancelled" else None
    read = bench.store.pause("read", "x/a/0.0") if end == "cancelled" else None
    fetching = asyncio.create_task(small.fetch("x/a:0.0"))
    if gate is not None and read is not None:
        await gate.reached()
        gate.open()
        await read.reached()
        assert (await small.assets.status()).reserved_bytes == 100
        fetching.cancel()
    await asyncio.gather(fetching, return_exceptions=True)
    await small.until_waiting(0)
    bench.store.come_back()
    status = await small.assets.status()
    assert (status.reserved_bytes, status.used_bytes) == (0, 0)
    await filled(small, "x/b:0.0", size_bytes=300)


async def test_what_is_set_aside_is_nobody_elses(bench: Bench, small: Daemon) -> None:
    """Room is reserved before the first byte: two downloads never count on the same bytes."""
    await small.push("x/a", b"a" * 200)
    await small.push("x/b", b"b" * 200)
    gate = bench.store.pause("read", "x/a/0.0")
    fetching = asyncio.create_task(small.fetched("x/a:0.0"))
    await gate.reached()
    with pytest.raises(CacheFullError) as refused:
        await small.fetch("x/b:0.0")
    assert refused.value.metadata["free_bytes"] == "100"
    gate.open()
    assert isinstance(await fetching, FetchCompleted)
    await small.fetch("x/b:0.0")
    assert present(small) == ["x/b:0.0"]


async def test_a_crowd_never_takes_more_than_there_is(bench: Bench) -> None:
    """Used and reserved bytes together keep to the limit, at every moment, also in a crowd.

    Many at once, at every moment of theirs: used and reserved bytes keep to the limit.
    """
    daemon = bench.daemon(limited(max_bytes=500))
    specs = [f"x/a{number}:0.0" for number in range(20)]
    for spec in specs:
        await daemon.push(spec, spec.encode().ljust(100, b"."))
    seen: list[int] = []
    ended = asyncio.Event()

    async def watch() -> None:
        while not ended.is_set():
            status = await daemon.assets.status()
            seen.append(status.used_bytes + status.reserved_bytes)
            await asyncio.sleep(0)

    watching = asyncio.create_task(watch())
    for _ in range(3):
        results = await asyncio.gather(*map(daemon.fetch, specs), return_exceptions=True)
        failures = [one for one in results if isinstance(one, BaseException)]
        assert all(isinstance(failure, CacheFullError) for failure in failures), failures
        assert len(failures) < len(specs)
    ended.set()
    await watching
    assert max(seen) == 500
    assert len(present(daemon)) == 5


# The disk


async def test_what_has_to_stay_free_stays_free(bench: Bench) -> None:
    """A download leaves free of the disk what has to stay free, whoever took the rest.

    As bytes or as a share of the disk; whoever else takes them.
    """
    root = bench.folder / "disk"
    disk = FixedDisk(root, 1000)
    daemon = bench.daemon(limited(min_free_fraction=0.5), fs=disk, root=root)
    await filled(daemon, "x/a:0.0", "x/b:0.0", "x/c:0.0", "x/d:0.0", "x/e:0.0")
    assert len(present(daemon)) == 5
    await filled(daemon, "x/f:0.0")
    assert present(daemon)[0] == "x/b:0.0"
    disk.taken_by_others_bytes = 250
    await filled(daemon, "x/g:0.0")
    assert present(daemon) == ["x/f:0.0", "x/g:0.0"]
    with pytest.raises(AssetExceedsCacheError) as refused:
        await filled(daemon, "x/big:0.0", size_bytes=501)
    assert refused.value.metadata["limit_bytes"] == "500"
    disk.taken_by_others_bytes = 600
    with pytest.raises(CacheFullError):
        await filled(daemon, "x/h:0.0")
    assert present(daemon) == ["x/f:0.0", "x/g:0.0"]


async def test_a_disk_that_is_full_without_a_limit_is_its_own_error(bench: Bench) -> None:
    """DISK_FULL before the first byte: nothing is ours to evict."""
    root = bench.folder / "disk"
    daemon = bench.daemon(limited(), fs=FixedDisk(root, 250), root=root)
    await filled(daemon, "x/a:0.0", "x/b:0.0")
    await daemon.push("x/c", b"c" * 100)
    bench.store.calls.clear()
    with pytest.raises(DiskFullError) as refused:
        await daemon.fetch("x/c:0.0")
    assert refused.value.metadata["needed_bytes"] == "100"
    assert refused.value.metadata["free_bytes"] == "50"
    assert bench.store.count("read") == 0
    assert present(daemon) == ["x/a:0.0", "x/b:0.0"]


@pytest.mark.parametrize("limits", [{"max_bytes": 10_000}, {"min_free_bytes": 10}])
async def test_a_disk_that_others_fill_is_not_a_full_cache(
    bench: Bench, limits: dict[str, int]
) -> None:
    """DISK_FULL with what the disk has left, where the limits of the cache would let it in."""
    root = bench.folder / "disk"
    disk = FixedDisk(root, 1000)
    daemon = bench.daemon(limited(**limits), fs=disk, root=root)
    await filled(daemon, "x/a:0.0")
    disk.taken_by_others_bytes = 850
    await daemon.push("x/b", b"b" * 200)
    with pytest.raises(DiskFullError) as refused:
        await daemon.fetch("x/b:0.0")
    assert refused.value.metadata["free_bytes"] == "50"
    assert present(daemon) == ["x/a:0.0"]
    disk.taken_by_others_bytes = 0
    await daemon.fetch("x/b:0.0")


async def test_what_the_store_has_lost_is_not_told_as_evictable(
    bench: Bench, small: Daemon
) -> None:
    """From the first time that the store was asked about it; until it has it again."""
    await filled(small, "x/a:0.0")
    await filled(small, "x/b:0.0", size_bytes=150)
    _, meta = await bench.memory.get("x/a/0.0.meta", max_bytes=10_000)
    await bench.memory.delete("x/a/0.0.meta")
    assert (await small.assets.status()).evictable_bytes == 250
    await small.push("x/c", b"c" * 250)
    with pytest.raises(CacheFullError) as refused:
        await small.fetch("x/c:0.0")
    assert refused.value.metadata["evictable_bytes"] == "150"
    assert (await small.assets.status()).evictable_bytes == 150
    await bench.memory.put("x/a/0.0.meta", meta)
    await small.fetch("x/c:0.0")
    assert present(small) == ["x/c:0.0"]
    assert (await small.assets.status()).evictable_bytes == 250


async def test_what_others_download_is_not_free(bench: Bench) -> None:
    """The disk has what has not come yet, and it is spoken for."""
    root = bench.folder / "disk"
    daemon = bench.daemon(limited(), fs=FixedDisk(root, 250), root=root)
    await daemon.push("x/a", b"a" * 200)
    await daemon.push("x/b", b"b" * 100)
    gate = bench.store.pause("read", "x/a/0.0")
    fetching = asyncio.create_task(daemon.fetch("x/a:0.0"))
    await gate.reached()
    with pytest.raises(DiskFullError) as refused:
        await daemon.fetch("x/b:0.0")
    assert refused.value.metadata["free_bytes"] == "50"
    gate.open()
    await fetching
