"""What an inspection finds in a store, and what is done about it: claims, uploads, oddities."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from assetd_server.assets.inspection import Inspection, Oddity
from assetd_server.assets.mending import Mended
from assetd_server.assets.upkeep import Upkeep
from assetd_server.errors import StoreUnavailableError
from assetd_server.manifest import MAX_INDEX_BYTES, encode_manifest
from assetd_server.model import NamePrefix
from assetd_server.store.base import ObjectInfo, ObjectStore, Upload
from assetd_server.store.catalog import PlaceKind
from assetd_server.store.retrying import RetryingStore

from tests.support.assets_bench import Bench, PassingClock, paths_of
from tests.support.clocks import BEGINNING
from tests.support.pausing_store import PausingStore
from tests.support.versions import Content, manifest_of
from tests.unit.assets.test_claiming import claim_key, claim_of, put_parts

TREE = {"a": b"1" * 2500, "sub/b": b"2" * 10}
OTHER = {"a": b"9" * 2500}
# By the claims of `claim_of`, as `BEGINNING` is later than they are.
CLAIM_AGE_SECONDS = 1800


@pytest.fixture
def upkeep(bench: Bench) -> Upkeep:
    """What looks after the bench's store, half an hour after the claims that tests leave."""
    return Upkeep(bench.store, PassingClock())


class CountingStore(PausingStore):
    """Knows how many manifests were being read at once."""

    def __init__(self, inner: ObjectStore) -> None:
        super().__init__(inner)
        self.at_once = self.most_at_once = 0

    async def get(self, key: str, max_bytes: int) -> tuple[ObjectInfo, bytes]:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        # The others have their turn.
        for _ in range(20):
            await asyncio.sleep(0)
        try:
            return await super().get(key, max_bytes)
        finally:
            self.at_once -= 1


async def inspected(upkeep: Upkeep, prefix: str = "") -> Inspection:
    """All that there is to tell."""
    return await upkeep.inspect(NamePrefix(prefix))


def odd(found: Inspection) -> list[str]:
    """What does not fit together, each in a few words."""
    return [f"{one.oddity.value} {one.name}:{one.version}" for one in found.odd]


def claims(found: Inspection) -> list[str]:
    """The claims, each in a few words."""
    return [f"{one.claim.state.value} {one.name}:{one.version}" for one in found.claims]


async def done(deeds: AsyncIterator[Mended]) -> list[str]:
    """What was done, each in a few words."""
    return [f"{deed.deed.value} {deed.what}" for deed in [one async for one in deeds]]


async def repaired(upkeep: Upkeep) -> list[str]:
    """Inspect, and repair what was found."""
    return await done(upkeep.repair(await inspected(upkeep)))


async def released(upkeep: Upkeep, older_than_seconds: float) -> list[str]:
    """Inspect, and end what is older."""
    return await done(upkeep.release(await inspected(upkeep), older_than_seconds))


async def put_manifest(bench: Bench, spec: str, content: Content) -> None:
    """Leave a manifest as a push does that died before its index."""
    key = f"{paths_of(spec).data}.meta"
    await bench.memory.put(key, encode_manifest(manifest_of(content)))


async def begin_upload(bench: Bench, key: str, age_seconds: float) -> Upload:
    """Leave an upload that began so long ago."""
    bench.memory.now = lambda: BEGINNING - timedelta(seconds=age_seconds)
    return await bench.memory.start_upload(key)


async def tidy(bench: Bench) -> None:
    """Empty the store, so that the bench finds nothing left."""
    bench.store.come_back()
    for key in bench.memory.keys:
        await bench.memory.delete(key)
    async for one in bench.memory.uploads(""):
        await bench.memory.abort_upload(one.upload)


async def test_a_store_in_which_all_is_well(bench: Bench, upkeep: Upkeep) -> None:
    """Whoever pushed, modelkit among them, leaves nothing to be told of; no key is written."""
    daemon = bench.daemon()
    await daemon.push("a/file", b"content")
    await daemon.push("a/folder", TREE)
    await bench.modelkit_pushes("b:0.0", OTHER)
    before = bench.memory.keys
    found = await inspected(upkeep)
    assert (found.asset_count, found.version_count) == (3, 3)
    assert (found.claims, found.uploads, found.odd, found.unreadable) == ([], [], [], [])
    assert await repaired(upkeep) == []
    assert await released(upkeep, 0) == []
    assert bench.memory.keys == before


