"""Daemons, and a real S3 server behind a proxy that each test may slow down or cut."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.daemon import daemons
from tests.support.proxied_store import ProxiedStore, proxied_store

__all__ = ["daemons"]


@pytest.fixture
def slow_store(tmp_path: Path) -> Iterator[ProxiedStore]:
    """The store, empty, at full speed."""
    with proxied_store(tmp_path / "s3") as store:
        yield store
