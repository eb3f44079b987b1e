"""The ledger: true to the tree whoever edits it, and the order of use from one run to the next."""

import asyncio
import errno
import fcntl
import os
import shutil

import pytest
from assetd_server.assets.ledger import Ledger
from assetd_server.assets.settings import AssetsSettings
from assetd_server.assets.threads import Threads
from assetd_server.cache.use_order import read_order, take_end
from assetd_server.errors import IoError

from tests.support.assets_bench import Bench, Daemon, PassingClock, flocked, paths_of
from tests.support.clocks import ManualClock
from tests.support.limited import filled, limited, present
from tests.support.versions import put, put_ours

ROOMY = limited(max_bytes=10**6)
TREE = {"a": b"1" * 60, "sub/b": b"2" * 40}


async def used(daemon: Daemon) -> int:
    """The bytes that the daemon says are used."""
    return (await daemon.assets.status()).used_bytes


async def shrunk(bench: Bench, daemon: Daemon, settings: AssetsSettings) -> Daemon:
    """A successor with less room, which has made room for one more version."""
    successor = await bench.successor(daemon, settings=settings)
    await filled(successor, "z/new:0.0")
    return successor


# True to the tree


async def test_what_anybody_puts_or_removes_counts(bench: Bench, daemon: Daemon) -> None:
    """By hand, at any time, in any order: the figures are the tree's."""
    await filled(daemon, "x/a:0.0", "x/b:0.0")
    assert await used(daemon) == 200
    put(daemon.root, b"m" * 50, paths_of("m/y:0.0"), marker=b"")
    put(daemon.root, b"u" * 7, paths_of("m/unmarked:0.0"))
    shutil.rmtree(daemon.root / "x/a")
    assert await used(daemon) == 157
    status = await daemon.assets.status()
    assert status.version_count == 2, "what is not marked is not present"
    (daemon.root / "m/y/0.0").write_bytes(b"m" * 80)
    (daemon.root / "x/b/.0.0.SUCCESS").unlink()
    assert await used(daemon) == 187
    assert bench.daemons == [daemon]


async def test_what_a_dead_run_was_deleting_counts_no_more(bench: Bench, daemon: Daemon) -> None:
    """A kill while the trash is deleted: the rest of it goes, and the bytes are the tree's."""
    await filled(daemon, "x/a:0.0", "x/b:0.0")
    put_ours(daemon.root, TREE, paths_of("x/going:0.0"))
    assert await used(daemon) == 300
    going = daemon.root / ".assetd/trash/going"
    (daemon.root / "x/going/0.0").rename(going)
    (going / "a").unlink()
    successor = await bench.successor(daemon)
    assert not going.exists()
    assert await used(successor) == 200


async def test_without_a_store_what_is_not_marked_is_present(bench: Bench) -> None:
    """As modelkit sees it then."""
    alone = bench.daemon(with_store=False)
    put(alone.root, b"u" * 7, paths_of("m/unmarked:0.0"))
    status = await alone.assets.status()
    assert (status.version_count, status.used_bytes) == (1, 7)


async def test_what_is_unreadable_beside_the_assets_is_no_failure(daemon: Daemon) -> None:
    """Links, devices, foreign folders: none is ours, and none hides a version."""
    await filled(daemon, "x/a:0.0")
    (daemon.root / "link").symlink_to("/usr/share/nothing")
    (daemon.root / "x/link").symlink_to(daemon.root)
    (daemon.root / "x/a/0.1").symlink_to(daemon.root / "x/a/0.0")
    os.mkfifo(daemon.root / "x/a/0.2")
    assert await used(daemon) == 100


async def test_a_disk_that_fails_is_told(daemon: Daemon) -> None:
    """Nobody is told figures that nobody could read; the next look works."""
    await filled(daemon, "x/a:0.0")
    daemon.fs.fail(1, errno.EIO, "list_names")
    with pytest.raises(IoError):
        await daemon.assets.status()
    assert await used(daemon) == 100


async def test_what_happens_during_a_walk_is_newer_than_what_it_found(
    bench: Bench, daemon: Daemon
) -> None:
    """Fetched or evicted while others look: neither lost nor counted twice."""
    await filled(daemon, "x/a:0.0")
    fetches = [f"y/a{number}:0.0" for number in range(5)]
    for spec in fetches:
        await daemon.push(spec, b"y" * 100)
    looking = [asyncio.create_task(daemon.assets.status()) for _ in range(3)]
    await asyncio.gather(*map(daemon.fetch, fetches), *looking)
    assert await used(daemon) == 600
    assert len(bench.daemons) == 1


