"""The calls that look after the cache of this node: status, evict, pin, unpin, verify."""

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING

from assetd._base import BaseClient
from assetd._retry import Deadline

if TYPE_CHECKING:
    from assetd._connection import Connection
    from assetd.v1.cache_service_pb2 import (
        EvictResponse,
        GetCacheStatusResponse,
        PinResponse,
        UnpinResponse,
        VerifyProgress,
        VerifyResponse,
        VerifyResult,
    )


class Tending(BaseClient):
    """The part of `assetd.Client` that operators and their tools use."""

    def _connect(self) -> "Connection":
        raise NotImplementedError

    def status(self, *, timeout: float | None = None) -> "GetCacheStatusResponse":
        """Return what the node's cache holds, what it is doing, and whether all is well.

        Raises:
            DaemonUnavailableError: no daemon answers.
            AssetdError: any of the other reasons of the contract.
        """
        from assetd.v1.cache_service_pb2 import GetCacheStatusRequest

        connection = self._connect()
        return connection.ask(connection.cache.GetCacheStatus, GetCacheStatusRequest(), timeout)

    def evict(
        self,
        spec: str | None = None,
        *,
        name_prefix: str | None = None,
        everything: bool = False,
        dry_run: bool = False,
        timeout: float | None = None,
    ) -> "EvictResponse":
        """Remove versions from the cache, never from the store, and return what became of each.

        Leased and pinned versions stay, and their entries say so; what the store could not give
        back stays too, and has none. If the call was cut and repeated, the answer is about what
        the repeat found.

        Args:
            spec: one version, named in full and without a part.
            name_prefix: all versions of all assets whose names begin so; `nlp/` is a folder.
            everything: all versions.
            dry_run: say what would happen, and do nothing.
            timeout: seconds for the call with its repeats.

        Raises:
            NotCachedError: the version is not in the cache.
            NoStoreError: without a store nothing could be fetched again.
            DaemonUnavailableError: no daemon answers.
            AssetdError: any of the other reasons of the contract.
            ValueError: not exactly one of `spec`, `name_prefix` and `everything`.
        """
        from assetd import _convert

        request = _convert.evict_request(
            _convert.selector(spec, name_prefix, everything), dry_run=dry_run
        )
        connection = self._connect()
        return connection.ask(connection.cache.Evict, request, timeout)

    def pin(self, spec: str, *, timeout: float | None = None) -> "PinResponse":
        """Keep a cached version from being evicted until `unpin`, also across restarts.

        Idempotent. Fetches nothing.

        Args:
            spec: the version, named in full and without a part.
            timeout: seconds for the call with its repeats.

        Raises:
            NotCachedError: the version is not in the cache; fetch it first.
            DaemonUnavailableError: no daemon answers.
            AssetdError: any of the other reasons of the contract.
        """
        from assetd.v1.cache_service_pb2 import PinRequest

        connection = self._connect()
        return connection.ask(connection.cache.Pin, PinRequest(spec=spec), timeout)

    def unpin(self, spec: str, *, timeout: float | None = None) -> "UnpinResponse":
        """Undo `pin`. Idempotent; removes nothing by itself.

        Args:
            spec: the version, named in full and without a part.
            timeout: seconds for the call with its repeats.

        Raises:
            NotCachedError: the version is not in the cache.
            DaemonUnavailableError: no daemon answers.
            AssetdError: any of the other reasons of the contract.
        """
        from assetd.v1.cache_service_pb2 import UnpinRequest

        connection = self._connect()
        return connection.ask(connection.cache.Unpin, UnpinRequest(spec=spec), timeout)

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
    ) -> "Generator[VerifyResult, None, None]":
        """Hash cached versions, compare them with their manifests, and give a result for each.

        Damage is a result, not an error. A version that is evicted before its turn has none. When
        the iterator is closed, the check stops. A check that was cut begins anew; results that
        were given are not given again.

        Args:
            spec: one version, named in full and without a part.
            name_prefix: all versions of all assets whose names begin so; `nlp/` is a folder.
            everything: all versions.
            repair: fetch damaged versions again and replace them, unless somebody uses them.
            on_progress: gets how many bytes are hashed. What it raises ends the check.
            on_event: gets every event of the check.
            timeout: seconds for the whole check.

        Raises:
            NotCachedError: the version is not in the cache.
            NoStoreError: `repair`, and there is no store to repair from.
            DigestMismatchError: `repair`, and the store's own copy is damaged.
            DaemonUnavailableError: no daemon answers.
            AssetdError: any of the other reasons of the contract.
            ValueError: not exactly one of `spec`, `name_prefix` and `everything`.
        """
        from assetd import _convert, _verify

        request = _convert.verify_request(
            _convert.selector(spec, name_prefix, everything), repair=repair
        )
        course = _verify.VerifyCourse(on_progress, on_event)
        return _verify.verify(self._connect(), request, Deadline(timeout), course)
