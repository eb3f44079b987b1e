"""From start to stop: sockets, ports, health, reflection, and an end that leaves nothing."""

import asyncio
import os
import signal
import socket
import stat
import sys
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from assetd.v1 import asset_service_pb2 as pb
from assetd.v1.asset_service_pb2_grpc import AssetServiceStub
from assetd_server.assets.orders import FetchEvent, FetchOrder, Resolved, ResolveOrder
from assetd_server.listen import ListenError, TcpAddress, UnixAddress
from assetd_server.rpc.sockets import SocketFile
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from structlog.testing import capture_logs

from tests.rpc.fakes import COMPLETED, FakeAssets, HoldingAssets
from tests.rpc.serving import Served, dial, new_server, serving

RESOLVE = pb.ResolveVersionRequest(spec="nlp/ranker:1")
HOLD = pb.FetchRequest(spec="nlp/ranker:1", hold=True)
SERVICES = ["assetd.v1.AssetService", "assetd.v1.CacheService"]


def health_stub(served: Served) -> Any:
    """The generated stub, which has no types."""
    return HealthStub(served.channel)


async def health(served: Served, service: str) -> str:
    """The answer to one probe."""
    answer = await health_stub(served).Check(HealthCheckRequest(service=service))
    return HealthCheckResponse.ServingStatus.Name(answer.status)


def mode(path: Path) -> int:
    """The permissions of a file or directory."""
    return stat.S_IMODE(path.stat().st_mode)


def names(directory: Path) -> list[str]:
    """What is in a directory."""
    return [path.name for path in directory.iterdir()]


async def test_the_socket_is_for_user_and_group(tmp_path: Path) -> None:
    """The directory is made for it; whoever shares the directory with its group lets it call."""
    path = tmp_path / "run" / "assetd" / "s"
    server = new_server([UnixAddress(path)], FakeAssets())
    await server.start()
    assert mode(path.parent) == 0o750
    assert mode(path) == 0o660
    assert names(path.parent) == ["s"]
    await server.stop(0)
    assert names(path.parent) == []


async def test_a_directory_keeps_the_mode_of_its_maker(tmp_path: Path) -> None:
    """An operator who shares it with more people than its group has reasons."""
    shared = tmp_path / "shared"
    shared.mkdir(0o755)
    async with serving(shared, FakeAssets()):
        assert mode(shared) == 0o755


async def test_the_longest_path_works(tmp_path: Path) -> None:
    """107 bytes are what the system takes."""
    path = tmp_path / ("s" * (106 - len(str(tmp_path))))
    assert len(str(path)) == 107
    server = new_server([UnixAddress(path)], FakeAssets())
    await server.start()
    async with dial(path) as channel:
        await AssetServiceStub(channel).ResolveVersion(RESOLVE)
    await server.stop(0)


async def test_a_dead_daemons_socket_is_replaced(tmp_path: Path) -> None:
    """A daemon that was killed leaves its socket behind; that is no reason not to start."""
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(tmp_path / "s"))
    async with serving(tmp_path, FakeAssets()) as served:
        await served.assets.ResolveVersion(RESOLVE)


async def test_a_living_daemons_socket_is_not_stolen(tmp_path: Path) -> None:
    """Left to itself gRPC would take it, and the other daemon's callers find the wrong one."""
    async with serving(tmp_path, FakeAssets()) as served:
        second = new_server([UnixAddress(tmp_path / "s")], FakeAssets())
        with pytest.raises(ListenError, match="another daemon listens"):
            await second.start()
        await second.stop(0)
        await served.assets.ResolveVersion(RESOLVE)


async def test_a_busy_socket_counts_as_alive(tmp_path: Path) -> None:
    """A daemon whose queue of connections is full is not dead."""
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as busy:
        busy.bind(str(path))
        busy.listen(0)
        with socket.socket(socket.AF_UNIX) as first:
            first.connect(str(path))
            with pytest.raises(ListenError, match="another daemon listens"):
                await new_server([UnixAddress(path)], FakeAssets()).start()


