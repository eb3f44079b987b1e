"""Fetch and hashes: pinned digests, verify and its repairs, force_download, leases in the way."""

import asyncio
import threading
from contextlib import aclosing

import pytest
from assetd_server.assets.orders import (
    FetchCompleted,
    FetchEvent,
    FetchOrder,
    FetchPhase,
    FetchProgress,
)
from assetd_server.assets.settings import AssetsSettings
from assetd_server.cache.leases import take_lease
from assetd_server.errors import (
    AssetInUseError,
    DigestMismatchError,
    NotCachedError,
    StoreUnavailableError,
)
from assetd_server.model import Digest, Freshness, Source, Verification
from assetd_server.spec import Spec

from tests.support.assets_bench import (
    RANGE_BYTES,
    Bench,
    Daemon,
    digest_of,
    flip_byte,
    names_of,
    paths_of,
)
from tests.support.trees import read_tree
from tests.support.versions import put

OTHER_DIGEST = Digest.of_hex("0" * 64)
TREE = {"a": b"1" * 100, "sub/b": b"2" * (3 * RANGE_BYTES), "sub/.dot": b"", "z": b"3"}


# Digests


@pytest.mark.parametrize("is_cached", [False, True])
async def test_an_expected_digest_that_fits(daemon: Daemon, *, is_cached: bool) -> None:
    """A pinned digest is compared with the bytes themselves, and the answer says `DIGEST`."""
    await daemon.push("x/d", TREE)
    if is_cached:
        await daemon.fetch("x/d")
    completed = await daemon.fetched("x/d", expected_digest=digest_of(TREE))
    assert completed.verification is Verification.DIGEST


@pytest.mark.parametrize("is_cached", [False, True])
async def test_an_expected_digest_that_does_not_fit(
    bench: Bench, daemon: Daemon, *, is_cached: bool
) -> None:
    """Another digest than the pinned one is `DIGEST_MISMATCH`, before anything is downloaded."""
    await daemon.push("x/d", TREE)
    if is_cached:
        await daemon.fetch("x/d")
    bench.store.calls.clear()
    with pytest.raises(DigestMismatchError) as failure:
        await daemon.fetch("x/d", expected_digest=OTHER_DIGEST)
    assert failure.value.metadata["found"] == digest_of(TREE)
    assert failure.value.metadata["expected"] == OTHER_DIGEST
    assert bench.store.count("read") == 0


async def test_modelkits_push_has_no_digest_until_it_is_asked_for(
    bench: Bench, daemon: Daemon
) -> None:
    """What modelkit pushed is checked by size; an expected digest is computed from the bytes."""
    await bench.modelkit_pushes("x/d:0.0", TREE)
    completed = await daemon.fetched("x/d:0.0")
    assert completed.verification is Verification.SIZE
    assert completed.asset_version.digest is None
    checked = await daemon.fetched("x/d:0.0", expected_digest=digest_of(TREE))
    assert checked.verification is Verification.DIGEST
    with pytest.raises(DigestMismatchError):
        await daemon.fetch("x/d:0.0", expected_digest=OTHER_DIGEST)


@pytest.mark.parametrize("expected", [digest_of(TREE), OTHER_DIGEST])
async def test_an_expected_digest_on_modelkits_push(
    bench: Bench, daemon: Daemon, expected: Digest
) -> None:
    """On a miss the digest of what modelkit pushed is compared once the bytes are here."""
    await bench.modelkit_pushes("x/d:0.0", TREE)
    if expected == digest_of(TREE):
        completed = await daemon.fetched("x/d:0.0", expected_digest=expected)
        assert completed.verification is Verification.DIGEST
        assert completed.asset_version.digest == expected
        return
    with pytest.raises(DigestMismatchError):
        await daemon.fetch("x/d:0.0", expected_digest=expected)


async def test_an_expected_digest_of_unchecked_data(bench: Bench, daemon: Daemon) -> None:
    """While the store is down, a pinned digest decides on what modelkit left in the cache."""
    await daemon.push("x/d", TREE)
    put(daemon.root, TREE, paths_of("x/d:0.0"), marker=b"")
    bench.store.go_down()
    completed = await daemon.fetched("x/d:0.0", expected_digest=digest_of(TREE))
    assert completed.verification is Verification.DIGEST
    with pytest.raises(DigestMismatchError):
        await daemon.fetch("x/d:0.0", expected_digest=OTHER_DIGEST)


