"""The push protocol at its seams: lost and late answers, dead pushers, claims in every state."""

import asyncio
import json
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

import pytest
from assetd_server.assets.orders import Bump
from assetd_server.errors import (
    BadManifestError,
    PushInProgressError,
    PushMismatchError,
    StoreAccessDeniedError,
    StoreUnavailableError,
    VersionExistsError,
)
from assetd_server.manifest import encode_parts
from assetd_server.store.base import EtagMismatchError, Upload

from tests.support.assets_bench import Bench, Daemon, digest_of, paths_of
from tests.support.versions import Content, kind_of, manifest_of

T = TypeVar("T")

TREE = {"a": b"1" * 2500, "sub/b": b"2" * 10, "sub/.dot": b"", "z": b"3"}
OTHER = {"a": b"9" * 2500, "sub/b": b"8" * 10}
PUSH_ID = "6f0e6a2e-6d1c-4a51-9f0e-0d0b8f8a7c11"
DEAD = "00000000-0000-4000-8000-000000000000"


def claim_of(
    content: Content, state: str, *, push_id: str = DEAD, uploads: Sequence[Upload] = ()
) -> bytes:
    """The claim of a pusher that is gone."""
    return json.dumps(
        {
            "format": 1,
            "state": state,
            "kind": kind_of(content).value,
            "digest": digest_of(content),
            "push_id": push_id,
            "id": "0" * 32,
            "owner": "a-dead-host",
            "time": "2026-11-23T09:00:00+00:00",
            "files": encode_parts(manifest_of(content).parts) if state == "committing" else {},
            "pushed_by": "somebody",
            "uploads": [[upload.key, upload.upload_id] for upload in uploads],
            "nonce": "1" * 32,
        }
    ).encode()


def claim_key(spec: str) -> str:
    """Where the claim on an exact version lies."""
    return f".assetd/claims/{paths_of(spec).data}"


async def put_parts(bench: Bench, spec: str, content: Content) -> None:
    """Leave parts in the store as a push does that died before its manifest."""
    for part in manifest_of(content).parts:
        data = content if isinstance(content, bytes) else content[part.path]
        await bench.memory.put(paths_of(spec).part(part.path), data)


@asynccontextmanager
async def beside(work: Coroutine[None, None, T]) -> AsyncIterator["asyncio.Task[T]"]:
    """Run `work` beside the block, to its end."""
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        await asyncio.wait([task])


async def wipe(bench: Bench) -> None:
    """Empty the store."""
    bench.store.come_back()
    for key in bench.memory.keys:
        await bench.memory.delete(key)


async def require_litter_only(bench: Bench) -> None:
    """Check that no claim stays open, but for litter beside a manifest."""
    for key, claim in (await bench.claims()).items():
        manifest = key.removeprefix(".assetd/claims/") + ".meta"
        assert claim["state"] == "released" or manifest in bench.memory.keys, key


async def settled(bench: Bench, spec: str, *contents: Content) -> Content:
    """Check that a version is whole, listed and one of `contents`; return which."""
    name, version = paths_of(spec).folder, paths_of(spec).leaf
    assert (await bench.listed(name)).count(version) == 1
    stored = await bench.stored(spec)
    meta = json.loads(await bench.store.bytes_of(f"{paths_of(spec).data}.meta"))
    assert meta["assetd"]["digest"] == digest_of(stored)
    assert stored in contents
    return stored


# A store call that fails


async def call_count(bench: Bench, spec: str, content: Content) -> int:
    """How many store calls an undisturbed push makes."""
    await bench.daemon().push(spec, content)
    return len(bench.store.calls)


@pytest.mark.parametrize("spec", ["x/d", "x/d:1.0"])
@pytest.mark.parametrize("content", [b"file", TREE])
async def test_any_call_may_fail(bench: Bench, spec: str, content: Content) -> None:
    """Whichever store call fails, a repeat of the push creates one version."""
    total = await call_count(bench, spec, content)
    daemon = bench.daemon()
    for number in range(1, total + 1):
        await wipe(bench)
        bench.store.fail_call(number)
        with pytest.raises(StoreUnavailableError):
            await daemon.push(spec, content, push_id=PUSH_ID)
        await daemon.require_idle()
        assert await bench.claim_states() <= {"released"}, f"an open claim after call {number}"
        again = await daemon.push(spec, content, push_id=PUSH_ID)
        assert await settled(bench, str(again.asset_version), content) == content
        assert len(await bench.listed("x/d")) == 1, f"two versions after call {number}"


