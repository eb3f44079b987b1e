"""The proxy that other tests measure with: believed because it is measured here."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator

import pytest

from tests.support.ports import LOOPBACK, free_port
from tests.support.tcp_proxy import CountingProxy

BODY = bytes(range(256)) * 4096  # 1 MiB


@pytest.fixture
async def upstream() -> AsyncIterator[int]:
    """A server that answers each line with its length, then sends 1 MiB and closes."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            line = await reader.readline()
            writer.write(b"%d\n" % len(line) + BODY)
            await writer.drain()
        except ConnectionError:
            pass
        writer.close()

    server = await asyncio.start_server(answer, LOOPBACK, 0)
    yield server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()


async def ask(port: int, line: bytes = b"hello\n") -> bytes:
    """Returns all that comes over a connection, up to its end."""
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    try:
        writer.write(line)
        return await reader.read()
    finally:
        writer.close()


async def test_it_passes_and_counts_every_byte(upstream: int) -> None:
    """Each way, over all connections."""
    with CountingProxy(upstream) as proxy:
        answers = await asyncio.gather(*(ask(proxy.port) for _ in range(3)))
        assert answers == [b"6\n" + BODY] * 3
        assert proxy.bytes_to_upstream == 3 * 6
        assert proxy.bytes_from_upstream == 3 * (2 + len(BODY))
        assert proxy.connection_count == 3


async def test_it_bounds_the_rate(upstream: int) -> None:
    """Of all connections together: what has come never exceeds what the time allows."""
    rate = 4 << 20
    with CountingProxy(upstream, rate_bytes_per_second=rate) as proxy:
        begin = asyncio.get_running_loop().time()
        await asyncio.gather(ask(proxy.port), ask(proxy.port))
        seconds = asyncio.get_running_loop().time() - begin
        # One block may be under way beyond it for each connection.
        assert proxy.bytes_from_upstream - 4 * (1 << 16) <= rate * seconds


async def test_it_cuts_after_so_many_bytes(upstream: int) -> None:
    """With a reset, once; the next connection is whole again."""
    with CountingProxy(upstream) as proxy:
        proxy.cut_after(100_000)
        with pytest.raises(ConnectionError):
            await ask(proxy.port)
        assert proxy.bytes_from_upstream == 100_000
        assert await ask(proxy.port) == b"6\n" + BODY


async def test_it_cuts_what_is_open_now(upstream: int) -> None:
    """As a firewall that has forgotten a connection."""
    with CountingProxy(upstream, rate_bytes_per_second=1) as proxy:
        reader, writer = await asyncio.open_connection(LOOPBACK, proxy.port)
        writer.write(b"hello\n")
        await reader.readexactly(1)
        proxy.cut()
        with pytest.raises(ConnectionError):
            await reader.read()
        writer.close()


async def test_a_server_that_is_not_there_looks_so() -> None:
    """The client's connection is reset."""
    with CountingProxy(free_port()) as proxy:
        with pytest.raises(ConnectionError):
            await ask(proxy.port)
        assert proxy.bytes_from_upstream == 0


def test_it_needs_no_loop_of_the_test(upstream_of_threads: int) -> None:
    """A test that blocks does not hold it up, and it leaves no thread behind."""
    with CountingProxy(upstream_of_threads) as proxy:
        with socket.create_connection((LOOPBACK, proxy.port)) as connection:
            assert connection.recv(5) == b"ready"
        assert proxy.bytes_from_upstream == 5
    assert "tcp-proxy" not in {thread.name for thread in threading.enumerate()}


@pytest.fixture
def upstream_of_threads() -> int:
    """A server in a thread, for one connection."""
    listener = socket.create_server((LOOPBACK, 0))

    def answer() -> None:
        with listener, listener.accept()[0] as connection:
            connection.sendall(b"ready")

    threading.Thread(target=answer, daemon=True).start()
    port: int = listener.getsockname()[1]
    return port


async def test_it_refuses_until_it_is_told_otherwise(upstream: int) -> None:
    """As a server that is down, and comes back."""
    with CountingProxy(upstream) as proxy:
        proxy.refuses = True
        with pytest.raises(ConnectionResetError):
            await ask(proxy.port)
        assert proxy.bytes_from_upstream == 0
        proxy.refuses = False
        assert await ask(proxy.port) == b"6\n" + BODY
