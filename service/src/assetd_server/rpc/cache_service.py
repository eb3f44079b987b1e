"""CacheService on the wire: each method converts, calls the assets, converts.

Decides nothing and catches nothing: failures reach the caller through `interceptors` and `status`.
"""

from collections.abc import AsyncIterator
from typing import Any, Protocol

from assetd.v1 import cache_service_pb2 as pb
from assetd.v1 import cache_service_pb2_grpc
from grpc.aio import ServicerContext

from assetd_server.assets.orders import CacheStatus
from assetd_server.rpc import answers, convert

Context = ServicerContext[Any, Any]


class Cached(Protocol):
    """What the service needs of the assets. Failures are `AssetError`s."""

    async def status(self) -> CacheStatus:
        """Tell the state of ASSETS_DIR and of the daemon."""


class CacheService(cache_service_pb2_grpc.CacheServiceServicer):
    """The methods that operators and their tools call."""

    def __init__(self, assets: Cached, server_version: str) -> None:
        """Show the cache of `assets`, and `server_version` beside it."""
        self._assets = assets
        self._server_version = server_version

    async def GetCacheStatus(
        self, _request: pb.GetCacheStatusRequest, _context: Context
    ) -> pb.GetCacheStatusResponse:
        """Show what the cache holds and what it is doing."""
        return answers.cache_status_response(await self._assets.status(), self._server_version)

    async def Evict(self, _request: pb.EvictRequest, _context: Context) -> pb.EvictResponse:
        """Belongs to a later release."""
        raise convert.not_built("Evict")

    async def Pin(self, _request: pb.PinRequest, _context: Context) -> pb.PinResponse:
        """Belongs to a later release."""
        raise convert.not_built("Pin")

    async def Unpin(self, _request: pb.UnpinRequest, _context: Context) -> pb.UnpinResponse:
        """Belongs to a later release."""
        raise convert.not_built("Unpin")

    def Verify(
        self, _request: pb.VerifyRequest, _context: Context
    ) -> AsyncIterator[pb.VerifyResponse]:
        """Belongs to a later release."""
        # No coroutine: there is no event that a generator could yield.
        raise convert.not_built("Verify")
