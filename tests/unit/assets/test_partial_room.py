"""The room that partial versions take: reserved, evicted, pinned, verified, as that of versions."""

import asyncio
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest
from assetd_server.assets.cache_orders import (
    EvictOrder,
    EvictOutcome,
    Selector,
    VerifyOrder,
    VerifyOutcome,
    VerifyResult,
)
from assetd_server.assets.orders import FetchCompleted, FetchOrder, ResolveOrder
from assetd_server.assets.selection import Selection
from assetd_server.cache.budget import Limits
from assetd_server.errors import AssetExceedsCacheError, CacheFullError
from assetd_server.model import NamePrefix, PartPath, Presence
from assetd_server.spec import Spec

from tests.support.assets_bench import SETTINGS, Bench, Daemon, first_of, flip_byte
from tests.support.trees import read_tree
from tests.support.versions import left_overs

TREE = {"a.json": b"1" * 100, "b.bin": b"2" * 1000, "sub/c.json": b"3" * 10, "sub/d.bin": b"4" * 20}
DATA = ".assetd/partial/x/d/0.0"
PARTS = f"{DATA}/parts"
JSON = Selection(include=("**/*.json",))
BINS = Selection(include=("**/*.bin",))
SUB = Selection(folder=PartPath("sub"))


@pytest.fixture
async def pushed(daemon: Daemon) -> Daemon:
    """A daemon with a directory asset in its store, and nothing in its cache."""
    await daemon.push("x/d", TREE)
    return daemon


def limited(bench: Bench, max_bytes: int, root: Path | None = None) -> Daemon:
    """A daemon whose cache holds so many bytes, with no grace for anybody."""
    limits = Limits(max_bytes=max_bytes, min_age_seconds=0, restart_grace_seconds=0)
    return bench.daemon(replace(SETTINGS, limits=limits), root=root)


def size_of(*parts: str) -> int:
    """The bytes of these parts."""
    return sum(len(TREE[part]) for part in parts)


def some(*parts: str) -> dict[str, bytes]:
    """These parts with their bytes."""
    return {part: TREE[part] for part in parts}


def here(daemon: Daemon) -> dict[str, bytes]:
    """What stands in the partial version, listed or not."""
    folder = daemon.root / PARTS
    return read_tree(folder) if folder.exists() else {}


@pytest.mark.parametrize("restarted", [False, True])
async def test_parts_are_evicted_like_versions(
    bench: Bench, pushed: Daemon, *, restarted: bool
) -> None:
    """Parts take room, and go for others, as whole versions do.

    Least recently used first, by their own bytes; and again after a restart.
    """
    await pushed.push("x/e", b"e" * 60)
    daemon = limited(bench, 160)
    await daemon.fetch("x/d", selection=JSON)
    await daemon.fetch("x/d:0.0", selection=JSON)
    if restarted:
        daemon = limited(bench, 160, root=daemon.root)
    assert (await daemon.assets.status()).used_bytes == size_of("a.json", "sub/c.json")
    await daemon.fetch("x/e")
    assert not (daemon.root / DATA).exists()
    assert (await daemon.assets.status()).used_bytes == 60


async def test_parts_make_room_for_themselves(bench: Bench, pushed: Daemon) -> None:
    """What is missing is reserved beside what is here, and others go for it; never itself."""
    await pushed.push("x/e", b"e" * 60)
    daemon = limited(bench, 170)
    await daemon.fetch("x/d[sub]", selection=SUB)
    await daemon.fetch("x/e")
    await daemon.fetch("x/d", selection=JSON)
    assert not (daemon.root / "x/e/0.0").exists()
    assert here(daemon) == some("a.json", "sub/c.json", "sub/d.bin")
    with pytest.raises(AssetExceedsCacheError):
        await daemon.fetch("x/d", selection=BINS)
    assert here(daemon) == some("a.json", "sub/c.json", "sub/d.bin")


async def test_the_whole_fits_in_the_room_of_its_parts(bench: Bench, pushed: Daemon) -> None:
    """They go when it stands: they are taken over, and nobody has to go for it, themselves first.

    However the fetch of another version begins meanwhile.
    """
    await pushed.push("x/e", b"e" * 60)
    await pushed.push("x/f", b"f" * 60)
    daemon = limited(bench, 1200)
    await daemon.fetch("x/d", selection=BINS)
    await daemon.fetch("x/e")
    gate = bench.store.pause("read", "x/d/0.0/a.json")
    fetching = asyncio.create_task(daemon.fetched("x/d"))
    await gate.reached()
    with pytest.raises(CacheFullError):
        await daemon.fetch("x/f")
    gate.open()
    whole = await fetching
    assert whole.transferred_bytes == size_of("a.json", "sub/c.json")
    assert whole.reused_bytes == size_of("b.bin", "sub/d.bin")
    assert not (daemon.root / DATA).exists()
    assert (daemon.root / "x/e/0.0").exists()
    assert (await daemon.assets.status()).used_bytes == size_of(*TREE) + 60


