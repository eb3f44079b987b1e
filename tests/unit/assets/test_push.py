"""Push as one caller sees it: the steps, the numbers, what exists already, what an end leaves."""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from datetime import UTC, datetime

import pytest
from assetd_server.assets.orders import (
    Bump,
    PushAccepted,
    PushCompleted,
    PushMode,
    PushPhase,
    PushProgress,
    PushWanted,
)
from assetd_server.assets.settings import AssetsSettings
from assetd_server.errors import (
    AssetExistsError,
    AssetNotFoundError,
    InvalidVersionError,
    PushInProgressError,
    PushMismatchError,
    VersionExistsError,
)
from assetd_server.model import PartPath
from assetd_server.versioning import VersioningSystem

from tests.support.assets_bench import (
    Bench,
    Daemon,
    PassingClock,
    digest_of,
    names_of,
    steps_of,
    told,
)
from tests.support.versions import Content

TREE = {"a": b"1" * 2500, "sub/b": b"2" * 10, "sub/.dot": b"", "z": b"3"}
PUSH_ID = "6f0e6a2e-6d1c-4a51-9f0e-0d0b8f8a7c11"
FILE = PartPath.of_file()


# What a push creates


@pytest.mark.parametrize("with_digest", [True, False])
@pytest.mark.parametrize("content", [b"", b"data", b"d" * 5000, TREE, {"only": b""}])
async def test_what_is_pushed_is_stored_and_listed(
    bench: Bench, daemon: Daemon, content: Content, *, with_digest: bool
) -> None:
    """After `completed` the store holds the very bytes, and the index lists the version."""
    events = await daemon.push_steps(steps_of("x/y", content, with_digest=with_digest))
    completed = events[-1]
    assert isinstance(completed, PushCompleted)
    assert str(completed.asset_version) == "x/y:0.0"
    assert completed.asset_version.digest == digest_of(content)
    assert not completed.already_existed
    assert await bench.stored("x/y:0.0") == content
    assert await bench.listed("x/y") == ["0.0"]
    assert await bench.claims() == {}


async def test_the_steps_are_answered_in_order(daemon: Daemon) -> None:
    """accepted, then wanted for each files step, then progress, then completed, which is last."""
    events = await daemon.push_steps(steps_of("x/d", TREE, push_id=PUSH_ID))
    names = names_of(events)
    assert names[:2] == ["PushAccepted", "PushWanted"]
    assert set(names[2:-1]) == {"PushProgress"}
    assert names[-1] == "PushCompleted"
    accepted, wanted = events[0], events[1]
    assert accepted == PushAccepted(PUSH_ID, "0.0", version_final=True)
    assert isinstance(wanted, PushWanted)
    assert list(wanted.parts) == [(PartPath(path), 0) for path, data in TREE.items() if data]


async def test_storing_is_told(bench: Bench, daemon: Daemon) -> None:
    """While parts are stored the progress says how many bytes have come and are stored."""
    gate = bench.store.pause("create", "x/y/0.0")
    seen: list[PushProgress] = []
    async with aclosing(daemon.assets.push(told(steps_of("x/y", b"d" * 2500)))) as events:
        async for event in events:
            if isinstance(event, PushProgress):
                seen.append(event)
                gate.open()
    assert seen[0] == PushProgress(PushPhase.STORING, 2500, 0, 2500)


async def test_without_a_digest_the_number_is_a_guess(daemon: Daemon) -> None:
    """Before the bytes are hashed nothing is claimed, and the number is said not to be final."""
    events = await daemon.push_steps(steps_of("x/y", b"a", with_digest=False))
    assert isinstance(events[0], PushAccepted)
    assert (events[0].version, events[0].version_final) == ("0.0", False)
    exact = await daemon.push_steps(steps_of("x/y:3.4", b"a", with_digest=False))
    assert isinstance(exact[0], PushAccepted)
    assert (exact[0].version, exact[0].version_final) == ("3.4", True)


async def test_what_is_pushed_can_be_fetched(daemon: Daemon) -> None:
    """What one push created, a fetch brings back."""
    await daemon.push("x/d", TREE)
    completed = await daemon.fetched("x/d", verify=True)
    assert completed.asset_version.digest == digest_of(TREE)


# The numbers


