"""Partial versions as a caller sees them: what is fetched, what is a hit, who shares or waits."""

import asyncio
import fcntl
import json
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from assetd_server.assets.orders import (
    FetchCompleted,
    FetchOrder,
    FetchPhase,
    FetchProgress,
    FetchStarted,
    ListFilesOrder,
    ListOrder,
    ResolveOrder,
    Scope,
)
from assetd_server.assets.selection import Selection
from assetd_server.errors import (
    AssetInUseError,
    DigestMismatchError,
    InvalidFieldError,
    NoStoreError,
    NotCachedError,
    PartNotFoundError,
    ReadOnlyError,
    StoreUnavailableError,
    UnsafePathError,
    VersionNotFoundError,
)
from assetd_server.model import Freshness, PartPath, Presence, Resolution, Source, Verification
from assetd_server.spec import Spec

from tests.support.assets_bench import (
    RANGE_BYTES,
    Bench,
    Daemon,
    digest_of,
    first_of,
    flip_byte,
    flocked,
    may_be_moved,
    names_of,
    paths_of,
    started_of,
)
from tests.support.clocks import ManualClock
from tests.support.trees import read_tree
from tests.support.versions import put, put_ours

HIT = ["FetchStarted", "FetchCompleted"]
TREE = {
    "a.json": b"1" * 100,
    "b.bin": b"2" * (3 * RANGE_BYTES),
    "sub/c.json": b"3" * 10,
    "sub/d.bin": b"4" * 20,
}
DATA = ".assetd/partial/x/d/0.0"
PARTS = f"{DATA}/parts"
JSON = Selection(include=("**/*.json",))
BINS = Selection(include=("**/*.bin",))
SUB = Selection(folder=PartPath("sub"))


def size_of(*parts: str) -> int:
    """The bytes of these parts."""
    return sum(len(TREE[part]) for part in parts)


def here(daemon: Daemon) -> dict[str, bytes]:
    """What stands in the partial version, listed or not."""
    folder = daemon.root / PARTS
    return read_tree(folder) if folder.exists() else {}


def some(*parts: str) -> dict[str, bytes]:
    """These parts with their bytes."""
    return {part: TREE[part] for part in parts}


@pytest.fixture
async def pushed(daemon: Daemon) -> Daemon:
    """A daemon with a directory asset in its store, and nothing in its cache."""
    await daemon.push("x/d", TREE)
    return daemon


# What is fetched


@pytest.mark.parametrize(
    ("spec", "selection", "parts"),
    [
        ("x/d", JSON, {"a.json", "sub/c.json"}),
        ("x/d", Selection(include=("*",)), {"a.json", "b.bin"}),
        ("x/d", Selection(exclude=("**/*.bin",)), {"a.json", "sub/c.json"}),
        ("x/d", Selection(("*.json", "sub/**"), ("**/d*",)), {"a.json", "sub/c.json"}),
        ("x/d[sub]", SUB, {"sub/c.json", "sub/d.bin"}),
        ("x/d[sub/d.bin]", Selection(folder=PartPath("sub/d.bin")), {"sub/d.bin"}),
        ("x/d[sub]", JSON, {"a.json", "sub/c.json"}),
        ("x/d", Selection(include=("**",)), set(TREE)),
    ],
)
async def test_only_what_is_wanted_is_fetched(
    bench: Bench, pushed: Daemon, spec: str, selection: Selection, parts: set[str]
) -> None:
    """Globs and `part_only` bring the parts that are wanted, and nothing else.

    Their bytes are what started tells; the path points at the part of the spec.
    """
    bench.store.calls.clear()
    events = await pushed.fetch(spec, selection=selection)
    started, completed = started_of(events), events[-1]
    assert isinstance(completed, FetchCompleted)
    assert (started.total_bytes, started.total_files) == (size_of(*parts), len(parts))
    assert started.asset_version == completed.asset_version
    assert completed.asset_version.digest == digest_of(TREE)
    assert completed.asset_version.file_count == len(TREE)
    assert (completed.source, completed.verification) == (Source.STORE, Verification.CHECKSUM)
    assert (completed.transferred_bytes, completed.reused_bytes) == (size_of(*parts), 0)
    part = Spec.parse(spec).part
    assert completed.relative_path == (f"{PARTS}/{part}" if part else PARTS)
    assert completed.path == str(pushed.root / completed.relative_path)
    assert here(pushed) == some(*parts)
    read = {key for operation, key in bench.store.calls if operation == "read"}
    assert read == {f"x/d/0.0/{part}" for part in parts}


async def test_modelkit_never_sees_it(bench: Bench, pushed: Daemon) -> None:
    """Parts never stand where modelkit could serve them, nor count as the version.

    Nothing lies outside `.assetd`, and no marker in it; without a store there is no version.
    """
    await pushed.fetch("x/d", selection=JSON)
    assert {path.name for path in pushed.root.iterdir()} == {".assetd"}
    assert list(pushed.root.rglob(".SUCCESS")) == []
    alone = bench.daemon(with_store=False, root=pushed.root)
    with pytest.raises(VersionNotFoundError):
        await alone.fetch("x/d:0.0")


