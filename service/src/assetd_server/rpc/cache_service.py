"""CacheService on the wire: each method converts, calls the assets, converts.

Decides nothing and catches nothing: failures reach the caller through `interceptors` and `status`.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from datetime import datetime
from typing import Any, Protocol

from assetd.v1 import cache_service_pb2 as pb
from assetd.v1 import cache_service_pb2_grpc
from grpc.aio import ServicerContext

from assetd_server.assets.cache_orders import (
    EvictEntry,
    EvictOrder,
    Pinned,
    VerifyEvent,
    VerifyOrder,
)
from assetd_server.assets.orders import (
    CacheStatus,
)
from assetd_server.rpc import answers, cache_answers, cache_convert
from assetd_server.spec import Spec

Context = ServicerContext[Any, Any]


class Cached(Protocol):
    """What the service needs of the assets. Failures are `AssetError`s."""

    async def status(self) -> CacheStatus:
        """Tell the state of ASSETS_DIR and of the daemon."""

    async def evict(self, order: EvictOrder, /) -> Sequence[EvictEntry]:
        """Remove versions from the cache."""

    async def pin(self, spec: Spec, /) -> Pinned:
        """Keep a cached version."""

    async def unpin(self, spec: Spec, /) -> Pinned:
        """Undo a pin."""

    def verify(self, order: VerifyOrder, /) -> AsyncGenerator[VerifyEvent, None]:
        """Hash cached versions; closing the generator ends the reading."""


class CacheService(cache_service_pb2_grpc.CacheServiceServicer):
    """The methods that operators and their tools call."""

    def __init__(self, assets: Cached, server_version: str, now: Callable[[], datetime]) -> None:
        """Tend the cache of `assets`; `now` stamps the events of a stream."""
        self._assets = assets
        self._server_version = server_version
        self._now = now

    async def GetCacheStatus(
        self, _request: pb.GetCacheStatusRequest, _context: Context
    ) -> pb.GetCacheStatusResponse:
        """Show what the cache holds and what it is doing."""
        return answers.cache_status_response(await self._assets.status(), self._server_version)

    async def Evict(self, request: pb.EvictRequest, _context: Context) -> pb.EvictResponse:
        """Remove versions from the cache."""
        return cache_answers.evict_response(
            await self._assets.evict(cache_convert.evict_order(request))
        )

    async def Pin(self, request: pb.PinRequest, _context: Context) -> pb.PinResponse:
        """Keep a cached version."""
        return cache_answers.pin_response(
            await self._assets.pin(cache_convert.exact_spec(request.spec))
        )

    async def Unpin(self, request: pb.UnpinRequest, _context: Context) -> pb.UnpinResponse:
        """Undo a pin."""
        return cache_answers.unpin_response(
            await self._assets.unpin(cache_convert.exact_spec(request.spec))
        )

    async def Verify(
        self, request: pb.VerifyRequest, _context: Context
    ) -> AsyncIterator[pb.VerifyResponse]:
        """Hash cached versions and stream what they prove to be."""
        async with aclosing(self._assets.verify(cache_convert.verify_order(request))) as events:
            async for event in events:
                yield cache_answers.verify_response(event, self._now())
