"""The client for asyncio. What the methods promise, take and raise is said in `assetd.Client`.

Importing this imports no grpc: what needs it is imported by the first call.
"""

import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Self

from assetd._base import BaseClient
from assetd._retry import Deadline, RetryPolicy
from assetd.aio._fetching import Fetching
from assetd.asset import Asset, PushedVersion, PushProgress
from assetd.errors import AssetdError

if TYPE_CHECKING:
    from assetd.aio._connection import Connection
    from assetd.aio._push import Push
    from assetd.v1.asset_pb2 import FetchProgress
    from assetd.v1.asset_service_pb2 import (
        FetchRequest,
        FetchResponse,
        ListFilesResponse,
        ListResponse,
        PushResponse,
        ResolveVersionResponse,
    )
    from assetd.v1.cache_service_pb2 import (
        EvictResponse,
        GetCacheStatusResponse,
        PinResponse,
        UnpinResponse,
        VerifyProgress,
        VerifyResponse,
        VerifyResult,
    )


class Client(BaseClient):
    """Talks to the assetd daemon of this node from one event loop. Otherwise as `assetd.Client`.

    Callbacks are plain functions, called in the loop: they must not block.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        caller: str | None = None,
        retry: RetryPolicy | None = None,
        assets_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        """As `assetd.Client`."""
        super().__init__(address, caller=caller, retry=retry, assets_dir=assets_dir)
        self._connection: Connection | None = None
        self._closed = False

    def fetch(
        self,
        spec: str,
        *,
        hold: bool = False,
        freshness: str | None = None,
        store_timeout: float | None = None,
        expected_digest: str | None = None,
        include: Iterable[str] = (),
        exclude: Iterable[str] = (),
        part_only: bool = False,
        verify: bool = False,
        force_download: bool = False,
        progress_interval: float | None = None,
        on_progress: "Callable[[FetchProgress], object] | None" = None,
        on_event: "Callable[[FetchResponse], object] | None" = None,
        on_hold_lost: Callable[[AssetdError], object] | None = None,
        timeout: float | None = None,
    ) -> Fetching:
        """Make a version present on this node, and return where it is: as `assetd.Client.fetch`.

        `asset = await client.fetch(...)`, or `async with client.fetch(..., hold=True) as asset:`,
        which ends the hold with the block.
        """

        async def fetch() -> Asset:
            asset = self._hit(
                spec,
                hold,
                *(freshness, expected_digest, include, exclude, part_only),
                *(verify, force_download, on_event),
            )
            if asset is not None:
                return asset
            from assetd import _convert, _course

            request = _convert.fetch_request(
                spec,
                freshness=freshness,
                store_timeout=store_timeout,
                expected_digest=expected_digest,
                verify=verify,
                force_download=force_download,
                hold=hold,
                include=include,
                exclude=exclude,
                part_only=part_only,
                progress_interval=progress_interval,
                caller=self._caller,
            )
            observe = _course.observer(on_progress, on_event)
            return await self._fetch(request, Deadline(timeout), observe, on_hold_lost)

        return Fetching(fetch())

    async def _fetch(
        self,
        request: "FetchRequest",
        deadline: Deadline,
        observe: "Callable[[FetchResponse], object]",
        on_hold_lost: Callable[[AssetdError], object] | None,
    ) -> Asset:
        from assetd import _convert
        from assetd.aio import _fetch, _hold

        connection = self._connect()
        fetched, stream = await _fetch.Fetch(connection, request, deadline, observe).run()
        held = None
        if request.hold:
            held = _hold.Hold(connection, fetched.request, stream, on_hold_lost)
        return _convert.asset_from(fetched.started, fetched.completed, held, self.assets_dir)

    async def resolve(
        self,
        spec: str,
        *,
        freshness: str | None = None,
        store_timeout: float | None = None,
        timeout: float | None = None,
    ) -> "ResolveVersionResponse":
        """Tell which version a spec stands for now: as `assetd.Client.resolve`."""
        from assetd import _convert

        request = _convert.resolve_request(spec, freshness=freshness, store_timeout=store_timeout)
        connection = self._connect()
        return await connection.ask(connection.assets.ResolveVersion, request, timeout)

    async def push(
        self,
        path: str | os.PathLike[str],
        spec: str,
        *,
        new: bool = False,
        update: bool = False,
        bump_major: bool = False,
        labels: Mapping[str, str] | None = None,
        exclude: Iterable[str] = (),
        validate_only: bool = False,
        push_id: str | None = None,
        on_progress: Callable[[PushProgress], object] | None = None,
        on_event: "Callable[[PushResponse], object] | None" = None,
        timeout: float | None = None,
    ) -> PushedVersion:
        """Create one new version from a file or folder, and return it: as `assetd.Client.push`.

        Runs in a thread, with a connection of its own. Cancelled, it returns once the push has
        ended.
        """
        push = self._push()
        return await push.run(
            push.client.push,
            path,
            spec,
            new=new,
            update=update,
            bump_major=bump_major,
            labels=labels,
            exclude=exclude,
            validate_only=validate_only,
            push_id=push_id,
            on_progress=push.in_loop(on_progress),
            on_event=push.in_loop(on_event),
            timeout=timeout,
        )

    async def push_staged(
        self,
        path: str | os.PathLike[str],
        spec: str,
        *,
        new: bool = False,
        update: bool = False,
        bump_major: bool = False,
        labels: Mapping[str, str] | None = None,
        validate_only: bool = False,
        push_id: str | None = None,
        on_progress: Callable[[PushProgress], object] | None = None,
        on_event: "Callable[[PushResponse], object] | None" = None,
        timeout: float | None = None,
    ) -> PushedVersion:
        """Create one from what lies on the node: as `assetd.Client.push_staged`, run as `push`."""
        push = self._push()
        return await push.run(
            push.client.push_staged,
            path,
            spec,
            new=new,
            update=update,
            bump_major=bump_major,
            labels=labels,
            validate_only=validate_only,
            push_id=push_id,
            on_progress=push.in_loop(on_progress),
            on_event=push.in_loop(on_event),
            timeout=timeout,
        )

    async def push_from(
        self,
        uri: str,
        spec: str,
        *,
        new: bool = False,
        update: bool = False,
        bump_major: bool = False,
        labels: Mapping[str, str] | None = None,
        validate_only: bool = False,
        push_id: str | None = None,
        on_progress: Callable[[PushProgress], object] | None = None,
        on_event: "Callable[[PushResponse], object] | None" = None,
        timeout: float | None = None,
    ) -> PushedVersion:
        """Create one from where a URI points: as `assetd.Client.push_from`, run as `push`."""
        push = self._push()
        return await push.run(
            push.client.push_from,
            uri,
            spec,
            new=new,
            update=update,
            bump_major=bump_major,
            labels=labels,
            validate_only=validate_only,
            push_id=push_id,
            on_progress=push.in_loop(on_progress),
            on_event=push.in_loop(on_event),
            timeout=timeout,
        )

    def _push(self) -> "Push":
        from assetd.aio._push import Push
        from assetd.client import Client as BlockingClient

        self._require_open()
        return Push(
            BlockingClient(
                self.address,
                caller=self._caller,
                retry=self._policy,
                assets_dir=self._assets_dir or "",
            )
        )

    def list(
        self,
        prefix: str = "",
        *,
        scope: str = "all",
        latest_only: bool = False,
        full: bool = False,
        page_size: int = 0,
        timeout: float | None = None,
    ) -> "AsyncIterator[ListResponse]":
        """Give the versions whose names begin with `prefix`, by pages: as `assetd.Client.list`."""
        from assetd import _convert

        request = _convert.list_request(
            prefix, scope=scope, latest_only=latest_only, full=full, page_size=page_size
        )
        connection = self._connect()
        return connection.pages(connection.assets.List, request, timeout)

    def list_files(
        self,
        spec: str,
        *,
        freshness: str | None = None,
        include: Iterable[str] = (),
        exclude: Iterable[str] = (),
        page_size: int = 0,
        timeout: float | None = None,
    ) -> "AsyncIterator[ListFilesResponse]":
        """Give the files of one version, page by page: as `assetd.Client.list_files`."""
        from assetd import _convert

        request = _convert.list_files_request(
            spec, freshness=freshness, include=include, exclude=exclude, page_size=page_size
        )
        connection = self._connect()
        return connection.pages(connection.assets.ListFiles, request, timeout)

    async def status(self, *, timeout: float | None = None) -> "GetCacheStatusResponse":
        """Return how the node's cache is: as `assetd.Client.status`."""
        from assetd.v1.cache_service_pb2 import GetCacheStatusRequest

        connection = self._connect()
        return await connection.ask(
            connection.cache.GetCacheStatus, GetCacheStatusRequest(), timeout
        )

    async def evict(
        self,
        spec: str | None = None,
        *,
        name_prefix: str | None = None,
        everything: bool = False,
        dry_run: bool = False,
        timeout: float | None = None,
    ) -> "EvictResponse":
        """Remove versions from the cache, never from the store: as `assetd.Client.evict`."""
        from assetd import _convert

        request = _convert.evict_request(
            _convert.selector(spec, name_prefix, everything), dry_run=dry_run
        )
        connection = self._connect()
        return await connection.ask(connection.cache.Evict, request, timeout)

    async def pin(self, spec: str, *, timeout: float | None = None) -> "PinResponse":
        """Keep a cached version from being evicted until `unpin`: as `assetd.Client.pin`."""
        from assetd.v1.cache_service_pb2 import PinRequest

        connection = self._connect()
        return await connection.ask(connection.cache.Pin, PinRequest(spec=spec), timeout)

    async def unpin(self, spec: str, *, timeout: float | None = None) -> "UnpinResponse":
        """Undo `pin`: as `assetd.Client.unpin`."""
        from assetd.v1.cache_service_pb2 import UnpinRequest

        connection = self._connect()
        return await connection.ask(connection.cache.Unpin, UnpinRequest(spec=spec), timeout)

    def verify(
        self,
        spec: str | None = None,
        *,
        name_prefix: str | None = None,
        everything: bool = False,
        repair: bool = False,
        on_progress: "Callable[[VerifyProgress], object] | None" = None,
        on_event: "Callable[[VerifyResponse], object] | None" = None,
        timeout: float | None = None,
    ) -> "AsyncGenerator[VerifyResult, None]":
        """Hash cached versions, and give a result for each: as `assetd.Client.verify`."""
        from assetd import _convert, _verify
        from assetd.aio import _verify as _aio_verify

        request = _convert.verify_request(
            _convert.selector(spec, name_prefix, everything), repair=repair
        )
        course = _verify.VerifyCourse(on_progress, on_event)
        return _aio_verify.verify(self._connect(), request, Deadline(timeout), course)

    async def close(self) -> None:
        """End all holds and calls, those of other tasks included; idempotent."""
        self._closed = True
        # No hit of a closed client either.
        self._fast = None
        self._holds.close()
        if self._connection is not None:
            await self._connection.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def _connect(self) -> "Connection":
        self._require_open()
        if self._connection is None:
            # Importing grpc takes 55 ms and 21 MiB: not before somebody calls.
            from assetd.aio._connection import Connection

            self._connection = Connection(self._address, self._policy, self._holds)
        return self._connection

    def _require_open(self) -> None:
        if self._closed:
            raise RuntimeError("this client is closed: make another one")
