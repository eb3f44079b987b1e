"""Every implementation of `ObjectStore`, for the one suite that holds them to the contract.

Each test gets a store with nothing in it: a folder, a prefix, a dict of its own.
"""

import os
import shutil
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import botocore.session
import pytest
from assetd_server.store.base import ObjectStore
from assetd_server.store.local import LocalStore
from assetd_server.store.objects import S3Settings, open_s3_store
from assetd_server.store.retrying import RetryingStore, RetryPolicy

from tests.support.memory_store import MemoryStore
from tests.support.versitygw import PROGRAM, TOOLS, S3Server, versitygw

BUCKET = "conformance"
IMPLEMENTATIONS = ["local", "s3", "memory", "retrying"]


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A real S3 server with a bucket; for the whole run, as it takes a moment to start."""
    if shutil.which(PROGRAM, path=f"{TOOLS}{os.pathsep}{os.environ['PATH']}") is None:
        message = f"needs {PROGRAM}: make .tools/bin/{PROGRAM}"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    folder = tmp_path_factory.mktemp("versitygw")
    with versitygw(folder) as server:
        server.make_bucket(BUCKET)
        yield server
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def s3_session(s3_server: S3Server) -> botocore.session.Session:
    """One session for all stores of a run: it reads its models from disk once."""
    return s3_server.session()


@pytest.fixture(params=IMPLEMENTATIONS)
async def store(request: pytest.FixtureRequest) -> AsyncIterator[ObjectStore]:
    """An empty store."""
    opened: ObjectStore = request.getfixturevalue(f"{request.param}_store")
    yield opened
    await opened.close()


@pytest.fixture
def local_store(tmp_path: Path) -> ObjectStore:
    """A store in a folder, read in small chunks."""
    root = tmp_path / "store"
    root.mkdir()
    return LocalStore(root, chunk_bytes=1 << 16)


@pytest.fixture
def s3_store(s3_server: S3Server, s3_session: botocore.session.Session) -> ObjectStore:
    """A store below a prefix of its own, read in small chunks."""
    settings = S3Settings(
        bucket=BUCKET,
        prefix=f"test-{uuid.uuid4().hex}/below",
        endpoint_url=s3_server.endpoint_url,
        region=s3_server.region,
        chunk_bytes=1 << 16,
    )
    return open_s3_store(settings, session=s3_session)


@pytest.fixture
def memory_store() -> ObjectStore:
    """The store that tests of other parts use; held to the contract so that it may stand for it."""
    return MemoryStore()


@pytest.fixture
def retrying_store() -> ObjectStore:
    """The layer that repeats, over a store of which every third step fails."""

    async def sleep(_: float) -> None:
        """Waits for nothing."""

    return RetryingStore(MemoryStore(failure_rate=1 / 3), RetryPolicy(attempts=50), sleep=sleep)