async def test_walks_are_rare_where_they_cost_much(bench: Bench) -> None:
    """A walk takes a twentieth of the time at most; what this daemon does is noted at once."""

    class SlowDisk(ManualClock):
        """Two seconds pass between two looks at this clock, as if each walk took so long."""

        def monotonic(self) -> float:
            self.advance(1)
            return super().monotonic()

    daemon = bench.daemon(clock=SlowDisk())
    put_ours(daemon.root, b"1" * 10, paths_of("x/a:0.0"))
    assert await used(daemon) == 10
    walks = len(daemon.fs.named("list_names"))
    put_ours(daemon.root, b"1" * 10, paths_of("x/b:0.0"))
    assert await used(daemon) == 10
    assert len(daemon.fs.named("list_names")) == walks
    daemon.clock.advance(60)
    assert await used(daemon) == 20


# The order of use


async def test_the_order_of_use_outlives_the_run(bench: Bench) -> None:
    """The order of use outlives the run.

    Whoever was used last in the last run goes last in this one.
    """
    daemon = bench.daemon(ROOMY)
    await filled(daemon, "x/a:0.0", "x/b:0.0", "x/c:0.0")
    await daemon.fetch("x/a:0.0")
    second = await bench.successor(daemon, settings=ROOMY)
    third = await shrunk(bench, second, limited(max_bytes=300))
    assert present(third) == ["x/a:0.0", "x/c:0.0", "z/new:0.0"]


async def test_hits_before_the_first_walk_count(bench: Bench) -> None:
    """Hits are served before the tree has been walked: they are uses all the same."""
    daemon = bench.daemon(ROOMY)
    await filled(daemon, "x/a:0.0", "x/b:0.0", "x/c:0.0")
    second = await bench.successor(daemon, settings=limited(max_bytes=300))
    await second.fetch("x/a:0.0")
    await filled(second, "z/new:0.0")
    assert present(second) == ["x/a:0.0", "x/c:0.0", "z/new:0.0"]


async def test_what_is_adopted_before_the_first_walk_was_used_last(bench: Bench) -> None:
    """It is younger than all that the walk finds."""
    daemon = bench.daemon(ROOMY)
    await filled(daemon, "x/a:0.0", "x/b:0.0")
    await daemon.push("x/late", b"0" * 100)
    put(daemon.root, b"0" * 100, paths_of("x/late:0.0"), marker=b"")
    second = await bench.successor(daemon, settings=limited(max_bytes=300))
    await second.fetch("x/late:0.0")
    await filled(second, "z/new:0.0")
    assert present(second) == ["x/b:0.0", "x/late:0.0", "z/new:0.0"]


@pytest.mark.parametrize("time", [1, 4_070_908_800], ids=["1970", "2099"])
async def test_what_was_touched_between_two_runs_was_used_last(bench: Bench, time: int) -> None:
    """The client's fast path works while no daemon runs, and its touch is seen."""
    daemon = bench.daemon(ROOMY)
    await filled(daemon, "x/a:0.0", "x/b:0.0", "x/c:0.0")
    await daemon.assets.status()
    await bench.end(daemon)
    os.utime(daemon.root / "x/a/.0.0.SUCCESS", (time, time))
    second = bench.daemon(limited(max_bytes=300), root=daemon.root)
    await filled(second, "z/new:0.0")
    assert present(second) == ["x/a:0.0", "x/c:0.0", "z/new:0.0"]


async def test_an_age_goes_on_in_the_next_run(bench: Bench) -> None:
    """By the seconds that daemons ran: neither a restart nor a clock makes anybody younger."""
    clock = PassingClock()
    daemon = bench.daemon(ROOMY, clock=clock)
    await filled(daemon, "x/a:0.0", "x/b:0.0")
    clock.advance(50)
    await daemon.fetch("x/b:0.0")
    later = PassingClock()
    later.jump(-(10**8))
    settings = limited(max_bytes=200, min_age_seconds=60)
    second = await bench.successor(daemon, settings=settings, clock=later)
    await second.assets.status()
    later.advance(10)
    await filled(second, "z/new:0.0")
    assert present(second) == ["x/b:0.0", "z/new:0.0"]


