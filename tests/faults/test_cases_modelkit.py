"""The real modelkit at work on the daemon's own ASSETS_DIR: its lock, its downloads, its deleting.

Cases 48, 49 and 125 of docs/faults.md.
"""

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from assetd import LockBusyError, Source

from tests.support.daemon import Daemon, Daemons
from tests.support.holding import read_only_container, require_namespaces
from tests.support.modelkit import PYTHON, Modelkit, ModelkitError, running_modelkit
from tests.support.proxied_store import BUCKET, ProxiedStore
from tests.support.trees import MARKER, read_tree, sha256_of, write_random_file, write_tree
from tests.support.waiting import wait_until

pytestmark = [
    pytest.mark.needs_program("versitygw", str(PYTHON)),
    pytest.mark.xdist_group("modelkit"),
]

TREE = {"config.json": b"{}", "sub/weights": b"weights" * 1000}
SIZE_BYTES = 8 << 20
# The lock that modelkit takes, by the library that it takes it with.
HOLDER = """
import sys
from filelock import FileLock
with FileLock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def modelkit(tmp_path: Path) -> Iterator[Modelkit]:
    """A process of the real modelkit."""
    with running_modelkit(tmp_path / "log") as modelkit:
        yield modelkit


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """What big/asset consists of."""
    write_random_file(tmp_path / "source", SIZE_BYTES, seed=49)
    return tmp_path / "source"


@pytest.fixture
def daemon(daemons: Daemons, slow_store: ProxiedStore, source: Path, tmp_path: Path) -> Daemon:
    """A daemon for which the store is behind the proxy, and has big/asset and some/folder."""
    folder = write_tree(tmp_path / "folder", TREE)
    slow_store.fill(daemons, tmp_path / "filler", {"big/asset": source, "some/folder": folder})
    variables = slow_store.through_proxy | {"ASSETD_LOCK_TIMEOUT": "200ms"}
    return daemons(store=slow_store.url, variables=variables)


def modelkits(store: ProxiedStore, **more: str) -> dict[str, str]:
    """How modelkit finds the same store, without the proxy."""
    ours = {"PROVIDER": "s3", "BUCKET": BUCKET, "PREFIX": "assets", **more}
    return store.direct | {f"MODELKIT_STORAGE_{name}": value for name, value in ours.items()}


@contextmanager
def modelkit_lock(assets_dir: Path, name: str) -> Iterator[None]:
    """Modelkit's lock of an asset, held by another process for the length of the block."""
    lock = assets_dir / f".cache/{name}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with subprocess.Popen(
        [PYTHON, "-c", HOLDER, lock], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield
        finally:
            process.stdin.close()
            process.wait()


def test_a_modelkit_that_hangs(daemon: Daemon) -> None:
    """While modelkit has its lock on an asset, hits go on and what has to be shown is LOCK_BUSY."""
    with daemon.client() as client:
        path = client.fetch("some/folder").path
        with modelkit_lock(daemon.assets_dir, "some/folder"):
            assert client.fetch("some/folder").path == path
            (path / "config.json").unlink()
            with pytest.raises(LockBusyError) as refused:
                client.fetch("some/folder")
            assert refused.value.metadata["lock"] == ".cache/some/folder.lock"
            # Another asset has a lock of its own.
            client.fetch("big/asset")
        assert read_tree(client.fetch("some/folder").path) == TREE


def test_modelkit_does_not_wait_for_a_download_of_ours(
    daemon: Daemon, slow_store: ProxiedStore, modelkit: Modelkit, source: Path
) -> None:
    """Modelkit's lock is free while the daemon downloads; whoever is first, the other takes it."""
    slow_store.proxy.rate_bytes_per_second = SIZE_BYTES // 64
    answers = []

    def fetch() -> None:
        with daemon.client() as client:
            answers.append(client.fetch("big/asset:0.0"))

    thread = threading.Thread(target=fetch)
    thread.start()
    with daemon.client() as client:
        wait_until(lambda: client.status().flights, "a download")
    theirs = modelkit.fetch("big/asset:0.0", daemon.assets_dir, modelkits(slow_store))
    inode = theirs.path.stat().st_ino
    slow_store.proxy.rate_bytes_per_second = None
    thread.join()
    (ours,) = answers
    assert ours.path == theirs.path
    assert ours.path.stat().st_ino == inode
    assert sha256_of(ours.path) == sha256_of(source)


@pytest.mark.parametrize("name", ["some/folder", "big/asset"])
def test_a_modelkit_that_always_downloads(
    daemon: Daemon, slow_store: ProxiedStore, modelkit: Modelkit, name: str
) -> None:
    """What a modelkit with FORCE_DOWNLOAD has deleted or written anew is looked at again."""
    spec = f"{name}:0.0"
    with daemon.client() as client:
        before = read_tree(client.fetch(spec).path)
        forced = modelkit.fetch(
            spec, daemon.assets_dir, modelkits(slow_store, FORCE_DOWNLOAD="True")
        )
        path = forced.path
        marker = path / MARKER if path.is_dir() else path.with_name(f".{path.name}{MARKER}")
        assert not marker.exists() or marker.read_bytes() == b""
        again = client.fetch(spec)
        assert (again.path, again.transferred_bytes) == (path, 0)
        assert marker.read_bytes() != b""
        assert read_tree(path) == before


@pytest.mark.parametrize("name", ["some/folder", "big/asset"])
def test_a_modelkit_that_may_not_write(
    daemon: Daemon, slow_store: ProxiedStore, tmp_path: Path, name: str
) -> None:
    """Where its mount is read-only a modelkit with FORCE_DOWNLOAD fails, and deletes nothing."""
    require_namespaces()
    elsewhere = tmp_path / "elsewhere"
    variables = modelkits(slow_store, FORCE_DOWNLOAD="True")
    with daemon.client() as client:
        path = client.fetch(f"{name}:0.0").path
        before, marker = read_tree(path), path / MARKER
        if path.is_file():
            marker = path.with_name(f".{path.name}{MARKER}")
        receipt = marker.read_bytes()
        within = read_only_container(daemon.assets_dir, elsewhere)
        with (
            running_modelkit(tmp_path / "log", within) as modelkit,
            pytest.raises(ModelkitError) as refused,
        ):
            modelkit.fetch(f"{name}:0.0", elsewhere, variables)
        assert "Read-only file system" in str(refused.value)
        assert (read_tree(path), marker.read_bytes()) == (before, receipt)
        again = client.fetch(f"{name}:0.0")
        assert (again.path, again.source) == (path, Source.CACHE)
