"""SIGTERM: what is under way ends well, who holds is told, and a successor takes over."""

import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from assetd import Client
from assetd.v1.asset_service_pb2 import FetchRequest, ResolveVersionRequest
from assetd.v1.asset_service_pb2_grpc import AssetServiceStub
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from tests.support.daemon import EAGER, Daemon, Daemons, running_daemons
from tests.support.proxied_store import ProxiedStore, proxied_store
from tests.support.trees import sha256_of, write_random_file
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.needs_program("versitygw"), pytest.mark.xdist_group("drain")]

SIZE_BYTES = 12 << 20
# A download lasts longer than all that a test does meanwhile, unless the test speeds it up.
SLOW_BYTES_PER_SECOND = 1 << 20
# What a client says first, with empty settings.
HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What big/asset consists of."""
    source = tmp_path_factory.mktemp("source") / "source"
    write_random_file(source, SIZE_BYTES, seed=15)
    return source


@pytest.fixture(scope="module")
def filled_store(source: Path) -> Iterator[ProxiedStore]:
    """A store with cached/tiny, and big/asset."""
    tiny = source.with_name("tiny")
    tiny.write_bytes(b"tiny")
    folder = source.parent
    with proxied_store(folder / "s3") as store, running_daemons(folder) as daemons:
        store.fill(daemons, folder / "filler", {"big/asset": source, "cached/tiny": tiny})
        yield store


@pytest.fixture
def slow_store(filled_store: ProxiedStore) -> ProxiedStore:
    """The same, at full speed again."""
    filled_store.proxy.rate_bytes_per_second = None
    return filled_store


@pytest.fixture
def start(daemons: Daemons, slow_store: ProxiedStore) -> Callable[..., Daemon]:
    """Starts a daemon that has cached/tiny, and for which big/asset is slow to come."""

    def start(**variables: str) -> Daemon:
        daemon = daemons(store=slow_store.url, variables=slow_store.through_proxy | variables)
        with daemon.client() as client:
            client.fetch("cached/tiny")
        slow_store.proxy.rate_bytes_per_second = SLOW_BYTES_PER_SECOND
        return daemon

    return start


@contextmanager
def beside(work: Callable[[], Any]) -> Iterator[list[Any]]:
    """Does the work in a thread during the block; after it the list holds what came of it."""
    results: list[Any] = []

    def run() -> None:
        try:
            results.append(work())
        except Exception as error:  # noqa: BLE001 - what came of it
            results.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield results
    finally:
        thread.join()


def wait_for_flight(client: Client) -> None:
    """Wait until a download is under way."""
    wait_until(lambda: client.status().flights, "a flight")


def test_a_fetch_under_way_ends_well(
    start: Callable[..., Daemon], slow_store: ProxiedStore, source: Path
) -> None:
    """After SIGTERM new calls find nobody, and a fetch under way is answered.

    Neither by the socket nor on a connection.
    """
    daemon = start()
    with daemon.channel() as channel, daemon.channel() as other:
        grpc.channel_ready_future(other).result(timeout=60)
        fetch = AssetServiceStub(channel).Fetch(FetchRequest(spec="big/asset"))
        assert next(fetch).HasField("started")
        daemon.terminate()
        wait_until(lambda: not daemon.socket.exists(), "the end of the socket")
        with pytest.raises(grpc.RpcError) as refused:
            AssetServiceStub(other).ResolveVersion(ResolveVersionRequest(spec="cached/tiny:0.0"))
        # gRPC ends by CANCELLED what was sent before the client heard that the daemon stops.
        assert refused.value.code() in {
            grpc.StatusCode.UNAVAILABLE,
            grpc.StatusCode.CANCELLED,
        }
        slow_store.proxy.rate_bytes_per_second = None
        (completed,) = [event.completed for event in fetch if event.HasField("completed")]
    assert sha256_of(Path(completed.path)) == sha256_of(source)
    assert daemon.wait() == 0


def test_health_says_so_first(start: Callable[..., Daemon], slow_store: ProxiedStore) -> None:
    """Whoever watches hears NOT_SERVING while calls are still going on, and the watch ends."""
    daemon = start()
    with daemon.channel() as channel:
        health = HealthStub(channel)
        watches = [
            health.Watch(HealthCheckRequest(service=service))  # type: ignore[attr-defined]
            for service in ("", "assetd.v1.AssetService", "assetd.v1.CacheService")
        ]
        serving, stopped = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING
        assert [next(watch).status for watch in watches] == [serving] * 3
        fetch = AssetServiceStub(channel).Fetch(FetchRequest(spec="big/asset"))
        assert next(fetch).HasField("started")
        daemon.terminate()
        assert [[answer.status for answer in watch] for watch in watches] == [[stopped]] * 3
        assert fetch.is_active()
        slow_store.proxy.rate_bytes_per_second = None
        assert [event for event in fetch if event.HasField("completed")]
    assert daemon.wait() == 0


def test_a_hold_is_told_at_once(start: Callable[..., Daemon], slow_store: ProxiedStore) -> None:
    """A daemon that is told to stop ends its holds at once, with `SHUTTING_DOWN`.

    Although another call keeps the daemon for as long as it takes.
    """
    daemon = start()
    with daemon.channel() as channel:
        stub = AssetServiceStub(channel)
        hold = stub.Fetch(FetchRequest(spec="cached/tiny", hold=True))
        assert [next(hold).WhichOneof("event") for _ in range(2)] == ["started", "completed"]
        fetch = stub.Fetch(FetchRequest(spec="big/asset"))
        assert next(fetch).HasField("started")
        daemon.terminate()
        with pytest.raises(grpc.RpcError):
            next(hold)
        assert hold.code() is grpc.StatusCode.UNAVAILABLE
        assert dict(hold.trailing_metadata())["assetd-reason"] == "SHUTTING_DOWN"
        assert fetch.is_active()
        slow_store.proxy.rate_bytes_per_second = None
        assert [event for event in fetch if event.HasField("completed")]
    assert daemon.wait() == 0


@pytest.mark.parametrize("end", [Daemon.stop, Daemon.kill])
def test_a_client_holds_again_with_the_successor(
    start: Callable[..., Daemon], end: Callable[[Daemon], object]
) -> None:
    """A helper holds again with the successor, whether the daemon was told to go or died.

    The client's user notices nothing.
    """
    daemon = start()
    with daemon.client(EAGER) as client, client.fetch("cached/tiny", hold=True) as asset:
        assert [hold.caller for hold in client.status().holds] == ["test"]
        end(daemon)
        assert asset.is_held
        daemon.start()
        wait_until(lambda: client.status().holds, "the hold")
        assert asset.path.read_bytes() == b"tiny"
        asset.close()
        wait_until(lambda: not client.status().holds, "the end of the hold")


def test_a_fetch_that_outlasts_the_grace_goes_on_with_the_successor(
    start: Callable[..., Daemon], slow_store: ProxiedStore, source: Path
) -> None:
    """It is cancelled, leaves nothing, and its client asks again, until it has the asset."""
    daemon = start(ASSETD_DRAIN_GRACE="0s")
    with daemon.client(EAGER) as client:
        with beside(lambda: client.fetch("big/asset")) as fetched:
            wait_for_flight(client)
            assert daemon.stop() == 0
            daemon.assert_clean()
            slow_store.proxy.rate_bytes_per_second = None
            daemon.start()
        (asset,) = fetched
        assert sha256_of(asset.path) == sha256_of(source)


def test_a_push_under_way_ends_well(
    start: Callable[..., Daemon], slow_store: ProxiedStore, source: Path
) -> None:
    """After SIGTERM a push under way is committed and answered.

    And there for the successor.
    """
    daemon = start()
    with daemon.client() as client:
        sent = slow_store.proxy.bytes_to_upstream
        with beside(lambda: client.push(source, "big/pushed")) as pushed:
            # All is sent, and what is read back is slow to come.
            wait_until(lambda: slow_store.proxy.bytes_to_upstream > sent + SIZE_BYTES, "the bytes")
            daemon.terminate()
            wait_until(lambda: not daemon.socket.exists(), "the end of the socket")
            slow_store.proxy.rate_bytes_per_second = None
        assert pushed == ["0.0"]
    assert daemon.wait() == 0
    daemon.start()
    with daemon.client() as client:
        assert client.resolve("big/pushed").asset_version.size_bytes == SIZE_BYTES


def test_a_mute_connection_is_not_waited_for(daemons: Daemons, tmp_path: Path) -> None:
    """A client that is frozen never closes its connection; gRPC would wait 20 s for it."""
    daemon = daemons(store=tmp_path / "store", variables={"ASSETD_DRAIN_GRACE": "1h"})
    with socket.socket(socket.AF_UNIX) as mute:
        mute.connect(str(daemon.socket))
        mute.sendall(HTTP2_PREFACE)
        assert mute.recv(1)
        daemon.terminate()
        assert daemon.wait(timeout_seconds=15) == 0


def test_a_second_signal_does_not_wait(start: Callable[..., Daemon]) -> None:
    """A second SIGTERM does not wait for anybody.

    Somebody who presses Ctrl-C twice means it; no socket is left that nobody answers on.
    """
    daemon = start()
    with daemon.channel() as channel:
        fetch = AssetServiceStub(channel).Fetch(FetchRequest(spec="big/asset"))
        assert next(fetch).HasField("started")
        daemon.terminate()
        daemon.wait_for_log("draining")
        wait_until(lambda: not daemon.socket.exists(), "the end of the socket")
        daemon.terminate()
        assert daemon.wait() == -signal.SIGTERM
        with pytest.raises(grpc.RpcError):
            list(fetch)
    daemon.was_killed = True
    daemon.start()