async def test_claims_are_told_with_owner_and_age(bench: Bench, upkeep: Upkeep) -> None:
    """An operator sees who pushes what, and since when, whatever state it is in."""
    for number, state in enumerate(("open", "committing", "released")):
        await bench.memory.put(claim_key(f"a:0.{number}"), claim_of(TREE, state))
    found = await inspected(upkeep)
    assert claims(found) == ["open a:0.0", "committing a:0.1", "released a:0.2"]
    assert {one.claim.owner for one in found.claims} == {"a-dead-host"}
    assert {one.age_seconds for one in found.claims} == {CLAIM_AGE_SECONDS}
    assert odd(found) == []
    assert claims(await inspected(upkeep, "b")) == []
    await tidy(bench)


async def test_what_exists_and_is_not_listed_is_listed(bench: Bench, upkeep: Upkeep) -> None:
    """`assetd doctor --repair` lists what exists and no index names; others stay listed.

    Where there is no index at all, one is made.
    """
    await bench.daemon().push("a", b"first")
    await put_parts(bench, "a:0.1", TREE)
    await put_manifest(bench, "a:0.1", TREE)
    await put_parts(bench, "b:0.0", TREE)
    await put_manifest(bench, "b:0.0", TREE)
    found = await inspected(upkeep)
    assert odd(found) == ["unlisted a:0.1", "unlisted b:0.0"]
    assert await bench.listed("a") == ["0.0"]
    assert await repaired(upkeep) == ["listed a:0.1", "listed b:0.0"]
    assert (await bench.listed("a"), await bench.listed("b")) == (["0.1", "0.0"], ["0.0"])
    assert odd(await inspected(upkeep)) == []


@pytest.mark.parametrize(
    ("index", "reason"),
    [
        (b"", "BAD_INDEX"),
        (b'{"versions": ["0.', "BAD_INDEX"),
        (b'{"versions": ["7", "0.0"]}', "BAD_INDEX"),
        (bytes(MAX_INDEX_BYTES + 1), "BAD_INDEX"),
        (b'{"versions": ["0.0", "2026-11-23T09-30-00Z"]}', "MIXED_VERSIONING"),
    ],
)
async def test_a_damaged_index_is_written_anew(
    bench: Bench, upkeep: Upkeep, index: bytes, reason: str
) -> None:
    """`assetd doctor --repair` writes an index that cannot be believed anew, from the manifests."""
    daemon = bench.daemon()
    for content in (b"first", b"second"):
        await daemon.push("a", content)
    await bench.memory.put("a.versions", index)
    await bench.memory.put(claim_key("a:0.0"), claim_of(OTHER, "open"))
    found = await inspected(upkeep)
    [damaged] = found.damaged
    assert (damaged.name, damaged.failure.reason, damaged.hindrance) == ("a", reason, None)
    assert (len(damaged.versions), found.version_count, odd(found)) == (2, 2, ["litter a:0.0"])
    assert await bench.store.bytes_of("a.versions") == index
    assert await done(upkeep.repair(found)) == [
        "renewed the index of a",
        "removed the claim on a:0.0",
    ]
    assert await bench.listed("a") == ["0.1", "0.0"]
    found = await inspected(upkeep)
    assert (found.damaged, odd(found), await bench.claims()) == ([], [], {})
    assert str((await daemon.push("a", b"third")).asset_version) == "a:0.2"


