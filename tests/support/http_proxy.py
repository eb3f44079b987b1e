"""An HTTP proxy that asks a judge what becomes of each request, and of its answer.

With it a test says exactly which request of a daemon is lost, loses its answer, or comes late: it
may still be forwarded when whoever sent it is dead. It runs an event loop in a thread of its own,
so that a test that blocks does not stop it.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from enum import Enum
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import unquote_plus

from tests.support.ports import LOOPBACK
from tests.support.tcp_proxy import reset

_HEAD_LIMIT_BYTES: Final = 1 << 20
_CHANGING: Final = {"PUT", "POST", "DELETE"}
_WITHOUT_A_BODY: Final = {204, 304}


class Fate(Enum):
    """What becomes of a request."""

    PASS = "it is forwarded and answered"
    LOSE = "it never arrives, and its connection is reset"
    LOSE_ANSWER = "it arrives, and its connection is reset instead of an answer"
    HOLD = "it waits before it is forwarded"
    HOLD_ANSWER = "it arrives, and its answer waits"


@dataclass(frozen=True)
class Refusal:
    """An answer of the proxy's own: the request never arrives."""

    status: int
    code: str

    def encode(self) -> bytes:
        """Return the answer as S3 words it."""
        body = f"<Error><Code>{self.code}</Code><Message>no</Message></Error>"
        length = f"Content-Length: {len(body)}"
        return f"HTTP/1.1 {self.status} Refused\r\n{length}\r\n\r\n{body}".encode()


@dataclass
class Request:
    """A request as it came; `target` is decoded, for people and judges to read.

    `gate` and `is_dropped` are the proxy's: tests call `let_go` and `drop`. `ended` is set once it
    is answered, lost or dropped.
    """

    method: str
    target: str
    head: bytes
    body: bytes
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    is_dropped: bool = False
    ended: threading.Event = field(default_factory=threading.Event)

    @property
    def changes(self) -> bool:
        """Whether it is of a kind that changes the store."""
        return self.method in _CHANGING

    def __str__(self) -> str:
        return f"{self.method} {self.target}"


@dataclass(frozen=True)
class _Answer:
    status: int
    raw: bytes
    keeps_alive: bool


Judge = Callable[[Request], Fate | Refusal]


class JudgingProxy:
    """Passes HTTP requests to `port` on to `upstream_port`, as `judge` says of each.

    The judge is asked from the proxy's thread, one request at a time, in the order in which they
    have come whole. A context manager.
    """

    def __init__(self, upstream_port: int, judge: Judge = lambda _: Fate.PASS) -> None:
        self.judge = judge
        self.port = 0
        self.request_count = 0
        self._upstream_port = upstream_port
        self._connections: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="http-proxy")

    def __enter__(self) -> Self:
        self._thread.start()
        self._run(self._listen())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._run(self._shut_down())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def let_go(self, request: Request) -> None:
        """Lets a request that is held go on: forwarded, or answered if it was forwarded before."""
        self._loop.call_soon_threadsafe(request.gate.set)

    def drop(self, request: Request) -> None:
        """Resets the connection of a request that is held: if it was not forwarded, it is lost."""
        request.is_dropped = True
        self.let_go(request)

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(
            self._accept, LOOPBACK, 0, limit=_HEAD_LIMIT_BYTES
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def _shut_down(self) -> None:
        self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await self._server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)
        upstream = _Upstream(self._upstream_port)
        try:
            while await self._serve_one(reader, writer, upstream):
                pass
        except (OSError, EOFError, asyncio.CancelledError):
            pass  # one side has gone, or the proxy stops
        finally:
            writer.close()
            upstream.close()

    async def _serve_one(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, upstream: "_Upstream"
    ) -> bool:
        request = await _read_request(reader, writer)
        self.request_count += 1
        try:
            return await self._pass_on(request, writer, upstream)
        finally:
            request.ended.set()

    async def _pass_on(
        self, request: Request, writer: asyncio.StreamWriter, upstream: "_Upstream"
    ) -> bool:
        fate = self.judge(request)
        if isinstance(fate, Refusal):
            writer.write(fate.encode())
            await writer.drain()
            return True
        if fate is Fate.HOLD:
            await request.gate.wait()
        if fate is Fate.LOSE or request.is_dropped:
            reset(writer)
            return False
        answer = await upstream.ask(request)
        if fate is Fate.HOLD_ANSWER:
            await request.gate.wait()
        if fate is Fate.LOSE_ANSWER or request.is_dropped:
            reset(writer)
            return False
        writer.write(answer.raw)
        await writer.drain()
        return answer.keeps_alive


class _Upstream:
    """A connection to the server, made when it is needed, and kept."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: Request) -> _Answer:
        """Send the request and return its whole answer."""
        is_new = self._streams is None or self._streams[0].at_eof()
        if is_new:
            self.close()
            self._streams = await asyncio.open_connection(
                LOOPBACK, self._port, limit=_HEAD_LIMIT_BYTES
            )
        assert self._streams is not None
        reader, writer = self._streams
        writer.write(request.head + request.body)
        await writer.drain()
        answer = await _read_answer(reader, request.method)
        if not answer.keeps_alive:
            self.close()
        return answer

    def close(self) -> None:
        """End the connection, if there is one."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def _read_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Request:
    head = await reader.readuntil(b"\r\n\r\n")
    first, headers = _parse(head)
    method, target, _ = first.split(" ")
    if headers.get("expect", "").lower() == "100-continue":
        # The body is wanted here, whatever becomes of the request; nobody has signed this header.
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        lines = head.split(b"\r\n")
        head = b"\r\n".join(line for line in lines if not line.lower().startswith(b"expect:"))
    return Request(method, unquote_plus(target), head, await _read_body(reader, headers))


async def _read_answer(reader: asyncio.StreamReader, method: str) -> _Answer:
    head = await reader.readuntil(b"\r\n\r\n")
    first, headers = _parse(head)
    status = int(first.split(" ")[1])
    body = b""
    if method != "HEAD" and status not in _WITHOUT_A_BODY:
        body = await _read_body(reader, headers)
    return _Answer(status, head + body, headers.get("connection", "").lower() != "close")


def _parse(head: bytes) -> tuple[str, dict[str, str]]:
    first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    pairs = (line.split(":", 1) for line in lines)
    return first, {name.strip().lower(): value.strip() for name, value in pairs}


async def _read_body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    """Return the body as it stands on the wire, in chunks where it comes in chunks."""
    if headers.get("transfer-encoding", "").lower() != "chunked":
        return await reader.readexactly(int(headers.get("content-length", "0")))
    raw = b""
    size = None
    while size != 0:
        line = await reader.readuntil(b"\r\n")
        size = int(line.split(b";")[0], 16)
        # The last chunk is empty, and trailers would stand before its end: S3 sends none.
        raw += line + await reader.readexactly(size + 2)
    return raw