async def test_what_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    """A mistaken path must not cost anybody a file."""
    path = tmp_path / "s"
    path.write_text("precious")
    with pytest.raises(ListenError, match="is no socket"):
        await new_server([UnixAddress(path)], FakeAssets()).start()
    assert path.read_text() == "precious"


async def test_a_directory_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    """The message names the path, and what to look at."""
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / "s"
    with pytest.raises(ListenError, match=f"cannot listen on {path}"):
        await new_server([UnixAddress(path)], FakeAssets()).start()


async def test_somebody_elses_socket_survives_our_stop(tmp_path: Path) -> None:
    """Whoever put another socket at the path after us keeps it."""
    path = tmp_path / "s"
    server = new_server([UnixAddress(path)], FakeAssets())
    await server.start()
    path.unlink()
    with socket.socket(socket.AF_UNIX) as successor:
        successor.bind(str(path))
        await server.stop(0)
        assert path.is_socket()


def born(path: Path) -> tuple[SocketFile, socket.socket]:
    """A socket file whose socket is bound, but not yet shown."""
    socket_file = SocketFile(path)
    socket_file.prepare()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(socket_file.birth_path))
    return socket_file, listener


def test_a_socket_that_cannot_be_shown_is_not_left_behind(tmp_path: Path) -> None:
    """As when somebody makes a directory in its place at the wrong moment."""
    socket_file, listener = born(tmp_path / "s")
    with listener:
        (tmp_path / "s").mkdir()
        with pytest.raises(ListenError, match="check its directory"):
            socket_file.show()
    assert names(tmp_path) == ["s"]


def test_a_socket_whose_directory_is_gone_is_removed_already(tmp_path: Path) -> None:
    """An operator who cleaned up before us is no failure of the stop."""
    directory = tmp_path / "run"
    socket_file, listener = born(directory / "s~")
    with listener:
        socket_file.show()
        (directory / "s~").unlink()
        directory.rmdir()
        socket_file.remove()
    socket_file.remove()


async def test_a_port_is_told_and_not_shared(tmp_path: Path) -> None:
    """Port 0 becomes a real one; a second daemon on it fails instead of taking half the calls."""
    first = new_server([TcpAddress("127.0.0.1", 0), UnixAddress(tmp_path / "s")], FakeAssets())
    port, path = await first.start()
    assert path == UnixAddress(tmp_path / "s")
    assert isinstance(port, TcpAddress)
    assert port.port > 0
    second = new_server([UnixAddress(tmp_path / "t"), port], FakeAssets())
    with pytest.raises(ListenError, match=str(port)):
        await second.start()
    assert not (tmp_path / "t").exists()
    async with grpc.aio.insecure_channel(str(port)) as channel:
        await AssetServiceStub(channel).ResolveVersion(RESOLVE)
    await second.stop(0)
    await first.stop(0)


async def test_ready_is_not_alive(tmp_path: Path) -> None:
    """The daemon is alive before ASSETS_DIR has been looked at; then its services are ready."""
    async with serving(tmp_path, FakeAssets()) as served:
        assert await health(served, "") == "SERVING"
        for service in SERVICES:
            assert await health(served, service) == "NOT_SERVING"
        served.server.set_ready(True)
        for service in SERVICES:
            assert await health(served, service) == "SERVING"


async def test_health_of_an_unknown_service(tmp_path: Path) -> None:
    """The protocol of health checks wants NOT_FOUND of a probe, and patience of a watch."""
    async with serving(tmp_path, FakeAssets()) as served:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await health(served, "assetd.v2.AssetService")
        assert failed.value.code() is grpc.StatusCode.NOT_FOUND
        watch = health_stub(served).Watch(HealthCheckRequest(service="assetd.v2"))
        assert (await watch.read()).status == HealthCheckResponse.SERVICE_UNKNOWN
        watch.cancel()


