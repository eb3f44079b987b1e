"""moto's imitation of AWS, for what only AWS answers. Not for races: several writers win there."""

from collections.abc import Iterator
from contextlib import contextmanager

from moto.server import ThreadedMotoServer

from tests.support.ports import LOOPBACK


@contextmanager
def moto_server() -> Iterator[str]:
    """Runs moto on a free port, in a thread, for the length of the block; yields its address."""
    server = ThreadedMotoServer(ip_address=LOOPBACK, port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        server.stop()