async def test_after_a_failure_others_are_free_to_push(bench: Bench) -> None:
    """Whichever call fails, another content may have the version, unless it is committed."""
    total = await call_count(bench, "x/d:1.0", TREE)
    daemon = bench.daemon()
    outcomes = set()
    for number in range(1, total + 1):
        await wipe(bench)
        bench.store.fail_call(number)
        with pytest.raises(StoreUnavailableError):
            await daemon.push("x/d:1.0", TREE)
        try:
            await daemon.push("x/d:1.0", OTHER)
        except VersionExistsError:
            outcomes.add("committed")
            await settled(bench, "x/d:1.0", TREE)
        else:
            outcomes.add("given up")
            await settled(bench, "x/d:1.0", OTHER)
    assert outcomes == {"committed", "given up"}


@pytest.mark.parametrize("spec", ["x/d", "x/d:1.0"])
async def test_any_answer_may_be_lost(bench: Bench, spec: str) -> None:
    """Whichever answer of the store is lost, a repeat finds what took effect."""
    operations = ("create", "swap", "delete")
    await bench.daemon().push(spec, TREE)
    changes = [call for call in bench.store.calls if call[0] in operations]
    daemon = bench.daemon()
    for operation, key in changes:
        await wipe(bench)
        bench.store.lose_answer(operation, key)
        with pytest.raises(StoreUnavailableError):
            await daemon.push(spec, TREE, push_id=PUSH_ID)
        bench.store.come_back()
        assert await bench.claim_states() <= {"released"}, f"after {operation} of {key}"
        again = await daemon.push(spec, TREE, push_id=PUSH_ID)
        await settled(bench, str(again.asset_version), TREE)
        assert len(await bench.listed("x/d")) == 1, f"after {operation} of {key}"


@pytest.mark.parametrize("spec", ["x/d", "x/d:1.0"])
async def test_any_call_may_come_late(bench: Bench, spec: str) -> None:
    """A call whose caller has given up takes effect after another push: no harm is done.

    The other push has other content, so a late part, claim or manifest would be noticed.
    """
    operations = ("create", "swap", "delete")
    await bench.daemon().push(spec, TREE)
    changes = [call for call in bench.store.calls if call[0] in operations]
    daemon = bench.daemon()
    for operation, key in changes:
        await wipe(bench)
        late = bench.store.delay(operation, key)
        with pytest.raises(StoreUnavailableError):
            await daemon.push(spec, TREE, push_id=PUSH_ID)
        try:
            completed = await daemon.push(spec, OTHER)
        except VersionExistsError:
            await late.arrive()
        else:
            await late.arrive()
            await settled(bench, str(completed.asset_version), OTHER)
        await require_litter_only(bench)
        for version in await bench.listed("x/d"):
            await settled(bench, f"x/d:{version}", TREE, OTHER)
        if ":" not in spec:
            again = await daemon.push(spec, TREE, push_id=PUSH_ID)
            await settled(bench, str(again.asset_version), TREE)
        await wipe(bench)


@pytest.mark.parametrize("spec", ["x/d", "x/d:1.0"])
async def test_a_claim_that_comes_late_finds_the_place_taken(
    bench: Bench, daemon: Daemon, spec: str
) -> None:
    """A claim whose create takes effect after its push gave up must not lock others out."""
    key = claim_key("x/d:1.0" if ":" in spec else "x/d:0.0")
    late = bench.store.delay("create", key)
    with pytest.raises(StoreUnavailableError):
        await daemon.push(spec, TREE)
    await late.arrive()
    assert await bench.claim_states() == {"released"}
    await daemon.push(spec, OTHER)
    await settled(bench, "x/d:1.0" if ":" in spec else "x/d:0.0", OTHER)


async def test_a_takeover_that_comes_late_finds_another_claim(bench: Bench, daemon: Daemon) -> None:
    """As a create, so a swap over a released claim: late, it finds another write."""
    await bench.memory.put(claim_key("x/d:1.0"), claim_of(OTHER, "released"))
    late = bench.store.delay("swap", claim_key("x/d:1.0"))
    with pytest.raises(StoreUnavailableError):
        await daemon.push("x/d:1.0", TREE)
    await late.arrive()
    assert await bench.claim_states() == {"released"}
    await daemon.push("x/d:1.0", OTHER)
    await settled(bench, "x/d:1.0", OTHER)