@pytest.mark.parametrize(
    ("existing", "spec", "bump", "created"),
    [
        ([], "x/y", None, "0.0"),
        ([], "x/y", Bump.MAJOR, "0.0"),
        ([], "x/y:3", None, "3.0"),
        ([], "x/y:7.5", None, "7.5"),
        (["0.0"], "x/y", None, "0.1"),
        (["0.0"], "x/y", Bump.MINOR, "0.1"),
        (["0.9", "0.10"], "x/y", None, "0.11"),
        (["1.5", "10.0"], "x/y", None, "10.1"),
        (["1.5", "10.0"], "x/y", Bump.MAJOR, "11.0"),
        (["1.5", "10.0"], "x/y:1", None, "1.6"),
        (["1.5", "10.0"], "x/y:2", None, "2.0"),
        (["1.5"], "x/y:1.4", None, "1.4"),
    ],
)
async def test_which_number_comes_next(
    bench: Bench,
    daemon: Daemon,
    existing: Sequence[str],
    spec: str,
    bump: Bump | None,
    created: str,
) -> None:
    """`name` makes the next version, `name:1` the next 1.x, an exact version that one."""
    for version in existing:
        await daemon.push(f"x/y:{version}", version.encode())
    completed = await daemon.push(spec, b"new", bump=bump)
    assert str(completed.asset_version.version) == created
    assert created in await bench.listed("x/y")
    assert len(await bench.listed("x/y")) == len(existing) + 1


async def test_dates_count_seconds_and_never_twice(bench: Bench) -> None:
    """With dates a version is now; two within one second, or after a jump back, get two dates."""
    clock = PassingClock(datetime(2026, 11, 23, 9, 30, 0, 999, tzinfo=UTC))
    daemon = bench.daemon(
        AssetsSettings(versioning=VersioningSystem.SIMPLE_DATE, range_bytes=4096), clock=clock
    )
    pushed = [str((await daemon.push("x/y", data)).asset_version.version) for data in (b"1", b"2")]
    assert pushed == ["2026-11-23T09-30-00Z", "2026-11-23T09-30-01Z"]
    clock.jump(-3600)
    third = await daemon.push("x/y", b"3")
    assert str(third.asset_version.version) == "2026-11-23T09-30-02Z"
    with pytest.raises(InvalidVersionError):
        await daemon.push("x/y", b"4", bump=Bump.MAJOR)
    with pytest.raises(InvalidVersionError):
        await daemon.push("x/y:1", b"4")


async def test_the_index_says_how_an_asset_counts(bench: Bench, daemon: Daemon) -> None:
    """The setting is for new assets; an asset that exists goes on as it counts."""
    await daemon.push("x/y", b"1")
    by_dates = bench.daemon(AssetsSettings(versioning=VersioningSystem.SIMPLE_DATE))
    assert str((await by_dates.push("x/y", b"2")).asset_version.version) == "0.1"


async def test_an_unlisted_version_is_counted_and_listed_again(
    bench: Bench, daemon: Daemon
) -> None:
    """A bump takes no number whose manifest stands, and mends an index that lost it."""
    await daemon.push("x/y", b"0")
    await daemon.push("x/y", b"1")
    await bench.memory.put("x/y.versions", b'{"versions": ["0.0"]}')
    completed = await daemon.push("x/y", b"2")
    assert str(completed.asset_version.version) == "0.2"
    assert await bench.listed("x/y") == ["0.2", "0.1", "0.0"]
    await bench.memory.delete("x/y.versions")
    await daemon.push("x/y", b"3")
    assert await bench.listed("x/y") == ["0.3", "0.2", "0.1", "0.0"]


# Modes


async def test_new_needs_an_asset_that_is_not(bench: Bench, daemon: Daemon) -> None:
    """With mode NEW the asset must not exist: else it is `ASSET_EXISTS`.

    Whether a version is named or not.
    """
    await daemon.push("x/y", b"0", mode=PushMode.NEW)
    for spec in ("x/y", "x/y:7.7"):
        with pytest.raises(AssetExistsError):
            await daemon.push(spec, b"1", mode=PushMode.NEW)
    assert await bench.listed("x/y") == ["0.0"]


async def test_of_several_new_assets_of_one_name_one_is_new(bench: Bench, daemon: Daemon) -> None:
    """NEW pushes at once never become 0.0 and 0.1: all but one are refused."""
    pushes = [daemon.push("x/y", b"%d" % number, mode=PushMode.NEW) for number in range(6)]
    ended = await asyncio.gather(*pushes, return_exceptions=True)
    refused = [error for error in ended if isinstance(error, BaseException)]
    assert len(refused) == 5
    assert all(isinstance(error, AssetExistsError | PushInProgressError) for error in refused)
    assert await bench.listed("x/y") == ["0.0"]


