"""A real server on a real unix socket, and a channel to it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc.aio
from assetd.v1.asset_service_pb2_grpc import AssetServiceStub
from assetd.v1.cache_service_pb2_grpc import CacheServiceStub
from assetd_server.listen import Address, UnixAddress
from assetd_server.rpc.server import Facade, Server, ServerSettings
from assetd_server.telemetry import Telemetry

from tests.rpc.fakes import NOW

if TYPE_CHECKING:
    # The generated module has no such names when it runs.
    from assetd.v1.asset_service_pb2_grpc import AssetServiceAsyncStub
    from assetd.v1.cache_service_pb2_grpc import CacheServiceAsyncStub


class Ticks:
    """A monotonic clock that goes on by one second whenever it is read."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        self.seconds += 1
        return self.seconds


@dataclass(frozen=True)
class Served:
    """A server that runs, and a caller's way to it."""

    server: Server
    channel: grpc.aio.Channel
    assets: "AssetServiceAsyncStub"
    cache: "CacheServiceAsyncStub"


def new_server(
    addresses: list[Address],
    assets: Facade,
    telemetry: Telemetry | None = None,
    **settings: Any,
) -> Server:
    """A server that has not been started, with a clock of its own."""
    return Server(
        ServerSettings(addresses, server_version="1.2.3", **settings),
        assets,
        telemetry or Telemetry(),
        now=lambda: NOW,
        monotonic=Ticks(),
    )


def dial(path: Path) -> grpc.aio.Channel:
    """A channel to the socket at `path`; connections are not shared with other channels."""
    options = [("grpc.default_authority", "localhost"), ("grpc.use_local_subchannel_pool", 1)]
    return grpc.aio.insecure_channel(f"unix:{path}", options=options)


@asynccontextmanager
async def serving(
    directory: Path, assets: Facade, telemetry: Telemetry | None = None, **settings: Any
) -> AsyncIterator[Served]:
    """Serve `assets` on a socket in `directory` for the length of the block."""
    path = directory / "s"
    server = new_server([UnixAddress(path)], assets, telemetry, **settings)
    await server.start()
    try:
        async with dial(path) as channel:
            yield Served(server, channel, AssetServiceStub(channel), CacheServiceStub(channel))
    finally:
        await server.stop(grace_seconds=0)
    assert not path.exists()