@pytest.mark.parametrize(
    ("keys", "reason", "words"),
    [
        (
            ["a/0.0.meta", "a/0.1.meta", "a/2026-11-23T09-30-00Z.meta"],
            "MIXED_VERSIONING",
            "by number (0.1, 0.0) and by date (2026-11-23T09-30-00Z)",
        ),
        (["a/0.0.meta", "a/7.meta"], "BAD_INDEX", "a/7.meta: rename"),
        (["a/0.0"], "BAD_INDEX", "no manifest to write a.versions from"),
    ],
)
async def test_what_the_manifests_do_not_tell_is_left_to_the_operator(
    bench: Bench, upkeep: Upkeep, keys: list[str], reason: str, words: str
) -> None:
    """Nobody but an operator can decide which system goes, or what a foreign manifest is."""
    await bench.memory.put("a.versions", b'{"versions": ["0.0", "2026-11-23T09-30-00Z"]}')
    for key in keys:
        await bench.memory.put(key, encode_manifest(manifest_of(b"x")))
    before = await bench.store.bytes_of("a.versions")
    found = await inspected(upkeep)
    [damaged] = found.damaged
    [left] = [one async for one in upkeep.repair(found)]
    for failure in (damaged.hindrance, left.failure):
        assert failure is not None
        assert (failure.reason, words in str(failure)) == (reason, True), str(failure)
    assert await bench.store.bytes_of("a.versions") == before


@pytest.mark.parametrize("written", [b'{"versions": ["0.1", "0.0"]}', b"{", None])
@pytest.mark.parametrize("operation", ["get", "swap"])
async def test_an_index_that_others_write_is_left_to_them(
    bench: Bench, upkeep: Upkeep, written: bytes | None, operation: str
) -> None:
    """Only the very write that was found damaged is replaced, so that nobody's list is lost."""

    async def others_write() -> None:
        if written is None:
            await bench.memory.delete("a.versions")
        else:
            await bench.memory.put("a.versions", written)

    await put_manifest(bench, "a:0.0", b"x")
    await bench.memory.put("a.versions", b"")
    found = await inspected(upkeep)
    gate = bench.store.pause(operation, "a.versions")
    repairing = asyncio.create_task(done(upkeep.repair(found)))
    await gate.reached()
    await others_write()
    gate.open()
    await repairing
    now = await bench.store.bytes_of("a.versions") if "a.versions" in bench.memory.keys else None
    assert now == written


async def test_an_index_on_its_way_is_not_damaged(bench: Bench, upkeep: Upkeep) -> None:
    """Modelkit deletes an index before it writes it, and some stores show half of a write."""
    await bench.daemon().push("a", b"first")
    whole = await bench.store.bytes_of("a.versions")
    await bench.memory.put("a.versions", whole[:5])
    looked = bench.store.hold_answer("get", "a.versions")
    inspecting = asyncio.create_task(inspected(upkeep))
    await looked.reached()
    await bench.memory.put("a.versions", whole)
    looked.open()
    assert (await inspecting).damaged == []


async def test_a_lost_answer_to_a_new_index_is_settled(bench: Bench) -> None:
    """Whoever repeats the swap is refused by its own first try, and finds what it wrote."""
    await bench.daemon().push("a", b"first")
    await bench.memory.put("a.versions", b"")
    clock = PassingClock()
    upkeep = Upkeep(RetryingStore(bench.store, sleep=clock.sleep), clock)
    bench.store.lose_answer("swap", "a.versions")
    [renewed] = [one async for one in upkeep.repair(await inspected(upkeep))]
    assert (renewed.failure, bench.store.count("swap", "a.versions")) == (None, 2)
    assert await bench.listed("a") == ["0.0"]


async def test_litter_is_removed(bench: Bench, upkeep: Upkeep) -> None:
    """A claim beside a version goes once the index lists it, and not before."""
    await bench.daemon().push("a", b"first")
    await bench.memory.put(claim_key("a:0.0"), claim_of(OTHER, "open"))
    await put_parts(bench, "a:0.1", TREE)
    await put_manifest(bench, "a:0.1", TREE)
    await bench.memory.put(claim_key("a:0.1"), claim_of(TREE, "committing"))
    found = await inspected(upkeep)
    assert odd(found) == ["litter a:0.0", "unlisted a:0.1"]
    assert claims(found) == ["committing a:0.1"]
    bench.store.fail("swap", "a.versions")
    [litter, unlisted] = [one async for one in upkeep.repair(found)]
    assert (litter.what, unlisted.what) == ("a:0.0", "a:0.1")
    assert isinstance(unlisted.failure, StoreUnavailableError)
    assert list(await bench.claims()) == [claim_key("a:0.1")]
    assert await repaired(upkeep) == ["listed a:0.1", "removed the claim on a:0.1"]
    assert await bench.claims() == {}