async def test_update_needs_an_asset_that_is(bench: Bench, daemon: Daemon) -> None:
    """With mode UPDATE the asset must exist: else it is `ASSET_NOT_FOUND`."""
    for spec in ("x/y", "x/y:7.7"):
        with pytest.raises(AssetNotFoundError):
            await daemon.push(spec, b"1", mode=PushMode.UPDATE)
    assert bench.memory.keys == []
    await daemon.push("x/y", b"0")
    await daemon.push("x/y", b"1", mode=PushMode.UPDATE)
    await daemon.push("x/y:7.7", b"1", mode=PushMode.UPDATE)
    assert await bench.listed("x/y") == ["7.7", "0.1", "0.0"]


async def test_new_can_be_repeated(daemon: Daemon) -> None:
    """A repeat of the push that made the asset new gets its first answer, not ASSET_EXISTS."""
    await daemon.push("x/y", b"0", mode=PushMode.NEW, push_id=PUSH_ID)
    again = await daemon.push("x/y", b"0", mode=PushMode.NEW, push_id=PUSH_ID)
    assert str(again.asset_version.version) == "0.0"


# What exists already


@pytest.mark.parametrize("with_digest", [True, False])
async def test_the_same_content_exists_already(
    bench: Bench, daemon: Daemon, *, with_digest: bool
) -> None:
    """An exact version with the same bytes is answered as it stands; nothing is stored again."""
    await daemon.push("x/d:1.0", TREE)
    bench.store.calls.clear()
    events = await daemon.push_steps(steps_of("x/d:1.0", TREE, with_digest=with_digest))
    completed = events[-1]
    assert isinstance(completed, PushCompleted)
    assert completed.already_existed
    assert completed.asset_version.digest == digest_of(TREE)
    assert bench.store.count("create") == bench.store.count("swap") == 0
    if with_digest:
        assert events[1] == PushWanted(())


@pytest.mark.parametrize("with_digest", [True, False])
async def test_other_content_never_replaces_a_version(
    bench: Bench, daemon: Daemon, *, with_digest: bool
) -> None:
    """A version never changes: other bytes for it are `VERSION_EXISTS`, and it stays as it was."""
    await daemon.push("x/y:1.0", b"first")
    with pytest.raises(VersionExistsError) as failure:
        await daemon.push("x/y:1.0", b"other", with_digest=with_digest)
    assert failure.value.metadata["existing"] == digest_of(b"first")
    assert await bench.stored("x/y:1.0") == b"first"


async def test_a_folder_is_no_file_of_the_same_bytes(bench: Bench, daemon: Daemon) -> None:
    """A version keeps its kind: a folder cannot be pushed over a file."""
    await daemon.push("x/y:1.0", b"first")
    with pytest.raises(VersionExistsError):
        await daemon.push("x/y:1.0", {"a": b"first"})
    assert await bench.stored("x/y:1.0") == b"first"


async def test_what_modelkit_pushed_cannot_be_compared(bench: Bench, daemon: Daemon) -> None:
    """Equality that cannot be proven is `VERSION_EXISTS`, also for the same bytes."""
    await bench.modelkit_pushes("x/y:1.0", b"data")
    with pytest.raises(VersionExistsError, match="modelkit"):
        await daemon.push("x/y:1.0", b"data")
    assert str((await daemon.push("x/y", b"data")).asset_version.version) == "1.1"
    assert await bench.listed("x/y") == ["1.1", "1.0"]


async def test_the_same_content_mends_the_index(bench: Bench, daemon: Daemon) -> None:
    """A version that the index lost is listed before it is answered."""
    await daemon.push("x/y:1.0", b"data")
    await bench.memory.put("x/y.versions", b'{"versions": []}')
    assert (await daemon.push("x/y:1.0", b"data")).already_existed
    assert await bench.listed("x/y") == ["1.0"]


# Repeats


