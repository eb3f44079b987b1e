"""ASSETS_DIR on a disk that is full, fills up, has no inodes left, or cannot be written."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from assetd import Client, DiskFullError, ReadOnlyError
from assetd.v1.asset_pb2 import AssetKind
from assetd.v1.asset_service_pb2 import (
    PushChunk,
    PushCommit,
    PushFile,
    PushFiles,
    PushHeader,
    PushRequest,
)
from assetd.v1.asset_service_pb2_grpc import AssetServiceStub

from tests.support.command_line import run, start
from tests.support.daemon import EAGER, Daemon, Daemons, running_daemons
from tests.support.proxied_store import ProxiedStore
from tests.support.small_disk import SmallDisks, free_bytes, free_inodes, small_disks
from tests.support.trees import read_tree, write_random_file, write_tree
from tests.support.waiting import wait_until
from tests.support.wire import failure_of

__all__ = ["small_disks"]

pytestmark = pytest.mark.xdist_group("disk")

MIB = 1 << 20
TREE = {f"part{number}": b"x" for number in range(60)}
FULL, PRECONDITION = 6, 8


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A large file, a small one, and a folder of many."""
    sources = tmp_path_factory.mktemp("sources")
    write_random_file(sources / "big", 16 * MIB, seed=16)
    write_tree(sources / "many", TREE)
    return write_tree(sources, {"small": b"small"})


@pytest.fixture(scope="module")
def store(sources: Path) -> Path:
    """A plain directory as the store, on a disk with room: big/file, many/files, small/file."""
    store = sources.with_name("store")
    with running_daemons(sources.parent) as daemons, daemons(store=store).client() as client:
        client.push(sources / "big", "big/file")
        client.push(sources / "many", "many/files")
        client.push(sources / "small", "small/file")
    return store


def still_works(client: Client, daemon: Daemon) -> None:
    """What needs little room is fetched, and nothing is left over."""
    assert client.fetch("small/file").path.read_bytes() == b"small"
    assert daemon.leftovers() == []


def test_a_version_that_cannot_fit_is_refused_before_its_first_byte(
    small_disks: SmallDisks, daemons: Daemons, store: Path
) -> None:
    """A version that the disk has no room for is `DISK_FULL` before its first byte.

    With the figures, and exit code 6; the disk is as free as it was.
    """
    disk = small_disks.mount(size="8m")
    daemon = daemons(assets_dir=disk, store=store)
    free = free_bytes(disk)
    with daemon.client() as client:
        with pytest.raises(DiskFullError) as refused:
            client.fetch("big/file")
        assert refused.value.metadata["needed_bytes"] == str(16 * MIB)
        assert int(refused.value.metadata["free_bytes"]) <= free
        assert "free some, or point ASSETS_DIR at a larger disk" in refused.value.message
        ended = run("fetch", "big/file", address=daemon.address)
        assert (ended.code, ended.out) == (FULL, "")
        assert "(DISK_FULL)" in ended.err
        assert not (disk / "big/file/0.0").exists()
        # Folders that were made for it may stay; its bytes may not.
        assert free_bytes(disk) >= free - MIB // 4
        still_works(client, daemon)


@pytest.mark.needs_program("versitygw")
def test_a_disk_that_fills_up_meanwhile(
    small_disks: SmallDisks,
    daemons: Daemons,
    slow_store: ProxiedStore,
    sources: Path,
    tmp_path: Path,
) -> None:
    """A disk that fills up in mid-download is `DISK_FULL`, and all that was taken is given back.

    Another program takes the room; with room again it is fetched.
    """
    slow_store.fill(daemons, tmp_path / "filler", {"big/file": sources / "big"})
    disk = small_disks.mount(size="24m")
    daemon = daemons(assets_dir=disk, store=slow_store.url, variables=slow_store.through_proxy)
    free, proxy = free_bytes(disk), slow_store.proxy
    # Ranges are written whole: none comes before the other program has taken its part.
    proxy.rate_bytes_per_second = 4 * MIB
    with daemon.client() as client:
        fetch = start("fetch", "big/file", address=daemon.address)
        wait_until(lambda: proxy.bytes_from_upstream >= MIB, "a MiB")
        (disk / "other").write_bytes(b"\0" * (16 * MIB))
        proxy.rate_bytes_per_second = None
        out, err = fetch.communicate(timeout=60)
        assert (fetch.returncode, out) == (FULL, "")
        assert "(DISK_FULL)" in err
        assert daemon.leftovers() == []
        (disk / "other").unlink()
        assert free_bytes(disk) >= free - MIB // 4
        asset = client.fetch("big/file", verify=True)
        assert read_tree(asset.path) == read_tree(sources / "big")