async def test_a_refusal_leaves_no_record(bench: Bench, daemon: Daemon) -> None:
    """A claim that the store refused cannot come late: nothing is written in its stead."""
    refused = StoreAccessDeniedError("the store refuses")
    bench.store.fail("create", claim_key("x/d:1.0"), error=refused)
    with pytest.raises(StoreAccessDeniedError):
        await daemon.push("x/d:1.0", TREE)
    assert bench.memory.keys == []


async def test_a_store_that_goes_down_is_the_failure_that_counts(
    bench: Bench, daemon: Daemon
) -> None:
    """A claim that cannot be given up stays open; the same content joins it afterwards."""
    bench.store.fail("create", "x/d/1.0/", times=1 << 30)
    bench.store.fail("swap", claim_key("x/d:1.0"), times=1 << 30)
    with pytest.raises(StoreUnavailableError):
        await daemon.push("x/d:1.0", TREE)
    assert await bench.claim_states() == {"open"}
    bench.store.come_back()
    with pytest.raises(PushInProgressError):
        await daemon.push("x/d:1.0", OTHER)
    await daemon.push("x/d:1.0", TREE)
    await settled(bench, "x/d:1.0", TREE)


# Claims of the dead


@pytest.mark.parametrize("spec", ["x/d:1.0", "x/d"])
async def test_a_committing_claim_is_finished(bench: Bench, daemon: Daemon, spec: str) -> None:
    """What a dead daemon had begun to commit is finished by the next exact push, as it says."""
    await put_parts(bench, "x/d:1.0", TREE)
    await bench.memory.put(claim_key("x/d:1.0"), claim_of(TREE, "committing", push_id=PUSH_ID))
    push_id = None if ":" in spec else PUSH_ID
    completed = await daemon.push(spec, TREE, push_id=push_id)
    assert str(completed.asset_version) == "x/d:1.0"
    assert completed.asset_version.pushed_by == "somebody"
    assert completed.already_existed is (push_id is None)
    await settled(bench, "x/d:1.0", TREE)
    assert await bench.claims() == {}


async def test_other_content_finishes_it_too(bench: Bench, daemon: Daemon) -> None:
    """A push of other content finishes what was committed, and then finds the version taken."""
    await put_parts(bench, "x/d:1.0", TREE)
    await bench.memory.put(claim_key("x/d:1.0"), claim_of(TREE, "committing"))
    with pytest.raises(VersionExistsError):
        await daemon.push("x/d:1.0", OTHER)
    await settled(bench, "x/d:1.0", TREE)
    assert await bench.claims() == {}


async def test_a_bump_leaves_strangers_claims_alone(bench: Bench, daemon: Daemon) -> None:
    """A bump takes the next number beside a claim that is open or committing."""
    await bench.memory.put(claim_key("x/d:0.0"), claim_of(TREE, "open"))
    await bench.memory.put(claim_key("x/d:0.1"), claim_of(TREE, "committing"))
    completed = await daemon.push("x/d", TREE)
    assert str(completed.asset_version.version) == "0.2"
    assert await bench.claim_states() == {"open", "committing"}
    await bench.memory.delete(claim_key("x/d:0.0"))
    await bench.memory.delete(claim_key("x/d:0.1"))


@pytest.mark.parametrize(
    ("spec", "state", "expected"),
    [
        ("x/d", "open", "1.1"),
        ("x/d:1", "open", "1.1"),
        ("x/d:7", "open", "7.0"),
        ("x/d", "committing", "7.6"),
        ("x/d:1", "committing", "1.1"),
        ("x/d:7", "committing", "7.6"),
    ],
)
async def test_a_claim_far_ahead_moves_no_number(
    bench: Bench, daemon: Daemon, spec: str, state: str, expected: str
) -> None:
    """A version that is claimed far ahead moves no number before it is being committed."""
    await daemon.push("x/d:1.0", TREE)
    await bench.memory.put(claim_key("x/d:7.5"), claim_of(TREE, state))
    pushed = await daemon.push(spec, OTHER)
    assert str(pushed.asset_version.version) == expected
    await bench.memory.delete(claim_key("x/d:7.5"))


