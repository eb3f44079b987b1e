"""What these tests share: daemons and an S3 server, each started once a module at most."""

from collections.abc import Iterator

import pytest

from tests.support.daemon import daemons
from tests.support.versitygw import S3Server, versitygw

__all__ = ["daemons"]


@pytest.fixture(scope="module")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A real S3 server without a bucket."""
    with versitygw(tmp_path_factory.mktemp("s3")) as server:
        yield server
