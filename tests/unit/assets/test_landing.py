"""One flight: adopt, download, replace; beside modelkit, and over whatever stands there."""

import asyncio
import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from assetd_server.errors import (
    AssetError,
    DigestMismatchError,
    IoError,
    ReadOnlyError,
    UnsafePathError,
)
from assetd_server.model import Source, Verification

from tests.support.assets_bench import Bench, Daemon, PassingClock, paths_of
from tests.support.clocks import ManualClock
from tests.support.trees import read_tree
from tests.support.versions import Content, put

TREE = {"a": b"1" * 100, "sub/b": b"2" * 9000}


@contextmanager
def modelkit_locks(daemon: Daemon, name: str) -> Iterator[None]:
    """Hold modelkit's lock on an asset, as modelkit does while it fetches."""
    path = daemon.root / f".cache/{name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(descriptor)


def receipt_at(path: Path) -> dict[str, object]:
    """The receipt that stands there."""
    document: dict[str, object] = json.loads(path.read_bytes())
    return document


@pytest.mark.parametrize("content", [b"data", TREE])
async def test_what_landed_says_where_it_came_from(daemon: Daemon, content: Content) -> None:
    """The receipt says where a version came from and how much of it was compared."""
    await daemon.push("x/y", content)
    await daemon.fetch("x/y")
    is_file = isinstance(content, bytes)
    marker = daemon.root / ("x/y/.0.0.SUCCESS" if is_file else "x/y/0.0/.SUCCESS")
    receipt = receipt_at(marker)
    assert receipt["source"] == "memory://"
    assert receipt["verification"] == "checksum"
    assert receipt["size"] == sum(map(len, content.values())) if isinstance(content, dict) else 4


async def test_unmarked_data_that_is_whole_is_adopted(bench: Bench, daemon: Daemon) -> None:
    """Data of the store's sizes needs no marker to be adopted: no byte is read again."""
    await daemon.push("x/d", TREE)
    put(daemon.root, TREE, paths_of("x/d:0.0"))
    bench.store.calls.clear()
    completed = await daemon.fetched("x/d")
    assert (completed.source, completed.verification) == (Source.CACHE, Verification.SIZE)
    assert bench.store.count("read") == 0


@pytest.mark.parametrize(
    ("pushed", "stands"),
    [
        (b"data", TREE),
        (TREE, b"data"),
        (TREE, {"a": b"1" * 100}),
        (TREE, {**TREE, "sub/b": b""}),
        (TREE, {"a/sub": b"1", "sub/b": b"2"}),
        (b"data", b""),
    ],
)
@pytest.mark.parametrize("marker", [None, b"", b"garbage", b"{}", b"[1]"])
async def test_what_is_not_the_version_is_replaced(
    daemon: Daemon, pushed: Content, stands: Content, marker: bytes | None
) -> None:
    """Whatever stands there, of either kind, torn or not: after a fetch the version does."""
    await daemon.push("x/y", pushed)
    put(daemon.root, stands, paths_of("x/y:0.0"), marker=marker)
    assert (await daemon.fetched("x/y")).source is Source.STORE
    assert read_tree(daemon.root / "x/y/0.0") == (
        {"": pushed} if isinstance(pushed, bytes) else pushed
    )
    assert (await daemon.fetched("x/y")).source is Source.CACHE


async def test_what_a_later_release_stored_is_left_alone(daemon: Daemon) -> None:
    """A marker of a newer format is never replaced, nor the data beside it."""
    await daemon.push("x/y", b"data")
    put(daemon.root, b"later", paths_of("x/y:0.0"), marker=b'{"format": 99}')
    for order in ({}, {"force_download": True}):
        with pytest.raises(UnsafePathError, match="later release"):
            await daemon.fetch("x/y", **order)
    assert (daemon.root / "x/y/0.0").read_bytes() == b"later"


@pytest.mark.parametrize("planted", ["x", "x/y", "x/y/0.0"])
async def test_a_link_in_the_way_is_never_followed(
    bench: Bench, daemon: Daemon, planted: str
) -> None:
    """A link planted where a version is due is UNSAFE_PATH, and its target stays untouched."""
    await bench.daemon().push("x/y", b"data")
    target = bench.folder / "target"
    target.mkdir()
    (target / "kept").write_bytes(b"kept")
    link = daemon.root / planted
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(target)
    with pytest.raises(UnsafePathError):
        await daemon.fetch("x/y:0.0")
    assert read_tree(target) == {"kept": b"kept"}
    link.unlink()


