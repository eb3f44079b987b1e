"""Pushes that meet before either is committed: another kind, another system, a new asset."""

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from shutil import rmtree

import pytest
from assetd_server.assets.orders import PushCommit, PushHeader, PushMode
from assetd_server.assets.source_uris import StagedPath
from assetd_server.errors import (
    AssetError,
    AssetExistsError,
    InvalidPartError,
    InvalidVersionError,
    PushInProgressError,
    PushMismatchError,
    VersionExistsError,
)
from assetd_server.spec import Spec

from tests.support.assets_bench import Bench, digest_of, opened_bench
from tests.support.versions import Content
from tests.unit.assets.test_claiming import PUSH_ID, beside, claim_key, claim_of

FOLDER = {"a": b"hello"}
# What the digest of the folder is the digest of.
LIST = f"{hashlib.sha256(FOLDER['a']).hexdigest()}  a\n".encode()
DATE = "2021-03-04T05-06-07Z"


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    """A store, and nothing in it."""
    async with opened_bench(tmp_path) as opened:
        yield opened


@asynccontextmanager
async def claimed(bench: Bench, *specs: str) -> AsyncIterator[None]:
    """Let pushers far away claim these for the length of the block."""
    for spec in specs:
        await bench.memory.put(claim_key(spec), claim_of(FOLDER, "open"))
    yield
    for spec in specs:
        await bench.memory.delete(claim_key(spec))


# A file whose bytes are the list of a folder


@pytest.mark.parametrize(("first", "second"), [(FOLDER, LIST), (LIST, FOLDER)])
async def test_a_folder_is_not_its_list(bench: Bench, first: Content, second: Content) -> None:
    """They have one digest, and are not one content: neither joins or is taken for the other."""
    assert digest_of(first) == digest_of(second)
    daemon = bench.daemon()
    await daemon.push("x/d:1.0", first, push_id=PUSH_ID)
    with pytest.raises(VersionExistsError):
        await daemon.push("x/d:1.0", second)
    for spec in ("x/d:1.0", "x/d"):
        with pytest.raises(PushMismatchError):
            await daemon.push(spec, second, push_id=PUSH_ID)
    assert await bench.stored("x/d:1.0") == first


@pytest.mark.parametrize(("first", "second"), [(FOLDER, LIST), (LIST, FOLDER)])
async def test_a_claim_of_another_kind_is_not_joined(
    bench: Bench, first: Content, second: Content
) -> None:
    """Nor one of the same push."""
    await bench.memory.put(claim_key("x/d:1.0"), claim_of(first, "open", push_id=PUSH_ID))
    daemon = bench.daemon()
    with pytest.raises(PushInProgressError):
        await daemon.push("x/d:1.0", second)
    with pytest.raises(PushMismatchError):
        await daemon.push("x/d:1.0", second, push_id=PUSH_ID)
    with pytest.raises(PushMismatchError):
        await daemon.push("x/d", second, push_id=PUSH_ID)
    assert (await daemon.push("x/d:1.0", first)).asset_version.file_count == 1


# The beginning of an asset


@pytest.mark.parametrize(
    ("spec", "mode", "other", "error"),
    [
        ("x/d:1.0", None, DATE, PushInProgressError),
        (f"x/d:{DATE}", None, "1.0", PushInProgressError),
        ("x/d:1.0", PushMode.NEW, "2.0", PushInProgressError),
        ("x/d", PushMode.NEW, "2.0", PushInProgressError),
        ("x/d:1.0", None, "2.0", None),
        ("x/d", None, "2.0", None),
    ],
)
async def test_what_others_begin_is_seen_in_their_claims(
    bench: Bench, spec: str, mode: PushMode | None, other: str, error: type[AssetError] | None
) -> None:
    """Before anything is stored: a version that could not stand beside theirs is refused."""
    daemon = bench.daemon()
    async with claimed(bench, f"x/d:{other}"):
        before = set(bench.memory.keys)
        if error is None:
            await daemon.push(spec, b"bytes", mode=mode)
        else:
            with pytest.raises(error):
                await daemon.push(spec, b"bytes", mode=mode)
            assert set(bench.memory.keys) == before


@pytest.mark.parametrize(
    ("ours", "theirs", "mode", "error"),
    [
        ("1.0", DATE, None, InvalidVersionError),
        (DATE, "1.0", None, InvalidVersionError),
        ("1.0", "2.0", PushMode.NEW, AssetExistsError),
        ("", DATE, None, InvalidVersionError),
    ],
)
async def test_what_others_have_begun_meanwhile_is_seen(
    bench: Bench, ours: str, theirs: str, mode: PushMode | None, error: type[AssetError]
) -> None:
    """A push that looked before they had claimed anything looks again once it has claimed."""
    slow, quick = bench.daemon(), bench.daemon()
    gate = bench.store.pause("create", ".assetd/claims/x/d/")
    spec = f"x/d:{ours}" if ours else "x/d"
    async with beside(slow.push(spec, b"ours", mode=mode)) as pushing:
        await gate.reached()
        await quick.push(f"x/d:{theirs}", b"theirs")
        gate.open()
    with pytest.raises(error):
        await pushing
    assert await bench.listed("x/d") == [theirs]
    assert [key for key in bench.memory.keys if key.endswith(".meta")] == [f"x/d/{theirs}.meta"]
    assert (await quick.push("x/d", b"next")).asset_version.version is not None


# A dry run


async def test_a_dry_run_knows_what_its_push_has_made(bench: Bench) -> None:
    """It says what the push would answer: its first answer, and no other content under its id."""
    daemon = bench.daemon()
    await daemon.push("x/d", FOLDER, push_id=PUSH_ID)
    await daemon.push("x/d", b"another")
    again = await daemon.push("x/d", FOLDER, push_id=PUSH_ID, validate_only=True)
    assert str(again.asset_version.version) == "0.0"
    with pytest.raises(PushMismatchError):
        await daemon.push("x/d", LIST, push_id=PUSH_ID, validate_only=True)


async def test_a_dry_run_refuses_what_no_store_can_hold(bench: Bench) -> None:
    """Of what is staged as well: a part whose key would be too long."""
    daemon = bench.daemon()
    deep = daemon.root.joinpath(".assetd/push/run", *["n" * 250] * 4)
    deep.mkdir(parents=True)
    (deep / "part").write_bytes(b"data")
    header = PushHeader(Spec.parse("x/d"), None, content=StagedPath("run"), validate_only=True)
    with pytest.raises(InvalidPartError):
        await daemon.push_steps([header, PushCommit()])
    rmtree(daemon.root / ".assetd/push/run")
