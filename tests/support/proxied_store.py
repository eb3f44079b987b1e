"""A real S3 server behind a proxy that counts, slows down and cuts."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support.daemon import Daemons
from tests.support.ports import LOOPBACK
from tests.support.tcp_proxy import CountingProxy
from tests.support.versitygw import S3Server, versitygw

BUCKET: Final = "models"
PREFIX: Final = "assets"


@dataclass(frozen=True)
class ProxiedStore:
    """One bucket, with two ways to it."""

    server: S3Server
    proxy: CountingProxy

    @property
    def url(self) -> str:
        """What ASSETD_STORE takes."""
        return f"s3://{BUCKET}/{PREFIX}"

    @property
    def direct(self) -> dict[str, str]:
        """The variables of a daemon that goes straight to the server."""
        return self.server.environment

    @property
    def through_proxy(self) -> dict[str, str]:
        """The variables of a daemon that goes through the proxy."""
        return {**self.server.environment, "S3_ENDPOINT": f"http://{LOOPBACK}:{self.proxy.port}"}

    def fill(self, daemons: Daemons, folder: Path, sources: dict[str, Path]) -> None:
        """Pushes each source under its name, by a daemon that the proxy does not see."""
        daemon = daemons(assets_dir=folder, store=self.url, variables=self.direct)
        with daemon.client() as client:
            for name, source in sources.items():
                client.push(source, name)
        daemon.stop()


@contextmanager
def proxied_store(folder: Path) -> Iterator[ProxiedStore]:
    """Runs versitygw below `folder`, with an empty bucket, and a proxy before it."""
    with versitygw(folder) as server, CountingProxy(server.port) as proxy:
        server.make_bucket(BUCKET)
        yield ProxiedStore(server, proxy)
