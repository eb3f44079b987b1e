"""AssetService on the wire: each method converts, calls the assets, converts.

Decides nothing and catches nothing: failures reach the caller through `interceptors` and `status`.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from datetime import datetime
from typing import Any, Protocol

from assetd.v1 import asset_service_pb2 as pb
from assetd.v1 import asset_service_pb2_grpc
from grpc.aio import ServicerContext

from assetd_server.assets.orders import (
    FetchEvent,
    FetchOrder,
    FilesPage,
    ListFilesOrder,
    ListOrder,
    ListPage,
    PushEvent,
    PushStep,
    Resolved,
    ResolveOrder,
)
from assetd_server.rpc import answers, convert, push_convert
from assetd_server.rpc.arrived_chunk import ArrivedChunk

Context = ServicerContext[Any, Any]


class Assets(Protocol):
    """What the service needs of the assets. Failures are `AssetError`s."""

    async def resolve(self, order: ResolveOrder, /) -> Resolved:
        """Tell which version is meant."""

    def fetch(self, order: FetchOrder, /) -> AsyncGenerator[FetchEvent, None]:
        """Make a version present; closing the generator takes the caller off the flight."""

    def push(self, steps: AsyncIterator[PushStep], /) -> AsyncGenerator[PushEvent, None]:
        """Create a version; closing the generator before its last event gives the push up."""

    async def list(self, order: ListOrder, /) -> ListPage:
        """List versions."""

    async def list_files(self, order: ListFilesOrder, /) -> FilesPage:
        """List the files of a version."""


class AssetService(asset_service_pb2_grpc.AssetServiceServicer):
    """The methods that model servers and pushers call."""

    def __init__(self, assets: Assets, now: Callable[[], datetime]) -> None:
        """Serve `assets`; `now` stamps the events of a stream."""
        self._assets = assets
        self._now = now

    async def ResolveVersion(
        self, request: pb.ResolveVersionRequest, _context: Context
    ) -> pb.ResolveVersionResponse:
        """Tell which version a spec stands for now."""
        resolved = await self._assets.resolve(convert.resolve_order(request))
        return answers.resolve_response(resolved)

    async def Fetch(
        self, request: pb.FetchRequest, _context: Context
    ) -> AsyncIterator[pb.FetchResponse]:
        """Make a version present and stream the progress."""
        async with aclosing(self._assets.fetch(convert.fetch_order(request))) as events:
            async for event in events:
                yield answers.fetch_response(event, self._now())

    async def Push(
        self, requests: AsyncIterator[pb.PushRequest | ArrivedChunk], _context: Context
    ) -> AsyncIterator[pb.PushResponse]:
        """Create one new version, or nothing."""
        async with (
            aclosing(push_convert.push_steps(requests)) as steps,
            aclosing(self._assets.push(steps)) as events,
        ):
            async for event in events:
                yield answers.push_response(event, self._now())

    async def List(self, request: pb.ListRequest, _context: Context) -> pb.ListResponse:
        """List versions by the beginning of their names."""
        return answers.list_response(await self._assets.list(convert.list_order(request)))

    async def ListFiles(
        self, request: pb.ListFilesRequest, _context: Context
    ) -> pb.ListFilesResponse:
        """List the files of one version."""
        page = await self._assets.list_files(convert.list_files_order(request))
        return answers.list_files_response(page)
