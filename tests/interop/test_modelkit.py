"""assetd and the real modelkit 0.1.3 on one store and one ASSETS_DIR, in both directions.

Every combination of a directory or S3 as the store, a file or a folder as the asset, and both
versioning systems.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest
from assetd import Client, Verification

from tests.support.daemon import Daemon, Daemons, running_daemons
from tests.support.modelkit import PYTHON, Modelkit, ModelkitError, running_modelkit
from tests.support.trees import MARKER, Tree, read_tree, write_tree
from tests.support.versitygw import S3Server

pytestmark = [
    pytest.mark.needs_program("versitygw", str(PYTHON)),
    pytest.mark.xdist_group("modelkit"),
]

NO_STORE: dict[str, str] = {}
BUCKET = "models"
PREFIX = "some/prefix"
SYSTEMS = ("major_minor", "simple_date")
# Older than any clock that these tests run by: what assetd pushes next is newer.
VERSIONS = {
    "major_minor": ("0.0", "0.1"),
    "simple_date": ("2021-03-04T05-06-07Z", "2021-03-04T05-06-08Z"),
}
SHAPES: dict[str, tuple[Tree, Tree]] = {
    "file": ({"": b"first\n" * 5000}, {"": b""}),
    "directory": (
        {"content0": b"first", "sub/content1": b"\x00\xff" * 70_000, "sub/deeper/empty": b""},
        {"content0": b"second", "sub/a b": "\u00e4\u00f6".encode(), "other/x.y": b"x"},
    ),
}


@dataclass(frozen=True)
class SharedStore:
    """One store, as modelkit's variables describe it; they are all that assetd needs too."""

    kind: str
    variables: dict[str, str]


@dataclass(frozen=True)
class Combination:
    """One store, one versioning system, and the daemon that runs on both."""

    store: SharedStore
    system: str
    daemon: Daemon
    client: Client

    @property
    def variables(self) -> dict[str, str]:
        """What modelkit is told: the store and the versioning system."""
        return {**self.store.variables, **self.alone}

    @property
    def alone(self) -> dict[str, str]:
        """The same without the store."""
        return {**NO_STORE, "MODELKIT_ASSETS_VERSIONING_SYSTEM": self.system}

    @property
    def versions(self) -> tuple[str, str]:
        """Two versions, the older first."""
        return VERSIONS[self.system]


class Combine(Protocol):
    """Gives the combination of a kind of store and a versioning system."""

    def __call__(self, kind: str, system: str) -> Combination: ...


@pytest.fixture(scope="module")
def modelkit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Modelkit]:
    """One process of the real modelkit."""
    with running_modelkit(tmp_path_factory.mktemp("modelkit") / "log") as modelkit:
        yield modelkit


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory, s3_server: S3Server) -> dict[str, SharedStore]:
    """A plain directory, and a bucket of a real S3 server."""
    bucket = tmp_path_factory.mktemp("bucket")
    # The daemon makes the last folder alone, and any of these tests may be a process's first.
    (bucket / PREFIX).mkdir(parents=True)
    s3_server.make_bucket(BUCKET)
    local = {"PROVIDER": "local", "BUCKET": str(bucket), "PREFIX": PREFIX}
    s3 = {"PROVIDER": "s3", "BUCKET": BUCKET, "PREFIX": PREFIX}
    return {
        "local": SharedStore("local", _modelkits(local)),
        "s3": SharedStore("s3", _modelkits(s3) | s3_server.environment),
    }


def _modelkits(values: dict[str, str]) -> dict[str, str]:
    return {f"MODELKIT_STORAGE_{name}": value for name, value in values.items()}


@pytest.fixture(scope="module")
def combine(
    tmp_path_factory: pytest.TempPathFactory, stores: dict[str, SharedStore]
) -> Iterator[Combine]:
    """A daemon for each combination, started when it is first needed."""
    made: dict[tuple[str, str], Combination] = {}
    with ExitStack() as stack:
        daemons = stack.enter_context(running_daemons(tmp_path_factory.mktemp("combinations")))

        def combine(kind: str, system: str) -> Combination:
            if (kind, system) not in made:
                versioning = {"MODELKIT_ASSETS_VERSIONING_SYSTEM": system}
                daemon = daemons(variables=stores[kind].variables | versioning)
                client = stack.enter_context(daemon.client())
                made[kind, system] = Combination(stores[kind], system, daemon, client)
            return made[kind, system]

        yield combine