async def test_what_is_listed_and_does_not_exist_is_told(bench: Bench, upkeep: Upkeep) -> None:
    """Nobody but an operator can know what happened to it: nothing is done."""
    await bench.memory.put("a.versions", json.dumps({"versions": ["0.1", "0.0"]}).encode())
    await put_parts(bench, "a:0.0", b"x")
    await put_manifest(bench, "a:0.0", b"x")
    assert odd(await inspected(upkeep)) == ["missing a:0.1"]
    assert await repaired(upkeep) == []
    assert await bench.listed("a") == ["0.1", "0.0"]


async def test_what_is_listed_and_not_whole_is_told(bench: Bench, upkeep: Upkeep) -> None:
    """`assetd doctor` tells of each version whose manifest or objects are not whole.

    Whoever pushed it; with the keys of what it lacks, or has in another size.
    """
    daemon = bench.daemon()
    for content in (TREE, TREE, b"file", b"file", TREE):
        await daemon.push("a", content)
    await bench.modelkit_pushes("b:0.0", TREE)
    await bench.memory.put("a/0.0.meta", (await bench.store.bytes_of("a/0.0.meta"))[:-1])
    await bench.memory.put("a/0.1/sub/b", b"2")
    await bench.memory.delete("a/0.2")
    # As many as there should be, and not those.
    await bench.memory.delete("b/0.0/a")
    await bench.memory.put("b/0.0/c", TREE["a"])
    found = await inspected(upkeep)
    [bad] = found.unreadable
    assert (bad.kind, bad.name, str(bad.version)) == (PlaceKind.MANIFEST, "a", "0.0")
    assert [(one.oddity, one.name, str(one.version), one.lacks) for one in found.odd] == [
        (Oddity.INCOMPLETE, "a", "0.1", ("a/0.1/sub/b",)),
        (Oddity.INCOMPLETE, "a", "0.2", ("a/0.2",)),
        (Oddity.INCOMPLETE, "b", "0.0", ("b/0.0/a",)),
    ]
    before = bench.memory.keys
    assert await repaired(upkeep) == []
    assert bench.memory.keys == before


async def test_left_overs_beside_parts_are_no_lack(bench: Bench, upkeep: Upkeep) -> None:
    """Modelkit leaves what an overwritten version had more; nobody who fetches sees it."""
    await bench.modelkit_pushes("a:0.0", TREE | {"c": b"more"})
    await bench.modelkit_pushes("a:0.0", TREE)
    found = await inspected(upkeep)
    assert (odd(found), found.unreadable) == ([], [])


async def test_what_is_not_whole_is_not_listed(bench: Bench, upkeep: Upkeep) -> None:
    """Those who fetch the newest would fail from then on."""
    await bench.daemon().push("a", b"first")
    await put_parts(bench, "a:0.1", TREE)
    await put_manifest(bench, "a:0.1", TREE)
    await bench.memory.delete("a/0.1/a")
    assert odd(await inspected(upkeep)) == ["incomplete a:0.1"]
    assert await repaired(upkeep) == []
    assert await bench.listed("a") == ["0.0"]


async def test_what_comes_after_the_listing_is_looked_at_again(
    bench: Bench, upkeep: Upkeep
) -> None:
    """A listing takes its time, and shows what is written meanwhile or not."""
    await bench.daemon().push("a:0.0", TREE)
    await bench.memory.delete("a/0.0/a")
    gate = bench.store.pause("get", "a/0.0.meta")
    inspecting = asyncio.create_task(inspected(upkeep))
    await gate.reached()
    await bench.memory.put("a/0.0/a", TREE["a"])
    gate.open()
    assert odd(await inspecting) == []


async def test_manifests_are_read_some_at_once(bench: Bench) -> None:
    """Of one asset, too: a store takes its time for each. Never more of them than a few."""
    await bench.modelkit_pushes("a:0.0", b"x")
    for number in range(50):
        await bench.memory.put(f"a/1.{number}", b"x")
        await bench.memory.put(f"a/1.{number}.meta", await bench.store.bytes_of("a/0.0.meta"))
    store = CountingStore(bench.memory)
    found = await Upkeep(store, PassingClock()).inspect(NamePrefix(""))
    assert (len(found.odd), store.most_at_once) == (50, 16)


