"""Folders for thousands of small trees, in memory where the machine has such a place."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_MEMORY: Final = "/dev/shm"


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Gives an empty folder, which is gone after the block."""
    memory = _MEMORY if os.access(_MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="assetd-", dir=memory) as folder:
        yield Path(folder)
