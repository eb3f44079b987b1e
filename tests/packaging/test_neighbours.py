"""The installed client works with the protobuf and grpcio of those that it runs next to.

Each lock of `tools/neighbours` is an environment: pairs of these two, the lowest versions that the
client says it takes, and what vLLM, TensorFlow Serving, Ray and Triton's client require.
"""

import json
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from tests.conftest import ROOT
from tests.packaging.environments import (
    LOCKS,
    SMALL_PROGRAM,
    Installed,
    install,
    locked_versions,
)
from tests.support.daemon import Daemon, running_daemons
from tests.support.trees import write_tree

TREE = {"config.json": "{}", "sub/vocab.txt": "a\nb\n"}
NAMES = sorted(path.stem for path in LOCKS.glob("*.in"))
# Small enough to be installed themselves.
INSTALLED_TOO = ["tritonclient-2.50.0", "tritonclient-2.73.0"]

# Both describe their messages to the one protobuf of the process.
IN_ONE_PROCESS = """
import runpy, sys, warnings
from tritonclient.grpc import service_pb2

warnings.simplefilter("error")
runpy.run_path(sys.argv.pop(1), run_name="__main__")
asked = service_pb2.ModelInferRequest(model_name="ranker")
assert service_pb2.ModelInferRequest.FromString(asked.SerializeToString()) == asked
"""


@dataclass(frozen=True)
class Neighbourhood:
    """A daemon, and the environment of a lock with the client in it."""

    daemon: Daemon
    installed: Installed
    name: str
    pushed: Path


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon with a plain directory as its store; each test has assets of its own."""
    folder = tmp_path_factory.mktemp("daemon")
    with running_daemons(folder) as daemons:
        yield daemons(store=folder / "store")


@pytest.fixture(params=NAMES)
def neighbourhood(
    request: pytest.FixtureRequest, daemon: Daemon, wheel: Path, tmp_path: Path
) -> Neighbourhood:
    """One for each lock."""
    installed = install(wheel, LOCKS / f"{request.param}.lock", tmp_path / "environment")
    tree = {path: text.encode() for path, text in TREE.items()}
    return Neighbourhood(daemon, installed, request.param, write_tree(tmp_path / "tree", tree))


def test_every_kind_of_call(neighbourhood: Neighbourhood) -> None:
    """All modules are imported without a warning; push, fetch, hold, list and errors work.

    With protobuf in C, and with the one in Python that some choose who have old stubs.
    """
    for implementation in ("upb", "python"):
        name = f"{neighbourhood.name}/{implementation}"
        saw = neighbourhood.installed.run_small_program(
            neighbourhood.daemon.address,
            neighbourhood.pushed,
            name,
            PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION=implementation,
        )
        assert_works(neighbourhood, saw, name)
        assert saw["implementation"] == implementation
    assert_command_works(neighbourhood)


def assert_works(neighbourhood: Neighbourhood, saw: dict[str, Any], name: str) -> None:
    """Fails unless the small program ran with what is locked, and saw what it should."""
    versions = locked_versions(LOCKS / f"{neighbourhood.name}.lock")
    assert Path(saw["package"]).is_relative_to(neighbourhood.installed.folder)
    assert {f"assetd.v1.{stub}" for stub in stubs()} <= set(saw["modules"])
    assert (saw["protobuf"], saw["grpcio"]) == (versions["protobuf"], versions["grpcio"])
    assert saw["pushed"] == "0.0"
    assert saw["fetched"] == TREE
    assert saw["was_held"] is True
    assert saw["listed"] == [["0.0", {"by": "me"}]]
    assert saw["failure"]["reason"] == "VERSION_NOT_FOUND"
    assert saw["failure"]["name"] == name
    assert saw["version_on_the_loop"] == "0.0"


def stubs() -> list[str]:
    """The names of the modules that are generated."""
    found = [path.stem for path in (ROOT / "clients/python/src/assetd/v1").glob("*_pb2*.py")]
    assert len(found) >= 6
    return found


def assert_command_works(neighbourhood: Neighbourhood) -> None:
    """Fails unless the command line works, with the click and the rich that are locked."""
    address = neighbourhood.daemon.address
    printed = neighbourhood.installed.run(
        "assetd", "status", "--json", ASSETD_ADDRESS=address, PYTHONWARNINGS="error"
    )
    assert json.loads(printed)["assetsDir"] == str(neighbourhood.daemon.assets_dir)


@pytest.mark.parametrize("neighbourhood", INSTALLED_TOO, indirect=True)
def test_in_one_process_with_the_client_of_triton(neighbourhood: Neighbourhood) -> None:
    """The messages of both are known to one protobuf, and both work."""
    name = f"{neighbourhood.name}/together"
    printed = neighbourhood.installed.run(
        *("python", "-I", "-c", IN_ONE_PROCESS, SMALL_PROGRAM),
        *(neighbourhood.daemon.address, neighbourhood.pushed, name),
    )
    assert_works(neighbourhood, json.loads(printed), name)


def test_the_lowest_bounds_are_tried() -> None:
    """What the client says that it needs at least is what the lock `oldest` holds."""
    project = tomllib.loads((ROOT / "clients/python/pyproject.toml").read_text())["project"]
    lowest = {}
    for text in project["dependencies"]:
        requirement = Requirement(text)
        (bound,) = [s.version for s in requirement.specifier if s.operator == ">="]
        lowest[requirement.name] = bound
    locked = locked_versions(LOCKS / "oldest.lock")
    assert {name: is_release(locked[name], bound) for name, bound in lowest.items()} == (
        dict.fromkeys(lowest, True)
    )


def is_release(version: str, bound: str) -> bool:
    """Whether the version is the bound's own: 4.25.0 is, for 4.25."""
    return re.fullmatch(re.escape(bound) + r"(\.0)*", version) is not None


def test_the_table_tells_what_is_locked() -> None:
    """Of each release that is named, the versions that the tests above run with."""
    rows = re.findall(
        r"^\| `([^`]+)` \| (\S+) \| ([^|]+?) \| (\S+) \| (\S+) \|$",
        (ROOT / "docs/neighbours.md").read_text(),
        re.MULTILINE,
    )
    told = {f"{package}-{release}": tuple(rest) for package, release, *rest in rows}
    neighbours = [name for name in NAMES if not name.startswith(("oldest", "protobuf-"))]
    assert told == {name: as_told(name) for name in neighbours}


def as_told(name: str) -> tuple[str, str, str]:
    """The cells of a release: the day that its lock looks like, protobuf and grpcio."""
    day = re.search(r"--exclude-newer (\S+)$", (LOCKS / f"{name}.in").read_text(), re.MULTILINE)
    versions = locked_versions(LOCKS / f"{name}.lock")
    return day[1] if day else "newest", versions["protobuf"], versions["grpcio"]
