"""Habits of the tree, where a linter has no rule for them.

What is imported from where is held by `.importlinter` and its own test.
"""

import ast
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
SERVICE = ROOT / "service/src/assetd_server"
CLIENT = ROOT / "clients/python/src/assetd"

# The glossary has one word per thing; these are other words for them.
FORBIDDEN_WORDS = {
    "artefact",
    "artifact",
    "backend",
    "gc",
    "job",
    "prune",
    "pull",
    "remote",
    "revision",
    "tmp",
}

# In pieces: this file may not hold them either.
REGISTRY_HOSTS = [
    ".".join(parts)
    for parts in [
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("npmjs", "org"),
        ("yarnpkg", "com"),
        ("crates", "io"),
        ("proxy", "golang", "org"),
        ("sum", "golang", "org"),
        ("maven", "org"),
        ("repo", "maven", "apache", "org"),
    ]
]


def written_modules() -> list[Path]:
    """The Python files of the service and of the client that people write."""
    modules = [*SERVICE.rglob("*.py"), *CLIENT.rglob("*.py")]
    return sorted(m for m in modules if not re.search(r"_pb2(_grpc)?\.py$", m.name))


def relative(path: Path) -> str:
    """The path as a reader of the repository knows it."""
    return path.relative_to(ROOT).as_posix()


def committed_files() -> list[Path]:
    """All that is, or would be, committed."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    files = [ROOT / name for name in listing.split("\0") if name]
    return [file for file in files if file.is_file() and not file.is_symlink()]


@pytest.mark.parametrize("module", written_modules(), ids=relative)
def test_no_file_has_two_jobs(module: Path) -> None:
    """A file past 400 lines has two jobs."""
    assert len(module.read_text().splitlines()) <= 400


def reads_environment(module: Path) -> bool:
    """Whether the module's code names the process's environment."""
    names = {"environ", "environb", "getenv"}
    return any(
        (isinstance(node, ast.Attribute) and node.attr in names)
        or (isinstance(node, ast.ImportFrom) and any(a.name in names for a in node.names))
        for node in ast.walk(ast.parse(module.read_text()))
    )


def test_one_module_of_the_service_reads_the_environment() -> None:
    """Everything else is said by arguments, with no `noqa` to slip by."""
    readers = [relative(m) for m in written_modules() if SERVICE in m.parents]
    readers = [name for name in readers if reads_environment(ROOT / name)]
    assert readers == ["service/src/assetd_server/config.py"]


@pytest.mark.parametrize("name", ["asset_service", "cache_service"])
def test_handlers_convert_call_convert(name: str) -> None:
    """Failures reach the wire through one table, so no handler catches one."""
    tree = ast.parse((SERVICE / f"rpc/{name}.py").read_text())
    assert [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Try)] == []
    assert {h.name: lines(h) for h in handlers(tree) if lines(h) > 15} == {}


def handlers(tree: ast.Module) -> list[ast.AsyncFunctionDef]:
    """The methods that gRPC calls, which are named like their RPC."""
    found = [n for n in ast.walk(tree) if isinstance(n, ast.AsyncFunctionDef)]
    found = [n for n in found if n.name[0].isupper()]
    assert found, "a service without handlers"
    return found


def lines(function: ast.AsyncFunctionDef) -> int:
    """The length of a function's body, its docstring not counted."""
    body = function.body[1:] if ast.get_docstring(function) else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def defined_names(module: Path) -> Iterator[str]:
    """Every name that the module gives to something of its own."""
    yield module.stem
    for node in ast.walk(ast.parse(module.read_text())):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield node.name
            case ast.arg():
                yield node.arg
            case ast.Name(ctx=ast.Store()):
                yield node.id
            case ast.Attribute(ctx=ast.Store()):
                yield node.attr


def words(name: str) -> set[str]:
    """The words of an identifier, in lower case and in the singular."""
    parts = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)
    return {part.lower() for part in parts} | {part.lower().removesuffix("s") for part in parts}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("gc_interval", {"gc"}),
        ("BackendError", {"backend"}),
        ("old_revisions", {"revision"}),
        ("GCWorker", {"gc"}),
        ("pruned", set()),
        ("asset_version", set()),
    ],
)
def test_words_are_found_in_names(name: str, expected: set[str]) -> None:
    """The test below sees a word however a name is put together."""
    assert words(name) & FORBIDDEN_WORDS == expected


@pytest.mark.parametrize("module", written_modules(), ids=relative)
def test_one_word_per_thing(module: Path) -> None:
    """A name uses the glossary's word, so that a search finds every place."""
    names = {name for name in defined_names(module) if words(name) & FORBIDDEN_WORDS}
    assert names == set()


def test_no_file_names_a_registry() -> None:
    """An address in a lock would decide for the user where packages come from."""
    found = [
        f"{relative(file)}: {host}"
        for file in committed_files()
        for host in REGISTRY_HOSTS
        if re.search(rb"(?<![\w-])" + re.escape(host).encode(), file.read_bytes())
    ]
    assert found == []


def test_locks_with_addresses_stay_out() -> None:
    """Both lock formats record the registry's address."""
    names = {file.name for file in committed_files()}
    assert names & {"uv.lock", "Cargo.lock"} == set()


def pyproject(folder: str) -> dict[str, object]:
    """A distribution's `[project]` table."""
    with (ROOT / folder / "pyproject.toml").open("rb") as file:
        project: dict[str, object] = tomllib.load(file)["project"]
    return project


def locked(lock: str) -> dict[str, str]:
    """The pinned version of each package of a lock."""
    pins = re.findall(r"^([\w.-]+)==([^\s;]+)", (ROOT / lock).read_text(), re.MULTILINE)
    return dict(pins)


@pytest.mark.parametrize("lock", ["requirements.lock", "service/requirements.lock"])
@pytest.mark.parametrize("folder", ["clients/python", "service"])
def test_the_lock_satisfies_what_is_declared(lock: str, folder: str) -> None:
    """A dependency that was added without `make lock` is missing on a fresh clone."""
    declared = pyproject(folder)["dependencies"]
    assert isinstance(declared, list)
    pins = locked(lock)
    ours = {"assetd", "assetd-server"}
    requirements = [Requirement(line) for line in declared]
    unsatisfied = [
        str(r)
        for r in requirements
        if r.name not in ours and not r.specifier.contains(pins.get(r.name, "0"))
    ]
    assert unsatisfied == []


def test_the_image_runs_what_the_tests_ran() -> None:
    """What is locked for the image is locked alike for development."""
    development = locked("requirements.lock")
    assert locked("service/requirements.lock").items() <= development.items()


def test_client_and_server_have_one_version() -> None:
    """They are released together, and each names the other's exact version."""
    version = pyproject("service")["version"]
    assert pyproject("clients/python")["version"] == version
    assert f"assetd=={version}" in str(pyproject("service")["dependencies"])
    assert f"assetd-server=={version}" in str(pyproject("clients/python")["optional-dependencies"])
