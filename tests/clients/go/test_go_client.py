"""The Go client as its users have it: built by `go build`, against a real daemon."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.support.daemon import Daemons, environment
from tests.support.trees import read_tree
from tests.support.waiting import wait_until

pytestmark = pytest.mark.needs_program("go")

GO_CLIENT = ROOT / "clients/go"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command assetd-go-fetch."""
    program = tmp_path_factory.mktemp("go") / "assetd-go-fetch"
    subprocess.run(
        ["go", "build", "-o", program, "./cmd/assetd-go-fetch"],
        cwd=GO_CLIENT,
        # The Go that is there, never one that Go would download for itself.
        env=os.environ | {"GOTOOLCHAIN": "local"},
        check=True,
    )
    return program


def run(program: Path, address: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run the program with the daemon's address in its environment."""
    return subprocess.run(
        [program, *arguments],
        env=environment({"ASSETD_ADDRESS": address}),
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_a_go_program_fetches_the_real_model(
    daemons: Daemons, program: Path, real_model: Path, tmp_path: Path
) -> None:
    """What Python pushed Go fetches: its path, and the digest that Go computes of what is there."""
    daemon = daemons(store=tmp_path / "store")
    with daemon.client() as client:
        client.push(real_model, "nlp/minilm", new=True)
        digest = client.resolve("nlp/minilm").asset_version.digest
    fetched = run(program, daemon.address, "-expected-digest", digest, "nlp/minilm:0")
    assert fetched.returncode == 0, fetched.stderr
    assert fetched.stdout == f"{daemon.assets_dir}/nlp/minilm/0.0\n{digest}\n"
    assert read_tree(daemon.assets_dir / "nlp/minilm/0.0") == read_tree(real_model)
    with daemon.client() as client:
        wait_until(lambda: not client.status().holds, "the end of the program's hold")


def test_a_go_program_learns_the_reason(daemons: Daemons, program: Path, tmp_path: Path) -> None:
    """A failure is one line on standard error, with the daemon's own words."""
    daemon = daemons(store=tmp_path / "store")
    failed = run(program, daemon.address, "no/such")
    assert (failed.returncode, failed.stdout) == (1, "")
    assert "no asset no/such" in failed.stderr
    assert len(failed.stderr.splitlines()) == 1
