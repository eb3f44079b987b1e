"""The floors hold: each rule of `.importlinter` catches the fault that it is for."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LINT_IMPORTS = Path(sys.executable).with_name("lint-imports")

FLOORS = "Imports look downward only"
CIRCLES = "No circles between siblings"
CONFIG = "Only app reads the configuration"
WIRE = "Only rpc and app speak gRPC"
SDK = "Only store.objects talks to object stores"
LIGHT = "The client does not need the server"


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A copy of both distributions, free to be spoilt."""
    for package in (
        ROOT / "service/src/assetd_server",
        ROOT / "clients/python/src/assetd",
    ):
        shutil.copytree(
            package, tmp_path / package.name, ignore=shutil.ignore_patterns("__pycache__")
        )
    return tmp_path


def lint(sources: Path) -> subprocess.CompletedProcess[str]:
    """The contract's verdict on the copy; its modules stand before the installed ones."""
    return subprocess.run(
        [LINT_IMPORTS, "--no-cache", "--no-logo", "--config", ROOT / ".importlinter"],
        cwd=sources,
        env={**os.environ, "PYTHONPATH": str(sources), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )


def broken(sources: Path) -> set[str]:
    """The names of the rules that the copy breaks."""
    report = lint(sources).stdout
    rules = {FLOORS, CIRCLES, CONFIG, WIRE, SDK, LIGHT}
    verdicts = {rule for rule in rules if f"{rule} KEPT" in report or f"{rule} BROKEN" in report}
    assert verdicts == rules, report
    return {rule for rule in rules if f"{rule} BROKEN" in report}


def test_the_tree_keeps_every_rule(sources: Path) -> None:
    """What is committed breaks no rule."""
    verdict = lint(sources)
    assert verdict.returncode == 0, verdict.stdout + verdict.stderr


@pytest.mark.parametrize(
    ("module", "fault", "rule"),
    [
        pytest.param("cache", "import assetd_server.rpc", FLOORS, id="upward"),
        pytest.param("cache", "import assetd_server.store", FLOORS, id="cache knows store"),
        pytest.param("store", "import assetd_server.cache", FLOORS, id="store knows cache"),
        pytest.param("rpc", "import assetd_server.web", FLOORS, id="rpc knows web"),
        pytest.param("errors", "import assetd_server.model", FLOORS, id="errors know the model"),
        pytest.param("telemetry", "import assetd_server.errors", FLOORS, id="telemetry no leaf"),
        pytest.param("rpc", "import assetd_server.config", CONFIG, id="rpc reads config"),
        pytest.param("__main__", "import assetd_server.config", CONFIG, id="main reads config"),
        pytest.param("spec", "import grpc", WIRE, id="grpc in the domain"),
        pytest.param("assets", "import google.protobuf.message", WIRE, id="protobuf in assets"),
        pytest.param("assets", "import assetd.v1", WIRE, id="messages in assets"),
        pytest.param("assets", "import boto3", SDK, id="boto3 in assets"),
        pytest.param("store", "import obstore", SDK, id="obstore beside objects"),
        pytest.param("app", "import botocore.session", SDK, id="botocore in app"),
    ],
)
def test_a_fault_is_caught_by_its_rule(sources: Path, module: str, fault: str, rule: str) -> None:
    """A forbidden import is reported under the name of the rule that forbids it."""
    path = sources / "assetd_server" / module
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    path.write_text(f"{path.read_text()}\n{fault}\n")
    assert rule in broken(sources)


def test_a_module_without_a_floor_is_caught(sources: Path) -> None:
    """A new module must be given a floor before anything can grow on it."""
    (sources / "assetd_server/helpers.py").write_text('"""Belongs nowhere."""\n')
    assert broken(sources) == {FLOORS}


def test_a_circle_is_caught(sources: Path) -> None:
    """Two modules of one floor that import each other are one module."""
    cache = sources / "assetd_server/cache"
    (cache / "hen.py").write_text("import assetd_server.cache.egg\n")
    (cache / "egg.py").write_text("import assetd_server.cache.hen\n")
    assert broken(sources) == {CIRCLES}


def test_a_client_that_needs_the_server_is_caught(sources: Path) -> None:
    """`pip install assetd` without the server must be able to import the client."""
    (sources / "assetd/shortcut.py").write_text("import assetd_server.errors\n")
    assert broken(sources) == {LIGHT}