@pytest.mark.parametrize(
    ("spec", "selection"),
    [
        ("x/d", Selection(include=("*.txt",))),
        ("x/d", Selection(exclude=("**",))),
        ("x/d[nope]", Selection(folder=PartPath("nope"))),
        ("x/d[su]", Selection(folder=PartPath("su"))),
        ("x/d[nope]", JSON),
        ("x/d[b.bin]", JSON),
        ("x/f[sub]", SUB),
    ],
)
@pytest.mark.parametrize("is_cached", [False, True])
async def test_nothing_wanted_is_part_not_found(
    bench: Bench, pushed: Daemon, spec: str, selection: Selection, *, is_cached: bool
) -> None:
    """Globs that match nothing are `PART_NOT_FOUND`, before any byte comes.

    On a miss, before any byte, and on a hit, be it of the version or of parts of it.
    """
    await pushed.push("x/f", b"data")
    if is_cached:
        await pushed.fetch("x/f")
        await pushed.fetch("x/d", selection=JSON)
    bench.store.calls.clear()
    for _ in range(2):
        with pytest.raises(PartNotFoundError):
            await pushed.fetch(spec, selection=selection)
        assert bench.store.count("read") == 0
        if is_cached:
            await pushed.fetch("x/d")
            bench.store.calls.clear()


@pytest.mark.parametrize("is_cached", [False, True])
async def test_a_file_has_no_parts_to_choose_from(daemon: Daemon, *, is_cached: bool) -> None:
    """Globs on a file asset are INVALID_FIELD, not an empty choice."""
    await daemon.push("x/f", b"data")
    if is_cached:
        await daemon.fetch("x/f")
    for spec in ("x/f[sub]", "x/f"):
        with pytest.raises(InvalidFieldError, match="no directory asset") as refused:
            await daemon.fetch(spec, selection=Selection(exclude=("*",)))
    assert refused.value.metadata["field"] == "exclude"
    assert not (daemon.root / ".assetd/partial").exists()


# What is a hit


async def test_what_covers_all_that_is_wanted_is_a_hit(bench: Bench, pushed: Daemon) -> None:
    """Parts of a pinned version that are here are served without a store call.

    Any selection of them, also while the store is down.
    """
    await pushed.fetch("x/d", selection=JSON)
    bench.store.calls.clear()
    bench.store.go_down()
    for spec, selection, parts in (
        ("x/d:0.0", JSON, ["a.json", "sub/c.json"]),
        ("x/d:0.0", Selection(include=("sub/*.json",)), ["sub/c.json"]),
        ("x/d:0.0[a.json]", Selection(folder=PartPath("a.json")), ["a.json"]),
    ):
        events = await pushed.fetch(spec, selection=selection)
        assert names_of(events) == HIT
        started, completed = started_of(events), events[-1]
        assert isinstance(completed, FetchCompleted)
        assert started.total_bytes == started.present_bytes == size_of(*parts)
        assert started.total_files == len(parts)
        assert (completed.source, completed.transferred_bytes) == (Source.CACHE, 0)
        assert completed.reused_bytes == size_of(*parts)
        assert completed.verification is Verification.CHECKSUM
    with pytest.raises(StoreUnavailableError):
        await pushed.fetch("x/d:0.0", selection=BINS)
    with pytest.raises(StoreUnavailableError):
        await pushed.fetch("x/d:0.0")
    assert {operation for operation, _ in bench.store.calls} == {"get"}


async def test_a_hit_survives_a_restart(bench: Bench, pushed: Daemon) -> None:
    """The tree is the state: another run finds the parts, also without any store."""
    await pushed.fetch("x/d", selection=JSON)
    alone = bench.daemon(with_store=False, root=pushed.root)
    assert names_of(await alone.fetch("x/d:0.0", selection=JSON)) == HIT
    with pytest.raises(VersionNotFoundError):
        await alone.fetch("x/d:0.0", selection=BINS)
    with pytest.raises(NoStoreError):
        await alone.fetch("x/d:0.0", selection=JSON, force_download=True)


async def test_the_whole_version_is_the_answer_where_it_is_here(
    bench: Bench, pushed: Daemon
) -> None:
    """Where the whole version is here, it is the answer to who wants parts of it.

    By its final path, with the figures of what is wanted.
    """
    await pushed.fetch("x/d")
    bench.store.calls.clear()
    events = await pushed.fetch("x/d:0.0[sub]", selection=SUB)
    assert names_of(events) == HIT
    completed = events[-1]
    assert isinstance(completed, FetchCompleted)
    assert completed.relative_path == "x/d/0.0/sub"
    assert started_of(events).total_bytes == size_of("sub/c.json", "sub/d.bin")
    assert bench.store.calls == []
    assert not (pushed.root / ".assetd/partial").exists()