async def test_parts_of_nobody_are_told_and_kept(bench: Bench, upkeep: Upkeep) -> None:
    """Parts are never deleted: who pushes the version next uses or replaces them.

    What a live claim is about is under way, and no orphan.
    """
    await put_parts(bench, "a:0.0", TREE)
    await put_parts(bench, "a:0.1", TREE)
    await put_parts(bench, "a:0.2", TREE)
    await bench.memory.put(claim_key("a:0.1"), claim_of(TREE, "open"))
    await bench.memory.put(claim_key("a:0.2"), claim_of(TREE, "released"))
    found = await inspected(upkeep)
    assert odd(found) == ["orphaned a:0.0", "orphaned a:0.2"]
    assert [(one.part_count, one.size_bytes) for one in found.odd] == [(2, 2510), (2, 2510)]
    before = bench.memory.keys
    assert await repaired(upkeep) == []
    assert await released(upkeep, 0) == ["released the claim on a:0.1"]
    assert bench.memory.keys == before
    await tidy(bench)


@pytest.mark.parametrize(
    ("operation", "key", "told"),
    [
        ("create", ".assetd/claims/a/0.0", []),
        ("create", "a/0.0/sub/b", []),
        ("swap", ".assetd/claims/a/0.0", []),
        ("create", "a/0.0.meta", []),
        ("create", "a.versions", ["unlisted a:0.0"]),
        ("delete", ".assetd/claims/a/0.0", ["litter a:0.0"]),
    ],
)
async def test_a_repair_beside_a_push_does_no_harm(
    bench: Bench, operation: str, key: str, told: list[str]
) -> None:
    """Whatever step the push is at: what it would have done itself is done, and nothing else."""
    gate = bench.store.pause(operation, key)
    pushing = asyncio.create_task(bench.daemon().push("a:0.0", TREE))
    await gate.reached()
    beside = Upkeep(bench.memory, PassingClock())
    assert odd(await inspected(beside)) == told
    await repaired(beside)
    gate.open()
    await pushing
    assert await bench.listed("a") == ["0.0"]
    assert await bench.stored("a:0.0") == TREE
    assert odd(await inspected(beside)) == []


async def test_old_claims_are_ended(bench: Bench, upkeep: Upkeep) -> None:
    """`--release-older-than` releases open claims, finishes committing ones, and leaves younger."""
    await put_parts(bench, "a:0.0", TREE)
    await put_parts(bench, "a:0.1", TREE)
    upload = await begin_upload(bench, "a/0.0/b", 60)
    await bench.memory.put(claim_key("a:0.0"), claim_of(TREE, "open", uploads=[upload]))
    await bench.memory.put(claim_key("a:0.1"), claim_of(TREE, "committing"))
    assert await released(upkeep, CLAIM_AGE_SECONDS) == []
    assert await released(upkeep, CLAIM_AGE_SECONDS - 1) == [
        "released the claim on a:0.0",
        "aborted the upload of a/0.0/b",
        "finished the push of a:0.1",
    ]
    assert (await bench.claims())[claim_key("a:0.0")]["state"] == "released"
    assert await bench.listed("a") == ["0.1"]
    assert await bench.stored("a:0.1") == TREE
    await bench.daemon().push("a:0.0", OTHER)
    assert await bench.stored("a:0.0") == OTHER


async def test_old_uploads_are_aborted(bench: Bench, upkeep: Upkeep) -> None:
    """Those that no claim lists, too; none of a younger claim, and none of somebody else's."""
    old = await begin_upload(bench, "a/0.0", 7200)
    young = await begin_upload(bench, "a/0.1", 60)
    # Clocks differ: the claim is younger, and its push goes on.
    kept = await begin_upload(bench, "a/0.2", 7200)
    await bench.memory.put(claim_key("a:0.2"), claim_of(b"x", "open", uploads=[kept]))
    foreign = await begin_upload(bench, "backup.tar", 7200)
    probes = await begin_upload(bench, ".assetd/probe/0.upload", 7200)
    found = await inspected(upkeep)
    assert {one.upload.upload for one in found.uploads} == {old, young, kept, probes}
    assert await released(upkeep, 3600) == [
        "aborted the upload of a/0.0",
        "aborted the upload of .assetd/probe/0.upload",
    ]
    left = {one.upload async for one in bench.memory.uploads("")}
    assert left == {young, kept, foreign}
    await tidy(bench)


