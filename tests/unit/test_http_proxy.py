"""The proxy that other tests decide with what becomes of a request: it is judged here itself."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from tests.support.http_proxy import Fate, JudgingProxy, Refusal, Request
from tests.support.ports import LOOPBACK
from tests.support.scripted_s3 import Answer, ScriptedS3, found, scripted_s3

BODY = bytes(range(256)) * 1024
CHUNKED = Answer(200, {"Transfer-Encoding": "chunked"}, b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n")


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedS3]:
    """A server that answers some requests."""
    async with scripted_s3(found(BODY), found(BODY), found(BODY)) as server:
        yield server


async def ask(port: int, request: bytes, byte_count: int = -1) -> bytes:
    """Send a request and return what comes, up to so many bytes or to the end."""
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    try:
        writer.write(request)
        return await (reader.read() if byte_count < 0 else reader.readexactly(byte_count))
    finally:
        writer.close()


def put(body: bytes = b"data", *lines: str) -> bytes:
    """A PUT with a body."""
    head = ["PUT /bucket/a%20b HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", *lines, "", ""]
    return "\r\n".join(head).encode() + body


def always(fate: Fate | Refusal) -> Callable[[Request], Fate | Refusal]:
    """A judge who knows one verdict."""
    return lambda _: fate


WHOLE = len(found(BODY).encode())


async def test_it_passes_requests_and_answers_on(upstream: ScriptedS3) -> None:
    """Byte for byte; the judge reads the target decoded."""
    judged = []

    def judge(request: Request) -> Fate:
        judged.append(str(request))
        return Fate.PASS

    with JudgingProxy(upstream.port, judge) as proxy:
        assert await ask(proxy.port, put(), WHOLE) == found(BODY).encode()
    assert judged == ["PUT /bucket/a b"]
    assert [(asked.path, asked.body) for asked in upstream.requests] == [("/bucket/a%20b", b"data")]


async def test_it_asks_for_a_body_that_waits(upstream: ScriptedS3) -> None:
    """Who expects a word before the body gets it, and the server does not hear of that."""
    with JudgingProxy(upstream.port) as proxy:
        go_on = b"HTTP/1.1 100 Continue\r\n\r\n"
        answer = await ask(proxy.port, put(b"data", "Expect: 100-continue"), len(go_on) + WHOLE)
    assert answer == go_on + found(BODY).encode()
    assert "expect" not in upstream.requests[0].headers


async def test_it_passes_on_what_comes_in_chunks() -> None:
    """An answer whose length nobody has told beforehand ends where its last chunk does."""
    async with scripted_s3(CHUNKED, CHUNKED) as server:
        with JudgingProxy(server.port) as proxy:
            both = put() + put()
            expected = CHUNKED.encode() * 2
            assert await ask(proxy.port, both, len(expected)) == expected


async def test_an_answer_to_head_has_no_body() -> None:
    """Whatever length it tells."""
    headers = {"Content-Length": "7", "ETag": '"e1"'}
    async with scripted_s3(Answer(200, headers), Answer(200, headers)) as server:
        with JudgingProxy(server.port) as proxy:
            heads = b"HEAD /bucket/a HTTP/1.1\r\nHost: x\r\n\r\n" * 2
            expected = Answer(200, headers).encode() * 2
            assert await ask(proxy.port, heads, len(expected)) == expected


@pytest.mark.parametrize(("fate", "arrived"), [(Fate.LOSE, 0), (Fate.LOSE_ANSWER, 1)])
async def test_it_loses_requests_and_answers(
    upstream: ScriptedS3, fate: Fate, arrived: int
) -> None:
    """With a reset; a request whose answer is lost has arrived."""
    with JudgingProxy(upstream.port, always(fate)) as proxy, pytest.raises(ConnectionError):
        await ask(proxy.port, put())
    assert len(upstream.requests) == arrived


async def test_it_refuses(upstream: ScriptedS3) -> None:
    """With an answer of its own, on a connection that stays."""
    refusal = Refusal(409, "ConditionalRequestConflict")
    with JudgingProxy(upstream.port, always(refusal)) as proxy:
        expected = refusal.encode() * 2
        assert await ask(proxy.port, put() + put(), len(expected)) == expected
    assert b" 409 " in expected
    assert upstream.requests == []


@pytest.mark.parametrize(("fate", "arrived"), [(Fate.HOLD, 0), (Fate.HOLD_ANSWER, 1)])
@pytest.mark.parametrize("drops", [False, True])
async def test_it_holds_until_it_is_told(
    upstream: ScriptedS3, fate: Fate, arrived: int, *, drops: bool
) -> None:
    """Before or after the request arrives; dropped, what has not arrived never does."""
    held: asyncio.Queue[Request] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def judge(request: Request) -> Fate:
        loop.call_soon_threadsafe(held.put_nowait, request)
        return fate

    with JudgingProxy(upstream.port, judge) as proxy:
        asking = asyncio.create_task(ask(proxy.port, put(), WHOLE))
        request = await held.get()
        assert not request.ended.is_set()
        while len(upstream.requests) < arrived:  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(0)
        (proxy.drop if drops else proxy.let_go)(request)
        [answer] = await asyncio.gather(asking, return_exceptions=True)
        assert await asyncio.to_thread(request.ended.wait, 60)
    assert isinstance(answer, ConnectionError if drops else bytes), answer
    assert len(upstream.requests) == (arrived if drops else 1)


async def test_what_is_held_outlives_its_sender(upstream: ScriptedS3) -> None:
    """A request arrives late although nobody waits for its answer any more."""
    held: asyncio.Queue[Request] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def judge(request: Request) -> Fate:
        loop.call_soon_threadsafe(held.put_nowait, request)
        return Fate.HOLD

    with JudgingProxy(upstream.port, judge) as proxy:
        _, writer = await asyncio.open_connection(LOOPBACK, proxy.port)
        writer.write(put())
        request = await held.get()
        writer.close()
        await writer.wait_closed()
        proxy.let_go(request)
        assert await asyncio.to_thread(request.ended.wait, 60)
    assert [asked.body for asked in upstream.requests] == [b"data"]
