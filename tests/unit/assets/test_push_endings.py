"""Pushes that are no push, or end early: what is named, and that nothing stays behind."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing

import pytest
from assetd_server.assets.orders import (
    Bump,
    PushChunk,
    PushCommit,
    PushFiles,
    PushHeader,
    PushProgress,
    PushStep,
)
from assetd_server.assets.settings import AssetsSettings
from assetd_server.errors import (
    AssetError,
    DiskFullError,
    InvalidFieldError,
    InvalidNameError,
    InvalidPartError,
    InvalidPushStreamError,
    PushMismatchError,
    PushNotCommittedError,
)
from assetd_server.manifest import Part
from assetd_server.model import AssetKind, Digest, PartPath
from assetd_server.spec import Spec

from tests.support.assets_bench import Bench, Daemon, digest_of, steps_of, told
from tests.support.versions import left_overs, part_of

TREE = {"a": b"1" * 2500, "sub/b": b"2" * 10, "sub/.dot": b"", "z": b"3"}
FILE = PartPath.of_file()


def header(spec: str = "x/y", **fields: object) -> PushHeader:
    """The header of a file's push."""
    return PushHeader(Spec.parse(spec), AssetKind.FILE, **fields)  # type: ignore[arg-type]


def announce(*data: bytes) -> PushFiles:
    """The files step of a file asset."""
    return PushFiles([part_of("", one) for one in data])


async def state_of(bench: Bench) -> tuple[list[str], set[str]]:
    """The keys that are no claims, and the states of the claims."""
    keys = [key for key in bench.memory.keys if not key.startswith(".assetd/")]
    return keys, await bench.claim_states()


# A stream that is no push


@pytest.mark.parametrize(
    ("steps", "error"),
    [
        ([], InvalidPushStreamError),
        ([PushCommit()], InvalidPushStreamError),
        ([header(), header()], InvalidPushStreamError),
        ([header(), PushCommit()], InvalidPushStreamError),
        ([header(), PushChunk(FILE, 0, b"d")], InvalidPushStreamError),
        ([header()], PushNotCommittedError),
        ([header(), announce(b"d")], PushNotCommittedError),
        ([header(), announce(b"d"), PushChunk(FILE, 0, b"d")], PushNotCommittedError),
        ([header(), announce(b"d", b"e")], InvalidFieldError),
        ([header(), PushFiles([part_of("a", b"d")])], InvalidFieldError),
        ([header(), announce(b"d"), PushChunk(FILE, 1, b"d")], PushMismatchError),
        ([header(), announce(b"d"), PushChunk(FILE, 0, b"dd")], PushMismatchError),
        ([header(), announce(b"dd"), PushChunk(FILE, 0, b"d"), PushCommit()], PushMismatchError),
        ([header(), announce(b"d"), PushChunk(FILE, 0, b"e"), PushCommit()], PushMismatchError),
        (
            [
                header(digest=digest_of(b"d")),
                announce(b"e"),
                PushChunk(FILE, 0, b"e"),
                PushCommit(),
            ],
            PushMismatchError,
        ),
        (
            [header(), announce(b"d"), PushChunk(FILE, 0, b"d"), PushCommit(digest_of(b"e"))],
            PushMismatchError,
        ),
        ([header(digest=digest_of(b"d")), PushFiles([Part(FILE, 1)])], InvalidFieldError),
        ([header("x/y:1", bump=Bump.MAJOR)], InvalidFieldError),
        ([header("x/y:1.0", bump=Bump.MINOR)], InvalidFieldError),
        ([header("x/1.0")], InvalidNameError),
        ([header("x/y.meta")], InvalidNameError),
        ([header("x_/y")], InvalidNameError),
        (
            [header("n" * 250 + "/" + "m" * 250 + "/" + "o" * 250 + "/" + "p" * 240)],
            InvalidNameError,
        ),
    ],
)
async def test_a_stream_that_is_wrong_creates_nothing(
    bench: Bench, daemon: Daemon, steps: Sequence[PushStep], error: type[AssetError]
) -> None:
    """Whatever is wrong is named, no version exists after it, and no claim stays open."""
    with pytest.raises(error):
        await daemon.push_steps(steps)
    keys, claims = await state_of(bench)
    assert keys == []
    assert claims <= {"released"}