async def test_a_stop_ends_watches_after_telling_them(tmp_path: Path) -> None:
    """Whoever watches learns of the end, and does not keep the daemon from it."""
    async with serving(tmp_path, FakeAssets()) as served:
        served.server.set_ready(True)
        watch = health_stub(served).Watch(HealthCheckRequest(service=SERVICES[0]))
        assert (await watch.read()).status == HealthCheckResponse.SERVING
        await served.server.stop(grace_seconds=3600)
        # Whoever still looks at ASSETS_DIR comes too late.
        served.server.set_ready(True)
        assert (await watch.read()).status == HealthCheckResponse.NOT_SERVING
        assert await watch.read() is grpc.aio.EOF


async def reflected_services(served: Served) -> list[str]:
    """The services that the server says it has."""
    channel: Any = served.channel
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
    question = reflection_pb2.ServerReflectionRequest(list_services="")
    call = stub.ServerReflectionInfo(iter([question]))
    answer = await call.read()
    return sorted(service.name for service in answer.list_services_response.service)


async def test_reflection_shows_every_service(tmp_path: Path) -> None:
    """A grpcurl needs no files."""
    async with serving(tmp_path, FakeAssets()) as served:
        assert await reflected_services(served) == [
            *SERVICES,
            "grpc.health.v1.Health",
            "grpc.reflection.v1alpha.ServerReflection",
        ]