@pytest.mark.parametrize("spec", ["x/d:0.0", "x/d"])
@pytest.mark.parametrize(
    "left_over", [{}, TREE, OTHER, {"a": b"", "z": b"9", "extra": b"stays unnamed"}]
)
async def test_a_released_claim_is_taken_over(
    bench: Bench, daemon: Daemon, spec: str, left_over: dict[str, bytes]
) -> None:
    """Its number is free again; equal left-over parts are kept, unequal ones are replaced."""
    await put_parts(bench, "x/d:0.0", left_over)
    await bench.memory.put(claim_key("x/d:0.0"), claim_of(OTHER, "released"))
    bench.store.calls.clear()
    completed = await daemon.push(spec, TREE)
    assert str(completed.asset_version.version) == "0.0"
    await settled(bench, "x/d:0.0", TREE)
    replaced = {path for path in TREE if path in left_over and left_over[path] != TREE[path]}
    uploads = {key.removeprefix("x/d/0.0/") for call, key in bench.store.calls if "start" in call}
    assert uploads == replaced
    assert bench.store.count("put") == 0


async def test_left_overs_of_another_kind_are_left_alone(bench: Bench, daemon: Daemon) -> None:
    """A bump takes the number after them: not every store holds a file beside a folder's parts.

    An exact push means that number, and so does the first of a new major.
    """
    await daemon.push("x/d", b"0")
    for number in ("0.1", "0.2", "1.0", "2.0"):
        await bench.memory.put(claim_key(f"x/d:{number}"), claim_of(TREE, "released"))
    numbers = [
        str((await daemon.push(spec, content, **how)).asset_version.version)
        for spec, content, how in (
            ("x/d", b"3", {}),
            ("x/d", b"4", {"bump": Bump.MAJOR}),
            ("x/d:0.1", b"5", {}),
            ("x/d:2", b"6", {}),
            ("x/d:0", TREE, {}),
        )
    ]
    assert numbers == ["0.3", "1.0", "0.1", "2.1", "0.4"]
    await bench.memory.put(claim_key("x/d:0.5"), claim_of(OTHER, "released"))
    pushed = await daemon.push("x/d:0", TREE | {"more": b""})
    assert str(pushed.asset_version.version) == "0.5"


async def test_a_released_claims_uploads_are_ended_first(bench: Bench, daemon: Daemon) -> None:
    """An upload that a released claim lists could still be completed over our parts."""
    upload = await bench.memory.start_upload("x/d/1.0/a")
    await bench.memory.upload_part(upload, 1, 0, [b"late bytes"])
    claim = claim_of(OTHER, "released", uploads=[upload])
    await bench.memory.put(claim_key("x/d:1.0"), claim)
    await daemon.push("x/d:1.0", TREE)
    assert bench.memory.upload_count == 0
    aborted = bench.store.calls.index(("abort_upload", "x/d/1.0/a"))
    assert aborted < bench.store.calls.index(("swap", claim_key("x/d:1.0")))


async def test_an_open_claim_of_equal_content_is_joined(bench: Bench, daemon: Daemon) -> None:
    """An exact push joins a claim that fixes its own bytes, whoever made it."""
    await put_parts(bench, "x/d:1.0", {"a": TREE["a"]})
    await bench.memory.put(claim_key("x/d:1.0"), claim_of(TREE, "open"))
    completed = await daemon.push("x/d:1.0", TREE)
    assert completed.already_existed  # the push that claimed it made it
    await settled(bench, "x/d:1.0", TREE)
    assert await bench.claims() == {}


@pytest.mark.parametrize(("time", "age"), [("2026-11-23T09:00", "1800"), ("2036-11-23T09:00", "0")])
async def test_an_open_claim_of_other_content_is_in_the_way(
    bench: Bench, daemon: Daemon, time: str, age: str
) -> None:
    """It is PUSH_IN_PROGRESS, with owner and age, never VERSION_EXISTS: no manifest is there.

    The age is never negative, however far the owner's clock is ahead.
    """
    claim = claim_of(OTHER, "open").replace(b"2026-11-23T09:00", time.encode())
    await bench.memory.put(claim_key("x/d:1.0"), claim)
    with pytest.raises(PushInProgressError) as failure:
        await daemon.push("x/d:1.0", TREE)
    assert failure.value.metadata["owner"] == "a-dead-host"
    assert failure.value.metadata["age_seconds"] == age
    await bench.memory.delete(claim_key("x/d:1.0"))


