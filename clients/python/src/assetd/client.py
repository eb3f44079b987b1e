"""The client: one object for one daemon, with a method for each thing it does.

Importing this imports no grpc: what needs it is imported by the first call. The methods say what
is asked for; how, is in `assetd._fetch`, `assetd._push` and `assetd._hold`.
"""

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Self

from assetd._pushing import Pushing
from assetd._retry import Deadline, RetryPolicy
from assetd._tending import Tending
from assetd.asset import Asset
from assetd.errors import AssetdError

if TYPE_CHECKING:
    from assetd._connection import Connection
    from assetd.v1.asset_pb2 import FetchProgress
    from assetd.v1.asset_service_pb2 import (
        FetchResponse,
        ListFilesResponse,
        ListResponse,
        ResolveVersionResponse,
    )

CLOSE_SECONDS = 2.0


class Client(Pushing, Tending):
    """Talks to the assetd daemon of this node. Safe for threads.

    A call that finds the daemon UNAVAILABLE is repeated with growing pauses, see `RetryPolicy`;
    every other failure is raised at once, as one of `assetd.errors`. Every method takes `timeout`,
    in seconds for the whole call with its repeats; without one, or with `math.inf`, a call takes as
    long as it takes. NaN is a ValueError.

    Nothing is dialled, and grpc is not imported, before the first call. gRPC does not survive a
    fork: make clients after it.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        caller: str | None = None,
        retry: RetryPolicy | None = None,
        assets_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        """Remember where the daemon is, and where its versions stand.

        Args:
            address: `unix:///path` or a loopback `host:port`. By default that of the environment
                variable ASSETD_ADDRESS, else `unix:///run/assetd/assetd.sock` for root, and
                `assetd/assetd.sock` below XDG_RUNTIME_DIR for everybody else.
            caller: who is asking, for the daemon's logs and status. By default the program's name
                and process id.
            retry: how patient to be with a daemon that is UNAVAILABLE.
            assets_dir: where this process sees the daemon's ASSETS_DIR. By default what the
                environment variable ASSETS_DIR says, else MODELKIT_ASSETS_DIR. Pinned versions
                that stand there are found without a call. An empty text: every fetch is a call.

        Raises:
            ValueError: the address is none, or there is no default.
        """
        super().__init__(address, caller=caller, retry=retry, assets_dir=assets_dir)
        self._lock = threading.Lock()
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
    ) -> Asset:
        """Make a version present on this node, and return where it is.

        Idempotent. All who fetch one version at a time share one download. If the stream is cut,
        it is joined again, for the version that it had begun with. If this raises, Ctrl-C
        included, the call is over; the download goes on only while somebody else waits for it.

        A spec with a full version that stands in `assets_dir` is found there, without a call and
        whether or not a daemon runs, if nothing beside `hold` is asked for. Every fetch looks
        anew: what has been evicted is not found again.

        Args:
            spec: `name[:version][[sub/part]]`; without a version the newest one, with `:1` the
                newest 1.x. With a part the path points at it; all of the version is fetched.
            hold: keep the version from being evicted until the asset is closed, the client is
                closed, or the process ends. If the daemon restarts, the hold is taken again.
            freshness: one of `assetd.Freshness`, by default what the daemon's operator chose.
            store_timeout: seconds that the store may take to say what the spec stands for.
            expected_digest: the `sha256:...` that the version must have.
            include: globs of the files that are wanted: `*` stops at `/`, `**` does not. The path
                is then that of a partial version, apart from the whole one.
            exclude: globs of files that are not wanted; they win over `include`.
            part_only: fetch nothing but the part that the spec names.
            verify: hash every file, also on a hit.
            force_download: download the version even if it is present.
            progress_interval: seconds between two reports, 0.05 to 5; by default 0.5.
            on_progress: gets how far the download is; not called on a hit. Within one `attempt`
                no figure falls. What it raises ends the fetch.
            on_event: gets every event of the fetch, progress among them.
            on_hold_lost: gets why, should the daemon not hold the version any longer, as when a
                successor does not find it; on a thread of its own. A hold that was closed is none
                that was lost.
            timeout: seconds for the whole fetch; it does not end a hold.

        Raises:
            AssetNotFoundError, VersionNotFoundError, PartNotFoundError: there is no such thing.
            StoreUnavailableError: the store does not answer the daemon.
            CacheFullError, DiskFullError: there is no room.
            DigestMismatchError: what arrived is not what it should be; nothing was published.
            DaemonUnavailableError: no daemon answers.
            CallTimeoutError: `timeout` has passed.
            AssetdError: any of the other reasons of the contract.
            ValueError: `freshness` is none.
        """
        asset = self._hit(
            spec,
            hold,
            *(freshness, expected_digest, include, exclude, part_only),
            *(verify, force_download, on_event),
        )
        if asset is not None:
            return asset
        from assetd import _convert, _course, _fetch, _hold

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
        connection = self._connect()
        fetched, call = _fetch.Fetch(connection, request, Deadline(timeout), observe).run()
        held = _hold.Hold(connection, fetched.request, call, on_hold_lost) if hold else None
        return _convert.asset_from(fetched.started, fetched.completed, held, self.assets_dir)

    def resolve(
        self,
        spec: str,
        *,
        freshness: str | None = None,
        store_timeout: float | None = None,
        timeout: float | None = None,
    ) -> "ResolveVersionResponse":
        """Return which version a spec stands for now, and what this node holds of it.

        No side effects. The arguments are those of `fetch`.

        Raises:
            AssetNotFoundError, VersionNotFoundError, NotCachedError: there is no such version.
            StoreUnavailableError: the store does not answer the daemon.
            DaemonUnavailableError: no daemon answers.
            AssetdError: any of the other reasons of the contract.
            ValueError: `freshness` is none.
        """
        from assetd import _convert

        request = _convert.resolve_request(spec, freshness=freshness, store_timeout=store_timeout)
        connection = self._connect()
        return connection.ask(connection.assets.ResolveVersion, request, timeout)

    def list(
        self,
        prefix: str = "",
        *,
        scope: str = "all",
        latest_only: bool = False,
        full: bool = False,
        page_size: int = 0,
        timeout: float | None = None,
    ) -> "Iterator[ListResponse]":
        """Give the versions of all assets whose names begin with `prefix`, page by page.

        Ordered by name, then newest first. Pages are asked for as they are taken, so they show
        different moments.

        Args:
            prefix: `nlp/` lists that folder, `nlp/ra` also `nlp/ranker`.
            scope: `all` asks store and cache, and names in each page's `unreachable` what could
                not be asked; `store` fails instead; `cache` asks the cache alone.
            latest_only: only the newest version of each asset.
            full: size, digest and date of each version too, which reads one manifest a version.
            page_size: entries of a page, at most 1,000; 0 means 100.
            timeout: seconds for each page.

        Raises:
            StoreUnavailableError: `scope` is `store`, and it does not answer the daemon.
            DaemonUnavailableError: no daemon answers.
            AssetdError: any of the other reasons of the contract.
            ValueError: `scope` is none of the three.
        """
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
    ) -> "Iterator[ListFilesResponse]":
        """Give the files of one version in bytewise order of their paths, page by page.

        The version need not be in the cache. All pages are about the version of the first.

        Args:
            spec: as for `fetch`; a part narrows the answer to what is at or below it.
            freshness: as for `fetch`.
            include: globs of the files that are asked about: `*` stops at `/`, `**` does not.
            exclude: globs of files that are left out; they win over `include`.
            page_size: entries of a page, at most 1,000; 0 means 100.
            timeout: seconds for each page.

        Raises:
            AssetNotFoundError, VersionNotFoundError, PartNotFoundError: there is no such thing.
            StoreUnavailableError: the store does not answer the daemon.
            DaemonUnavailableError: no daemon answers.
            AssetdError: any of the other reasons of the contract.
            ValueError: `freshness` is none.
        """
        from assetd import _convert

        request = _convert.list_files_request(
            spec, freshness=freshness, include=include, exclude=exclude, page_size=page_size
        )
        connection = self._connect()
        return connection.pages(connection.assets.ListFiles, request, timeout)

    def close(self) -> None:
        """End all holds and calls, those of other threads included; idempotent."""
        with self._lock:
            self._closed = True
            # No hit of a closed client either.
            self._fast = None
            connection = self._connection
        self._holds.close()
        if connection is not None:
            connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close, and after a failure wait for that no longer than `CLOSE_SECONDS`.

        An interrupt inside of gRPC's code may leave a call that nobody will end, or a lock that
        nobody will release; its channel waits for them forever.
        """
        if error is None:
            self.close()
            return
        closing = threading.Thread(target=self.close, name="assetd-close", daemon=True)
        closing.start()
        closing.join(CLOSE_SECONDS)

    def _connect(self) -> "Connection":
        with self._lock:
            if self._closed:
                raise RuntimeError("this client is closed: make another one")
            if self._connection is None:
                # Importing grpc takes 55 ms and 21 MiB: not before somebody calls.
                from assetd._connection import Connection

                self._connection = Connection(self._address, self._policy, self._holds)
            return self._connection
