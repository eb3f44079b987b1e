"""A push whose digests are known: straight on into the store, and only what the store lacks."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest
from assetd_server.assets.orders import (
    PushChunk,
    PushCommit,
    PushCompleted,
    PushEvent,
    PushFiles,
    PushStep,
    PushWanted,
)
from assetd_server.errors import (
    PushInProgressError,
    PushMismatchError,
    PushNotCommittedError,
    StoreUnavailableError,
    VersionExistsError,
)
from assetd_server.store.local import LocalStore

from tests.support.assets_bench import Bench, Daemon, digest_of, steps_of
from tests.support.trees import read_tree
from tests.support.versions import Content, by_path

MIB = 2**20
TREE = {"a": b"1" * 2500, "sub/b": b"2" * 10, "sub/.dot": b"", "z": b"3"}
LARGE = b"".join(bytes([number]) * MIB for number in range(33))
PUSH_ID = "6f0e6a2e-6d1c-4a51-9f0e-0d0b8f8a7c11"


def wanted_of(events: Sequence[PushEvent]) -> list[str]:
    """The files that were asked for."""
    [wanted] = [event for event in events if isinstance(event, PushWanted)]
    return [path for path, _ in wanted.parts]


async def pushed(daemon: Daemon, spec: str, content: Content, **how: str) -> list[str]:
    """Push as a helper does, sending only what is wanted, and return what that was."""
    wanted: list[str] = []
    answered = asyncio.Event()

    async def steps() -> AsyncIterator[PushStep]:
        for step in steps_of(spec, content, chunk_bytes=MIB, **how):  # type: ignore[arg-type]
            if isinstance(step, PushChunk):
                await answered.wait()
                if step.path not in wanted:
                    continue
            yield step

    async with aclosing(daemon.assets.push(steps())) as events:
        async for event in events:
            if isinstance(event, PushWanted):
                wanted += [path for path, _ in event.parts]
                answered.set()
    assert isinstance(event, PushCompleted)
    assert event.asset_version.digest == digest_of(content)
    return wanted


# Onward


async def test_parts_are_stored_while_others_arrive(bench: Bench, daemon: Daemon) -> None:
    """The first part is in the store before the last has come, and nothing lies on the disk."""
    with pytest.raises(PushNotCommittedError):
        await daemon.push_steps(steps_of("x/d:1.0", TREE)[:-2])
    assert "x/d/1.0/a" in bench.memory.keys
    assert daemon.fs.named("pwritev") == daemon.fs.named("pwritev")[:1], "more than the journal"


async def test_a_part_that_is_not_what_was_announced_is_never_shown(
    bench: Bench, daemon: Daemon
) -> None:
    """Small or large, its hash is compared before the store shows it."""
    for content in (b"d" * 10, LARGE):
        steps = steps_of("x/y:1.0", content, chunk_bytes=MIB)
        last = steps[-2]
        assert isinstance(last, PushChunk)
        steps[-2] = replace(last, data=b"!" * len(last.data))
        with pytest.raises(PushMismatchError) as failure:
            await daemon.push_steps(steps)
        assert failure.value.metadata["field"] == "files.files.digest"
        assert "x/y/1.0" not in bench.memory.keys
        assert bench.memory.upload_count == 0


async def test_a_caller_who_jumps_between_many_files(daemon: Daemon) -> None:
    """Some leeway there is; who leaves file after file unfinished is refused."""
    content = {str(number): b"12" for number in range(6)}
    steps = steps_of("x/d:1.0", content, chunk_bytes=1)
    halves = [step for step in steps if not isinstance(step, PushChunk) or step.offset == 0]
    with pytest.raises(PushMismatchError) as failure:
        await daemon.push_steps(halves)
    assert failure.value.metadata["limit"] == "4"


async def test_chunks_that_are_not_wanted_are_dropped(bench: Bench, daemon: Daemon) -> None:
    """Who sends all at once, as grpcurl does, need not look at what is wanted."""
    await daemon.push("x/d:1.0", TREE)
    events = await daemon.push_steps(steps_of("x/d:1.1", TREE | {"new": b"n"}))
    assert wanted_of(events) == ["new"]
    assert await bench.stored("x/d:1.1") == TREE | {"new": b"n"}


async def test_memory_is_bounded_by_the_store(bench: Bench, daemon: Daemon) -> None:
    """While the store takes nothing, no more than the budget is read from the caller."""
    gates = [bench.store.pause("upload_part", "x/y/1.0") for _ in range(16)]
    large = bytes(160 * MIB)
    steps = steps_of("x/y:1.0", large, chunk_bytes=MIB)
    taken = 0

    async def counted() -> AsyncIterator[PushStep]:
        nonlocal taken
        for step in steps:
            taken += isinstance(step, PushChunk)
            yield step

    async def push() -> None:
        async with aclosing(daemon.assets.push(counted())) as events:
            assert [event async for event in events]

    pushing = asyncio.create_task(push())
    await gates[3].reached()
    before = -1
    while before != taken:
        before = taken
        await asyncio.sleep(0.05)
    assert taken <= 96 + 16 + 1
    for gate in gates:
        gate.open()
    await pushing
    assert await bench.stored("x/y:1.0") == large


# What the store has


async def test_equal_parts_of_other_versions_are_not_sent(bench: Bench, daemon: Daemon) -> None:
    """An update sends what changed; the rest is copied from the version that has it."""
    await daemon.push("x/d:1.0", TREE)
    changed = TREE | {"z": b"changed", "moved/a": TREE["a"]}
    assert await pushed(daemon, "x/d", changed) == ["z"]
    assert await bench.stored("x/d:1.1") == changed


async def test_a_damaged_part_is_no_source(bench: Bench, daemon: Daemon) -> None:
    """What an older version holds is believed by its bytes alone; else the part is sent."""
    await daemon.push("x/d:1.0", TREE)
    await bench.memory.put("x/d/1.0/a", b"0" * 2500)
    await bench.memory.delete("x/d/1.0/z")
    assert await pushed(daemon, "x/d", TREE) == ["a", "z"]
    assert await bench.stored("x/d:1.1") == TREE


async def test_a_cut_push_goes_on_where_it_was(bench: Bench, daemon: Daemon) -> None:
    """Of a push that is sent again only the parts travel that the store lacks."""
    for spec, expected in (("x/d", "x/d:0.0"), ("y/d:1.0", "y/d:1.0")):
        steps = steps_of(spec, TREE, push_id=PUSH_ID)
        with pytest.raises(PushNotCommittedError):
            await daemon.push_steps(steps[:-2])
        assert await pushed(daemon, spec, TREE, push_id=PUSH_ID) == ["z"]
        assert await bench.stored(expected) == TREE


async def test_a_left_over_of_the_same_size_is_looked_into(bench: Bench, daemon: Daemon) -> None:
    """Only equal bytes are kept: what another content has left is sent, and replaced."""
    with pytest.raises(PushNotCommittedError):
        await daemon.push_steps(steps_of("x/d:1.0", TREE | {"a": b"!" * 2500})[:-1])
    assert await pushed(daemon, "x/d:1.0", TREE) == ["a"]
    assert bench.store.count("put_from_upload", "x/d/1.0/a") == 1
    assert await bench.stored("x/d:1.0") == TREE


@pytest.mark.parametrize(
    ("given_up", "content"),
    [
        (TREE, b"file"),
        (b"file", TREE),
        ({"a/b/c": b"1", "d": b"2"}, {"a": b"3", "d": b"2"}),
        ({"a": b"1", "d": b"2"}, {"a/b/c": b"3", "d/e": b"2"}),
        # Large enough to be an upload in any case.
        (TREE, LARGE),
    ],
    ids=["a folder", "a file", "a folder in it", "a file in it", "a large file"],
)
async def test_left_overs_are_in_nobody_s_way(
    bench: Bench, tmp_path: Path, given_up: Content, content: Content
) -> None:
    """In a directory what a push that was given up has left is in nobody's way, whatever it was.

    Where keys are paths, a file would keep folders from standing, and the reverse.
    """
    (root := tmp_path / "store").mkdir()
    store = LocalStore(root)
    daemon = bench.daemon(store=store)
    await daemon.push("x/d:0.9", b"older")
    with pytest.raises(PushNotCommittedError):
        await daemon.push_steps(steps_of("x/d:1.0", given_up, chunk_bytes=MIB)[:-1])
    assert (root / "x/d/1.0").exists()
    pushed = await daemon.push_steps(steps_of("x/d:1.0", content, chunk_bytes=MIB))
    assert isinstance(pushed[-1], PushCompleted)
    other = bench.daemon(store=store)
    fetched = await other.fetched("x/d:1.0", verify=True)
    assert read_tree(Path(fetched.path)) == by_path(content)
    await other.fetched("x/d:0.9", verify=True)
    await bench.close()
    await store.close()


async def test_a_claim_lost_in_mid_stream(bench: Bench, daemon: Daemon) -> None:
    """The bytes are gone: the caller is told to push again, and that works."""
    await bench.memory.put("x/y/1.0", b"left")
    gate = bench.store.pause("swap", ".assetd/claims/x/y/1.0")
    pushing = asyncio.create_task(daemon.push("x/y:1.0", b"data"))
    await gate.reached()
    claims = await bench.claims()
    await bench.memory.delete(next(iter(claims)))
    gate.open()
    with pytest.raises(PushInProgressError):
        await pushing
    await daemon.push("x/y:1.0", b"data")
    assert await bench.stored("x/y:1.0") == b"data"


async def test_an_upload_is_noted_before_it_is_used(bench: Bench, daemon: Daemon) -> None:
    """A daemon that dies in an upload leaves its name, and the next one ends it."""
    gate = bench.store.pause("create_from_upload", "x/y/1.0")
    pushing = asyncio.create_task(
        daemon.push_steps(steps_of("x/y:1.0", LARGE, chunk_bytes=MIB, push_id=PUSH_ID))
    )
    await gate.reached()
    journal = daemon.root / ".assetd/push/.journal"
    [entry] = journal.iterdir()
    died = bench.daemon(root=bench.folder / "next")
    (died.root / ".assetd/push/.journal").mkdir(parents=True)
    (died.root / ".assetd/push/.journal" / entry.name).write_bytes(entry.read_bytes())
    await died.assets.settle_pushes()
    assert bench.memory.upload_count == 0
    assert await bench.claim_states() == {"released"}
    gate.open()
    with pytest.raises(PushInProgressError):
        await pushing


# Validating


@pytest.mark.parametrize("with_digest", [True, False])
async def test_a_dry_run_creates_nothing(
    bench: Bench, daemon: Daemon, *, with_digest: bool
) -> None:
    """It wants nothing, tells what would be created, and no call changes the store."""
    await daemon.push("x/d:1.0", TREE)
    keys = bench.memory.keys
    steps = steps_of(
        "x/d", {"other": b"o"}, validate_only=True, labels={"k": "v"}, with_digest=with_digest
    )
    events = await daemon.push_steps([step for step in steps if not isinstance(step, PushChunk)])
    assert wanted_of(events) == []
    completed = events[-1]
    assert isinstance(completed, PushCompleted)
    assert not completed.already_existed
    described = completed.asset_version
    assert (str(described), described.size_bytes, described.file_count) == ("x/d:1.1", 1, 1)
    assert described.labels == {"k": "v"}
    assert described.digest == (digest_of({"other": b"o"}) if with_digest else None)
    assert bench.memory.keys == keys


async def test_a_dry_run_meets_what_a_push_would_meet(daemon: Daemon) -> None:
    """The version that exists, equal or not; the mode; files that cannot stand together."""
    await daemon.push("x/d:1.0", TREE)
    same = await daemon.push("x/d:1.0", TREE, validate_only=True)
    assert same.already_existed
    with pytest.raises(VersionExistsError):
        await daemon.push("x/d:1.0", {"other": b"o"}, validate_only=True)
    with pytest.raises(PushMismatchError):
        await daemon.push_steps(
            [
                steps_of("x/d:1.1", TREE, validate_only=True)[0],
                PushFiles([]),
                *steps_of("x/d:1.1", {"other": b"o"})[1:2],
                PushCommit(),
            ]
        )


# Labels


async def test_labels_are_kept(bench: Bench, daemon: Daemon) -> None:
    """They stand in the manifest, also where somebody else has finished the push."""
    labels = {"task": "ranking", "ünïcode": "☃"}
    completed = await daemon.push("x/y:1.0", b"d", labels=labels)
    assert completed.asset_version.labels == labels
    bench.store.fail("create", "x/y/1.1.meta", times=1)
    with pytest.raises(StoreUnavailableError):
        await daemon.push("x/y:1.1", b"d", labels=labels)
    again = await bench.daemon().push("x/y:1.1", b"d")
    assert again.asset_version.labels == labels


async def test_settling_waits_for_the_store(bench: Bench, daemon: Daemon) -> None:
    """A push that could not tell the store that it ended is settled once the store is back."""
    await daemon.push("x/y:0.9", b"first")
    bench.store.fail("create", "x/y/1.0")
    bench.store.fail("get", ".assetd/claims/x/y/1.0", times=2)
    with pytest.raises(StoreUnavailableError):
        await daemon.push("x/y:1.0", b"d")
    await daemon.assets.settle_pushes()
    assert await bench.claim_states() == {"open"}
    await daemon.assets.settle_pushes()
    assert await bench.claim_states() == {"released"}
    assert list((daemon.root / ".assetd/push/.journal").iterdir()) == []
