"""Stores whose conditional writes are not atomic: refused by the real daemon, and fetched from.

The races are those of the probe, against real servers; in process, and promise by promise, they are
in `unit/store/test_probe.py`.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from assetd.v1.asset_pb2 import ASSET_KIND_FILE
from assetd.v1.asset_service_pb2 import PushHeader, PushRequest
from assetd.v1.asset_service_pb2_grpc import AssetServiceStub

from tests.support.daemon import Daemon, Daemons
from tests.support.moto_server import moto_server
from tests.support.s3_front import Fault, s3_front
from tests.support.s3rver import s3rver
from tests.support.versitygw import S3Server, versitygw
from tests.support.wire import Failure, failure_of

BUCKET = "models"
STORE = f"s3://{BUCKET}/assets"
CONTENT = b"pushed by the only pusher"


@dataclass(frozen=True)
class Refused:
    """A store, by the variables that lead to it and those that lead past what makes it unsafe."""

    server: S3Server
    variables: Mapping[str, str]
    filled_by: Mapping[str, str]


@contextmanager
def opened(kind: str, folder: Path) -> Iterator[Refused]:
    """Runs the server that the kind names, with an empty bucket."""
    with ExitStack() as stack:
        if kind == "s3rver":
            server = stack.enter_context(s3rver(folder, BUCKET))
            variables = server.environment
        elif kind == "moto":
            port = urlsplit(stack.enter_context(moto_server())).port
            server = S3Server(port or 0)
            server.make_bucket(BUCKET)
            variables = server.environment
        else:
            server = stack.enter_context(versitygw(folder))
            server.make_bucket(BUCKET)
            front = stack.enter_context(s3_front(server, Fault[kind], window_seconds=0.05))
            variables = front.environment
        # Who may not list cannot push at all, safe or not.
        yield Refused(server, variables, server.environment if kind == "DENIES" else variables)


def keys_in(server: S3Server) -> list[str]:
    """All keys of the bucket, whoever wrote them."""
    client: Any = server.session().create_client(
        "s3", region_name=server.region, endpoint_url=server.endpoint_url
    )
    found = [entry["Key"] for entry in client.list_objects_v2(Bucket=BUCKET).get("Contents", ())]
    client.close()
    return sorted(found)


def refusal(daemon: Daemon) -> Failure:
    """How a push ends that nothing is wrong with but its store."""
    header = PushRequest(header=PushHeader(spec="other/file", kind=ASSET_KIND_FILE))
    with daemon.channel() as channel:
        return failure_of(lambda: AssetServiceStub(channel).Push(iter([header])))


@pytest.mark.parametrize(
    ("kind", "failed", "words"),
    [
        pytest.param(
            "s3rver",
            ["create twice", "stale swap", "upload over a key", "create race", "swap race"],
            "If-None-Match is ignored",
            marks=pytest.mark.needs_program("s3rver"),
        ),
        ("STRIPS", ["create twice", "stale swap", "upload over a key"], "If-None-Match is ignored"),
        (
            "LOOKS_FIRST",
            ["create race", "swap race", "upload race"],
            "of 16 racers for one key won",
        ),
        ("DENIES", ["absent key"], "allow s3:ListBucket"),
        # Its races are seldom lost; that it cannot say of an upload that it is gone shows always.
        ("moto", ["aborted upload"], ""),
    ],
)
def test_a_store_that_is_not_atomic(
    daemons: Daemons, tmp_path: Path, kind: str, failed: list[str], words: str
) -> None:
    """A push to a store whose conditional writes are not atomic is `UNSAFE_STORE`.

    The answer says what failed, nothing is left in the bucket, and what is there is fetched.
    """
    with opened(kind, tmp_path / "s3") as store:
        fill(daemons, tmp_path, store)
        before = keys_in(store.server)
        daemon = daemons(assets_dir=tmp_path / "a", store=STORE, variables=store.variables)
        for _ in range(2):
            refused = refusal(daemon)
            assert (refused.code, refused.reason) == ("FAILED_PRECONDITION", "UNSAFE_STORE")
            assert set(failed) <= set(refused.metadata["failed"].split(", "))
            assert words in refused.metadata["detail"]
            assert refused.metadata["store"] == STORE
        assert keys_in(store.server) == before
        with daemon.client() as client:
            assert client.fetch("a/file").path.read_bytes() == CONTENT
        assert daemon.stop() == 0


def fill(daemons: Daemons, folder: Path, store: Refused) -> None:
    """Pushes a version as an operator may who declares that nobody else does."""
    (folder / "file").write_bytes(CONTENT)
    variables = {**store.filled_by, "ASSETD_PUSH_SINGLE_PUSHER": "true"}
    daemon = daemons(assets_dir=folder / "pusher", store=STORE, variables=variables)
    with daemon.client() as client:
        client.push(folder / "file", "a/file")
        [warning] = client.status().warnings
        assert "ASSETD_PUSH_SINGLE_PUSHER" in warning
    daemon.stop()


@pytest.mark.parametrize("kind", ["versitygw", "local"])
def test_a_store_that_is_atomic(daemons: Daemons, tmp_path: Path, kind: str) -> None:
    """A store that keeps its promises is pushed to, and nothing of the probe is left in it."""
    (tmp_path / "file").write_bytes(CONTENT)
    with ExitStack() as stack:
        if kind == "local":
            daemon = daemons(store=tmp_path / "store")
        else:
            server = stack.enter_context(versitygw(tmp_path / "s3"))
            server.make_bucket(BUCKET)
            daemon = daemons(store=STORE, variables=server.environment)
        with daemon.client() as client:
            for _ in range(2):
                client.push(tmp_path / "file", "a/file")
        if kind == "local":
            probed = tmp_path / "store/.assetd/probe"
            assert (probed.is_dir(), list(probed.iterdir())) == (True, [])
        else:
            assert [key for key in keys_in(server) if "/.assetd/" in key] == []
        daemon.stop()