@pytest.mark.parametrize(
    ("paths", "error"),
    [
        (["a", "a"], InvalidFieldError),
        (["a", "a/b"], InvalidPartError),
        (["/".join(["d" * 200] * 5)], InvalidPartError),
        ([""], InvalidFieldError),
    ],
)
@pytest.mark.parametrize("with_digest", [True, False])
async def test_files_that_cannot_stand_together(
    bench: Bench,
    daemon: Daemon,
    paths: Sequence[str],
    error: type[AssetError],
    *,
    with_digest: bool,
) -> None:
    """A file twice, `a` beside `a/b`, or a key too long are refused, and nothing is created."""
    parts = [part_of(path, b"") for path in paths]
    digest = Digest.of_hex("1" * 64) if with_digest else None
    first = PushHeader(Spec.parse("x/" + "n" * 30), AssetKind.DIRECTORY, digest=digest)
    with pytest.raises(error):
        await daemon.push_steps([first, PushFiles(parts), PushCommit()])
    assert (await state_of(bench))[0] == []


async def test_the_one_file_of_a_file_is_announced_once(daemon: Daemon) -> None:
    """Twice is told as such, and a file with a path as another thing."""
    header, file = PushHeader(Spec.parse("x/y"), AssetKind.FILE), part_of("", b"")
    with pytest.raises(InvalidFieldError, match="was announced twice"):
        await daemon.push_steps([header, PushFiles([file, file]), PushCommit()])
    with pytest.raises(InvalidFieldError, match="whose path is empty"):
        await daemon.push_steps([header, PushFiles([part_of("a", b"")]), PushCommit()])


async def test_files_in_each_others_way_are_named(daemon: Daemon) -> None:
    """The field at fault is that of the announced paths, not the spec."""
    first = PushHeader(Spec.parse("x/y"), AssetKind.DIRECTORY)
    parts = [part_of(path, b"") for path in ("a", "a/b")]
    with pytest.raises(InvalidPartError) as failure:
        await daemon.push_steps([first, PushFiles(parts), PushCommit()])
    assert failure.value.metadata["field"] == "files.files.path"


async def test_an_announced_file_that_never_comes_is_noticed(daemon: Daemon) -> None:
    """Each announced file has to come whole; an empty one needs no chunk."""
    files = PushFiles([part_of("a", b"1"), part_of("b", b"")])
    first = PushHeader(Spec.parse("x/d"), AssetKind.DIRECTORY)
    with pytest.raises(PushMismatchError) as failure:
        await daemon.push_steps([first, files, PushCommit()])
    assert failure.value.metadata["path"] == "a"


async def test_chunks_may_change_between_files(bench: Bench, daemon: Daemon) -> None:
    """Each file's chunks come in order; between files the sender may go back and forth."""
    steps: list[PushStep] = [
        PushHeader(Spec.parse("x/d"), AssetKind.DIRECTORY),
        PushFiles([part_of("a", b"1234")]),
        PushChunk(PartPath("a"), 0, b"12"),
        PushFiles([part_of("b", b"5678")]),
        PushChunk(PartPath("b"), 0, b"56"),
        PushChunk(PartPath("a"), 2, b"34"),
        PushChunk(PartPath("b"), 2, b"78"),
        PushCommit(),
    ]
    await daemon.push_steps(steps)
    assert await bench.stored("x/d:0.0") == {"a": b"1234", "b": b"5678"}


async def test_what_follows_the_commit_is_not_read(bench: Bench, daemon: Daemon) -> None:
    """A version is what came before its commit."""
    steps = [*steps_of("x/y", b"data"), PushChunk(FILE, 4, b"more")]
    await daemon.push_steps(steps)
    assert await bench.stored("x/y:0.0") == b"data"


async def test_a_full_disk_ends_the_push(bench: Bench) -> None:
    """Bytes that cannot be spooled are DISK_FULL, and nothing of the push stays."""
    daemon = bench.daemon()
    daemon.fs.fail(2, 28, "pwritev")
    with pytest.raises(DiskFullError):
        await daemon.push("x/y", b"d" * 5000, with_digest=False)
    assert left_overs(daemon.root) == []
    assert (await state_of(bench))[0] == []
    await daemon.push("x/y", b"d" * 5000, with_digest=False)


# Leaving


@pytest.mark.parametrize("with_digest", [True, False])
@pytest.mark.parametrize("after", [0, 1, 2, 3])
async def test_a_sender_who_stalls_is_given_up(
    bench: Bench, after: int, *, with_digest: bool
) -> None:
    """A push whose sender says nothing for `ASSETD_PUSH_IDLE_TIMEOUT` is given up.

    Its claim and its spool go.
    """
    daemon = bench.daemon(AssetsSettings(push_idle_timeout_seconds=0.02))
    steps = steps_of("x/d", TREE, with_digest=with_digest)[:after]

    async def stalling() -> AsyncIterator[PushStep]:
        for step in steps:
            yield step
        await asyncio.Event().wait()

    with pytest.raises(PushNotCommittedError, match=r"nothing came of the push for 0\.02 s"):
        await daemon.push_stream(stalling())
    assert await bench.claim_states() <= {"released"}
    assert left_overs(daemon.root) == []