async def test_modelkit_may_be_faster(bench: Bench) -> None:
    """What modelkit published while we downloaded is adopted; what we staged is dropped."""
    clock = ManualClock()
    daemon = bench.daemon(clock=clock)
    await bench.daemon().push("x/d", TREE)
    with modelkit_locks(daemon, "x/d"):
        fetching = asyncio.create_task(daemon.fetched("x/d"))
        await clock.until_asleep()
        put(daemon.root, TREE, paths_of("x/d:0.0"), marker=b"")
        inode = (daemon.root / "x/d/0.0").stat().st_ino
    clock.advance(10)
    completed = await fetching
    assert completed.verification is Verification.SIZE
    assert (daemon.root / "x/d/0.0").stat().st_ino == inode
    assert receipt_at(daemon.root / "x/d/0.0/.SUCCESS")["verification"] == "size"


async def test_who_wants_hashes_does_not_trust_modelkit(bench: Bench) -> None:
    """What modelkit published meanwhile with a wrong byte is replaced for a caller who verifies."""
    clock = ManualClock()
    daemon = bench.daemon(clock=clock)
    await bench.daemon().push("x/d", TREE)
    with modelkit_locks(daemon, "x/d"):
        fetching = asyncio.create_task(daemon.fetched("x/d", verify=True))
        await clock.until_asleep()
        put(daemon.root, {**TREE, "a": b"x" * 100}, paths_of("x/d:0.0"), marker=b"")
    clock.advance(10)
    assert (await fetching).verification is Verification.DIGEST
    assert read_tree(daemon.root / "x/d/0.0") == TREE


async def test_what_vanishes_before_it_is_adopted_is_downloaded(bench: Bench) -> None:
    """Data that an operator deletes while we wait for modelkit's lock is downloaded after all."""
    clock = ManualClock()
    daemon = bench.daemon(clock=clock)
    await bench.daemon().push("x/y", b"data")
    put(daemon.root, b"data", paths_of("x/y:0.0"), marker=b"")
    with modelkit_locks(daemon, "x/y"):
        fetching = asyncio.create_task(daemon.fetched("x/y"))
        await clock.until_asleep()
        (daemon.root / "x/y/0.0").unlink()
    clock.advance(10)
    assert (await fetching).source is Source.STORE
    assert (daemon.root / "x/y/0.0").read_bytes() == b"data"


async def test_nothing_waits_for_modelkit_while_it_downloads(bench: Bench) -> None:
    """Modelkit's lock is free while bytes come: it is held around publishing only."""
    daemon = bench.daemon(clock=PassingClock())
    await daemon.push("x/y", b"data")
    gate = bench.store.pause("read", "x/y/0.0")
    fetching = asyncio.create_task(daemon.fetch("x/y"))
    await gate.reached()
    with modelkit_locks(daemon, "x/y"):
        pass
    gate.open()
    await fetching


async def test_bytes_that_contradict_their_hash_never_land(bench: Bench, daemon: Daemon) -> None:
    """A manifest whose SHA-256 and crc64nvme contradict each other is found where hashes count."""
    await daemon.push("x/y", b"data")
    meta = json.loads(await bench.store.bytes_of("x/y/0.0.meta"))
    meta["assetd"]["files"][""]["sha256"] = "0" * 64
    meta["assetd"]["digest"] = "sha256:" + "0" * 64
    await bench.memory.put("x/y/0.0.meta", json.dumps(meta).encode())
    with pytest.raises(DigestMismatchError) as failure:
        await daemon.fetch("x/y", verify=True)
    assert failure.value.metadata["key"] == "x/y/0.0"
    assert not (daemon.root / "x/y/0.0").exists()


@pytest.mark.parametrize(
    ("call", "code", "error"),
    [
        ("create", 30, ReadOnlyError),
        ("fsync", 5, IoError),
        ("rename", 5, IoError),
        ("mkdir", 13, ReadOnlyError),
        ("pwritev", 5, IoError),
    ],
)
async def test_a_disk_that_fails_shows_nothing(
    bench: Bench, daemon: Daemon, call: str, code: int, error: type[AssetError]
) -> None:
    """Whatever the file system refuses: nothing is answered, nothing is left, a repeat works."""
    await bench.daemon().push("x/y", b"data")
    daemon.fs.fail(1, code, call)
    with pytest.raises(error):
        await daemon.fetch("x/y")
    await daemon.require_idle()
    await daemon.fetch("x/y")
    assert (daemon.root / "x/y/0.0").read_bytes() == b"data"
