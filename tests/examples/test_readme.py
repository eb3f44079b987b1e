"""The README of the examples says what is so: its commands run, its links lead somewhere."""

import re
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.support.daemon import Daemon, Daemons, environment
from tests.support.ports import free_port
from tests.support.processes import running

README = ROOT / "examples/README.md"
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL)
PYTHON_PORT, GO_PORT = "8001", "8002"


def test_links_lead_somewhere() -> None:
    """A file that is moved takes its links along."""
    links = re.findall(r"\]\((?!https?://|#)([^)\s#]+)", README.read_text())
    assert links
    assert [link for link in links if not (README.parent / link).exists()] == []


def test_its_targets_are_those_of_make() -> None:
    """What it tells to make can be made."""
    wanted = re.findall(r"^make (\S+)", README.read_text(), re.MULTILINE)
    there = re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert wanted == ["example", "python-server"]
    assert set(wanted) <= set(there)


@pytest.fixture
def daemon(daemons: Daemons, real_model: Path, tmp_path: Path) -> Daemon:
    """A daemon whose store has the model, as after the commands of the main README."""
    daemon = daemons(store=tmp_path / "store")
    with daemon.client() as client:
        client.push(real_model, "nlp/minilm", new=True)
    return daemon


@pytest.fixture
def ports(daemon: Daemon, tmp_path: Path) -> Iterator[dict[str, str]]:
    """Both servers run by the README's lines, at free ports in the place of its own."""
    ports = {PYTHON_PORT: str(free_port()), GO_PORT: str(free_port())}
    _, python, go, _ = BLOCKS
    with ExitStack() as servers:
        for name, block in (("python", python), ("go", go)):
            command = ["bash", "-euc", starting(block, ports)]
            servers.enter_context(serving_by(command, daemon, tmp_path / name))
        yield ports


def serving_by(
    command: list[str], daemon: Daemon, log: Path
) -> AbstractContextManager["subprocess.Popen[bytes]"]:
    """Runs a command that ends in a server, which serves when the block begins."""
    return running(
        command,
        log=log,
        is_ready=lambda: "serves http" in log.read_text(),
        environment=environment({"ASSETD_ADDRESS": daemon.address, "GOTOOLCHAIN": "local"}),
    )


def starting(block: str, ports: dict[str, str]) -> str:
    """The block without what `make test` has made, its server in the place of the shell."""
    *before, server = [line for line in block.splitlines() if not line.startswith("make ")]
    return "\n".join([f"cd {ROOT}", *before, f"exec {moved(server, ports)}"])


def moved(text: str, ports: dict[str, str]) -> str:
    """The text with other ports."""
    return re.sub(r"\b800[12]\b", lambda found: ports[found[0]], text)


@pytest.mark.needs_program("curl", "go")
@pytest.mark.usefixtures("example_python")
def test_both_servers_answer_as_it_says(ports: dict[str, str]) -> None:
    """Each line of curl prints what stands beside it."""
    lines = BLOCKS[-1].splitlines()
    assert len(lines) == 3
    for line in lines:
        _, expected = line.split("# prints ")
        done = subprocess.run(
            ["bash", "-euc", moved(line, ports)],
            env=environment({"NO_PROXY": "127.0.0.1"}),
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert expected in done.stdout
