"""What several tests of the packages share."""

from pathlib import Path

import pytest

from tests.packaging.environments import build_wheel


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The client's wheel, as `make wheels` builds it."""
    return build_wheel(tmp_path_factory.mktemp("wheel"))
