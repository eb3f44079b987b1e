"""The image's build stage works in a clean folder, where no engine is at hand.

The Dockerfile itself is followed: what it copies is all that is there, and its
make targets are what runs. Base images and system users are left to an engine.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.processes import running

ROOT = Path(__file__).resolve().parents[2]
# One worker, so that the stage is built once.
pytestmark = pytest.mark.xdist_group("dockerfile")

INSTALLED_AT = "/opt/assetd"


class Instruction(NamedTuple):
    """One instruction of a Dockerfile, its continued lines joined."""

    name: str
    arguments: str


def stages() -> list[list[Instruction]]:
    """The Dockerfile's stages, each with its FROM first."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    instructions = [
        Instruction(*line.split(maxsplit=1))
        for line in text.replace("\\\n", "").splitlines()
        if line.strip()
    ]
    starts = [i for i, instruction in enumerate(instructions) if instruction.name == "FROM"]
    ends = [*starts[1:], len(instructions)]
    return [instructions[start:end] for start, end in zip(starts, ends, strict=True)]


def arguments(stage: list[Instruction], name: str) -> list[str]:
    """What a stage says after each instruction of that name."""
    return [instruction.arguments for instruction in stage if instruction.name == name]


def copy_into(folder: Path, copied: str) -> None:
    """Does what `COPY source… target` does, in `folder`."""
    *sources, target = copied.split()
    for source in sources:
        here = ROOT / source
        if here.is_dir():
            shutil.copytree(
                here,
                folder / target,
                symlinks=True,
                ignore=shutil.ignore_patterns("__pycache__"),
            )
        else:
            shutil.copy(here, folder / target)


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The environment that the build stage leaves behind."""
    folder = tmp_path_factory.mktemp("src")
    installation = tmp_path_factory.mktemp("opt") / "assetd"
    build, _ = stages()
    for copied in arguments(build, "COPY"):
        copy_into(folder, copied)
    for command in arguments(build, "RUN"):
        assert command.startswith("make "), "a step of the build is a make target"
        subprocess.run(
            ["bash", "-c", command.replace(INSTALLED_AT, str(installation))],
            cwd=folder,
            # Not this environment: the image has none.
            env={k: v for k, v in os.environ.items() if not k.startswith(("VIRTUAL_", "MAKE"))},
            check=True,
        )
    return installation


@pytest.mark.parametrize("command", [["--help"], ["serve", "--help"]])
def test_the_built_command_runs(installation: Path, command: list[str]) -> None:
    """The installation holds all that the command line and the service import."""
    done = subprocess.run(
        [installation / "bin/assetd", *command], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Usage: assetd" in done.stdout


def test_the_built_service_can_be_imported(installation: Path) -> None:
    """The locked run-time packages are enough for the whole server."""
    check = subprocess.run(
        [installation / "bin/python", "-W", "error", "-c", "import assetd_server.app"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert check.returncode == 0, check.stderr


def test_the_image_holds_no_development_tool(installation: Path) -> None:
    """What is not needed to run cannot be attacked."""
    programs = {program.name for program in (installation / "bin").iterdir()}
    assert programs & {"pytest", "mypy", "ruff", "moto_server", "pip", "uv"} == set()


def test_what_is_copied_is_not_ignored() -> None:
    """The engine sees nothing but what `.dockerignore` lets through."""
    let_through = {
        line.removeprefix("!")
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    build, _ = stages()
    copied = {source for line in arguments(build, "COPY") for source in line.split()[:-1]}
    assert copied == let_through


def test_the_image_runs_as_nobody_special() -> None:
    """Kubernetes refuses `runAsNonRoot` unless the user is a number."""
    _, final = stages()
    variables = dict(line.split("=", 1) for line in arguments(final, "ARG"))
    (user,) = arguments(final, "USER")
    assert int(variables[user.strip("${}")]) >= 1000


@pytest.fixture
def container(installation: Path) -> Iterator[dict[str, str]]:
    """The image's environment, with folders of this machine in place of the image's."""
    _, final = stages()
    (assignments,) = arguments(final, "ENV")
    variables = dict(word.split("=", 1) for word in shlex.split(assignments))
    # A short path of its own: that of a socket has at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="assetd-image-") as folder:
        Path(folder, "var/lib/assetd").mkdir(parents=True)
        yield {
            name: text.replace(INSTALLED_AT, str(installation))
            .replace("/run/assetd", f"{folder}/run/assetd")
            .replace("/var/lib/assetd", f"{folder}/var/lib/assetd")
            .replace("$PATH", os.environ["PATH"])
            for name, text in variables.items()
        }


def is_healthy(container: dict[str, str]) -> bool:
    """What the image's health check says."""
    _, final = stages()
    (health,) = arguments(final, "HEALTHCHECK")
    command = json.loads(health.partition("CMD ")[2])
    return subprocess.run(command, env=container, capture_output=True).returncode == 0


def test_the_image_serves_and_is_watched(container: dict[str, str], tmp_path: Path) -> None:
    """What the image starts is healthy once it serves, and only as long as it does."""
    _, final = stages()
    (entry_point,), (arguments_of_it,) = arguments(final, "ENTRYPOINT"), arguments(final, "CMD")
    log = tmp_path / "log"
    assert not is_healthy(container)
    with running(
        [*json.loads(entry_point), *json.loads(arguments_of_it)],
        log=log,
        is_ready=lambda: "assetd serves" in log.read_text(),
        environment=container,
    ):
        assert is_healthy(container)
    assert not is_healthy(container)