async def test_after_a_kill_nobody_is_old(bench: Bench) -> None:
    """What was used a moment before the kill is in no saved order, and was promised to stay."""
    settings = limited(max_bytes=300, min_age_seconds=60)
    clocks = [PassingClock() for _ in range(3)]
    first = bench.daemon(settings, clock=clocks[0])
    await filled(first, "x/a:0.0", "x/b:0.0", "x/c:0.0")
    clocks[0].advance(70)
    killed = await bench.successor(first, settings=settings, clock=clocks[1])
    assert (await killed.assets.status()).evictable_bytes == 300
    await killed.fetch("x/a:0.0")
    third = bench.daemon(settings, root=killed.root, clock=clocks[2])
    await third.assets.load()
    assert (await third.assets.status()).evictable_bytes == 0
    clocks[2].advance(60)
    await filled(third, "z/new:0.0")
    assert present(third) == ["x/b:0.0", "x/c:0.0", "z/new:0.0"]


async def test_the_end_of_a_run_saves_ages_that_changed_no_order(bench: Bench) -> None:
    """The last one may have been used again since the order was saved."""
    daemon, clock, disk = bench.daemon(), PassingClock(), Threads("disk", 1)
    put_ours(daemon.root, TREE, paths_of("x/a:0.0"))
    ledger = Ledger(daemon.assets_dir, ROOMY.limits, disk, clock)
    await ledger.refresh()
    clock.advance(50)
    await ledger.tend()
    assert [one.age_seconds for one in read_order(daemon.assets_dir)] == [50]
    assert not take_end(daemon.assets_dir)
    ledger.used(paths_of("x/a:0.0"))
    await ledger.tend(is_last=True)
    assert [one.age_seconds for one in read_order(daemon.assets_dir)] == [0]
    assert take_end(daemon.assets_dir)
    disk.close()


async def test_without_a_saved_order_nobody_is_old(bench: Bench) -> None:
    """What is unknown was used just now, as far as anybody knows; the marker's time gives an order.

    Nobody goes early for a time that may be a lie: it decides who is first, not whether.
    """
    daemon = bench.daemon(ROOMY)
    await filled(daemon, "x/a:0.0", "x/b:0.0", "x/c:0.0")
    await bench.end(daemon)
    (daemon.root / ".assetd/order").unlink()
    for spec, time in (("x/a", 30), ("x/b", 10), ("x/c", 20)):
        os.utime(daemon.root / spec / ".0.0.SUCCESS", (time, time))
    clock = PassingClock()
    settings = limited(max_bytes=300, min_age_seconds=60)
    second = bench.daemon(settings, root=daemon.root, clock=clock)
    assert (await second.assets.status()).evictable_bytes == 0
    clock.advance(60)
    await filled(second, "z/new:0.0")
    assert present(second) == ["x/a:0.0", "x/c:0.0", "z/new:0.0"]


async def test_a_saved_order_lies_about_nothing_but_order(bench: Bench) -> None:
    """Somebody edited it: a size is believed only by the mtime of the marker, or of the folder.

    It names what is not there, and what is there otherwise.
    """
    daemon = bench.daemon(ROOMY)
    await daemon.push("x/d", TREE)
    await daemon.fetch("x/d:0.0")
    await bench.end(daemon)
    order = daemon.root / ".assetd/order"
    order.write_bytes(b"9 1 12345 - x/d/0.0\n9 1 77 - not/there/0.0\ngarbage\n")
    second = bench.daemon(ROOMY, root=daemon.root)
    assert await used(second) == 100


async def test_a_receipt_that_an_earlier_run_read_is_not_read_again(bench: Bench) -> None:
    """A start reads no receipt whose marker has not changed since."""
    daemon = bench.daemon(ROOMY)
    await daemon.push("x/d", TREE)
    await daemon.fetch("x/d:0.0")
    await daemon.assets.status()
    second = await bench.successor(daemon, settings=ROOMY)
    assert await used(second) == 100
    read = {call.paths[0] for call in second.fs.named("pread")}
    assert not any(path.endswith(".SUCCESS") for path in read)


