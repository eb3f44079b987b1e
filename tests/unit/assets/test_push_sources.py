"""Pushes whose bytes lie somewhere already: nothing is sent, and the source stays as it is."""

import asyncio
import os
from pathlib import Path

import pytest
from assetd_server.assets.orders import (
    PushAccepted,
    PushChunk,
    PushCommit,
    PushCompleted,
    PushEvent,
    PushFiles,
    PushHeader,
    PushPhase,
    PushProgress,
)
from assetd_server.assets.source_uris import SourceUri, StagedPath
from assetd_server.errors import (
    AssetError,
    InvalidFieldError,
    InvalidPushStreamError,
    PushMismatchError,
    SourceChangedError,
    SourceNotAllowedError,
    UnsupportedFileError,
)
from assetd_server.manifest import Part
from assetd_server.model import AssetKind, PartPath
from assetd_server.spec import Spec

from tests.support.assets_bench import Bench, Daemon, digest_of

TREE = {"a": b"1" * 2500, "sub/b": b"2" * 10, "sub/.dot": b"", "z": b"3"}


def staged(daemon: Daemon, name: str, content: "dict[str, bytes] | bytes") -> Path:
    """Write what a client of this machine would stage."""
    top = daemon.root / ".assetd/push" / name
    files = {top: content} if isinstance(content, bytes) else {}
    if not isinstance(content, bytes):
        files = {top / path: data for path, data in content.items()}
    for path, data in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return top


async def pushed(
    daemon: Daemon,
    spec: str,
    content: StagedPath | SourceUri,
    kind: AssetKind | None = None,
    **header: object,
) -> list[PushEvent]:
    """Push what lies there, and return all events."""
    first = PushHeader(Spec.parse(spec), kind, content=content, **header)  # type: ignore[arg-type]
    return await daemon.push_steps([first, PushCommit()])


@pytest.fixture
async def staging(bench: Bench) -> Daemon:
    """A daemon with a folder and a file that were staged, which the test removes."""
    daemon = bench.daemon()
    staged(daemon, "folder", TREE)
    staged(daemon, "file", b"data" * 1000)
    return daemon


@pytest.fixture(autouse=True)
async def _nothing_staged_at_the_end(bench: Bench):  # type: ignore[no-untyped-def]
    yield
    for daemon in bench.daemons:
        for path in (daemon.root / ".assetd/push").glob("[!.]*"):
            if path.is_dir():
                for below in sorted(path.rglob("*"), reverse=True):
                    below.rmdir() if below.is_dir() else below.unlink()
                path.rmdir()
            else:
                path.unlink()


@pytest.mark.parametrize("with_digest", [True, False])
async def test_what_was_staged_is_pushed(
    bench: Bench, staging: Daemon, *, with_digest: bool
) -> None:
    """Its kind is found out; header and commit are all that is said; it stays where it lies."""
    for name, content in (("folder", TREE), ("file", b"data" * 1000)):
        digest = digest_of(content) if with_digest else None
        events = await pushed(staging, f"x/{name}:1.0", StagedPath.parse(name), digest=digest)
        accepted, completed = events[0], events[-1]
        assert isinstance(accepted, PushAccepted)
        assert (accepted.version, accepted.version_final) == ("1.0", True)
        assert isinstance(completed, PushCompleted)
        assert completed.asset_version.digest == digest_of(content)
        assert await bench.stored(f"x/{name}:1.0") == content
        assert (staging.root / ".assetd/push" / name).exists()


async def test_hashing_is_told(bench: Bench, staging: Daemon) -> None:
    """While the daemon reads, the phase says so, and the figures never exceed the total."""
    gate = bench.store.pause("create", "x/y/1.0/a")
    pushing = asyncio.create_task(pushed(staging, "x/y:1.0", StagedPath.parse("folder")))
    await gate.reached()
    gate.open()
    progress = [event for event in await pushing if isinstance(event, PushProgress)]
    assert {event.phase for event in progress} <= {*PushPhase} - {PushPhase.RECEIVING}
    # How much there is nobody knows before it was hashed, and everybody from then on.
    hashed = [event.total_bytes is not None for event in progress]
    assert not hashed[0]
    assert hashed == sorted(hashed)
    assert all(hashed[number] for number, event in enumerate(progress) if event.stored_bytes)
    total_bytes = sum(len(data) for data in TREE.values())
    assert {event.total_bytes for event in progress} <= {None, total_bytes}
    assert all(event.stored_bytes <= total_bytes for event in progress)


