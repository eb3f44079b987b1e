"""What the tests of the assets share: a bench, and the check that each leaves nothing behind."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.assets_bench import Bench, Daemon, opened_bench
from tests.support.file_systems import no_descriptor_left


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    """A store and room for daemons; at the end nothing is under way, leased, staged or claimed."""
    with no_descriptor_left():
        async with opened_bench(tmp_path) as bench:
            yield bench


@pytest.fixture
def daemon(bench: Bench) -> Daemon:
    """A daemon over the bench's store."""
    return bench.daemon()
