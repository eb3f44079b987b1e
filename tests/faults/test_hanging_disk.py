"""A disk that hangs: what needs it waits, until its caller's deadline; everything else goes on.

Case 36 of docs/faults.md. The file system is frozen, so that whoever writes to it sleeps in the
kernel; another process thaws it, whatever becomes of the test.
"""

import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from assetd import CallTimeoutError
from assetd.v1.asset_service_pb2 import FetchRequest
from assetd.v1.asset_service_pb2_grpc import AssetServiceStub
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from tests.support.daemon import EAGER, Daemon, Daemons
from tests.support.freezing import frozen
from tests.support.loop_disks import LoopDisk, loop_disk, require_loop_disks
from tests.support.trees import read_tree, write_tree

pytestmark = pytest.mark.xdist_group("power-cuts-ext4")

TREE = {"a": b"one", "sub/b": b"twenty"}
# More than the daemon has threads for the disk.
WAITING = 12
# Long enough for a busy machine to begin each of them.
DEADLINE_SECONDS = 3.0


@pytest.fixture
def disk() -> Iterator[LoopDisk]:
    """A file system of the test's own."""
    require_loop_disks("ext4")
    with loop_disk("ext4") as disk:
        yield disk


@pytest.fixture
def daemon(daemons: Daemons, disk: LoopDisk, tmp_path: Path) -> Iterator[Daemon]:
    """A daemon that has its cache on that disk, with a hit and much that is missing."""
    store = tmp_path / "store"
    with daemons(assets_dir=tmp_path / "filler", store=store).client() as client:
        source = write_tree(tmp_path / "source", TREE)
        for number in range(WAITING):
            client.push(source, f"missing/asset{number}")
        client.push(source, "here/folder")
    daemon = daemons(assets_dir=disk.root / "assets", store=store)
    with daemon.client() as client:
        client.fetch("here/folder:0.0")
    yield daemon
    if daemon.is_running:
        daemon.stop()
        daemon.assert_clean()


class Waiting:
    """Fetches of what is missing, each by a caller of its own with a deadline."""

    def __init__(self, daemon: Daemon) -> None:
        self.ended: list[Exception | None] = []
        self._daemon = daemon
        self._threads = [
            threading.Thread(target=self._fetch, args=[f"missing/asset{number}:0.0"])
            for number in range(WAITING)
        ]
        for thread in self._threads:
            thread.start()

    def _fetch(self, spec: str) -> None:
        with self._daemon.client() as client:
            try:
                client.fetch(spec, timeout=DEADLINE_SECONDS)
                self.ended.append(None)
            except Exception as error:  # noqa: BLE001 - the test looks at it
                self.ended.append(error)

    def join(self) -> None:
        """Wait until all have ended."""
        for thread in self._threads:
            thread.join()


def is_serving(daemon: Daemon) -> bool:
    """Whether the daemon says that it is alive, and ready."""
    with daemon.channel() as channel:
        health = HealthStub(channel)
        states = [
            health.Check(HealthCheckRequest(service=service), timeout=DEADLINE_SECONDS).status  # type: ignore[attr-defined]
            for service in ("", "assetd.v1.AssetService")
        ]
    return states == [HealthCheckResponse.SERVING] * 2


def test_what_needs_no_write_goes_on(daemon: Daemon, disk: LoopDisk) -> None:
    """While the disk hangs, who waits for it is let go by its deadline, and all others are served.

    Also with more who wait than there are threads for the disk. Once it goes on, so does the
    daemon, and nothing is left over.
    """
    with daemon.client() as client, frozen(disk.root):
        waiting = Waiting(daemon)
        for _ in range(3):
            assert is_serving(daemon)
            hit = client.fetch("here/folder:0.0", timeout=DEADLINE_SECONDS)
            assert read_tree(hit.path) == TREE
            resolved = client.resolve("missing/asset1", timeout=DEADLINE_SECONDS)
            assert resolved.asset_version.version == "0.0"
            assert len(list(client.list("missing/", timeout=DEADLINE_SECONDS))) > 0
        waiting.join()
        assert [type(error) for error in waiting.ended] == [CallTimeoutError] * WAITING
        assert client.fetch("here/folder:0.0", timeout=DEADLINE_SECONDS).path == hit.path
    with daemon.client(EAGER) as client:
        for number in range(WAITING):
            assert read_tree(client.fetch(f"missing/asset{number}:0.0").path) == TREE
    assert daemon.leftovers() == []


def test_a_daemon_that_is_told_to_go_goes_once_the_disk_does(
    daemon: Daemon, disk: LoopDisk
) -> None:
    """What is in the kernel cannot be ended; the end comes with the disk, and is a clean one."""
    with frozen(disk.root):
        waiting = Waiting(daemon)
        waiting.join()
        daemon.terminate()
        assert daemon.is_running
    assert daemon.wait() == 0
    daemon.assert_clean()


def test_a_deadline_is_told_as_such(daemon: Daemon, disk: LoopDisk) -> None:
    """The caller's own deadline ends the call: DEADLINE_EXCEEDED, whatever language it speaks."""
    with frozen(disk.root), daemon.channel() as channel:
        fetch = AssetServiceStub(channel).Fetch(
            FetchRequest(spec="missing/asset0:0.0"), timeout=DEADLINE_SECONDS
        )
        with pytest.raises(grpc.RpcError) as ended:
            list(fetch)
    assert ended.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