async def test_what_is_allowed_is_pushed_from_there(bench: Bench, tmp_path: Path) -> None:
    """A file:// URI below what the operator allows; elsewhere it is refused."""
    (tmp_path / "models/ranker").mkdir(parents=True)
    (tmp_path / "models/ranker/a").write_bytes(b"1")
    allowed = SourceUri.parse((tmp_path / "models").as_uri())
    daemon = bench.daemon(allowed=[allowed])
    await daemon.sources.load()
    await pushed(daemon, "x/y:1.0", SourceUri.parse((tmp_path / "models/ranker").as_uri()))
    assert await bench.stored("x/y:1.0") == {"a": b"1"}
    for elsewhere in (tmp_path.as_uri(), (tmp_path / "nowhere").as_uri(), "s3://bucket/a"):
        with pytest.raises(SourceNotAllowedError):
            await pushed(daemon, "x/y:1.1", SourceUri.parse(elsewhere))
    # It holds what is allowed open for as long as it runs.
    await daemon.sources.close()


async def test_a_source_that_changes_creates_nothing(bench: Bench, staging: Daemon) -> None:
    """Changed after it was hashed, wherever: SOURCE_CHANGED, no manifest, no open claim."""
    gate = bench.store.pause("create", "x/y/1.0/z")
    pushing = asyncio.create_task(pushed(staging, "x/y:1.0", StagedPath.parse("folder")))
    await gate.reached()
    (staging.root / ".assetd/push/folder/sub/new").write_bytes(b"n")
    gate.open()
    with pytest.raises(SourceChangedError):
        await pushing
    assert "x/y/1.0.meta" not in bench.memory.keys
    assert await bench.claim_states() == {"released"}


async def test_other_content_than_was_announced(bench: Bench, staging: Daemon) -> None:
    """The header's digest, or the commit's, is compared with what lies there."""
    other = digest_of(b"other")
    with pytest.raises(PushMismatchError):
        await pushed(staging, "x/y:1.0", StagedPath.parse("folder"), digest=other)
    first = PushHeader(Spec.parse("x/y:1.0"), None, content=StagedPath.parse("folder"))
    with pytest.raises(PushMismatchError):
        await staging.push_steps([first, PushCommit(other)])
    assert [key for key in bench.memory.keys if key.endswith(".meta")] == []


@pytest.mark.parametrize(
    "step",
    [PushFiles([Part(PartPath("a"), 1)]), PushChunk(PartPath("a"), 0, b"1")],
    ids=["files", "chunk"],
)
async def test_nothing_is_sent_beside(staging: Daemon, step: "PushFiles | PushChunk") -> None:
    """Files and chunks are no part of such a push."""
    first = PushHeader(Spec.parse("x/y:1.0"), None, content=StagedPath.parse("folder"))
    with pytest.raises(InvalidPushStreamError):
        await staging.push_steps([first, step, PushCommit()])


async def test_a_dry_run_reads_and_creates_nothing(bench: Bench, staging: Daemon) -> None:
    """It tells the digest that the version would have."""
    events = await pushed(staging, "x/y", StagedPath.parse("folder"), validate_only=True)
    completed = events[-1]
    assert isinstance(completed, PushCompleted)
    assert completed.asset_version.digest == digest_of(TREE)
    assert bench.memory.keys == []


async def test_what_is_equal_is_copied_by_the_store(bench: Bench, staging: Daemon) -> None:
    """A part that another version has is not read again to be sent."""
    await pushed(staging, "x/y:1.0", StagedPath.parse("folder"))
    bench.store.calls.clear()
    await pushed(staging, "x/y", StagedPath.parse("folder"))
    assert await bench.stored("x/y:1.1") == TREE
    assert bench.store.count("copy_part") == 3
    assert bench.store.count("create", "x/y/1.1/a") == 0


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda top: (top / "link").symlink_to("/etc/passwd"), UnsupportedFileError),
        (lambda top: os.mkfifo(top / "fifo"), UnsupportedFileError),
        (lambda top: (top / "empty").mkdir(), AssetError),
    ],
)
async def test_what_no_push_takes(bench: Bench, staging: Daemon, make, error) -> None:  # type: ignore[no-untyped-def]
    """It is refused before anything is stored."""
    make(staging.root / ".assetd/push/folder")
    with pytest.raises(error):
        await pushed(staging, "x/y:1.0", StagedPath.parse("folder"))
    assert [key for key in bench.memory.keys if not key.startswith(".assetd/")] == []


async def test_another_kind_than_was_said(staging: Daemon) -> None:
    """A folder is no file."""
    with pytest.raises(InvalidFieldError):
        await pushed(staging, "x/y:1.0", StagedPath.parse("folder"), AssetKind.FILE)