@pytest.mark.parametrize("freshness", [Freshness.CACHE, Freshness.STORE_OR_CACHE])
async def test_the_newest_that_covers_what_is_wanted(
    bench: Bench, pushed: Daemon, freshness: Freshness
) -> None:
    """Where the cache decides, versions count of which all that is wanted is here."""
    await pushed.push("x/d", TREE)
    await pushed.push("x/d", TREE)
    for spec, selection in (("x/d:0.0", JSON), ("x/d:0.1", JSON), ("x/d:0.2", BINS)):
        await pushed.fetch(spec, selection=selection)
    bench.store.go_down()
    order: dict[str, Any] = {"freshness": freshness}
    events = await pushed.fetch("x/d", selection=JSON, **order)
    assert str(started_of(events).asset_version) == "x/d:0.1"
    cached = freshness is Freshness.CACHE
    assert started_of(events).resolution is (Resolution.CACHE if cached else Resolution.FALLBACK)
    failure = NotCachedError if cached else StoreUnavailableError
    for without in ({"selection": Selection(include=("**",))}, {}):
        with pytest.raises(failure):
            await pushed.fetch("x/d", **without, **order)


async def test_the_cache_alone_never_downloads(bench: Bench, pushed: Daemon) -> None:
    """Freshness CACHE serves the parts that are here, and answers NOT_CACHED for others."""
    await pushed.fetch("x/d", selection=JSON)
    bench.store.calls.clear()
    await pushed.fetch("x/d:0.0", selection=JSON, freshness=Freshness.CACHE)
    with pytest.raises(NotCachedError):
        await pushed.fetch("x/d:0.0", selection=BINS, freshness=Freshness.CACHE)
    assert bench.store.calls == []


async def test_unmarked_data_counts_without_a_store(bench: Bench) -> None:
    """As for whole versions: what stands at the final path, by the files that are there."""
    alone = bench.daemon(with_store=False)
    for path in ("a.json", "sub/c.json"):
        target = alone.root / "x/d/0.0" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(TREE[path])
    events = await alone.fetch("x/d", selection=SUB)
    assert started_of(events).total_bytes == size_of("sub/c.json")
    assert (await alone.fetched("x/d", selection=JSON)).relative_path == "x/d/0.0"
    with pytest.raises(PartNotFoundError):
        await alone.fetch("x/d", selection=BINS)


async def test_a_plain_path_has_no_parts_to_choose_from(bench: Bench) -> None:
    """Without a store a path that is no asset is answered whole, or refused."""
    alone = bench.daemon(with_store=False)
    (alone.root / "plain/sub").mkdir(parents=True)
    assert (await alone.fetched("plain[sub]", selection=SUB)).relative_path == "plain/sub"
    with pytest.raises(InvalidFieldError, match="no directory asset"):
        await alone.fetch("plain", selection=JSON)


async def test_a_read_only_cache_serves_hits(pushed: Daemon) -> None:
    """What is here is answered, what is missing is READ_ONLY."""
    await pushed.fetch("x/d", selection=JSON)
    for call in ("create", "mkdir", "rename"):
        for number in range(1, 20):
            pushed.fs.fail(number, 30, call)
    assert names_of(await pushed.fetch("x/d:0.0", selection=JSON)) == HIT
    with pytest.raises(ReadOnlyError):
        await pushed.fetch("x/d:0.0", selection=BINS)
    pushed.fs.heal()


# Growth


async def test_only_what_is_missing_is_fetched(bench: Bench, pushed: Daemon) -> None:
    """Of the parts that are wanted only the missing ones are fetched.

    What is here already is counted from the start, and told apart at the end.
    """
    await pushed.fetch("x/d", selection=JSON)
    bench.store.calls.clear()
    events = await pushed.fetch("x/d", selection=SUB)
    assert bench.store.count("read") == 1
    assert started_of(events).present_bytes == size_of("sub/c.json")
    completed = events[-1]
    assert isinstance(completed, FetchCompleted)
    assert completed.source is Source.STORE
    assert completed.transferred_bytes == size_of("sub/d.bin")
    assert completed.reused_bytes == size_of("sub/c.json")
    assert here(pushed) == some("a.json", "sub/c.json", "sub/d.bin")
    assert names_of(await pushed.fetch("x/d", selection=JSON)) == HIT