@pytest.fixture(params=["local", "s3"])
def kind(request: pytest.FixtureRequest) -> str:
    """The kind of store."""
    return str(request.param)


@pytest.fixture(params=SYSTEMS)
def combination(request: pytest.FixtureRequest, kind: str, combine: Combine) -> Combination:
    """A store, a versioning system, a daemon."""
    return combine(kind, str(request.param))


@pytest.fixture(params=SHAPES)
def shape(request: pytest.FixtureRequest) -> str:
    """The shape of the asset."""
    return str(request.param)


@pytest.fixture
def name(shape: str, combination: Combination, request: pytest.FixtureRequest) -> str:
    """The name of an asset that no other test uses."""
    return f"{combination.system}/{shape}/{request.node.originalname.removeprefix('test_')}"


@pytest.fixture
def sources(shape: str, tmp_path: Path) -> tuple[Path, Path]:
    """What the two versions of the asset are made of, on disk."""
    roots = (tmp_path / "first", tmp_path / "second")
    for root, tree in zip(roots, SHAPES[shape], strict=True):
        if shape == "file":
            root.write_bytes(tree[""])
        else:
            write_tree(root, tree)
    return roots


def push_with_modelkit(
    modelkit: Modelkit, combination: Combination, name: str, sources: tuple[Path, Path]
) -> None:
    """Push both versions, as new and as an update."""
    for source, version, new in zip(sources, combination.versions, (True, False), strict=True):
        modelkit.push(source, name, version, combination.variables, new=new)


def marker_of(path: Path) -> Path:
    """Where modelkit looks whether a version is complete."""
    return path / MARKER if path.is_dir() else path.with_name(f".{path.name}{MARKER}")


def test_what_modelkit_pushed_assetd_fetches(
    modelkit: Modelkit,
    combination: Combination,
    shape: str,
    name: str,
    sources: tuple[Path, Path],
) -> None:
    """What modelkit pushed, assetd fetches, byte for byte.

    The newest, each by its version, and on a repeat from the cache.
    """
    push_with_modelkit(modelkit, combination, name, sources)
    older, newer = combination.versions
    for spec, version, tree in [
        (name, newer, SHAPES[shape][1]),
        (f"{name}:{newer}", newer, SHAPES[shape][1]),
        (f"{name}:{older}", older, SHAPES[shape][0]),
    ]:
        asset = combination.client.fetch(spec)
        assert asset.version == version
        assert read_tree(asset.path) == dict(tree)
        # modelkit leaves nothing to compare with but sizes, and the answer says so.
        assert (asset.verification, asset.digest) == (Verification.SIZE, "")


def test_what_assetd_pushed_modelkit_fetches(
    modelkit: Modelkit,
    combination: Combination,
    shape: str,
    name: str,
    sources: tuple[Path, Path],
    tmp_path: Path,
) -> None:
    """What assetd pushed, modelkit fetches, byte for byte.

    The newest, and each by its version.
    """
    pushed = [combination.client.push(source, name) for source in sources]
    assert len(set(pushed)) == 2
    if combination.system == "major_minor":
        assert pushed == ["0.0", "0.1"]
    fetched = modelkit.fetch(name, tmp_path / "modelkits", combination.variables)
    assert (fetched.version, fetched.from_cache) == (pushed[1], False)
    for version, tree in zip(pushed, SHAPES[shape], strict=True):
        spec = f"{name}:{version}"
        fetched = modelkit.fetch(spec, tmp_path / "modelkits", combination.variables)
        assert read_tree(fetched.path) == dict(tree)


