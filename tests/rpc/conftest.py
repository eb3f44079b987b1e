"""A server of the wire over assets that a test decides about."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.rpc.fakes import FakeAssets
from tests.rpc.serving import Served, serving


@pytest.fixture
def assets() -> FakeAssets:
    """What the server serves; a test says what it answers, or how it fails."""
    return FakeAssets()


@pytest.fixture
async def served(tmp_path: Path, assets: FakeAssets) -> AsyncIterator[Served]:
    """The server."""
    async with serving(tmp_path, assets) as served:
        yield served
