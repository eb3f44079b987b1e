"""An HTTP server that answers what a test scripts: for answers that no real S3 gives on demand."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum

from tests.support.ports import LOOPBACK

_RESET = struct.pack("ii", 1, 0)
LAST_MODIFIED = "Wed, 21 Oct 2015 07:28:00 GMT"


class Ending(Enum):
    """What the server does with the connection once it has sent the answer."""

    KEEP = "keep"
    CLOSE = "close"
    RESET = "reset"
    STALL = "stall"


@dataclass(frozen=True)
class Answer:
    """An answer, sent as it stands: `headers` are all that there are."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    ending: Ending = Ending.KEEP

    def encode(self) -> bytes:
        """Returns the answer as it is sent: nothing, of one that ends before it begins."""
        if self.ending is not Ending.KEEP and not self.headers:
            return b""
        lines = [f"HTTP/1.1 {self.status} Scripted"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        return "\r\n".join([*lines, "", ""]).encode() + self.body


@dataclass(frozen=True)
class Request:
    """What a client asked."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


def found(body: bytes, *, etag: str = '"e1"', **headers: str) -> Answer:
    """Returns the answer with an object, whole."""
    return Answer(200, _object_headers(len(body), etag) | headers, body)


def found_range(body: bytes, start: int, size_bytes: int, *, etag: str = '"e1"') -> Answer:
    """Returns the answer with a range of an object that has `size_bytes`."""
    end = start + len(body) - 1
    content_range = {"Content-Range": f"bytes {start}-{end}/{size_bytes}"}
    return Answer(206, _object_headers(len(body), etag) | content_range, body)


def refused(status: int, code: str = "", **headers: str) -> Answer:
    """Returns S3's answer with an error code, or without a body where there is none."""
    body = f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode() if code else b""
    return Answer(status, {"Content-Length": str(len(body))} | headers, body)


def _object_headers(length: int, etag: str) -> dict[str, str]:
    return {"Content-Length": str(length), "ETag": etag, "Last-Modified": LAST_MODIFIED}


Scripted = Answer | Callable[[Request], Answer]


class ScriptedS3:
    """Sends the answers of `script` in order, one per request, over any number of connections.

    An answer may depend on its request. `requests` holds what was asked. A request that finds no
    answer gets 599.
    """

    def __init__(self, *script: Scripted) -> None:
        self.script = list(script)
        self.requests: list[Request] = []
        self.port = 0
        self._ended = asyncio.Event()
        self._connections: set[asyncio.Task[None]] = set()

    @property
    def endpoint_url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answers the requests of one connection."""
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)
        try:
            while await self._answer(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # the client has gone, or the test is over
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        request = await _read_request(reader, writer)
        self.requests.append(request)
        scripted = self.script.pop(0) if self.script else refused(599)
        answer = scripted if isinstance(scripted, Answer) else scripted(request)
        writer.write(answer.encode())
        await writer.drain()
        if answer.ending is Ending.STALL:
            await self._ended.wait()
        if answer.ending is Ending.RESET:
            connection = writer.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()
        return answer.ending is Ending.KEEP

    async def end(self) -> None:
        """Ends every connection."""
        self._ended.set()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections)


@asynccontextmanager
async def scripted_s3(*script: Scripted) -> AsyncIterator[ScriptedS3]:
    """Serves a script on a free port for the length of the block."""
    scripted = ScriptedS3(*script)
    server = await asyncio.start_server(scripted.serve, LOOPBACK, 0)
    scripted.port = server.sockets[0].getsockname()[1]
    try:
        yield scripted
    finally:
        server.close()
        await scripted.end()
        await server.wait_closed()


async def _read_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, path, _ = head[0].split(" ")
    pairs = (line.split(": ", 1) for line in head[1:] if line)
    headers = {name.lower(): value for name, value in pairs}
    if headers.get("expect") == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Request(method, path, headers, body)
