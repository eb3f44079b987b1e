"""A real S3 server: versitygw over a folder."""

import http.client
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import botocore.session
from botocore.config import Config

from tests.support.ports import LOOPBACK, free_port
from tests.support.processes import running

PROGRAM = "versitygw"
TOOLS = Path(__file__).resolve().parents[2] / ".tools/bin"
ACCESS_KEY = "assetd-test-key"
SECRET_KEY = "assetd-test-secret"
REGION = "us-east-1"


@dataclass(frozen=True)
class S3Server:
    """An S3 server on the loopback address, and how to reach it."""

    port: int
    access_key: str = ACCESS_KEY
    secret_key: str = SECRET_KEY
    region: str = REGION

    @property
    def endpoint_url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which AWS tools, and assetd, reach the server."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": self.region,
            "S3_ENDPOINT": self.endpoint_url,
        }

    def session(self, secret_key: str | None = None) -> botocore.session.Session:
        """Returns a session with the server's credentials, or with another secret."""
        session = botocore.session.Session()
        session.set_credentials(self.access_key, secret_key or self.secret_key)
        return session

    def client(self) -> Any:
        """Returns botocore's client, for what a store of ours does not do."""
        return self.session().create_client(
            "s3",
            region_name=self.region,
            endpoint_url=self.endpoint_url,
            config=Config(s3={"addressing_style": "path"}),
        )

    def make_bucket(self, name: str) -> None:
        """Creates a bucket."""
        client = self.client()
        client.create_bucket(Bucket=name)
        client.close()


@contextmanager
def versitygw(folder: Path) -> Iterator[S3Server]:
    """Runs versitygw on a free port, with its data below `folder`, new or of an earlier run.

    Its ETags are extended attributes of the files: kept beside them (`--sidecar`), they are more
    often those of another write than the bytes that come with them, as on S3 they never are.
    """
    program = shutil.which(PROGRAM, path=TOOLS) or PROGRAM
    server = S3Server(free_port())
    data = folder / "data"
    data.mkdir(parents=True, exist_ok=True)
    address = f"{LOOPBACK}:{server.port}"
    command = [program, "--quiet", "--keep-alive", "--port", address, "--health", "/health"]
    with running(
        [*command, "posix", str(data)],
        log=folder / "versitygw.log",
        is_ready=lambda: _is_healthy(server.port),
        environment={"ROOT_ACCESS_KEY": ACCESS_KEY, "ROOT_SECRET_KEY": SECRET_KEY},
    ):
        yield server


def _is_healthy(port: int) -> bool:
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=5)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == http.client.OK
    except OSError:
        return False
    finally:
        connection.close()