async def test_a_push_id_stands_for_one_content(bench: Bench, daemon: Daemon) -> None:
    """Also while its first content is still on its way, and for an exact version."""
    claim = claim_of(OTHER, "open", push_id=PUSH_ID)
    await bench.memory.put(claim_key("x/d:1.0"), claim)
    with pytest.raises(PushMismatchError):
        await daemon.push("x/d:1.0", TREE, push_id=PUSH_ID)
    assert (await bench.memory.get(claim_key("x/d:1.0"), 10_000))[1] == claim
    await bench.memory.delete(claim_key("x/d:1.0"))


@pytest.mark.parametrize("validate_only", [False, True])
@pytest.mark.parametrize("content", [TREE, OTHER])
async def test_a_number_is_not_used_again(
    bench: Bench, daemon: Daemon, content: Content, *, validate_only: bool
) -> None:
    """A version that was deleted from the store by hand stays deleted: caches may have it."""
    await daemon.push("x/d:1.0", TREE)
    await bench.memory.delete("x/d/1.0.meta")
    before = set(bench.memory.keys)
    with pytest.raises(VersionExistsError, match="deleted from the store"):
        await daemon.push("x/d:1.0", content, validate_only=validate_only)
    assert set(bench.memory.keys) == before
    completed = await daemon.push("x/d", content)
    assert str(completed.asset_version.version) == "1.1"


async def test_a_repeat_goes_on_with_its_own_claim(bench: Bench, daemon: Daemon) -> None:
    """A bump whose first try died elsewhere goes on at the number that it had claimed."""
    await daemon.push("x/d", OTHER)
    await put_parts(bench, "x/d:0.5", {"a": TREE["a"]})
    await bench.memory.put(claim_key("x/d:0.5"), claim_of(TREE, "open", push_id=PUSH_ID))
    completed = await daemon.push("x/d", TREE, push_id=PUSH_ID)
    assert str(completed.asset_version.version) == "0.5"
    await settled(bench, "x/d:0.5", TREE)


async def test_a_repeat_does_not_wait_for_the_end_of_its_first_try(
    bench: Bench, daemon: Daemon
) -> None:
    """The claim is released already, and the daemon does not know it yet: the number is kept."""
    bench.store.fail("create", "x/d/0.0/a", error=StoreAccessDeniedError("the store refuses"))
    gate = bench.store.hold_answer("swap", claim_key("x/d:0.0"))

    async def refused() -> None:
        with pytest.raises(StoreAccessDeniedError):
            await daemon.push("x/d", TREE, push_id=PUSH_ID)

    async with beside(refused()) as task:
        await gate.reached()
        again = await daemon.push("x/d", TREE, push_id=PUSH_ID)
        gate.open()
        await task
    assert str(again.asset_version.version) == "0.0"
    await settled(bench, "x/d:0.0", TREE)


async def test_a_claim_is_lost_while_parts_are_stored(bench: Bench, daemon: Daemon) -> None:
    """An operator may release a claim at any time: the push begins again and ends well."""
    key = claim_key("x/d:1.0")
    gate = bench.store.pause("create", "x/d/1.0/a")
    async with beside(daemon.push("x/d:1.0", TREE)) as task:
        await gate.reached()
        claim = json.loads(await bench.store.bytes_of(key))
        released = {**claim, "state": "released", "nonce": "2" * 32}
        await bench.memory.put(key, json.dumps(released).encode())
        gate.open()
        await task
    await settled(bench, "x/d:1.0", TREE)


async def test_a_claim_that_another_took_over_is_respected(bench: Bench, daemon: Daemon) -> None:
    """A frozen push whose claim was released and taken hears that, and mixes nothing in."""
    key = claim_key("x/d:1.0")
    gate = bench.store.pause("swap", key)
    async with beside(daemon.push("x/d:1.0", TREE)) as task:
        await gate.reached()
        claim = json.loads(await bench.store.bytes_of(key))
        await bench.memory.put(
            key, json.dumps({**claim, "state": "released", "nonce": "2" * 32}).encode()
        )
        await bench.daemon().push("x/d:1.0", OTHER)
        gate.open()
        with pytest.raises(VersionExistsError):
            await task
    await settled(bench, "x/d:1.0", OTHER)