@pytest.mark.usefixtures("pushed")
async def test_parts_that_are_held_do_not_go_for_the_whole(bench: Bench) -> None:
    """They would stand beside it: where there is no room for both, it is refused."""
    daemon = limited(bench, 1200)
    events = daemon.assets.fetch(FetchOrder(Spec.parse("x/d"), selection=JSON, hold=True))
    await first_of(events, FetchCompleted)
    with pytest.raises(CacheFullError):
        await daemon.fetch("x/d")
    assert here(daemon) == some("a.json", "sub/c.json")
    await events.aclose()
    await daemon.fetch("x/d")
    assert here(daemon) == {}


async def test_held_or_pinned_parts_stay(bench: Bench, pushed: Daemon) -> None:
    """A hold and a pin keep parts as they keep versions; a pin outlives the growth."""
    await pushed.push("x/e", b"e" * 60)
    daemon = limited(bench, 150)
    events = daemon.assets.fetch(FetchOrder(Spec.parse("x/d"), selection=JSON, hold=True))
    await first_of(events, FetchCompleted)
    with pytest.raises(CacheFullError):
        await daemon.fetch("x/e")
    await events.aclose()
    pinned = await daemon.assets.pin(Spec.parse("x/d:0.0"))
    assert pinned.cache_state.presence is Presence.PARTIAL
    assert pinned.cache_state.pinned
    with pytest.raises(CacheFullError):
        await daemon.fetch("x/e")
    await daemon.assets.unpin(Spec.parse("x/d:0.0"))
    await daemon.fetch("x/e")
    assert here(daemon) == {}


@pytest.mark.parametrize(
    "selector",
    [Selector(spec=Spec.parse("x/d:0.0")), Selector(name_prefix=NamePrefix("x/")), Selector()],
)
async def test_an_operator_evicts_parts(pushed: Daemon, selector: Selector) -> None:
    """Selected as the version is: told with their own bytes, kept while held, then gone."""
    events = pushed.assets.fetch(FetchOrder(Spec.parse("x/d"), selection=JSON, hold=True))
    await first_of(events, FetchCompleted)
    [entry] = await pushed.assets.evict(EvictOrder(selector))
    assert entry.outcome is EvictOutcome.LEASED
    await events.aclose()
    for dry_run in (True, False):
        [entry] = await pushed.assets.evict(EvictOrder(selector, dry_run=dry_run))
        assert entry.outcome is EvictOutcome.EVICTED
        assert entry.freed_bytes == size_of("a.json", "sub/c.json")
        assert (pushed.root / DATA).exists() is dry_run
    assert (await pushed.assets.status()).used_bytes == 0
    async with asyncio.timeout(30):
        # Its files go in the background.
        while left_overs(pushed.root):  # noqa: ASYNC110
            await asyncio.sleep(0)


async def test_who_holds_parts_does_not_hold_the_version(pushed: Daemon) -> None:
    """The whole of it, which came later, is told as free, and goes when an operator says so."""
    events = pushed.assets.fetch(FetchOrder(Spec.parse("x/d"), selection=JSON, hold=True))
    await first_of(events, FetchCompleted)
    await pushed.fetch("x/d")
    state = (await pushed.assets.resolve(ResolveOrder(Spec.parse("x/d:0.0")))).cache_state
    assert (state.leased, state.hold_count) == (False, 0)
    for leased in (False, True):
        [entry] = await pushed.assets.evict(EvictOrder(Selector(spec=Spec.parse("x/d:0.0"))))
        assert entry.outcome is (EvictOutcome.LEASED if leased else EvictOutcome.EVICTED)
    state = (await pushed.assets.resolve(ResolveOrder(Spec.parse("x/d:0.0")))).cache_state
    assert (state.presence, state.hold_count) == (Presence.PARTIAL, 1)
    await events.aclose()


async def test_parts_are_verified_and_repaired(pushed: Daemon) -> None:
    """Only what is here is read; a repair fetches what is damaged of it, and no more."""
    await pushed.fetch("x/d", selection=JSON)
    order = VerifyOrder(Selector(), repair=False)
    assert await outcomes(pushed, order) == [(VerifyOutcome.SOUND, [])]
    flip_byte(pushed.root / PARTS / "a.json")
    assert await outcomes(pushed, order) == [(VerifyOutcome.DAMAGED, ["a.json"])]
    repair = VerifyOrder(Selector(), repair=True)
    assert await outcomes(pushed, repair) == [(VerifyOutcome.REPAIRED, ["a.json"])]
    assert await outcomes(pushed, order) == [(VerifyOutcome.SOUND, [])]
    assert here(pushed) == some("a.json", "sub/c.json")


async def outcomes(daemon: Daemon, order: VerifyOrder) -> list[tuple[VerifyOutcome, list[str]]]:
    """What a check tells of each version."""
    async with aclosing(daemon.assets.verify(order)) as events:
        results = [event async for event in events if isinstance(event, VerifyResult)]
    return [(result.outcome, list(result.damaged_parts)) for result in results]
