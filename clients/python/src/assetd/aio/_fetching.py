"""What `assetd.aio.Client.fetch` returns: to be awaited, or to be entered."""

from collections.abc import Coroutine, Generator
from types import TracebackType
from typing import Any

from assetd.asset import Asset


class Fetching(Coroutine[Any, Any, Asset]):
    """A fetch that begins when it is awaited, or entered; leaving the block ends its hold.

    A coroutine in all respects, so that `asyncio.create_task` takes it too.
    """

    def __init__(self, fetch: Coroutine[Any, Any, Asset]) -> None:
        self._fetch = fetch
        self._asset: Asset | None = None

    def __await__(self) -> Generator[Any, Any, Asset]:
        return self._fetch.__await__()

    def send(self, value: Any) -> Any:
        """Go on, as asyncio says."""
        return self._fetch.send(value)

    def throw(self, *raised: Any) -> Any:
        """Go on with an exception, as asyncio says."""
        return self._fetch.throw(*raised)

    def close(self) -> None:
        """Give up, as asyncio says."""
        self._fetch.close()

    async def __aenter__(self) -> Asset:
        self._asset = await self._fetch
        return self._asset

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._asset is not None:
            self._asset.close()