def test_each_updates_what_the_other_pushed(
    modelkit: Modelkit,
    combination: Combination,
    shape: str,
    name: str,
    sources: tuple[Path, Path],
    tmp_path: Path,
) -> None:
    """The index that both write stays whole, newest first."""
    first, second = sources
    modelkit.push(first, name, combination.versions[0], combination.variables, new=True)
    ours = combination.client.push(second, name, update=True)
    following = {"major_minor": "0.2", "simple_date": "2999-01-01T00-00-00Z"}[combination.system]
    modelkit.push(first, name, following, combination.variables, new=False)
    entries = [entry for page in combination.client.list(name) for entry in page.entries]
    listed = [entry.asset_version.version for entry in entries if entry.asset_version.name == name]
    assert listed == [following, ours, combination.versions[0]]
    assert modelkit.fetch(name, tmp_path / "theirs", combination.variables).version == following
    assert read_tree(combination.client.fetch(name).path) == dict(SHAPES[shape][0])


def test_a_tree_that_assetd_filled_serves_modelkit(
    modelkit: Modelkit,
    combination: Combination,
    shape: str,
    name: str,
    sources: tuple[Path, Path],
) -> None:
    """A tree that assetd filled serves modelkit, with a store and without one.

    Without a store as the newest there; with one from the cache, by the marker.
    """
    older, newer = [combination.client.push(source, name) for source in sources]
    tree = combination.daemon.assets_dir
    paths = [combination.client.fetch(f"{name}:{version}").path for version in (older, newer)]
    assert [modelkit.fetch(name, tree, combination.alone).path] == [paths[1]]
    for version, path in zip((older, newer), paths, strict=True):
        for variables in (combination.alone, combination.variables):
            fetched = modelkit.fetch(f"{name}:{version}", tree, variables)
            assert (fetched.path, fetched.from_cache) == (path, True)
    assert [read_tree(path) for path in paths] == [dict(tree) for tree in SHAPES[shape]]
    if shape == "directory":
        part = f"{name}:{older}[sub/content1]"
        assert modelkit.fetch(part, tree, combination.alone).path == paths[0] / "sub/content1"
        assert combination.client.fetch(part).path == paths[0] / "sub/content1"


def test_markers_stand_where_modelkit_puts_them(
    modelkit: Modelkit,
    combination: Combination,
    name: str,
    sources: tuple[Path, Path],
    tmp_path: Path,
) -> None:
    """`.0.0.SUCCESS` beside a file, `.SUCCESS` inside a folder, and nothing else of either's."""
    push_with_modelkit(modelkit, combination, name, sources)
    theirs = modelkit.fetch(name, tmp_path / "theirs", combination.variables).path
    ours = combination.client.fetch(name).path
    expected = [path.relative_to(theirs.parent) for path in theirs.parent.rglob("*")]
    assert sorted(path.relative_to(ours.parent) for path in ours.parent.rglob("*")) == sorted(
        expected
    )
    assert marker_of(theirs).is_file()
    assert marker_of(ours).is_file()


def test_a_tree_that_modelkit_filled_is_adopted(
    modelkit: Modelkit,
    combination: Combination,
    shape: str,
    name: str,
    sources: tuple[Path, Path],
) -> None:
    """A tree that modelkit filled is adopted: nothing is downloaded again.

    Not one inode changes, and then it is a hit.
    """
    push_with_modelkit(modelkit, combination, name, sources)
    fetched = modelkit.fetch(name, combination.daemon.assets_dir, combination.variables)
    before = fetched.path.stat()
    adopted = combination.client.fetch(name)
    assert adopted.path == fetched.path
    assert (adopted.transferred_bytes, adopted.source) == (0, "cache")
    assert adopted.path.stat().st_ino == before.st_ino
    assert read_tree(adopted.path) == dict(SHAPES[shape][1])
    assert marker_of(adopted.path).read_bytes() != b""
    # The marker is a receipt now, and modelkit still takes it for one of its own.
    again = modelkit.fetch(name, combination.daemon.assets_dir, combination.variables)
    assert (again.path, again.from_cache) == (adopted.path, True)


