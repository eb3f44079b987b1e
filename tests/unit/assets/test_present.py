"""Answers from what stands in ASSETS_DIR: checked hits, and what is served unchecked."""

import pytest
from assetd_server.assets.orders import FetchCompleted
from assetd_server.errors import (
    DigestMismatchError,
    NoStoreError,
    PartNotFoundError,
    UnsafePathError,
    VersionNotFoundError,
)
from assetd_server.model import AssetKind, Digest, Source, Verification

from tests.support.assets_bench import Bench, Daemon, digest_of, names_of, paths_of
from tests.support.versions import Content, put, put_ours

TREE = {"a": b"1" * 100, "sub/b": b"2" * 9000, "sub/deeper/c": b"3"}
OTHER_DIGEST = Digest.of_hex("0" * 64)


@pytest.fixture
def alone(bench: Bench) -> Daemon:
    """A daemon without a store."""
    return bench.daemon(with_store=False)


@pytest.mark.parametrize("content", [b"data", b"", TREE])
async def test_a_hit_tells_all_that_its_receipt_knows(daemon: Daemon, content: Content) -> None:
    """Kind, sizes, digest, push time and pusher come from the receipt, without the store."""
    pushed = (await daemon.push("x/y", content)).asset_version
    missed = await daemon.fetched("x/y")
    hit = await daemon.fetched("x/y:0.0")
    assert hit.asset_version == missed.asset_version == pushed
    assert hit.verification is missed.verification is Verification.CHECKSUM


@pytest.mark.parametrize("gone", ["a", "sub/b", "sub/deeper/c", "sub/deeper", "sub"])
async def test_what_an_operator_deleted_is_no_hit(daemon: Daemon, gone: str) -> None:
    """A part that is deleted by hand, however deep, is noticed by the next fetch and mended."""
    await daemon.push("x/d", TREE)
    await daemon.fetch("x/d")
    assert (await daemon.fetched("x/d")).source is Source.CACHE
    path = daemon.root / "x/d/0.0" / gone
    path.rename(daemon.root.parent / "gone")
    assert (await daemon.fetched("x/d")).source is Source.STORE
    assert (daemon.root / "x/d/0.0/sub/deeper/c").read_bytes() == b"3"


@pytest.mark.parametrize("target", ["data", "marker"])
async def test_a_file_without_data_or_marker_is_no_hit(daemon: Daemon, target: str) -> None:
    """Marker and data count together only."""
    await daemon.push("x/y", b"data")
    await daemon.fetch("x/y")
    (daemon.root / ("x/y/0.0" if target == "data" else "x/y/.0.0.SUCCESS")).unlink()
    completed = await daemon.fetched("x/y")
    assert completed.source is (Source.STORE if target == "data" else Source.CACHE)
    assert (daemon.root / "x/y/0.0").read_bytes() == b"data"
    assert (await daemon.fetched("x/y")).source is Source.CACHE


async def test_a_new_run_trusts_the_receipts_of_the_last(bench: Bench, daemon: Daemon) -> None:
    """The tree is the state: another run over it serves hits without the store."""
    await daemon.push("x/d", TREE)
    await daemon.fetch("x/d")
    second = bench.daemon(root=daemon.root)
    bench.store.go_down()
    assert (await second.fetched("x/d:0.0")).source is Source.CACHE


# Without a store


async def test_without_a_store_receipts_still_count(bench: Bench, alone: Daemon) -> None:
    """What an earlier run fetched keeps its facts when the store is no longer configured."""
    put_ours(alone.root, TREE, paths_of("x/d:0.3"))
    completed = await alone.fetched("x/d")
    assert completed.asset_version.digest == digest_of(TREE)
    assert completed.verification is Verification.CHECKSUM
    assert bench.store.calls == []


