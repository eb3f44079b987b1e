"""What a cancelled caller of the S3 store waits for: no part of an upload arrives behind its back.

The server is the test's own: it takes a request as far as it is told, and answers when it is told.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import botocore.session
import pytest
from assetd_server.store.base import CopySource, ObjectStore, Upload
from assetd_server.store.objects import S3Settings, open_s3_store, uploads
from assetd_server.store.objects.body import BodyFile

from tests.support.ports import LOOPBACK

UPLOAD = Upload(key="k", upload_id="u1")
# More than the buffers of a connection hold.
LARGE = bytes(32 << 20)
URL = "s3://bucket"


@dataclass
class SlowServer:
    """Reads the head of one request, its body once it may, and answers it once it may."""

    reached: asyncio.Event = field(default_factory=asyncio.Event)
    may_read: asyncio.Event = field(default_factory=asyncio.Event)
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)
    answered: bool = False
    body_bytes: int = 0
    wanted_bytes: int = 0

    serving: set["asyncio.Task[object]"] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        task = asyncio.current_task()
        assert task is not None
        self.serving.add(task)
        # Whoever cuts its part short resets the connection.
        with suppress(OSError):
            await self._serve(reader, writer)
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        [length] = [line for line in head.split(b"\r\n") if line.startswith(b"content-length:")]
        self.wanted_bytes = int(length.split(b":")[1])
        if b"100-continue" in head:
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if not self.may_read.is_set():
            self.reached.set()
        await self.may_read.wait()
        while self.body_bytes < self.wanted_bytes and (data := await reader.read(1 << 20)):
            self.body_bytes += len(data)
        if self.body_bytes == self.wanted_bytes:
            self.reached.set()
            await self.may_answer.wait()
            self.answered = True
            writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 0\r\nETag: "p1"\r\n\r\n')


@asynccontextmanager
async def slow_store() -> AsyncIterator[tuple[ObjectStore, SlowServer]]:
    """Yield a store, and the server that it asks."""
    slow = SlowServer()
    session = botocore.session.Session()
    session.set_credentials("key-id", "secret")
    async with await asyncio.start_server(slow.serve, LOOPBACK, 0) as server:
        port = server.sockets[0].getsockname()[1]
        settings = S3Settings("bucket", "", f"http://{LOOPBACK}:{port}", "us-east-1")
        store = open_s3_store(settings, session=session)
        try:
            yield store, slow
        finally:
            slow.may_read.set()
            slow.may_answer.set()
            await store.close()
            await asyncio.gather(*slow.serving)


async def turns_of_the_loop() -> None:
    """Let everything that is ready run."""
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.mark.parametrize("call", ["upload_part", "copy_part", "create_from_upload"])
async def test_a_cancelled_call_of_an_upload_ends_first(call: str) -> None:
    """Whoever aborts the upload next knows that nothing of it comes later."""
    async with slow_store() as (store, server):
        calls: dict[str, Callable[[], Awaitable[object]]] = {
            "upload_part": lambda: store.upload_part(UPLOAD, 1, 0, [b"data"]),
            "copy_part": lambda: store.copy_part(UPLOAD, 1, 0, 1, CopySource(URL, "s", '"e"')),
            "create_from_upload": lambda: store.create_from_upload(UPLOAD, ['"p1"']),
        }
        server.may_read.set()
        task = asyncio.ensure_future(calls[call]())
        await server.reached.wait()
        for _ in range(3):
            task.cancel()
            await turns_of_the_loop()
        assert not task.done()
        server.may_answer.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert server.answered


def test_a_part_is_cut_until_it_is_sent() -> None:
    """Half a part is no part; but a store that has all of it may take it, and is heard out."""
    body = BodyFile([b"data"])
    assert body.read(2) == b"da"
    body.cut()
    with pytest.raises(OSError, match="not wanted"):
        body.read(2)
    body = BodyFile([b"data"])
    assert body.read(4) == b"data"
    body.cut()
    assert body.read(1) == b""


async def stuck(body: BodyFile) -> None:
    """Return when the line takes no more of a body that is being sent."""
    before = 0
    while not 0 < body.tell() == before:
        before = body.tell()
        await asyncio.sleep(0.1)


async def test_a_cancelled_part_is_not_sent_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a slow line nobody waits for bytes that are not wanted: no store takes half a part."""
    body = BodyFile([LARGE])
    monkeypatch.setattr(uploads, "BodyFile", lambda _: body)
    async with slow_store() as (store, server):
        task = asyncio.ensure_future(store.upload_part(UPLOAD, 1, 0, [LARGE]))
        await server.reached.wait()
        await stuck(body)
        task.cancel()
        await turns_of_the_loop()
        assert not task.done()
        server.may_answer.set()
        server.may_read.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert server.body_bytes < server.wanted_bytes == len(LARGE)