async def test_a_claim_that_has_changed_hands_is_left(bench: Bench, upkeep: Upkeep) -> None:
    """Only the very push that was found is ended."""
    await bench.memory.put(claim_key("a:0.0"), claim_of(TREE, "open"))
    found = await inspected(upkeep)
    other = json.loads(claim_of(OTHER, "open")) | {"id": "2" * 32}
    await bench.memory.put(claim_key("a:0.0"), json.dumps(other).encode())
    assert await done(upkeep.release(found, 0)) == []
    assert (await bench.claims())[claim_key("a:0.0")]["state"] == "open"
    await tidy(bench)


async def test_a_released_pusher_begins_again(bench: Bench, upkeep: Upkeep) -> None:
    """Its bytes are committed all the same, once."""
    daemon = bench.daemon()
    gate = bench.store.pause("create", "0.0/sub/b")
    pushing = asyncio.create_task(daemon.push("a:0.0", TREE))
    await gate.reached()
    found = await inspected(upkeep)
    assert claims(found) == ["open a:0.0"]
    assert await done(upkeep.release(found, -1)) == ["released the claim on a:0.0"]
    gate.open()
    await pushing
    assert await bench.listed("a") == ["0.0"]
    assert await bench.stored("a:0.0") == TREE
    assert odd(await inspected(upkeep)) == []


async def test_what_cannot_be_read_is_told_and_left(bench: Bench, upkeep: Upkeep) -> None:
    """Damaged documents keep nothing else from being looked at."""
    await bench.memory.put("a.versions", b"{")
    await bench.memory.put(claim_key("a:0.5"), claim_of(TREE, "open"))
    await bench.memory.put(claim_key("b:0.0"), b"{")
    await bench.memory.put("c/0.0.meta", b"{")
    await put_parts(bench, "d:0.0", b"x")
    await put_manifest(bench, "d:0.0", b"x")
    found = await inspected(upkeep)
    assert [(bad.kind, bad.failure.metadata["key"]) for bad in found.unreadable] == [
        (PlaceKind.CLAIM, claim_key("b:0.0")),
        (PlaceKind.MANIFEST, "c/0.0.meta"),
    ]
    assert [damaged.name for damaged in found.damaged] == ["a"]
    assert (claims(found), odd(found)) == (["open a:0.5"], ["unlisted d:0.0"])
    await tidy(bench)


async def test_a_failure_keeps_nothing_else_from_being_mended(bench: Bench, upkeep: Upkeep) -> None:
    """Each deed tells of itself."""
    for number in range(2):
        await bench.memory.put(claim_key(f"a:0.{number}"), claim_of(TREE, "open"))
    found = await inspected(upkeep)
    bench.store.fail("swap", ".assetd/claims/a/0.0")
    first, second = [one async for one in upkeep.release(found, 0)]
    assert isinstance(first.failure, StoreUnavailableError)
    assert (second.what, second.failure) == ("a:0.1", None)
    await tidy(bench)


async def test_a_store_that_does_not_answer_is_told(bench: Bench, upkeep: Upkeep) -> None:
    """Nothing is said of what could not be seen."""
    bench.store.go_down()
    with pytest.raises(StoreUnavailableError):
        await inspected(upkeep)


async def test_the_probe_is_cancelled_only_when_nothing_is_left(
    bench: Bench, upkeep: Upkeep
) -> None:
    """Ctrl-C in mid-probe leaves no key behind."""
    gate = bench.store.pause("create", ".assetd/probe/")
    probing = asyncio.create_task(upkeep.probe())
    await gate.reached()
    probing.cancel()
    gate.open()
    await asyncio.wait([probing])
    assert probing.cancelled()
    assert (bench.memory.keys, bench.memory.upload_count) == ([], 0)


async def test_it_closes_the_store(tmp_path: Path) -> None:
    """Which it owns."""
    bench = Bench(tmp_path)
    await Upkeep(bench.store, PassingClock()).close()
    assert bench.memory.is_closed