def test_a_damaged_tree_of_modelkit_is_repaired(
    modelkit: Modelkit,
    combination: Combination,
    shape: str,
    name: str,
    sources: tuple[Path, Path],
) -> None:
    """A marker of modelkit's promises nothing: what has another size is fetched again."""
    push_with_modelkit(modelkit, combination, name, sources)
    spec = f"{name}:{combination.versions[0]}"
    fetched = modelkit.fetch(spec, combination.daemon.assets_dir, combination.variables)
    damaged = fetched.path if shape == "file" else fetched.path / "sub/content1"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    repaired = combination.client.fetch(spec)
    assert repaired.transferred_bytes > 0
    assert read_tree(repaired.path) == dict(SHAPES[shape][0])


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_tree_that_modelkit_filled_is_served_without_a_store(
    modelkit: Modelkit,
    combine: Combine,
    daemons: Daemons,
    system: str,
    tmp_path: Path,
) -> None:
    """Without a store a tree that modelkit filled is served, marked or not, as not verified.

    The newest there, as modelkit serves it.
    """
    combination = combine("local", system)
    tree = tmp_path / "tree"
    for shape, versions in SHAPES.items():
        asset, roots = f"{system}/{shape}", []
        for number, content in enumerate(versions):
            root = tmp_path / f"{shape}{number}"
            write_tree(root, content) if shape == "directory" else root.write_bytes(content[""])
            roots.append(root)
        push_with_modelkit(modelkit, combination, asset, (roots[0], roots[1]))
        for version in combination.versions:
            modelkit.fetch(f"{asset}:{version}", tree, combination.variables)
        # Users forget it, and modelkit without a store never looks.
        marker_of(tree / asset / combination.versions[1]).unlink()
    daemon = daemons(assets_dir=tree)
    with daemon.client() as client:
        for shape, versions in SHAPES.items():
            asset = f"{system}/{shape}"
            theirs = modelkit.fetch(asset, tree, combination.alone)
            ours = client.fetch(asset)
            assert (ours.path, ours.version) == (theirs.path, theirs.version)
            assert ours.version == combination.versions[1]
            assert ours.verification is Verification.NONE
            assert read_tree(ours.path) == dict(versions[1])
            older = client.fetch(f"{asset}:{combination.versions[0]}")
            assert read_tree(older.path) == dict(versions[0])


def test_modelkits_variables_alone_start_the_daemon(
    stores: dict[str, SharedStore], kind: str, daemons: Daemons, tmp_path: Path
) -> None:
    """The variables of a modelkit deployment start the daemon as they are.

    They name directory, store and endpoint.
    """
    assets_dir = tmp_path / "assets"
    theirs = {**stores[kind].variables, "MODELKIT_ASSETS_DIR": str(assets_dir), "ASSETS_DIR": ""}
    daemon = daemons(assets_dir=assets_dir, variables=theirs)
    (tmp_path / "file").write_bytes(b"content")
    with daemon.client() as client:
        name = f"variables/{kind}"
        assert client.push(tmp_path / "file", name, new=True) == "0.0"
        assert client.fetch(name).path == assets_dir / name / "0.0"
        store = client.status().store
    if kind == "s3":
        assert store == f"s3://{BUCKET}/{PREFIX}"
    else:
        bucket = Path(stores[kind].variables["MODELKIT_STORAGE_BUCKET"])
        assert store == f"file://{bucket}/{PREFIX}"
        assert (bucket / PREFIX / f"{name}.versions").is_file()


def test_modelkit_cannot_replace_what_assetd_pushed(
    modelkit: Modelkit, kind: str, combine: Combine, tmp_path: Path
) -> None:
    """What assetd pushed exists for modelkit, and cannot be replaced through it."""
    combination = combine(kind, "major_minor")
    source = tmp_path / "file"
    source.write_bytes(b"ours")
    combination.client.push(source, "kept/file")
    with pytest.raises(ModelkitError, match="AlreadyExists"):
        modelkit.push(source, "kept/file", "0.0", combination.variables, new=True)
    with pytest.raises(ModelkitError, match="AlreadyExists"):
        modelkit.push(source, "kept/file", "0.0", combination.variables, new=False)
