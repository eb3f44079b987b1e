"""The examples of the Python client's README, run as they stand there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.support.daemon import Daemon, Daemons, environment

README = (ROOT / "clients/python/README.md").read_text()


def blocks(language: str) -> list[str]:
    """The README's blocks of one language, in their order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


@pytest.fixture
def daemon(daemons: Daemons, tmp_path: Path) -> Daemon:
    """A daemon that knows the asset of the examples."""
    daemon = daemons(store=tmp_path / "store")
    source = tmp_path / "weights"
    source.write_bytes(b"the weights\n")
    with daemon.client() as client:
        client.push(source, "ranker:1.0")
    return daemon


@pytest.mark.parametrize("number", range(3))
def test_an_example_in_python_runs(daemon: Daemon, number: int) -> None:
    """As a program of its own, warnings as errors: it prints where the version is."""
    example = blocks("python")[number]
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", example],
        env=environment({"ASSETD_ADDRESS": daemon.address}),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    # The one without the path prints how far it is: how often, only the daemon knows.
    path = str(daemon.assets_dir / "ranker/1.0")
    last = ended.stdout.splitlines()[-1]
    assert last == path if "model.path" in example else last.isdigit()


def test_the_example_in_the_shell_runs(daemon: Daemon) -> None:
    """It leaves the path in a variable."""
    (example,) = blocks("sh")
    assert "assetd fetch" in example
    ended = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", f'{example}\necho "$MODEL"'],
        env=environment(
            {
                "ASSETD_ADDRESS": daemon.address,
                "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
            }
        ),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.stdout == f"{daemon.assets_dir}/ranker/1.0\n", ended.stderr


def test_no_example_is_forgotten() -> None:
    """Three in Python, one in the shell, and no longer than fifteen lines."""
    assert [len(blocks(language)) for language in ("python", "sh")] == [3, 1]
    assert all(len(block.splitlines()) <= 15 for block in blocks("python"))