async def test_a_digest_is_hashed_once_a_run(daemon: Daemon) -> None:
    """A second fetch with the same pinned digest does not read the files again; verify does."""
    await daemon.push("x/d", TREE)
    await daemon.fetch("x/d")

    def part_reads() -> int:
        reads = [call.paths[0] for call in daemon.fs.named("pread")]
        return sum(path.startswith("x/d/0.0/") and "SUCCESS" not in path for path in reads)

    before = part_reads()
    await daemon.fetch("x/d:0.0", expected_digest=digest_of(TREE))
    once = part_reads()
    assert once > before
    await daemon.fetch("x/d:0.0", expected_digest=digest_of(TREE))
    assert part_reads() == once
    await daemon.fetch("x/d:0.0", verify=True)
    assert part_reads() == once + (once - before)


# Verify, force


@pytest.mark.parametrize("part", ["a", "sub/b"])
@pytest.mark.parametrize("pinned", [False, True])
async def test_verify_finds_a_flipped_byte_and_repairs_it(
    bench: Bench, daemon: Daemon, part: str, *, pinned: bool
) -> None:
    """With `verify` a byte that rotted in the cache is found, and fetched again."""
    await daemon.push("x/d", TREE)
    await daemon.fetch("x/d")
    flip_byte(daemon.root / "x/d/0.0" / part)
    bench.store.calls.clear()
    asked: dict[str, object] = {"expected_digest": digest_of(TREE)} if pinned else {"verify": True}
    events = await daemon.fetch("x/d:0.0", **asked)
    completed = events[-1]
    assert isinstance(completed, FetchCompleted)
    assert completed.source is Source.STORE
    assert completed.verification is Verification.DIGEST
    assert read_tree(daemon.root / "x/d/0.0") == TREE
    assert bench.store.count("read", part) > 0


async def test_verify_of_sound_bytes_downloads_nothing(bench: Bench, daemon: Daemon) -> None:
    """Sound bytes stay where they are, and the answer says DIGEST."""
    await daemon.push("x/d", TREE)
    await daemon.fetch("x/d")
    bench.store.calls.clear()
    completed = await daemon.fetched("x/d:0.0", verify=True)
    assert completed.verification is Verification.DIGEST
    assert completed.source is Source.CACHE
    assert bench.store.calls == []


async def test_verify_finds_rot_in_what_modelkit_left(daemon: Daemon) -> None:
    """Data of the right size with a wrong byte is not adopted where somebody asks for hashes."""
    await daemon.push("x/y", b"data")
    put(daemon.root, b"dat!", paths_of("x/y:0.0"), marker=b"")
    completed = await daemon.fetched("x/y:0.0", verify=True)
    assert completed.source is Source.STORE
    assert (daemon.root / "x/y/0.0").read_bytes() == b"data"


async def test_who_joins_may_be_stricter(bench: Bench, daemon: Daemon) -> None:
    """A caller that verifies is not content with what those it joined were content with."""
    await daemon.push("x/y", b"data")
    put(daemon.root, b"dat!", paths_of("x/y:0.0"), marker=b"")
    gate = bench.store.pause("get", "0.0.meta")
    content_with_sizes = asyncio.create_task(daemon.fetched("x/y:0.0"))
    await gate.reached()
    strict = asyncio.create_task(daemon.fetch("x/y:0.0", verify=True))
    await daemon.until_waiting(2)
    gate.open()
    assert (await content_with_sizes).verification is Verification.SIZE
    events = await strict
    completed = events[-1]
    assert isinstance(completed, FetchCompleted)
    assert completed.verification is Verification.DIGEST
    assert names_of(events).count("FetchStarted") == 1
    assert (daemon.root / "x/y/0.0").read_bytes() == b"data"


async def test_who_joins_and_is_stricter_hears_of_the_check(bench: Bench, daemon: Daemon) -> None:
    """Hashing what others were content with may take minutes: progress goes on meanwhile."""
    await daemon.push("x/d", TREE)
    gate = bench.store.pause("read", "/z")
    first = asyncio.create_task(daemon.fetch("x/d"))
    await gate.reached()
    events: list[FetchEvent] = []
    checked = threading.Event()
    order = FetchOrder(Spec.parse("x/d"), verify=True, progress_interval_seconds=0.05)

    async def second() -> None:
        async with aclosing(daemon.assets.fetch(order)) as stream:
            async for event in stream:
                events.append(event)
                if isinstance(event, FetchProgress) and event.phase is FetchPhase.VERIFYING:
                    checked.set()

    def hash_slowly() -> None:
        # The receipt is read too, and nobody waits for that alone.
        if daemon.fs.calls[-1].paths[0].endswith(".SUCCESS"):
            daemon.fs.before("pread", hash_slowly)
        else:
            checked.wait(60)

    following = asyncio.create_task(second())
    await daemon.until_waiting(2)
    daemon.fs.before("pread", hash_slowly)
    gate.open()
    await asyncio.gather(first, following)
    assert checked.is_set()
    assert isinstance(events[-1], FetchCompleted)
    assert events[-1].verification is Verification.DIGEST


