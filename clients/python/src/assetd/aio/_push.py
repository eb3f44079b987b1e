"""A push, by the blocking client in a thread.

grpc.aio loses the early status of a stream that both sides write (grpc#36066), which is how a
daemon refuses a push; until that is mended, only the blocking stub is to be trusted with one.
"""

import asyncio
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from assetd.asset import PushedVersion
from assetd.client import Client

Value = TypeVar("Value")
Callback = Callable[[Value], object]


class StoppedError(Exception):
    """Whoever awaited the push has left."""


class Push:
    """One push of one task. Its callbacks are called in the loop, and what they raise ends it."""

    def __init__(self, client: Client) -> None:
        """Own `client`: it is closed at the end."""
        self.client = client
        self._loop = asyncio.get_running_loop()
        self._stopped = threading.Event()

    def in_loop(self, callback: Callback[Value] | None) -> Callback[Value]:
        """Return a function for the thread that has the loop call `callback`."""

        async def call(value: Value) -> None:
            if callback is not None:
                callback(value)

        def called(value: Value) -> None:
            if self._stopped.is_set():
                raise StoppedError
            if callback is not None:
                asyncio.run_coroutine_threadsafe(call(value), self._loop).result()

        return called

    async def run(
        self, push: Callable[..., PushedVersion], *arguments: Any, **options: Any
    ) -> PushedVersion:
        """Push by this method of the client.

        Cancelled, it gives the version up before this returns.
        """
        work = asyncio.ensure_future(asyncio.to_thread(push, *arguments, **options))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            self._stopped.set()
            # Ends its call, wherever the thread waits for it.
            self.client.close()
            await asyncio.wait({work})
            # Looked at, so that nobody complains about an exception that nobody saw.
            work.exception()
            raise
        finally:
            self.client.close()
