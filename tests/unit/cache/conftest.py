"""What the tests of the cache share: an open ASSETS_DIR whose calls are recorded."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from assetd_server.cache.layout import AssetsDir

from tests.support.file_systems import FaultyFileSystem, no_descriptor_left


@pytest.fixture(autouse=True)
def descriptors() -> Iterator[None]:
    """Every test leaves as many descriptors open as it found."""
    with no_descriptor_left():
        yield


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An empty ASSETS_DIR, and beside it room for what nobody may reach."""
    folder = tmp_path / "assets"
    folder.mkdir()
    return folder


@pytest.fixture
def fs() -> FaultyFileSystem:
    """The file system of `assets_dir`."""
    return FaultyFileSystem()


@pytest.fixture
def assets_dir(root: Path, fs: FaultyFileSystem) -> Iterator[AssetsDir]:
    """The open ASSETS_DIR."""
    assets_dir = AssetsDir(str(root), fs)
    yield assets_dir
    assets_dir.close()


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Path]:
    """Room for hundreds of small trees: in memory where the machine has such a place."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(prefix="assetd-", dir=memory) as folder:
        yield Path(folder)
