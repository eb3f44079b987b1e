"""Leases of processes that know nothing of assetd, wherever they live and however they end.

Cases 52, 54 and 55 of docs/faults.md.
"""

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from assetd import AssetInUseError, Client

from tests.support.daemon import Daemons
from tests.support.holding import (
    CONTAINER,
    holding,
    read_only_container,
    require_namespaces,
)
from tests.support.trees import read_tree, write_tree
from tests.support.waiting import wait_until

TREE = {"config.json": b"{}", "sub/weights": b"weights"}
SPEC = "some/folder:0.0"


@dataclass(frozen=True)
class Cached:
    """A version that a daemon has in its cache."""

    client: Client
    assets_dir: Path
    path: Path

    def damage(self) -> None:
        """Make it one that has to be replaced."""
        (self.path / "config.json").unlink()

    def require_in_use(self) -> None:
        """Check that nobody may replace it, and that nothing of it changes."""
        before = read_tree(self.path)
        with pytest.raises(AssetInUseError):
            self.client.fetch(SPEC)
        assert read_tree(self.path) == before
        assert self.client.status().leased_count == 1

    def require_free(self) -> None:
        """Check that it can be replaced."""
        assert self.client.status().leased_count == 0
        assert read_tree(self.client.fetch(SPEC).path) == TREE


@pytest.fixture
def cached(daemons: Daemons, tmp_path: Path) -> Iterator[Cached]:
    """A folder, fetched, of which somebody deleted a part."""
    daemon = daemons(store=tmp_path / "store")
    with daemon.client() as client:
        client.push(write_tree(tmp_path / "source", TREE), "some/folder")
        cached = Cached(client, daemon.assets_dir, client.fetch(SPEC).path)
        cached.damage()
        yield cached


def test_a_lease_of_another_container_counts(cached: Cached) -> None:
    """A lease counts wherever its process lives: in another container as well."""
    require_namespaces()
    with holding(cached.path, within=CONTAINER) as holder:
        assert holder.read_line() == "held"
        cached.require_in_use()
        holder.let_go()
    cached.require_free()


def test_a_lease_on_a_read_only_mount_counts(cached: Cached, tmp_path: Path) -> None:
    """A lease needs no right to write: a reader on a read-only mount takes one like any other."""
    require_namespaces()
    (tmp_path / "elsewhere").mkdir()
    within = read_only_container(cached.assets_dir, tmp_path / "elsewhere")
    path = tmp_path / "elsewhere" / cached.path.relative_to(cached.assets_dir)
    with holding(path, within=within) as holder:
        assert holder.read_line() == "held"
        cached.require_in_use()
        holder.let_go()
    cached.require_free()


def test_a_lease_ends_with_its_process(cached: Cached) -> None:
    """A lease ends with the process that took it, by whatever death."""
    with holding(cached.path) as holder:
        assert holder.read_line() == "held"
        cached.require_in_use()
        holder.process.kill()
        holder.process.wait()
        cached.require_free()


def test_a_process_that_is_stopped_keeps_its_lease(cached: Cached) -> None:
    """A process that is stopped still uses what it has leased."""
    with holding(cached.path) as holder:
        assert holder.read_line() == "held"
        holder.process.send_signal(signal.SIGSTOP)
        cached.require_in_use()
        holder.process.send_signal(signal.SIGCONT)
        holder.let_go()
    cached.require_free()


def test_a_child_keeps_the_lease_of_its_parent(cached: Cached) -> None:
    """A lease that a process hands to its child lasts until both have ended."""
    with holding(cached.path, "fork") as holder:
        child = int(holder.read_line())
        assert holder.read_line() == "held"
        holder.process.wait()
        cached.require_in_use()
        os.kill(child, signal.SIGKILL)
        wait_until(lambda: not cached.client.status().leased_count, "the end of the lease")
        cached.require_free()


def test_who_reads_without_a_lease_keeps_its_bytes(cached: Cached) -> None:
    """Nothing at a final path is written in place: an open file keeps its bytes."""
    with (cached.path / "sub/weights").open("rb") as reader:
        before = os.fstat(reader.fileno()).st_ino
        cached.require_free()
        assert (cached.path / "sub/weights").stat().st_ino != before
        assert reader.read() == TREE["sub/weights"]