def test_inodes_that_are_used_up(small_disks: SmallDisks, daemons: Daemons, store: Path) -> None:
    """The same for files: there is room for the bytes, not for sixty names."""
    disk = small_disks.mount(size="8m", nr_inodes=40)
    daemon = daemons(assets_dir=disk, store=store)
    with daemon.client() as client:
        client.fetch("small/file")
        free = free_inodes(disk)
        with pytest.raises(DiskFullError):
            client.fetch("many/files")
        assert free_inodes(disk) >= free - 2
        still_works(client, daemon)


def test_a_push_without_room_for_its_spool_creates_nothing(
    small_disks: SmallDisks, daemons: Daemons, store: Path, sources: Path
) -> None:
    """A push that the disk has no room for is `DISK_FULL`, and creates nothing."""
    daemon = daemons(assets_dir=small_disks.mount(size="8m"), store=store)
    with daemon.client() as client, daemon.channel() as channel:
        # Without a digest, as from grpcurl: with one nothing is spooled.
        failure = failure_of(
            lambda: AssetServiceStub(channel).Push(spelled_out(sources / "big", "pushed/file"))
        )
        assert (failure.code, failure.reason) == ("RESOURCE_EXHAUSTED", "DISK_FULL")
        assert daemon.leftovers() == []
        listed = [page.entries for page in client.list("pushed/")]
        assert listed == [[]]
        assert client.push(sources / "small", "pushed/file") == "0.0"


def spelled_out(path: Path, spec: str) -> Iterator[PushRequest]:
    """The push of a file by somebody who announces no digest."""
    data = path.read_bytes()
    yield PushRequest(header=PushHeader(spec=spec, kind=AssetKind.ASSET_KIND_FILE))
    yield PushRequest(files=PushFiles(files=[PushFile(size_bytes=len(data))]))
    for offset in range(0, len(data), 1 << 20):
        chunk = PushChunk(offset=offset, data=data[offset : offset + (1 << 20)])
        yield PushRequest(chunk=chunk)
    yield PushRequest(commit=PushCommit())


def test_a_store_without_room_creates_nothing(
    small_disks: SmallDisks, daemons: Daemons, sources: Path
) -> None:
    """The store's disk is full, not ours: DISK_FULL, nothing is listed, nothing stays there."""
    disk = small_disks.mount(size="8m")
    daemon = daemons(store=disk / "store")
    free = free_bytes(disk)
    with daemon.client() as client:
        with pytest.raises(DiskFullError):
            client.push(sources / "big", "pushed/file")
        assert [page.entries for page in client.list("pushed/")] == [[]]
        assert free_bytes(disk) >= free - MIB // 4
        assert client.push(sources / "small", "pushed/file") == "0.0"


@pytest.mark.parametrize("when", ["before it starts", "while it runs"])
def test_a_read_only_disk_serves_its_hits(
    small_disks: SmallDisks, daemons: Daemons, store: Path, sources: Path, when: str
) -> None:
    """On a read-only ASSETS_DIR hits and holds work; what is missing is `READ_ONLY`.

    Exit code 8; nothing is lost.
    """
    disk = small_disks.mount(size="64m")
    daemon = daemons(assets_dir=disk, store=store)
    # The client may find its connection to the daemon before cut.
    with daemon.client(EAGER) as client:
        client.fetch("many/files")
        if when == "before it starts":
            daemon.stop()
            small_disks.remount(disk, "ro")
            daemon.start()
            assert daemon.wait_for_log(
                "ASSETS_DIR is read-only: hits are served, misses are refused"
            )
        else:
            small_disks.remount(disk, "ro")
        with client.fetch("many/files", hold=True) as held:
            assert read_tree(held.path) == TREE
            assert len(client.status().holds) == 1
        for spec in ("small/file", "small/file:0.0"):
            with pytest.raises(ReadOnlyError) as refused:
                client.fetch(spec)
            assert "ASSETS_DIR" in refused.value.message
        ended = run("fetch", "small/file", address=daemon.address)
        assert (ended.code, ended.out) == (PRECONDITION, "")
        with pytest.raises(ReadOnlyError):
            client.push(sources / "small", "pushed/file")
        small_disks.remount(disk, "rw")
        if when == "while it runs":
            still_works(client, daemon)