@pytest.mark.parametrize("marker", [None, b""])
@pytest.mark.parametrize("content", [b"data", TREE])
async def test_without_a_store_any_data_is_served(
    alone: Daemon, content: Content, marker: bytes | None
) -> None:
    """Marked or not, what stands there is answered with NONE, and left as it is."""
    put(alone.root, content, paths_of("x/y:0.3"), marker=marker)
    before = sorted(alone.root.rglob("*"))
    events = await alone.fetch("x/y")
    completed = events[-1]
    assert isinstance(completed, FetchCompleted)
    assert names_of(events) == ["FetchStarted", "FetchCompleted"]
    assert completed.verification is Verification.NONE
    is_file = isinstance(content, bytes)
    assert completed.asset_version.kind is (AssetKind.FILE if is_file else AssetKind.DIRECTORY)
    assert sorted(alone.root.rglob("*")) == before


@pytest.mark.parametrize("content", [b"data", TREE])
async def test_without_a_store_a_pinned_digest_is_computed(alone: Daemon, content: Content) -> None:
    """An expected digest is compared with the bytes, receipt or not."""
    put(alone.root, content, paths_of("x/y:0.3"))
    completed = await alone.fetched("x/y", expected_digest=digest_of(content))
    assert completed.verification is Verification.DIGEST
    assert completed.asset_version.digest == digest_of(content)
    with pytest.raises(DigestMismatchError):
        await alone.fetch("x/y", expected_digest=OTHER_DIGEST)


async def test_without_a_store_parts_are_looked_for(alone: Daemon) -> None:
    """A part is answered by its path, or is PART_NOT_FOUND."""
    put(alone.root, TREE, paths_of("x/y:0.3"))
    assert (await alone.fetched("x/y[sub]")).relative_path == "x/y/0.3/sub"
    with pytest.raises(PartNotFoundError):
        await alone.fetch("x/y[nope]")


async def test_without_a_store_damage_that_verify_found_is_told(alone: Daemon) -> None:
    """Bytes that contradict our receipt are never answered to a caller who asked for hashes."""
    put_ours(alone.root, b"data", paths_of("x/y:0.3"))
    (alone.root / "x/y/0.3").write_bytes(b"dat!")
    with pytest.raises(DigestMismatchError):
        await alone.fetch("x/y", verify=True)


async def test_without_a_store_an_absent_version_is_not_found(alone: Daemon) -> None:
    """There is nobody to fetch it from: VERSION_NOT_FOUND, and for force_download NO_STORE."""
    put(alone.root, b"data", paths_of("x/y:0.3"))
    with pytest.raises(VersionNotFoundError):
        await alone.fetch("x/y:0.4")
    with pytest.raises(NoStoreError):
        await alone.fetch("x/y:0.3", force_download=True)


@pytest.mark.parametrize(
    ("spec", "relative_path"),
    [
        ("models", "models"),
        ("models/plain", "models/plain"),
        ("models/plain/file.bin", "models/plain/file.bin"),
        ("models[plain/file.bin]", "models/plain/file.bin"),
    ],
)
async def test_without_a_store_plain_paths_are_answered(
    alone: Daemon, spec: str, relative_path: str
) -> None:
    """A path below ASSETS_DIR that is no asset is answered as it stands, as modelkit does."""
    (alone.root / "models/plain").mkdir(parents=True)
    (alone.root / "models/plain/file.bin").write_bytes(b"data")
    completed = await alone.fetched(spec)
    assert completed.path == str(alone.root / relative_path)
    assert completed.relative_path == relative_path
    assert completed.asset_version.version is None
    assert completed.verification is Verification.NONE


async def test_plain_paths_follow_no_link(bench: Bench, alone: Daemon) -> None:
    """A link below ASSETS_DIR is UNSAFE_PATH, wherever it leads."""
    (alone.root / "models").mkdir()
    (alone.root / "models/link").symlink_to(bench.folder)
    for spec in ("models/link", "models/link/assets0", "models[link]"):
        with pytest.raises(UnsafePathError):
            await alone.fetch(spec)


async def test_a_missing_part_of_a_plain_path(alone: Daemon) -> None:
    """A plain path has the parts that stand there."""
    (alone.root / "models").mkdir()
    with pytest.raises(PartNotFoundError):
        await alone.fetch("models[nope]")
