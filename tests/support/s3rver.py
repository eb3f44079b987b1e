"""s3rver, an S3 server for Node that knows no preconditions."""

import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.ports import LOOPBACK, free_port
from tests.support.processes import running
from tests.support.versitygw import S3Server

PROGRAM = "s3rver"
FOLDER = Path(__file__).resolve().parents[2] / ".tools/s3rver/node_modules/.bin"
# The only credentials that it knows.
_KEY = "S3RVER"


@contextmanager
def s3rver(folder: Path, bucket: str) -> Iterator[S3Server]:
    """Runs s3rver on a free port, with an empty bucket below `folder`."""
    program = shutil.which(PROGRAM, path=FOLDER) or PROGRAM
    server = S3Server(free_port(), access_key=_KEY, secret_key=_KEY)
    folder.mkdir(parents=True)
    command = [program, "-d", str(folder), "-a", LOOPBACK, "-p", str(server.port)]
    with running(
        [*command, "--no-vhost-buckets", "--configure-bucket", bucket],
        log=folder / "s3rver.log",
        is_ready=lambda: _is_listening(server.port),
    ):
        yield server


def _is_listening(port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex((LOOPBACK, port)) == 0