async def test_a_start_looks_only_where_something_changed(bench: Bench) -> None:
    """A folder that has the mtime by which all in it was known holds the same; others are read."""
    daemon = bench.daemon(ROOMY)
    await filled(daemon, "x/same:0.0", "x/edited:0.0", "x/edited:0.1", "x/same:0.1")
    for folder in ("x/same", "x/edited"):
        os.utime(daemon.root / folder, (1, 1))
    await daemon.assets.status()
    await bench.end(daemon)
    (daemon.root / "x/edited/0.0").unlink()
    second = bench.daemon(ROOMY, root=daemon.root)
    ledger = Ledger(second.assets_dir, ROOMY.limits, Threads("test", 1), second.clock)
    second.fs.calls.clear()
    await ledger.refresh()
    assert ledger.budget.used_bytes == 300
    looked_at = {call.paths[0] for call in second.fs.named("lstat")}
    versions = {path for path in looked_at if path.startswith("x/")}
    assert versions == {"x/edited/0.1", "x/edited/.0.1.SUCCESS"}


async def test_a_folder_that_has_just_changed_is_looked_into(bench: Bench) -> None:
    """Two changes within one tick of the clock leave one mtime: only what settled is trusted."""
    daemon = bench.daemon(ROOMY)
    await filled(daemon, "x/a:0.0", "x/a:0.1")
    just_now = daemon.clock.now().timestamp() - 1
    os.utime(daemon.root / "x/a", (just_now, just_now))
    await daemon.assets.status()
    await bench.end(daemon)
    (daemon.root / "x/a/0.0").unlink()
    os.utime(daemon.root / "x/a", (just_now, just_now))
    second = bench.daemon(ROOMY, root=daemon.root)
    assert await used(second) == 100


async def test_the_order_is_saved_once_in_a_while(bench: Bench) -> None:
    """A daemon that is killed has forgotten the last minute at most."""
    clock = ManualClock()
    daemon = bench.daemon(ROOMY, clock=clock)
    await daemon.assets.start()
    await clock.until_asleep()
    filling = asyncio.create_task(filled(daemon, "x/a:0.0", "x/b:0.0", "x/c:0.0"))
    while not filling.done():
        await asyncio.sleep(0)
        clock.advance(0.01)
    await filling
    await daemon.fetch("x/a:0.0")
    saved = daemon.root / ".assetd/order"
    async with asyncio.timeout(30):
        while not saved.exists() or not saved.read_text().endswith("x/a/0.0\n"):
            # Again, should an earlier one be under way: the next begins a minute after it.
            clock.advance(60)
            await asyncio.sleep(0.01)
    await bench.end(daemon)


async def test_an_order_that_cannot_be_saved_is_nobodys_failure(bench: Bench) -> None:
    """A full disk, or a folder in its place: the daemon ends well."""
    daemon = bench.daemon(ROOMY)
    await filled(daemon, "x/a:0.0")
    await daemon.assets.status()
    (daemon.root / ".assetd/order.new").mkdir()
    await bench.end(daemon)
    assert not (daemon.root / ".assetd/order").exists()


# Leases


async def test_leases_are_counted_as_they_are(daemon: Daemon) -> None:
    """Whoever holds them; those on what is gone count no more."""
    await filled(daemon, "x/a:0.0", "x/b:0.0")
    with flocked(daemon.root / "x/a/0.0", fcntl.LOCK_SH):
        assert (await daemon.assets.status()).leased_count == 1
        (daemon.root / "x/a/0.0").unlink()
        assert (await daemon.assets.status()).leased_count == 0
    assert (await daemon.assets.status()).leased_count == 0


async def test_many_versions_are_looked_at_in_turn(bench: Bench) -> None:
    """A status of many costs no look at each; tending sees the leases of all, in time."""
    daemon = bench.daemon(ROOMY)
    for number in range(6100):
        put_ours(daemon.root, b"1", paths_of(f"x/a{number}:0.0"))
    threads = Threads("test", 1)
    ledger = Ledger(daemon.assets_dir, ROOMY.limits, threads, daemon.clock)
    await ledger.refresh()
    daemon.fs.calls.clear()
    newest = ledger.versions()[-1].key
    with flocked(daemon.root / newest, fcntl.LOCK_SH):
        assert await ledger.all_leased() == set()
        assert daemon.fs.named("flock") == []
        for _ in range(2):
            await ledger.tend()
        assert await ledger.all_leased() == {newest}
        await ledger.tend()
        assert await ledger.all_leased() == {newest}
    assert await ledger.all_leased() == set()
    threads.close()