async def test_reflection_can_be_off(tmp_path: Path) -> None:
    """An operator may want a port to tell nothing."""
    async with serving(tmp_path, FakeAssets(), reflection=False) as served:
        # As one message: a refusal that comes before it is written spoils a stream's own status.
        channel: Any = served.channel
        ask = channel.unary_unary("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await ask(reflection_pb2.ServerReflectionRequest(list_services="").SerializeToString())
        assert failed.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def serving_nobody_new(path: Path) -> None:
    """Wait until a server that stops has taken its socket away."""
    while "s" in names(path.parent):  # noqa: ASYNC110 - nobody can tell us
        await asyncio.sleep(0)


async def test_a_stop_lets_calls_finish(tmp_path: Path) -> None:
    """A call under way has its grace; new ones find no socket."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    class Slow(FakeAssets):
        async def resolve(self, _order: ResolveOrder) -> Resolved:
            begun.set()
            await go_on.wait()
            return self.resolved

    path = tmp_path / "s"
    server = new_server([UnixAddress(path)], Slow())
    await server.start()
    async with dial(path) as channel:
        call = AssetServiceStub(channel).ResolveVersion(RESOLVE)
        await begun.wait()
        stop = asyncio.create_task(server.stop(grace_seconds=3600))
        await serving_nobody_new(path)
        go_on.set()
        await stop
        assert (await call).asset_version.version == "1.2"


async def test_a_stop_ends_what_goes_on_too_long(tmp_path: Path) -> None:
    """After the grace calls are told why they end, and have cleaned up before the stop returns."""
    assets = HoldingAssets()
    async with serving(tmp_path, assets) as served:
        call = served.assets.Fetch(HOLD)
        await anext(aiter(call))
        await served.server.stop(grace_seconds=0)
        assert assets.released.is_set()
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            async for _ in call:
                pass
        assert ended.value.code() is grpc.StatusCode.UNAVAILABLE
        trailers = dict([*(ended.value.trailing_metadata() or ())])
        assert trailers["assetd-reason"] == "SHUTTING_DOWN"


class TalkingAssets(FakeAssets):
    """A fetch that never stops to tell of its progress, in messages of `message_bytes`."""

    def __init__(self, message_bytes: int = 0) -> None:
        super().__init__()
        self.message_bytes = message_bytes
        self.told_count = 0

    async def fetch(self, _order: FetchOrder) -> AsyncGenerator[FetchEvent, None]:
        while True:
            yield replace(COMPLETED, path="/" * self.message_bytes)
            self.told_count += 1


async def test_a_stop_lets_a_message_through_first(tmp_path: Path) -> None:
    """A status is refused while a message is on its way: the caller would not hear why."""
    for _ in range(20):
        async with serving(tmp_path, TalkingAssets()) as served:
            call = served.assets.Fetch(pb.FetchRequest(spec="a"))
            events = aiter(call)
            await anext(events)
            stop = asyncio.create_task(served.server.stop(grace_seconds=0))
            with pytest.raises(grpc.aio.AioRpcError) as ended:
                async for _ in events:
                    pass
            await stop
            trailers = dict([*(ended.value.trailing_metadata() or ())])
            assert trailers["assetd-reason"] == "SHUTTING_DOWN"


async def test_a_stop_does_not_wait_for_who_does_not_read(tmp_path: Path) -> None:
    """A message that nobody takes is given up, and the status that would wait behind it."""
    assets = TalkingAssets(message_bytes=1 << 20)
    async with serving(tmp_path, assets, clean_up_seconds=3600) as served:
        call = served.assets.Fetch(pb.FetchRequest(spec="a"))
        told = -1
        while told != assets.told_count or not told:
            told = assets.told_count
            await asyncio.sleep(0.2)
        async with asyncio.timeout(60):
            await served.server.stop(grace_seconds=0)
        with pytest.raises(grpc.aio.AioRpcError):
            async for _ in call:
                pass


async def test_a_stop_goes_on_without_what_is_stuck(tmp_path: Path) -> None:
    """A handler that does not end when it is cancelled is reported, and waited for no longer."""
    begun, may_end, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    class Stuck(FakeAssets):
        async def resolve(self, _order: ResolveOrder) -> Resolved:
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                while not may_end.is_set():
                    with suppress(asyncio.CancelledError):
                        await may_end.wait()
                ended.set()
            return self.resolved

    with capture_logs() as lines:
        async with serving(tmp_path, Stuck(), clean_up_seconds=0) as served:
            call = served.assets.ResolveVersion(RESOLVE)
            await begun.wait()
            await served.server.stop(grace_seconds=0)
            assert {"event": "calls that were cancelled do not end", "calls": 1}.items() <= (
                lines[-1].items()
            )
            may_end.set()
            await ended.wait()
            with pytest.raises(grpc.aio.AioRpcError):
                await call


async def test_stopping_twice_is_stopping_once(tmp_path: Path) -> None:
    """Also before the start, as when that failed half-way."""
    server = new_server([UnixAddress(tmp_path / "s")], FakeAssets())
    await server.stop(0)
    server = new_server([UnixAddress(tmp_path / "s")], FakeAssets())
    await server.start()
    await server.stop(0)
    await server.stop(0)


async def test_a_message_that_is_too_large_is_refused(tmp_path: Path) -> None:
    """A careless caller cannot fill the daemon's memory."""
    async with serving(tmp_path, FakeAssets()) as served:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await served.assets.ResolveVersion(pb.ResolveVersionRequest(spec="x" * 5 * 2**20))
        assert failed.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        await served.assets.ResolveVersion(RESOLVE)


async def test_a_frozen_caller_loses_its_hold(tmp_path: Path) -> None:
    """A caller that is frozen loses its hold, although its connection is not closed.

    Only the answers to pings are missing.
    """
    assets = HoldingAssets()
    async with serving(tmp_path, assets, keepalive_seconds=0.2, ping_timeout_seconds=0.2):
        program = Path(__file__).with_name("frozen_caller.py")
        caller = await asyncio.create_subprocess_exec(
            sys.executable, program, tmp_path / "s", stdout=asyncio.subprocess.PIPE
        )
        try:
            await assets.holding.wait()
            os.kill(caller.pid, signal.SIGSTOP)
            await assets.released.wait()
        finally:
            caller.kill()
            await caller.communicate()