async def test_what_was_deleted_by_hand_is_fetched_again(bench: Bench, pushed: Daemon) -> None:
    """A part of it, or all of it, receipt and folders included."""
    await pushed.fetch("x/d", selection=JSON)
    (pushed.root / PARTS / "a.json").unlink()
    bench.store.calls.clear()
    assert (await pushed.fetched("x/d", selection=JSON)).transferred_bytes == size_of("a.json")
    for path in sorted((pushed.root / ".assetd").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    await pushed.fetch("x/d", selection=JSON)
    assert here(pushed) == some("a.json", "sub/c.json")


async def test_equal_selections_share_one_download(bench: Bench, pushed: Daemon) -> None:
    """Whatever the order of their globs, and whatever part their paths point at."""
    gate = bench.store.pause("read", "a.json")
    bench.store.calls.clear()
    globs = Selection.of_globs(["a*", "sub/c*"], [])
    callers = [
        asyncio.create_task(pushed.fetch("x/d:0.0", selection=globs)),
        asyncio.create_task(
            pushed.fetch("x/d:0.0", selection=Selection.of_globs(["sub/c*", "a*", "a*"], []))
        ),
        asyncio.create_task(pushed.fetch("x/d:0.0[sub]", selection=globs)),
    ]
    await pushed.until_waiting(3)
    await gate.reached()
    gate.open()
    answers = [(await caller)[-1] for caller in callers]
    assert bench.store.count("read") == 2
    paths = [event.relative_path for event in answers if isinstance(event, FetchCompleted)]
    assert paths == [PARTS, PARTS, f"{PARTS}/sub"]


async def test_a_part_outside_a_shared_selection_fails_alone(bench: Bench, pushed: Daemon) -> None:
    """Who points at a part that is left out gets PART_NOT_FOUND; the others get their answer."""
    gate = bench.store.pause("read", "a.json")
    caller = asyncio.create_task(pushed.fetch("x/d:0.0", selection=JSON))
    await gate.reached()
    with pytest.raises(PartNotFoundError, match="leave it out"):
        await pushed.fetch("x/d:0.0[b.bin]", selection=JSON)
    gate.open()
    assert names_of(await caller)[-1] == "FetchCompleted"


async def test_other_selections_wait_for_each_other(bench: Bench, pushed: Daemon) -> None:
    """Fetches of other parts of one version wait for each other: no part is fetched twice.

    The second says QUEUED, then fetches only what the first did not bring.
    """
    bench.store.calls.clear()
    gate = bench.store.pause("read", "a.json")
    first = asyncio.create_task(pushed.fetch("x/d:0.0", selection=JSON))
    await gate.reached()
    order = FetchOrder(Spec.parse("x/d:0.0"), selection=SUB, progress_interval_seconds=0.001)
    async with aclosing(pushed.assets.fetch(order)) as events:
        started = await anext(events)
        queued = await anext(events)
        assert isinstance(started, FetchStarted)
        assert (started.joined, started.present_bytes) == (False, 0)
        assert isinstance(queued, FetchProgress)
        assert queued.phase is FetchPhase.QUEUED
        assert bench.store.count("read", "sub/d.bin") == 0
        gate.open()
        rest = [event async for event in events]
    completed = rest[-1]
    assert isinstance(completed, FetchCompleted)
    assert completed.transferred_bytes == size_of("sub/d.bin")
    assert completed.reused_bytes == size_of("sub/c.json")
    figures = [event.present_bytes for event in rest if isinstance(event, FetchProgress)]
    assert figures == sorted(figures)
    await first
    assert {bench.store.count("read", part) for part in here(pushed)} == {1}


async def test_who_waits_goes_on_when_the_first_is_given_up(bench: Bench, pushed: Daemon) -> None:
    """A download that lost its last caller lets the next one begin, and leaves nothing behind."""
    gate = bench.store.pause("read", "a.json")
    first = asyncio.create_task(pushed.fetch("x/d:0.0", selection=JSON))
    await gate.reached()
    second = asyncio.create_task(pushed.fetch("x/d:0.0", selection=SUB))
    while len(list((await pushed.assets.status()).flights)) < 2:  # noqa: ASYNC110
        await asyncio.sleep(0)
    first.cancel()
    assert names_of(await second)[-1] == "FetchCompleted"
    assert here(pushed) == some("sub/c.json", "sub/d.bin")


async def test_versions_do_not_wait_for_each_other(bench: Bench, pushed: Daemon) -> None:
    """Nor does the whole version wait for parts of it."""
    await pushed.push("x/d", TREE)
    gate = bench.store.pause("read", "x/d/0.0/a.json")
    slow = asyncio.create_task(pushed.fetch("x/d:0.0", selection=JSON))
    await gate.reached()
    await pushed.fetch("x/d:0.1", selection=JSON)
    await pushed.fetch("x/d:0.0")
    gate.open()
    completed = (await slow)[-1]
    assert isinstance(completed, FetchCompleted)
    assert read_tree(Path(completed.path)) == some("a.json", "sub/c.json")


async def test_what_is_taken_away_meanwhile_is_fetched_again(bench: Bench, pushed: Daemon) -> None:
    """A flight answers only with all that is wanted, whatever was deleted while it flew."""
    await pushed.fetch("x/d", selection=JSON)
    gate = bench.store.pause("read", "sub/d.bin")
    growing = asyncio.create_task(pushed.fetch("x/d:0.0", selection=SUB))
    await gate.reached()
    (pushed.root / PARTS / "sub/c.json").unlink()
    gate.open()
    completed = (await growing)[-1]
    assert isinstance(completed, FetchCompleted)
    assert here(pushed) == some("a.json", "sub/c.json", "sub/d.bin")
    assert completed.transferred_bytes == size_of("sub/c.json", "sub/d.bin")
    assert completed.reused_bytes == 0


async def test_a_failure_keeps_what_is_here(bench: Bench, pushed: Daemon) -> None:
    """A disk that fails, or a store that does, costs no part, and a repeat succeeds."""
    await pushed.fetch("x/d", selection=JSON)
    pushed.fs.fail(1, 28, "pwritev")
    with pytest.raises(Exception, match="no room left"):
        await pushed.fetch("x/d", selection=SUB)
    bench.store.damage("x/d/0.0/sub/d.bin", times=2)
    with pytest.raises(DigestMismatchError):
        await pushed.fetch("x/d", selection=SUB)
    assert here(pushed) == some("a.json", "sub/c.json")
    await pushed.require_idle()
    await pushed.fetch("x/d", selection=SUB)
    assert here(pushed) == some("a.json", "sub/c.json", "sub/d.bin")


async def test_what_a_later_release_wrote_costs_no_download(bench: Bench, pushed: Daemon) -> None:
    """It is left alone, and the caller is told before any byte comes."""
    await pushed.fetch("x/d", selection=JSON)
    (pushed.root / DATA / "receipt").write_bytes(b'{"format": 99}')
    bench.store.calls.clear()
    with pytest.raises(UnsafePathError, match="later release"):
        await pushed.fetch("x/d", selection=JSON)
    assert bench.store.count("read") == 0


async def test_an_interrupted_growth_is_continued(bench: Bench, pushed: Daemon) -> None:
    """What has come of equal selections is kept when nobody waits any more."""
    gate = bench.store.pause("read", "sub/d.bin")
    wanted = Selection(include=("**",))
    caller = asyncio.create_task(pushed.fetch("x/d:0.0", selection=wanted))
    await gate.reached()
    rest = size_of("a.json", "b.bin", "sub/c.json")
    # Nothing but the status tells of it.
    while [f.progress.present_files for f in (await pushed.assets.status()).flights] != [3]:  # noqa: ASYNC110
        await asyncio.sleep(0)
    caller.cancel()
    await pushed.until_waiting(0)
    assert here(pushed) == {}
    events = await pushed.fetch("x/d:0.0", selection=wanted)
    assert started_of(events).present_bytes == rest
    completed = events[-1]
    assert isinstance(completed, FetchCompleted)
    assert completed.transferred_bytes == size_of("sub/d.bin")
    assert completed.reused_bytes == rest
    assert here(pushed) == TREE


@pytest.mark.parametrize("selection", [None, JSON])
async def test_parts_of_other_versions_are_reused(
    bench: Bench, pushed: Daemon, selection: Selection | None
) -> None:
    """Equal parts of a version that is here, whole or in part, are not fetched again."""
    await pushed.push("x/d", {**TREE, "a.json": b"other"})
    await pushed.fetch("x/d:0.0", selection=selection)
    bench.store.calls.clear()
    completed = await pushed.fetched("x/d:0.1", selection=JSON)
    assert completed.transferred_bytes == len(b"other")
    assert completed.reused_bytes == size_of("sub/c.json")


# The whole version afterwards


async def test_the_whole_version_takes_its_place(bench: Bench, pushed: Daemon) -> None:
    """A fetch of the whole version takes over the parts that are here, and their place."""
    await pushed.fetch("x/d", selection=BINS)
    bench.store.calls.clear()
    whole = await pushed.fetched("x/d")
    assert whole.transferred_bytes == size_of("a.json", "sub/c.json")
    assert whole.reused_bytes == size_of("b.bin", "sub/d.bin")
    assert bench.store.count("read") == 2
    assert read_tree(pushed.root / "x/d/0.0") == TREE
    assert {path.stat().st_nlink for path in (pushed.root / "x/d/0.0").rglob("*.*")} == {1}
    assert not (pushed.root / DATA).exists()
    assert (await pushed.fetched("x/d", selection=JSON)).relative_path == "x/d/0.0"


async def test_a_held_partial_version_outlives_the_whole_one(pushed: Daemon) -> None:
    """Who holds it keeps it; the next whole fetch after the hold takes it away."""
    events = pushed.assets.fetch(FetchOrder(Spec.parse("x/d"), selection=JSON, hold=True))
    await first_of(events, FetchCompleted)
    await pushed.fetch("x/d")
    assert here(pushed) == some("a.json", "sub/c.json")
    listed = (await pushed.assets.list(ListOrder())).entries[0].cache_state
    assert listed.presence is Presence.PRESENT
    assert listed.disk_bytes == size_of(*TREE)
    status = await pushed.assets.status()
    assert status.used_bytes == size_of(*TREE, "a.json", "sub/c.json")
    assert status.version_count == 1
    await events.aclose()
    await pushed.fetch("x/d", force_download=True)
    assert not (pushed.root / DATA).exists()


async def test_trouble_with_the_partial_version_is_none_of_the_whole(pushed: Daemon) -> None:
    """The version has landed, whatever cannot be removed beside it."""
    await pushed.fetch("x/d", selection=JSON)
    pushed.fs.fail(2, 5, "rename_noreplace")  # the first shows the version
    assert names_of(await pushed.fetch("x/d"))[-1] == "FetchCompleted"
    assert here(pushed) == some("a.json", "sub/c.json")


# Holds


async def test_a_hold_keeps_the_partial_version(pushed: Daemon) -> None:
    """The lease is on its folder: the hold ends it, and it still grows meanwhile."""
    order = FetchOrder(Spec.parse("x/d"), selection=JSON, hold=True, caller="me")
    events = pushed.assets.fetch(order)
    await first_of(events, FetchCompleted)
    assert not may_be_moved(pushed.root / DATA)
    await pushed.fetch("x/d", selection=SUB)
    status = await pushed.assets.status()
    assert [(str(hold.asset_version), hold.caller) for hold in status.holds] == [("x/d:0.0", "me")]
    [entry] = (await pushed.assets.list(ListOrder())).entries
    assert (entry.cache_state.leased, entry.cache_state.hold_count) == (True, 1)
    await events.aclose()
    assert may_be_moved(pushed.root / DATA)


async def test_a_hold_waits_for_who_replaces_other_parts(bench: Bench, pushed: Daemon) -> None:
    """A repair keeps leases away until it is durable; nothing is refused for that."""
    clock = ManualClock()
    await pushed.fetch("x/d", selection=JSON)
    daemon = bench.daemon(root=pushed.root, clock=clock)
    events = daemon.assets.fetch(FetchOrder(Spec.parse("x/d"), selection=JSON, hold=True))
    with flocked(daemon.root / DATA, fcntl.LOCK_EX) as locked:
        assert locked
        holding = asyncio.create_task(first_of(events, FetchCompleted))
        for _ in range(4):
            await clock.until_asleep()
            clock.advance(1)
        await clock.until_asleep()
    clock.advance(1)
    await holding
    assert not may_be_moved(daemon.root / DATA)
    await events.aclose()


async def test_a_hold_does_not_wait_for_ever(pushed: Daemon) -> None:
    """ASSET_IN_USE after some seconds."""
    await pushed.fetch("x/d", selection=JSON)
    began = pushed.clock.monotonic()
    with (
        flocked(pushed.root / DATA, fcntl.LOCK_EX),
        pytest.raises(AssetInUseError, match="replaced or removed every time"),
    ):
        await pushed.fetch("x/d", selection=JSON, hold=True)
    assert 3 < pushed.clock.monotonic() - began < 10


async def test_without_a_store_a_hold_needs_the_receipt(bench: Bench, pushed: Daemon) -> None:
    """A partial version without its receipt is none, also where markers do not count."""
    await pushed.fetch("x/d", selection=JSON)
    alone = bench.daemon(with_store=False, root=pushed.root)
    order = FetchOrder(Spec.parse("x/d"), selection=JSON, hold=True)
    events = alone.assets.fetch(order)
    await first_of(events, FetchCompleted)
    assert not may_be_moved(pushed.root / DATA)
    await events.aclose()


# Checks


@pytest.mark.parametrize("order", [{"verify": True}, {"expected_digest": digest_of(TREE)}])
async def test_who_wants_hashes_gets_them(pushed: Daemon, order: dict[str, Any]) -> None:
    """Of what is wanted, on a miss and on a hit; the digest is compared with the manifest's."""
    for _ in ("miss", "hit"):
        completed = await pushed.fetched("x/d", selection=JSON, **order)
        assert completed.verification is Verification.DIGEST
    await pushed.fetch("x/d", selection=BINS)
    assert (await pushed.fetched("x/d", selection=BINS)).verification is Verification.CHECKSUM
    for _ in ("hashed", "remembered"):
        completed = await pushed.fetched("x/d", selection=SUB, **order)
        assert completed.verification is Verification.DIGEST
        assert completed.transferred_bytes == 0


@pytest.mark.parametrize("is_cached", [False, True])
async def test_another_digest_is_refused(pushed: Daemon, *, is_cached: bool) -> None:
    """Before anything is published, and on a hit; force_download is no way around it."""
    if is_cached:
        await pushed.fetch("x/d", selection=JSON)
    for force in (False, True):
        with pytest.raises(DigestMismatchError):
            await pushed.fetch(
                "x/d", selection=JSON, expected_digest=digest_of(b"other"), force_download=force
            )
    assert here(pushed) == (some("a.json", "sub/c.json") if is_cached else {})


async def test_a_digest_that_nobody_knows_cannot_be_compared(bench: Bench, daemon: Daemon) -> None:
    """What modelkit pushed has none, and some of its parts do not tell it: never a silent yes."""
    await bench.modelkit_pushes("x/d:0.0", TREE)
    expected = digest_of(TREE)
    for _ in ("miss", "hit"):
        with pytest.raises(InvalidFieldError, match="no digest") as refused:
            await daemon.fetch("x/d:0.0", selection=JSON, expected_digest=expected)
        assert refused.value.metadata["field"] == "expected_digest"
        await daemon.fetch("x/d:0.0", selection=JSON)
    assert (await daemon.fetched("x/d:0.0", selection=JSON)).verification is Verification.SIZE
    hashed = await daemon.fetched("x/d:0.0", selection=JSON, verify=True)
    assert hashed.verification is Verification.DIGEST


@pytest.mark.parametrize("order", [{"verify": True}, {"expected_digest": digest_of(TREE)}])
async def test_a_damaged_part_is_fetched_again(
    bench: Bench, pushed: Daemon, order: dict[str, Any]
) -> None:
    """Found where hashes count, and replaced; the sound ones stay."""
    await pushed.fetch("x/d", selection=JSON)
    flip_byte(pushed.root / PARTS / "a.json")
    bench.store.calls.clear()
    completed = await pushed.fetched("x/d", selection=JSON, **order)
    assert completed.verification is Verification.DIGEST
    assert here(pushed) == some("a.json", "sub/c.json")
    assert bench.store.count("read") == 1


async def test_a_damaged_part_that_is_held_stays(pushed: Daemon) -> None:
    """ASSET_IN_USE: nothing changes under a lease."""
    events = pushed.assets.fetch(FetchOrder(Spec.parse("x/d"), selection=JSON, hold=True))
    await first_of(events, FetchCompleted)
    flip_byte(pushed.root / PARTS / "a.json")
    with pytest.raises(AssetInUseError):
        await pushed.fetch("x/d", selection=JSON, verify=True)
    await events.aclose()
    await pushed.fetch("x/d", selection=JSON, verify=True)
    assert here(pushed) == some("a.json", "sub/c.json")


@pytest.mark.parametrize("is_held", [False, True])
async def test_a_forced_download_that_proves_equal_stays(
    bench: Bench, pushed: Daemon, *, is_held: bool
) -> None:
    """All that is wanted is downloaded; equal parts are left alone, held or not."""
    order = FetchOrder(Spec.parse("x/d"), selection=JSON, hold=is_held)
    events = pushed.assets.fetch(order)
    await first_of(events, FetchCompleted)
    inode = (pushed.root / PARTS / "a.json").stat().st_ino
    bench.store.calls.clear()
    forced = await pushed.fetched("x/d", selection=JSON, force_download=True)
    assert bench.store.count("read") == 2
    assert (forced.source, forced.reused_bytes) == (Source.STORE, 0)
    assert (pushed.root / PARTS / "a.json").stat().st_ino == inode
    await events.aclose()


async def test_a_forced_download_replaces_what_differs(pushed: Daemon) -> None:
    """Silent damage of the same size is replaced."""
    await pushed.fetch("x/d", selection=JSON)
    flip_byte(pushed.root / PARTS / "a.json")
    await pushed.fetch("x/d", selection=JSON, force_download=True)
    assert here(pushed) == some("a.json", "sub/c.json")


async def test_a_forced_download_may_be_the_first(pushed: Daemon) -> None:
    """There is nothing to compare with; and what vanishes while it is compared comes anew."""
    await pushed.fetch("x/d", selection=JSON, force_download=True)
    pushed.fs.before("pread", (pushed.root / PARTS / "sub/c.json").unlink)
    await pushed.fetch("x/d", selection=JSON, force_download=True)
    assert here(pushed) == some("a.json", "sub/c.json")


async def test_what_vanishes_while_it_is_read_is_fetched_again(pushed: Daemon) -> None:
    """Whoever wants hashes gets the parts, whatever is deleted between the looks at them."""
    await pushed.fetch("x/d", selection=JSON)
    flip_byte(pushed.root / PARTS / "a.json")
    # The caller's own look reads both parts, each to its end; then the flight does.
    pushed.fs.before("pread", (pushed.root / PARTS / "sub/c.json").unlink, number=5)
    await pushed.fetch("x/d", selection=JSON, verify=True)
    assert here(pushed) == some("a.json", "sub/c.json")


async def test_what_is_always_taken_away_is_given_up(pushed: Daemon) -> None:
    """A flight ends, also where somebody deletes whatever it brings."""

    def take_away() -> None:
        (pushed.root / DATA / "receipt").unlink(missing_ok=True)

    for number in range(1, 100):
        pushed.fs.before("rmdir", take_away, number)
    with pytest.raises(AssetInUseError, match="removed every time"):
        await pushed.fetch("x/d", selection=JSON)
    pushed.fs.heal()


async def test_who_wants_hashes_does_not_trust_a_shared_flight(
    bench: Bench, pushed: Daemon
) -> None:
    """Who joined a download that nobody hashes has the parts hashed before the answer."""
    gate = bench.store.pause("read", "a.json")
    first = asyncio.create_task(pushed.fetch("x/d:0.0", selection=JSON))
    await gate.reached()
    second = asyncio.create_task(pushed.fetched("x/d:0.0", selection=JSON, verify=True))
    await pushed.until_waiting(2)
    gate.open()
    await first
    assert (await second).verification is Verification.DIGEST


# What is told of it


async def test_lists_and_resolve_tell_that_it_is_partial(bench: Bench, pushed: Daemon) -> None:
    """A version of which only parts are here is PARTIAL, and never told as present."""
    await pushed.fetch("x/d", selection=JSON)
    bench.store.calls.clear()
    bytes_here = size_of("a.json", "sub/c.json")
    [cached] = (await pushed.assets.list(ListOrder(scope=Scope.CACHE, full=True))).entries
    resolved = await pushed.assets.resolve(ResolveOrder(Spec.parse("x/d:0.0")))
    assert bench.store.calls == []
    [listed] = (await pushed.assets.list(ListOrder(scope=Scope.ALL))).entries
    for state in (cached.cache_state, listed.cache_state, resolved.cache_state):
        assert state.presence is Presence.PARTIAL
        assert (state.relative_path, state.path) == (PARTS, str(pushed.root / PARTS))
        assert (state.disk_bytes, state.leased, state.hold_count) == (bytes_here, False, 0)
        assert state.last_used_time is not None
    assert listed.in_store
    for version in (cached.asset_version, resolved.asset_version):
        assert version.digest == digest_of(TREE)
        assert version.size_bytes == size_of(*TREE)


async def test_a_partial_version_is_listed_by_its_name(pushed: Daemon) -> None:
    """Prefix, scope and order are those of whole versions; the store alone knows of none."""
    await pushed.push("x/e", TREE)
    await pushed.fetch("x/d", selection=JSON)
    await pushed.fetch("x/e")
    listed = (await pushed.assets.list(ListOrder(scope=Scope.CACHE))).entries
    assert [(str(entry.asset_version), entry.cache_state.presence) for entry in listed] == [
        ("x/d:0.0", Presence.PARTIAL),
        ("x/e:0.0", Presence.PRESENT),
    ]
    assert not (await pushed.assets.list(ListOrder("x/e/", Scope.CACHE))).entries
    [first] = (await pushed.assets.list(ListOrder("x/d", Scope.STORE))).entries
    assert first.in_store


async def test_files_tell_one_by_one_whether_they_are_here(bench: Bench, pushed: Daemon) -> None:
    """ListFiles tells file by file what is here, from what the fetch of parts has learnt."""
    await pushed.fetch("x/d", selection=JSON)
    (pushed.root / PARTS / "a.json").unlink()
    bench.store.calls.clear()
    page = await pushed.assets.list_files(ListFilesOrder(Spec.parse("x/d:0.0")))
    assert {file.part.path: file.cached for file in page.files} == {
        "a.json": False,
        "b.bin": False,
        "sub/c.json": True,
        "sub/d.bin": False,
    }
    assert page.asset_version.digest == digest_of(TREE)
    assert bench.store.calls == []


async def test_the_status_counts_its_bytes_and_no_version(pushed: Daemon) -> None:
    """used_bytes is what is on the disk; version_count is of whole versions."""
    await pushed.fetch("x/d", selection=JSON)
    status = await pushed.assets.status()
    assert status.used_bytes == size_of("a.json", "sub/c.json")
    assert (status.version_count, status.leased_count) == (0, 0)


async def test_an_unpinned_spec_is_not_answered_by_parts(pushed: Daemon) -> None:
    """Who wants the whole version is told that the cache has none."""
    await pushed.fetch("x/d", selection=JSON)
    order = ResolveOrder(Spec.parse("x/d"), Freshness.CACHE)
    with pytest.raises(NotCachedError):
        await pushed.assets.resolve(order)


async def test_a_version_of_modelkit_is_no_hit_for_parts(bench: Bench, pushed: Daemon) -> None:
    """Without our receipt nothing proves it; where the store is down, its marker counts."""
    put(pushed.root, TREE, paths_of("x/d:0.0"), marker=b"")
    events = await pushed.fetch("x/d:0.0", selection=JSON)
    assert events[-1].relative_path == PARTS  # type: ignore[union-attr]
    bench.store.go_down()
    completed = await pushed.fetched("x/d:0.0[b.bin]", selection=BINS)
    assert completed.relative_path == "x/d/0.0/b.bin"
    assert completed.verification is Verification.NONE


async def test_a_damaged_whole_version_is_no_hit_for_parts(pushed: Daemon) -> None:
    """What shrank under our receipt is not answered; the parts are fetched beside it."""
    put_ours(pushed.root, TREE, paths_of("x/d:0.0"))
    (pushed.root / "x/d/0.0/a.json").write_bytes(b"")
    completed = await pushed.fetched("x/d:0.0", selection=JSON)
    assert completed.relative_path == PARTS
    assert json.loads((pushed.root / DATA / "receipt").read_bytes())["present"] == {
        "a.json": "checksum",
        "sub/c.json": "checksum",
    }
