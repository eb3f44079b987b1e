"""A real daemon whose system calls fail, by strace, or that has no descriptor left.

Each call in turn fails in process, in `test_failing_calls.py`.
"""

import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from assetd import (
    AssetdError,
    DiskFullError,
    IoError,
    StoreUnavailableError,
    TooManyRequestsError,
)

from tests.support.daemon import Daemon, Daemons
from tests.support.straced import failing
from tests.support.trees import read_tree, write_tree

TREE = {"config.json": b"{}", "sub/weights": b"weights" * 9000, "sub/empty": b""}
MANY = {f"part{number}": b"%d" % number for number in range(40)}
FAILURES: list[tuple[str, str, type[AssetdError]]] = [
    ("pwritev2", "EIO", IoError),
    ("pwritev2", "EDQUOT", DiskFullError),
    ("fsync", "EIO", IoError),
    ("renameat", "EIO", IoError),
    ("mkdirat", "ENOSPC", DiskFullError),
    ("openat2", "EMFILE", TooManyRequestsError),
    ("openat2", "EIO", IoError),
]


@pytest.fixture
def daemon(daemons: Daemons, tmp_path: Path) -> Daemon:
    """A daemon with an empty ASSETS_DIR, over a store with two folders."""
    store = tmp_path / "store"
    with daemons(assets_dir=tmp_path / "filler", store=store).client() as client:
        client.push(write_tree(tmp_path / "tree", TREE), "some/folder")
        client.push(write_tree(tmp_path / "many", MANY), "many/files")
    return daemons(store=store)


@pytest.mark.needs_program("strace")
def test_system_calls_that_fail(daemon: Daemon) -> None:
    """The error's reason reaches the caller, nothing is shown or kept, and a repeat succeeds."""
    folder = daemon.assets_dir / "some/folder"
    with daemon.client() as client:
        for system_call, error, expected in FAILURES:
            with failing(daemon.pid, system_call, error), pytest.raises(expected):
                client.fetch("some/folder")
            assert not (folder / "0.0").exists()
            assert daemon.leftovers() == []
            assert read_tree(client.fetch("some/folder", verify=True).path) == TREE
            assert daemon.leftovers() == []
            shutil.rmtree(folder)
    # What nobody has foreseen leaves its traceback in the log, and only there.
    told = [line for line in daemon.log_lines() if "exception" in line]
    assert len(told) == [expected for _, _, expected in FAILURES].count(IoError)
    daemon.kill()


@contextmanager
def few_descriptors(daemon: Daemon, more: int) -> Iterator[None]:
    """Let the daemon open no more than so many descriptors beside those that it has."""
    limits = resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE)
    highest = max(int(path.name) for path in Path(f"/proc/{daemon.pid}/fd").iterdir())
    resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (highest + 1 + more, limits[1]))
    try:
        yield
    finally:
        resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, limits)


def test_no_descriptor_left(daemon: Daemon) -> None:
    """TOO_MANY_REQUESTS, nothing is shown; hits and the status still work; alone, it recovers."""
    with daemon.client() as client:
        hit = client.fetch("some/folder").path
        before = len([*Path(f"/proc/{daemon.pid}/fd").iterdir()])
        with few_descriptors(daemon, more=4):
            # Whoever needs the next one first: the cache, or the store, which is a folder too.
            with pytest.raises((TooManyRequestsError, StoreUnavailableError)):
                client.fetch("many/files")
            assert client.status().version_count == 1
            assert client.fetch("some/folder").path == hit
        assert not (daemon.assets_dir / "many/files/0.0").exists()
        assert read_tree(client.fetch("many/files", verify=True).path) == MANY
        assert daemon.leftovers() == []
        assert len([*Path(f"/proc/{daemon.pid}/fd").iterdir()]) <= before