async def test_the_callers_own_fault_is_what_counts(bench: Bench, daemon: Daemon) -> None:
    """Where the claim cannot be given up either, the caller hears of what went wrong first."""
    steps: list[PushStep] = [
        header(digest=digest_of(b"d")),
        announce(b"d"),
        PushChunk(FILE, 7, b"d"),
    ]
    bench.store.fail("swap", ".assetd/claims/x/y/0.0")
    with pytest.raises(PushMismatchError):
        await daemon.push_steps(steps)
    assert await bench.claim_states() == {"open"}
    await daemon.push("x/y:0.0", b"d")
    assert await bench.stored("x/y:0.0") == b"d"


async def broken_off(steps: Sequence[PushStep], after: int) -> AsyncIterator[PushStep]:
    """Yield some steps, then end as a connection does that was lost."""
    for step in steps[:after]:
        yield step
    raise ConnectionResetError


@pytest.mark.parametrize("after", range(1, 7))
async def test_a_lost_connection_leaves_nothing(bench: Bench, daemon: Daemon, after: int) -> None:
    """A push that ends before its commit creates nothing, and leaves its version free.

    Whichever step was the last to come, claim and spool are given up. Parts that had come whole
    stay for a repeat; nobody sees them, and other content takes their place.
    """
    steps = steps_of("x/d", TREE)
    with pytest.raises(ConnectionResetError):
        async with aclosing(daemon.assets.push(broken_off(steps, after))) as events:
            assert [event async for event in events]
    keys, claims = await state_of(bench)
    assert claims == {"released"}
    assert all(key.startswith("x/d/0.0/") for key in keys)
    await daemon.require_idle()
    await daemon.push("x/d:0.0", {"a": b"other"})
    assert await bench.stored("x/d:0.0") == {"a": b"other"}


@pytest.mark.parametrize("with_digest", [True, False])
@pytest.mark.parametrize("spec", ["x/d", "x/d:1.0"])
async def test_a_push_cancelled_anywhere_leaves_nothing(
    bench: Bench, daemon: Daemon, spec: str, *, with_digest: bool
) -> None:
    """Cancelled at any step: no open claim, no spool; then the version is whole or absent."""
    steps = steps_of(spec, TREE, with_digest=with_digest)
    turns, done = 0, False
    while not done:
        turns += 1
        pushing = asyncio.create_task(daemon.push_steps(steps))
        for _ in range(turns):
            await asyncio.sleep(0)
        pushing.cancel()
        [outcome] = await asyncio.gather(pushing, return_exceptions=True)
        done = not isinstance(outcome, BaseException)
        assert isinstance(outcome, asyncio.CancelledError | list), outcome
        await daemon.require_idle()
        assert await bench.claim_states() <= {"released"}
        if committed := [key for key in bench.memory.keys if key.endswith(".meta")]:
            assert len(committed) == 1
            assert (
                await bench.stored(committed[0].removesuffix(".meta").replace("d/", "d:")) == TREE
            )
            # From the commit on a caller who leaves changes nothing: the version is listed.
            assert await bench.listed("x/d") == [committed[0][4:-5]]
            await wiped(bench)
    assert turns > 20


async def wiped(bench: Bench) -> None:
    """Empty the store."""
    for key in bench.memory.keys:
        await bench.memory.delete(key)


@pytest.mark.parametrize(
    ("operation", "key"),
    [("create", "x/y/1.0"), ("read", "x/y/1.0"), ("swap", ".assetd/claims/x/y/1.0")],
)
async def test_a_caller_who_closes_while_parts_are_stored(
    bench: Bench, daemon: Daemon, operation: str, key: str
) -> None:
    """Closing the generator stops the storing first, and only then gives the claim up."""
    async with aclosing(daemon.assets.push(told(steps_of("x/y:1.0", b"d" * 5000)))) as events:
        gate = bench.store.pause(operation, key)
        async for event in events:
            if isinstance(event, PushProgress):
                break
        await gate.reached()
        bench.store.calls.clear()
    [stopped, look, *_] = bench.store.calls
    assert stopped == (f"cancelled {operation}", key)
    assert look == ("get", ".assetd/claims/x/y/1.0")
    await daemon.require_idle()
    assert await bench.claim_states() == {"released"}
    assert not [key for key in bench.memory.keys if key.endswith(".meta")]
    await daemon.push("x/y:1.0", b"other")
    assert await bench.stored("x/y:1.0") == b"other"
