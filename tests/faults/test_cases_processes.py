"""Processes that are frozen, told to go with twenty callers, or started where they cannot listen.

Cases 15, 17, 43 and 117 of docs/faults.md.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import grpc
import pytest
from assetd.v1.asset_service_pb2 import FetchRequest
from assetd.v1.asset_service_pb2_grpc import AssetServiceStub

from tests.support.command_line import start
from tests.support.daemon import EAGER, Daemon, Daemons, StartFailedError, running_daemons
from tests.support.ports import LOOPBACK, free_port
from tests.support.proxied_store import ProxiedStore, proxied_store
from tests.support.trees import sha256_of, write_random_file
from tests.support.waiting import wait_until

pytestmark = pytest.mark.xdist_group("drain")

SIZE_BYTES = 12 << 20
SLOW_BYTES_PER_SECOND = 2 << 20
STREAMS = 20
USAGE = 2


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What big/asset consists of."""
    source = tmp_path_factory.mktemp("source") / "source"
    write_random_file(source, SIZE_BYTES, seed=17)
    return source


@pytest.fixture(scope="module")
def filled_store(source: Path) -> Iterator[ProxiedStore]:
    """A store with big/asset."""
    with proxied_store(source.parent / "s3") as store, running_daemons(source.parent) as daemons:
        store.fill(daemons, source.parent / "filler", {"big/asset": source})
        yield store


@pytest.fixture
def slow_store(filled_store: ProxiedStore) -> ProxiedStore:
    """The same; a download lasts until a test speeds it up."""
    filled_store.proxy.rate_bytes_per_second = SLOW_BYTES_PER_SECOND
    return filled_store


@pytest.fixture
def daemon(daemons: Daemons, slow_store: ProxiedStore) -> Daemon:
    """A daemon without the asset."""
    variables = slow_store.through_proxy | {"ASSETD_RANGE_BYTES": "1MiB"}
    return daemons(store=slow_store.url, variables=variables)


def wait_for_bytes(daemon: Daemon) -> None:
    """Wait until a download is under way and has something."""
    with daemon.client() as client:
        wait_until(
            lambda: [f for f in client.status().flights if f.progress.present_bytes], "bytes"
        )


@pytest.mark.needs_program("versitygw")
@pytest.mark.parametrize("grace", ["30s", "0s"])
def test_a_stop_with_twenty_callers(
    daemons: Daemons, slow_store: ProxiedStore, source: Path, grace: str
) -> None:
    """A stop lets all who wait have their version within its grace; then they are UNAVAILABLE."""
    variables = slow_store.through_proxy | {"ASSETD_DRAIN_GRACE": grace}
    daemon = daemons(store=slow_store.url, variables=variables)
    with daemon.channel() as channel:
        stub = AssetServiceStub(channel)
        fetches = [stub.Fetch(FetchRequest(spec="big/asset")) for _ in range(STREAMS)]
        assert all(next(fetch).HasField("started") for fetch in fetches)
        daemon.terminate()
        wait_until(lambda: not daemon.socket.exists(), "the end of the socket")
        if grace == "30s":
            slow_store.proxy.rate_bytes_per_second = None
        ends = {
            (end_of(fetch), dict(fetch.trailing_metadata()).get("assetd-reason"))
            for fetch in fetches
        }
    assert ends == {
        (grpc.StatusCode.OK, None)
        if grace == "30s"
        else (grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN")
    }
    assert daemon.wait() == 0
    path = daemon.assets_dir / "big/asset/0.0"
    assert not path.exists() if grace == "0s" else sha256_of(path) == sha256_of(source)


def end_of(fetch: grpc.Call) -> grpc.StatusCode:
    """Read a stream to its end, and return how it ended."""
    with suppress(grpc.RpcError):
        list(fetch)  # type: ignore[call-overload]
    return fetch.code()


@pytest.mark.needs_program("versitygw")
def test_a_daemon_that_was_frozen_goes_on(
    daemon: Daemon, slow_store: ProxiedStore, source: Path
) -> None:
    """A daemon that was stopped in mid-download goes on, also where its connections are gone."""
    fetched: list[Path] = []

    def fetch() -> None:
        with daemon.client(EAGER) as client:
            fetched.append(client.fetch("big/asset").path)

    thread = threading.Thread(target=fetch)
    thread.start()
    wait_for_bytes(daemon)
    assert daemon.process is not None
    daemon.process.send_signal(signal.SIGSTOP)
    slow_store.proxy.cut()
    slow_store.proxy.rate_bytes_per_second = None
    daemon.process.send_signal(signal.SIGCONT)
    thread.join()
    assert [sha256_of(path) for path in fetched] == [sha256_of(source)]


@pytest.mark.needs_program("versitygw")
def test_a_caller_that_is_frozen_stops_nobody(
    daemon: Daemon, slow_store: ProxiedStore, source: Path
) -> None:
    """A caller that is stopped, be it the one that began the download, keeps nobody waiting."""
    with start("fetch", "big/asset", address=daemon.address) as frozen:
        try:
            wait_for_bytes(daemon)
            frozen.send_signal(signal.SIGSTOP)
            slow_store.proxy.rate_bytes_per_second = None
            with daemon.client() as client:
                path = client.fetch("big/asset").path
            assert sha256_of(path) == sha256_of(source)
            frozen.send_signal(signal.SIGCONT)
            assert frozen.communicate()[0] == f"{path}\n"
        finally:
            frozen.kill()


def test_a_port_is_free_again_at_once(daemons: Daemons, tmp_path: Path) -> None:
    """A restart finds its port free, although connections of the dead daemon linger."""
    port = free_port()
    listen = {"ASSETD_LISTEN": f"{LOOPBACK}:{port}"}
    daemon = daemons(store=tmp_path / "store", variables=listen)
    for _ in range(2):
        with grpc.insecure_channel(f"{LOOPBACK}:{port}") as channel:
            grpc.channel_ready_future(channel).result(timeout=60)
            # The daemon closes first, so that its side of the connection is what lingers.
            assert daemon.stop() == 0
        daemon.start()


def test_a_socket_path_that_is_too_long(daemons: Daemons, tmp_path: Path) -> None:
    """A path that no socket can have is told at the start, with what the system takes."""
    daemon = daemons.prepare(socket=tmp_path / ("s" * 108))
    with pytest.raises(StartFailedError) as refused:
        daemon.start()
    assert refused.value.exit_code == USAGE
    assert "107" in refused.value.errors


def test_a_folder_for_the_socket_is_made(daemons: Daemons, tmp_path: Path) -> None:
    """The folder of the socket is made for it, with what lies above."""
    first = daemons.prepare()
    socket = first.folder / "not/there/assetd.sock"
    with daemons(store=tmp_path / "store", socket=socket).client() as client:
        assert client.status().version_count == 0