async def test_who_joins_may_insist_on_a_download(bench: Bench, daemon: Daemon) -> None:
    """A forced caller that joins a flight which adopts what stands there has it replaced after."""
    await daemon.push("x/y", b"data")
    put(daemon.root, b"dat!", paths_of("x/y:0.0"), marker=b"")
    gate = bench.store.pause("get", "0.0.meta")
    content_with_sizes = asyncio.create_task(daemon.fetched("x/y:0.0"))
    await gate.reached()
    forced = asyncio.create_task(daemon.fetched("x/y:0.0", force_download=True))
    await daemon.until_waiting(2)
    gate.open()
    assert (await content_with_sizes).source is Source.CACHE
    assert (await forced).source is Source.STORE
    assert (daemon.root / "x/y/0.0").read_bytes() == b"data"


async def test_damage_without_a_way_to_mend_is_told(bench: Bench, daemon: Daemon) -> None:
    """Rot that verify finds while the store is down, or must not be asked, is never answered."""
    await daemon.push("x/y", b"data")
    await daemon.fetch("x/y")
    flip_byte(daemon.root / "x/y/0.0")
    with pytest.raises(NotCachedError):
        await daemon.fetch("x/y:0.0", verify=True, freshness=Freshness.CACHE)
    bench.store.go_down()
    with pytest.raises(StoreUnavailableError):
        await daemon.fetch("x/y:0.0", verify=True)


@pytest.mark.parametrize("by_operator", [False, True])
async def test_force_downloads_what_is_present(
    bench: Bench, daemon: Daemon, *, by_operator: bool
) -> None:
    """With `force_download` the store is read although the version is there.

    The call's as well as the daemon's.
    """
    await daemon.push("x/y", b"data")
    await daemon.fetch("x/y")
    settings = AssetsSettings(force_download=by_operator)
    forced = bench.daemon(settings, root=daemon.root)
    bench.store.calls.clear()
    completed = await forced.fetched("x/y:0.0", force_download=not by_operator)
    assert completed.source is Source.STORE
    assert bench.store.count("read", "x/y/0.0") == 1


async def test_force_leaves_equal_content_alone(daemon: Daemon) -> None:
    """What proves equal to the new copy stays, so a lease on it is no obstacle."""
    await daemon.push("x/y", b"data")
    await daemon.fetch("x/y")
    inode = (daemon.root / "x/y/0.0").stat().st_ino
    lease = take_lease(daemon.assets_dir, paths_of("x/y:0.0"))
    assert lease is not None
    completed = await daemon.fetched("x/y:0.0", force_download=True)
    lease.release()
    assert completed.source is Source.STORE
    assert (daemon.root / "x/y/0.0").stat().st_ino == inode


@pytest.mark.parametrize("content", [b"data", TREE])
async def test_what_is_leased_is_never_replaced(
    daemon: Daemon, content: bytes | dict[str, bytes]
) -> None:
    """What is leased is never replaced: the fetch that would replace it is `ASSET_IN_USE`.

    Damage under a lease stays untouched until the lease ends.
    """
    await daemon.push("x/y", content)
    await daemon.fetch("x/y")
    standing = daemon.root / "x/y/0.0"
    damaged = standing if isinstance(content, bytes) else standing / "a"
    flip_byte(damaged)
    before = read_tree(standing)
    lease = take_lease(daemon.assets_dir, paths_of("x/y:0.0"))
    assert lease is not None
    for order in ({"force_download": True}, {"verify": True}):
        with pytest.raises(AssetInUseError):
            await daemon.fetch("x/y:0.0", **order)
        assert read_tree(standing) == before
    lease.release()
    await daemon.fetch("x/y:0.0", force_download=True)
    assert read_tree(standing) == (content if isinstance(content, dict) else {"": content})