async def test_a_replacement_is_never_shown_over_a_commit(bench: Bench, daemon: Daemon) -> None:
    """Who froze before it listed its upload finds the claim changed, and replaces nothing."""
    key = claim_key("x/d:1.0")
    await put_parts(bench, "x/d:1.0", {"a": b"left over"})
    await bench.memory.put(key, claim_of(OTHER, "released"))
    gate = bench.store.pause("upload_part", "x/d/1.0/a")
    async with beside(daemon.push("x/d:1.0", TREE)) as task:
        await gate.reached()
        claim = json.loads(await bench.store.bytes_of(key))
        await bench.memory.put(
            key, json.dumps({**claim, "state": "released", "nonce": "2" * 32}).encode()
        )
        await bench.daemon().push("x/d:1.0", OTHER)
        gate.open()
        with pytest.raises(VersionExistsError):
            await task
    await settled(bench, "x/d:1.0", OTHER)
    assert bench.memory.upload_count == 0


@pytest.mark.parametrize("raw", [b"", b"{}", b"[]", b'{"format": 2}', b"\xff", b'{"format": 1}'])
async def test_a_claim_that_cannot_be_read_is_told(
    bench: Bench, daemon: Daemon, raw: bytes
) -> None:
    """What another release, or damage, wrote is never taken over: BAD_MANIFEST names the key."""
    await bench.memory.put(claim_key("x/d:1.0"), raw)
    with pytest.raises(BadManifestError) as failure:
        await daemon.push("x/d:1.0", TREE)
    assert failure.value.metadata["key"] == claim_key("x/d:1.0")
    assert await bench.store.bytes_of(claim_key("x/d:1.0")) == raw
    await bench.memory.delete(claim_key("x/d:1.0"))


async def test_keys_among_the_claims_that_are_none(bench: Bench, daemon: Daemon) -> None:
    """A key that names no version is nobody's claim, and keeps nobody from pushing."""
    await bench.memory.put(".assetd/claims/x/d/notes.txt", b"{}")
    await bench.memory.put(".assetd/claims/x/d/deeper/0.0", claim_of(TREE, "open"))
    await daemon.push("x/d", TREE)
    await settled(bench, "x/d:0.0", TREE)
    await bench.memory.delete(".assetd/claims/x/d/notes.txt")
    await bench.memory.delete(".assetd/claims/x/d/deeper/0.0")


async def test_nobody_answers_for_a_damaged_manifest(bench: Bench, daemon: Daemon) -> None:
    """A manifest that cannot be believed stops its exact version, and no bump."""
    await bench.memory.put("x/d/0.0.meta", b"{")
    with pytest.raises(BadManifestError):
        await daemon.push("x/d:0.0", TREE)
    completed = await daemon.push("x/d", TREE)
    assert str(completed.asset_version.version) == "0.1"


async def test_others_that_keep_changing_the_index(bench: Bench, daemon: Daemon) -> None:
    """A push that cannot list its version says so; the next one lists it."""
    await daemon.push("x/d", OTHER)
    lost_race = EtagMismatchError("x/d.versions")
    bench.store.fail("swap", "x/d.versions", error=lost_race, times=200)
    with pytest.raises(PushInProgressError, match="not listed yet"):
        await daemon.push("x/d:1.0", TREE)
    bench.store.come_back()
    assert (await daemon.push("x/d:1.0", TREE)).already_existed
    await settled(bench, "x/d:1.0", TREE)


async def test_one_push_by_two_daemons_is_one_version(bench: Bench, daemon: Daemon) -> None:
    """A repeat that comes while the first try is still at work joins it, bumps included."""
    gate = bench.store.pause("create", "x/d/0.0/a")
    async with beside(daemon.push("x/d", TREE, push_id=PUSH_ID)) as first:
        await gate.reached()
        again = await bench.daemon().push("x/d", TREE, push_id=PUSH_ID)
        gate.open()
        completed = await first
    assert completed.asset_version == again.asset_version
    assert await bench.listed("x/d") == ["0.0"]
    await settled(bench, "x/d:0.0", TREE)
