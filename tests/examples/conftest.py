"""The servers of `examples/` as programs, and the daemons that they ask."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.conftest import IN_CI, ROOT
from tests.support.daemon import daemons
from tests.support.model import real_model

__all__ = ["daemons", "real_model"]

EXAMPLES = ROOT / "examples"
PYTHON = ROOT / ".tools/example/bin/python"


@pytest.fixture(scope="session")
def example_python() -> Path:
    """The Python of the example's server. Skipped by name where it is missing; in CI a failure."""
    if not PYTHON.exists():
        reason = "needs the environment of the example's server: make python-server"
        if IN_CI:
            pytest.fail(f"{reason}; nothing is skipped in CI")
        pytest.skip(reason)
    return PYTHON


@pytest.fixture(scope="session")
def python_server(example_python: Path) -> list[str | Path]:
    """The command of the server in Python; warnings are errors."""
    return [example_python, "-W", "error", EXAMPLES / "python-server/server.py"]


@pytest.fixture(scope="session")
def go_server(tmp_path_factory: pytest.TempPathFactory) -> list[str | Path]:
    """The command of the server in Go."""
    program = tmp_path_factory.mktemp("go") / "go-server"
    subprocess.run(
        ["go", "build", "-o", program, "."],
        cwd=EXAMPLES / "go-server",
        # The Go that is there, never one that Go would download for itself.
        env=os.environ | {"GOTOOLCHAIN": "local"},
        check=True,
    )
    return [program]
