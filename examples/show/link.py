"""The network between the node and its bucket, for the show: it counts, and can be slow."""

import asyncio
import contextlib
import math
import threading
from types import TracebackType
from typing import Self

HOST = "127.0.0.1"
BLOCK_BYTES = 1 << 16


class Link:
    """Passes connections to its port on to another one. A context manager, in a thread of its own.

    `bytes_down` counts what has come from the other side.
    """

    def __init__(self, target_port: int) -> None:
        """Lead to a port of this machine."""
        self.bytes_down = 0
        self.port = 0
        self._target_port = target_port
        self._is_fast = asyncio.Event()
        self._is_fast.set()
        self._bytes_per_second = math.inf
        self._next_block_at = 0.0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="link")
        self._passing: set[asyncio.Task[None]] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._open(), self._loop).result()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def slow_down(self, bytes_per_second: float) -> None:
        """Bound what comes from the other side, over all connections."""
        self._bytes_per_second = bytes_per_second
        self._loop.call_soon_threadsafe(self._is_fast.clear)

    def speed_up(self) -> None:
        """Let everything pass again, and what waits at once."""
        self._loop.call_soon_threadsafe(self._is_fast.set)

    async def _open(self) -> None:
        self._server = await asyncio.start_server(self._accept, HOST, 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        self._server.close()
        for task in self._passing:
            task.cancel()
        await asyncio.gather(*self._passing, return_exceptions=True)

    async def _accept(self, near: asyncio.StreamReader, answers: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._passing.add(task)
        task.add_done_callback(self._passing.discard)
        # A side that goes takes the other one along; so does the end of the show.
        with contextlib.suppress(OSError, asyncio.CancelledError), contextlib.closing(answers):
            far, requests = await asyncio.open_connection(HOST, self._target_port)
            with contextlib.closing(requests):
                await asyncio.gather(self._up(near, requests), self._down(far, answers))

    async def _up(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while block := await reader.read(BLOCK_BYTES):
            writer.write(block)
            await writer.drain()
        writer.write_eof()

    async def _down(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while block := await reader.read(BLOCK_BYTES):
            await self._wait_for(len(block))
            self.bytes_down += len(block)
            writer.write(block)
            await writer.drain()
        writer.write_eof()

    async def _wait_for(self, byte_count: int) -> None:
        """Wait until a block may pass: each books the time that it takes."""
        if self._is_fast.is_set():
            return
        now = self._loop.time()
        block_at = max(now, self._next_block_at)
        self._next_block_at = block_at + byte_count / self._bytes_per_second
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._is_fast.wait(), block_at - now)
