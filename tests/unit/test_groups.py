"""What the other tests rely on in their runner."""

import subprocess
import sys
from pathlib import Path

_TESTS = """
import os
import pytest

@pytest.mark.xdist_group("alone")
@pytest.mark.parametrize("number", range(40))
def test_it(number):
    with open("workers", "a") as seen:
        seen.write(os.environ["PYTEST_XDIST_WORKER"] + "\\n")
"""


def test_a_group_of_tests_has_one_process(tmp_path: Path) -> None:
    """Else a server that is shared is started twice, and a test that wants quiet has none."""
    (tmp_path / "test_many.py").write_text(_TESTS)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-n",
        "2",
        "--dist",
        "loadgroup",
        "test_many.py",
    ]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=120)
    workers = (tmp_path / "workers").read_text().split()
    assert len(workers) == 40
    assert len(set(workers)) == 1
