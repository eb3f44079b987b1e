"""The gRPC server: which services, on which addresses, from start to stop.

Knows no method and no asset. `app` takes the instance lock of ASSETS_DIR before it starts this.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

import grpc.aio
import structlog
from assetd.v1 import (
    asset_service_pb2,
    asset_service_pb2_grpc,
    cache_service_pb2,
    cache_service_pb2_grpc,
)
from grpc_health.v1 import health_pb2, health_pb2_grpc

from assetd_server.listen import Address, ListenError, TcpAddress, UnixAddress
from assetd_server.rpc.arrived_chunk import read_push_request
from assetd_server.rpc.asset_service import Assets, AssetService
from assetd_server.rpc.cache_service import Cached, CacheService
from assetd_server.rpc.health_service import Health
from assetd_server.rpc.interceptors import CallInterceptor, Surroundings
from assetd_server.rpc.reflection import add_reflection
from assetd_server.rpc.sockets import SocketFile
from assetd_server.telemetry import Telemetry

# A chunk of a push has 1 MiB, and the paths of 1,000 files fit as well.
MAX_REQUEST_BYTES: Final = 4 * 2**20
# Probes and reflection have room beside as many calls of ours as are allowed.
_SPARE_CALLS: Final = 64
# Helpers may ask more often than gRPC likes whether a silent hold is alive.
_MIN_CLIENT_PING_INTERVAL_MS: Final = 5_000
# For connections without a call of ours: watches of health are told, clients say goodbye, and
# what was answered last is read. Of a connection that we close first, clients may lose that.
_FAREWELL_SECONDS: Final = 1.0

_SERVICES: Final[tuple[str, ...]] = (
    asset_service_pb2.DESCRIPTOR.services_by_name["AssetService"].full_name,
    cache_service_pb2.DESCRIPTOR.services_by_name["CacheService"].full_name,
)
# Of the methods whose requests protobuf would copy around.
_READERS: Final = {f"/{_SERVICES[0]}/Push": read_push_request}
_HEALTH_SERVICE: Final[str] = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name


class Facade(Assets, Cached, Protocol):
    """The assets, as both services need them."""


@dataclass(frozen=True)
class ServerSettings:
    """Where the server listens, what it shows, and its bounds."""

    addresses: Sequence[Address]
    server_version: str
    reflection: bool = True
    max_calls: int = 4096
    # A caller that is frozen, or whose machine is gone, is noticed after the sum of both: that is
    # how long its hold outlives it.
    keepalive_seconds: float = 30.0
    ping_timeout_seconds: float = 20.0
    # What a handler gets to clean up in once it was cancelled, before a stop goes on without it.
    clean_up_seconds: float = 5.0


class Server:
    """Serves the assets. Starts once and stops once."""

    def __init__(
        self,
        settings: ServerSettings,
        assets: Facade,
        telemetry: Telemetry,
        *,
        now: Callable[[], datetime],
        monotonic: Callable[[], float],
    ) -> None:
        """Serve `assets`; `now` stamps the events of streams, `monotonic` times the calls."""
        self._settings = settings
        self._asset_service = AssetService(assets, now)
        self._cache_service = CacheService(assets, settings.server_version, now)
        self._health = Health(_SERVICES)
        self._log = structlog.get_logger()
        self._interceptor = CallInterceptor(
            Surroundings(telemetry, self._log, monotonic, settings.max_calls), _READERS
        )
        self._socket_files: list[SocketFile] = []
        self._server: grpc.aio.Server | None = None

    async def start(self) -> tuple[Address, ...]:
        """Listen, and return where: the same addresses, a port 0 replaced by the real one.

        Calls are answered from here on; the services are ready when `set_ready` says so.

        Raises:
            ListenError: an address is taken, or not ours to take. None is listened on then.
        """
        for address in self._settings.addresses:
            if isinstance(address, UnixAddress):
                SocketFile(address.path).prepare()
        self._server = server = self._new_server()
        try:
            bound = tuple(self._bind(server, address) for address in self._settings.addresses)
            await server.start()
        except BaseException:
            self._remove_sockets()
            raise
        return bound

    def set_ready(self, ready: bool) -> None:
        """Tell health probes whether ASSETS_DIR can be served from."""
        self._health.set_ready(ready)

    async def stop(self, grace_seconds: float) -> None:
        """Refuse new calls, and give those under way `grace_seconds` before they are cancelled.

        Health says NOT_SERVING first. On return all handlers have cleaned up, or were reported as
        stuck, and no socket of ours is left behind. Idempotent.
        """
        self._health.stop()
        self._remove_sockets()
        server, self._server = self._server, None
        if server is None:
            return
        await self._close(server, grace_seconds)
        stuck = await self._interceptor.wait_until_idle(self._settings.clean_up_seconds)
        if stuck:
            self._log.error("calls that were cancelled do not end", calls=stuck)

    async def _close(self, server: grpc.aio.Server, grace_seconds: float) -> None:
        """Wait until all calls have ended, and hardly longer.

        gRPC waits for every client to close its connection, too: an idle one in Python looks at it
        every 5 s, a frozen one never. Meanwhile no successor could serve.
        """
        clean_up_seconds = self._settings.clean_up_seconds
        closing = asyncio.create_task(server.stop(grace_seconds + clean_up_seconds))
        if await self._interceptor.wait_until_idle(grace_seconds):
            # Ours to end: gRPC would tell no reason.
            self._interceptor.cut_all()
            await self._interceptor.wait_until_idle(clean_up_seconds)
        await asyncio.wait([closing], timeout=_FAREWELL_SECONDS)
        await server.stop(None)
        await closing

    def _new_server(self) -> grpc.aio.Server:
        settings = self._settings
        server = grpc.aio.server(
            interceptors=[self._interceptor],
            options=_options(settings),
            # A belt for what the interceptor does not see; its own refusal tells a reason.
            maximum_concurrent_rpcs=settings.max_calls + _SPARE_CALLS,
        )
        asset_service_pb2_grpc.add_AssetServiceServicer_to_server(self._asset_service, server)
        cache_service_pb2_grpc.add_CacheServiceServicer_to_server(self._cache_service, server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        if settings.reflection:
            add_reflection((*_SERVICES, _HEALTH_SERVICE), server)
        return server

    def _bind(self, server: grpc.aio.Server, address: Address) -> Address:
        if isinstance(address, TcpAddress):
            return TcpAddress(address.host, _bind(server, str(address), address))
        socket_file = SocketFile(address.path)
        _bind(server, f"unix:{socket_file.birth_path}", address)
        self._socket_files.append(socket_file)
        socket_file.show()
        return address

    def _remove_sockets(self) -> None:
        while self._socket_files:
            self._socket_files.pop().remove()


def _bind(server: grpc.aio.Server, target: str, address: Address) -> int:
    try:
        return server.add_insecure_port(target)
    except RuntimeError as error:
        raise ListenError(
            f"cannot listen on {address}: see whether another program does, and whether the user"
            " of the daemon may"
        ) from error


def _options(settings: ServerSettings) -> list[tuple[str, int]]:
    ping_timeout_ms = round(settings.ping_timeout_seconds * 1000)
    # grpc.max_concurrent_streams stays unset: it makes spurious UNAVAILABLE.
    return [
        # Else a second daemon shares the port silently, and each gets some of the calls.
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
        ("grpc.keepalive_time_ms", round(settings.keepalive_seconds * 1000)),
        # gRPC knows two timeouts for the answer; a frozen client is noticed only with both.
        ("grpc.keepalive_timeout_ms", ping_timeout_ms),
        ("grpc.http2.ping_timeout_ms", ping_timeout_ms),
        ("grpc.http2.min_ping_interval_without_data_ms", _MIN_CLIENT_PING_INTERVAL_MS),
    ]
