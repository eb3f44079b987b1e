"""A TCP proxy that counts, slows down and cuts what passes through it.

It runs an event loop in a thread of its own, so that a test that is busy, or that blocks, neither
slows it down nor is slowed down by it.
"""

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Self

from tests.support.ports import LOOPBACK
from tests.support.waiting import wait_until

BLOCK_BYTES = 1 << 16
# SO_LINGER switched on, with no time to linger.
_RESET = struct.pack("ii", 1, 0)


class CountingProxy:
    """Passes connections to `port` on to `upstream_port`, both on the loopback address.

    `bytes_from_upstream` and `bytes_to_upstream` count what has been passed on;
    `rate_bytes_per_second` bounds what comes from upstream, over all connections, and may be
    changed at any time, as may `refuses`, which resets new connections. A context manager: started
    by `with`, stopped after it.
    """

    def __init__(self, upstream_port: int, *, rate_bytes_per_second: float | None = None) -> None:
        self.rate_bytes_per_second = rate_bytes_per_second
        self.refuses = False
        self.bytes_from_upstream = 0
        self.bytes_to_upstream = 0
        self.connection_count = 0
        self.port = 0
        self._upstream_port = upstream_port
        self._cut_at_bytes: int | None = None
        self._cut_at_sent_bytes: int | None = None
        self._is_ripe: Callable[[], object] = bool
        self._next_send_at = 0.0
        self._open: set[asyncio.StreamWriter] = set()
        self._passages: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="tcp-proxy")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Begins to listen, on a free port."""
        self._thread.start()
        self._run(self._listen())

    def stop(self) -> None:
        """Ends all connections, and the thread."""
        try:
            self._run(self._shut_down())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def cut(self) -> None:
        """Resets every connection that is open now."""
        self._run(self._reset_all())

    def cut_after(self, byte_count: int) -> None:
        """Resets every connection, once, when so many more bytes have come from upstream."""
        self._cut_at_bytes = self.bytes_from_upstream + byte_count

    def cut_after_sent(self, byte_count: int, is_ripe: Callable[[], object]) -> None:
        """Resets every connection, once, when so many more bytes have gone upstream.

        Passes no more of them until `is_ripe` is true.
        """
        self._is_ripe = is_ripe
        self._cut_at_sent_bytes = self.bytes_to_upstream + byte_count

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, LOOPBACK, 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _shut_down(self) -> None:
        self._server.close()
        await self._reset_all()
        for passage in self._passages:
            passage.cancel()
        await asyncio.gather(*self._passages, return_exceptions=True)
        await self._server.wait_closed()

    async def _reset_all(self) -> None:
        for writer in self._open:
            reset(writer)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        passage = asyncio.current_task()
        assert passage is not None
        self._passages.add(passage)
        passage.add_done_callback(self._passages.discard)
        self.connection_count += 1
        if self.refuses:
            reset(writer)
            return
        try:
            upstream = await asyncio.open_connection(LOOPBACK, self._upstream_port)
        except OSError:
            reset(writer)
            return
        self._open |= {writer, upstream[1]}
        try:
            await asyncio.gather(
                self._pass_up(reader, upstream[1]), self._pass_down(upstream[0], writer)
            )
        except (OSError, asyncio.CancelledError):
            pass  # one side has gone, or the proxy stops: the other side is to see it
        finally:
            self._open -= {writer, upstream[1]}
            writer.close()
            upstream[1].close()

    async def _pass_up(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while block := await reader.read(BLOCK_BYTES):
            self.bytes_to_upstream += len(block)
            writer.write(block)
            await writer.drain()
            cut_at = self._cut_at_sent_bytes
            if cut_at is not None and self.bytes_to_upstream >= cut_at:
                self._cut_at_sent_bytes = None
                await asyncio.to_thread(wait_until, self._is_ripe, "the moment to cut")
                await self._reset_all()
                return
        writer.write_eof()

    async def _pass_down(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while block := await reader.read(BLOCK_BYTES):
            await self._wait_for_rate(len(block))
            allowed = block
            if self._cut_at_bytes is not None:
                allowed = block[: max(0, self._cut_at_bytes - self.bytes_from_upstream)]
            # Before they are sent: whoever has received them finds them counted.
            self.bytes_from_upstream += len(allowed)
            writer.write(allowed)
            await writer.drain()
            if len(allowed) < len(block):
                self._cut_at_bytes = None
                await self._reset_all()
                return
        writer.write_eof()

    async def _wait_for_rate(self, byte_count: int) -> None:
        """Waits until `byte_count` more may be sent: each send books the time that it takes."""
        if self.rate_bytes_per_second is None:
            return
        now = self._loop.time()
        send_at = max(now, self._next_send_at)
        self._next_send_at = send_at + byte_count / self.rate_bytes_per_second
        await asyncio.sleep(send_at - now)


def reset(writer: asyncio.StreamWriter) -> None:
    """Closes a connection with a reset, as a crash or a firewall would."""
    if writer.transport.is_closing():
        return
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()