@pytest.mark.parametrize("spec", ["x/y", "x/y:1", "x/y:1.0"])
async def test_a_repeat_gets_the_first_answer(bench: Bench, daemon: Daemon, spec: str) -> None:
    """A repeat with the same `push_id` gets the first answer: no second version is made.

    Bumps included.
    """
    first = await daemon.push(spec, b"data", push_id=PUSH_ID)
    await daemon.push("x/y", b"in between")
    other = bench.daemon()
    again = await other.push(spec, b"data", push_id=PUSH_ID)
    assert again.asset_version == first.asset_version
    assert not again.already_existed
    assert len(await bench.listed("x/y")) == 2


async def test_a_push_id_stands_for_one_content(bench: Bench, daemon: Daemon) -> None:
    """Other bytes under a push_id that is done are PUSH_MISMATCH."""
    await daemon.push("x/y", b"data", push_id=PUSH_ID)
    for spec in ("x/y", "x/y:0.0"):
        with pytest.raises(PushMismatchError):
            await daemon.push(spec, b"other", push_id=PUSH_ID)
    assert await bench.listed("x/y") == ["0.0"]


async def test_a_push_id_at_work_stands_for_one_content(bench: Bench, daemon: Daemon) -> None:
    """Other bytes under a push_id that is under way are PUSH_MISMATCH as well."""
    gate = bench.store.pause("create", "0.0.meta")
    pushing = asyncio.create_task(daemon.push("x/y", b"data", push_id=PUSH_ID))
    await gate.reached()
    with pytest.raises(PushMismatchError):
        await daemon.push("x/y", b"other", push_id=PUSH_ID)
    gate.open()
    await pushing


# Beside each other


async def test_concurrent_bumps_get_numbers_of_their_own(bench: Bench) -> None:
    """Pushes at once get numbers of their own, also from two daemons, and all are listed.

    Eight pushes make eight versions, each with its own bytes.
    """
    daemons = [bench.daemon(), bench.daemon()]
    contents = {f"{number}".encode() * 100 for number in range(8)}
    done = await asyncio.gather(
        *(daemons[i % 2].push("x/y", content) for i, content in enumerate(sorted(contents)))
    )
    versions = {str(completed.asset_version.version) for completed in done}
    assert len(versions) == 8
    assert set(await bench.listed("x/y")) == versions
    assert {await bench.stored(f"x/y:{version}") for version in versions} == contents
    assert await bench.claim_states() <= {"released"}


@pytest.mark.parametrize("count", [2, 8])
async def test_of_pushers_of_one_version_one_wins(bench: Bench, count: int) -> None:
    """Of several contents for one exact version one wins, and nothing is mixed."""
    daemons = [bench.daemon() for _ in range(count)]
    contents = [{"a": bytes([n]) * 3000, "b": bytes([n])} for n in range(count)]
    outcomes = await asyncio.gather(
        *(daemon.push("x/d:1.0", tree) for daemon, tree in zip(daemons, contents, strict=True)),
        return_exceptions=True,
    )
    won = [i for i, outcome in enumerate(outcomes) if isinstance(outcome, PushCompleted)]
    lost = [outcome for i, outcome in enumerate(outcomes) if i not in won]
    assert len(won) == 1
    assert all(isinstance(error, PushInProgressError | VersionExistsError) for error in lost)
    assert await bench.stored("x/d:1.0") == contents[won[0]]
    assert await bench.listed("x/d") == ["1.0"]


async def test_pushers_of_equal_content_join(bench: Bench) -> None:
    """The same bytes for one exact version: all succeed, and all but one say that it existed."""
    daemons = [bench.daemon() for _ in range(4)]
    done = await asyncio.gather(*(daemon.push("x/d:1.0", TREE) for daemon in daemons))
    assert sorted(completed.already_existed for completed in done) == [False, True, True, True]
    assert await bench.stored("x/d:1.0") == TREE
    assert await bench.claims() == {}


async def test_a_push_under_way_names_its_owner(bench: Bench, daemon: Daemon) -> None:
    """Who is refused hears since when and by whom the version is being pushed."""
    gate = bench.store.pause("create", "x/y/1.0")
    pushing = asyncio.create_task(daemon.push("x/y:1.0", b"first"))
    await gate.reached()
    other = bench.daemon()
    other.clock.advance(90)
    with pytest.raises(PushInProgressError) as failure:
        await other.push("x/y:1.0", b"other")
    assert failure.value.metadata["age_seconds"] == "90"
    assert failure.value.metadata["owner"]
    gate.open()
    await pushing
    assert await bench.stored("x/y:1.0") == b"first"
