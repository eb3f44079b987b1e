"""The wheel of the Python client holds its types, and a type checker finds them there."""

import subprocess
import sys
import zipfile
from email.parser import HeaderParser
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.packaging.environments import LOCKS, Installed, install

SOURCES = ROOT / "clients/python/src"

RIGHT = """
from collections.abc import Iterator
from typing import assert_type

import assetd
import assetd.aio
from assetd.v1.asset_service_pb2 import FetchRequest, ListResponse, ResolveVersionResponse
from assetd.v1.asset_service_pb2_grpc import AssetServiceStub


def use(client: assetd.Client, request: FetchRequest, stub: AssetServiceStub) -> None:
    with client.fetch("ranker:1", hold=True) as model:
        assert_type(model, assetd.Asset)
        assert_type(model.size_bytes, int | None)
    assert_type(client.push("folder", "ranker"), assetd.PushedVersion)
    assert_type(client.list("ranker"), Iterator[ListResponse])
    assert_type(request.spec, str)


async def use_of_asyncio(client: assetd.aio.Client) -> None:
    assert_type(await client.resolve("ranker"), ResolveVersionResponse)
"""
# A wrong argument for the helper, for a message and for asyncio; a misspelt attribute; one error
# a line.
WRONG = """
import assetd, assetd.aio
from assetd.v1.asset_service_pb2 import FetchRequest
async def use(client: assetd.Client, other: assetd.aio.Client) -> None:
    client.fetch(1)
    FetchRequest(spec=1)
    other.fetch(1)
    client.fetch("ranker").paht
"""
WRONG_LINES = {5: "arg-type", 6: "arg-type", 7: "arg-type", 8: "attr-defined"}


def test_the_wheel_holds_all_of_the_package(wheel: Path) -> None:
    """Every module, the types of the stubs, and the marker by which checkers believe them."""
    sources = {
        path.relative_to(SOURCES).as_posix()
        for path in SOURCES.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    held = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("assetd/")}
    assert held == sources
    assert {"assetd/py.typed", "assetd/v1/asset_service_pb2_grpc.pyi"} <= held


def test_the_wheel_says_what_it_is(wheel: Path) -> None:
    """A licence that tools can read, the Python that it needs, and the bounds of what it needs."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [n for n in archive.namelist() if n.endswith(".dist-info/METADATA")]
        told = HeaderParser().parsestr(archive.read(name).decode())
    assert wheel.name.endswith("-py3-none-any.whl")
    assert (told["Name"], told["License-Expression"]) == ("assetd", "Apache-2.0")
    assert told["Requires-Python"] == ">=3.11"
    assert "protobuf<8,>=4.25" in told.get_all("Requires-Dist", [])


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """An environment with the client in it, and without any package of types."""
    folder = tmp_path_factory.mktemp("typed") / "environment"
    return install(wheel, LOCKS / "protobuf-6.33.5-grpcio-1.78.2.lock", folder)


def mypy(installed: Installed, folder: Path, program: str) -> "subprocess.CompletedProcess[str]":
    """Checks a program strictly; what it imports is that of the environment."""
    (folder / "program.py").write_text(program)
    return subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--strict", "--config-file=", "--no-error-summary"),
            *("--python-executable", installed.folder / "bin/python", "program.py"),
        ],
        cwd=folder,
        capture_output=True,
        text=True,
    )


def test_mypy_believes_the_installed_types(installed: Installed, tmp_path: Path) -> None:
    """Clients, answers and messages have the types that a user writes down."""
    done = mypy(installed, tmp_path, RIGHT)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_mypy_finds_wrong_uses(installed: Installed, tmp_path: Path) -> None:
    """Were the types not found, everything would be right."""
    done = mypy(installed, tmp_path, WRONG)
    errors = [line.split(":", 2) for line in done.stdout.splitlines() if ": error:" in line]
    found = {int(number): text.rsplit("[", 1)[1].rstrip("]") for _, number, text in errors}
    assert found == WRONG_LINES, done.stdout
