"""A real daemon whose cache is full: who goes, who stays, and what is told.

Cases 23, 24 and 58 of docs/faults.md. The rules, one by one, are in `tests/unit/assets`.
"""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from assetd import AssetExceedsCacheError, CacheFullError, Client

from tests.support.command_line import run
from tests.support.daemon import EAGER, Daemon, Daemons
from tests.support.holding import holding
from tests.support.trees import write_tree

SIZE = 100_000
LIMIT = 250_000
NAMES = ("a", "b", "c", "d")
LIMITS = {
    "ASSETD_CACHE_MAX_BYTES": str(LIMIT),
    "ASSETD_CACHE_MIN_AGE": "0s",
    "ASSETD_RESTART_GRACE": "0s",
}
FULL, PRECONDITION = 6, 8


@pytest.fixture
def daemon(daemons: Daemons, tmp_path: Path) -> Daemon:
    """A daemon whose cache holds two of the store's versions, and no third."""
    filler = daemons(assets_dir=tmp_path / "filler", store=tmp_path / "store")
    sources = {name: name.encode() * SIZE for name in NAMES} | {"large": b"l" * (LIMIT + 1)}
    write_tree(tmp_path / "sources", sources)
    with filler.client() as client:
        for name in sources:
            client.push(tmp_path / "sources" / name, f"x/{name}")
    return daemons(assets_dir=tmp_path / "assets", store=tmp_path / "store", variables=LIMITS)


@pytest.fixture
def client(daemon: Daemon) -> Iterator[Client]:
    """A client that asks for each fetch."""
    with daemon.client() as client:
        yield client


def fetch(client: Client, *names: str) -> None:
    """Fetch these, in this order."""
    for name in names:
        client.fetch(f"x/{name}:0.0")


def present(daemon: Daemon) -> list[str]:
    """The names that are complete for whoever looks at the tree."""
    markers = daemon.assets_dir.glob("x/*/.0.0.SUCCESS")
    return sorted(marker.parent.name for marker in markers)


def test_a_full_cache_makes_room(daemon: Daemon, client: Client) -> None:
    """The least recently used goes, whole; the disk never has more than the limit."""
    fetch(client, "a", "b", "a", "c")
    assert present(daemon) == ["a", "c"]
    status = client.status()
    assert (status.used_bytes, status.limit_bytes) == (2 * SIZE, LIMIT)
    assert not (daemon.assets_dir / "x/b/0.0").exists()
    assert daemon.leftovers() == []


def test_what_streams_and_processes_hold_stays(daemon: Daemon, client: Client) -> None:
    """CACHE_FULL names the figures and the holders; when a holder dies, its version may go."""
    with client.fetch("x/a:0.0", hold=True):
        fetch(client, "b")
        with holding(daemon.assets_dir / "x/b/0.0") as holder:
            assert holder.read_line() == "held"
            with pytest.raises(CacheFullError) as refused:
                fetch(client, "c")
            told = refused.value.metadata
            assert (told["needed_bytes"], told["free_bytes"]) == (str(SIZE), str(LIMIT - 2 * SIZE))
            assert told["evictable_bytes"] == "0"
            assert "x/a:0.0 by test" in told["holders"]
            assert "x/b:0.0 by another process" in told["holders"]
            ended = run("fetch", "x/c:0.0", address=daemon.address)
            assert (ended.code, present(daemon)) == (FULL, ["a", "b"])
            holder.process.send_signal(signal.SIGKILL)
            holder.process.wait()
        fetch(client, "c")
        assert present(daemon) == ["a", "c"]


def test_what_never_fits_is_another_refusal(daemon: Daemon, client: Client) -> None:
    """ASSET_EXCEEDS_CACHE before its first byte, and nothing goes for it."""
    fetch(client, "a", "b")
    with pytest.raises(AssetExceedsCacheError) as refused:
        fetch(client, "large")
    assert refused.value.metadata["limit_bytes"] == str(LIMIT)
    ended = run("fetch", "x/large", address=daemon.address)
    assert (ended.code, present(daemon)) == (PRECONDITION, ["a", "b"])


def test_pins_and_the_order_of_use_outlive_the_daemon(daemon: Daemon, client: Client) -> None:
    """After a restart the pinned one stays, and of the others the least recently used goes."""
    fetch(client, "a", "b")
    client.pin("x/a:0.0")
    daemon.stop()
    daemon.start()
    # gRPC shares the line to the address, and has to learn that its other end is another daemon.
    with daemon.client(EAGER) as successors:
        fetch(successors, "c")
        assert present(daemon) == ["a", "c"]
        successors.unpin("x/a:0.0")
        fetch(successors, "c", "d")
    assert present(daemon) == ["c", "d"]


def test_a_limit_that_is_lowered_below_what_is_held(daemons: Daemons, daemon: Daemon) -> None:
    """Nothing that is held goes; the figures say what is too much, and what is free to go goes."""
    with daemon.client() as client:
        fetch(client, "a", "b")
    daemon.stop()
    lower = LIMITS | {"ASSETD_CACHE_MAX_BYTES": str(SIZE)}
    store = daemon.assets_dir.parent / "store"
    second = daemons(assets_dir=daemon.assets_dir, store=store, variables=lower)
    with second.client() as client, client.fetch("x/a:0.0", hold=True):
        assert client.status().used_bytes == 2 * SIZE
        with pytest.raises(CacheFullError):
            fetch(client, "c")
        assert "a" in present(second)


def test_the_figures_follow_whoever_edits_the_tree(daemon: Daemon, client: Client) -> None:
    """Removed by hand while the daemon runs: the status knows, and the room is there again."""
    fetch(client, "a", "b")
    for name in (".0.0.SUCCESS", "0.0"):
        (daemon.assets_dir / "x/a" / name).unlink()
    status = client.status()
    assert (status.used_bytes, status.version_count) == (SIZE, 1)
    fetch(client, "c")
    assert present(daemon) == ["b", "c"]


def test_operators_evict_what_nobody_keeps(daemon: Daemon, client: Client) -> None:
    """A dry run says what would go; then it does, but for the pinned and the held."""
    fetch(client, "a", "b")
    client.pin("x/b:0.0")
    told = run("evict", "--all", "--dry-run", address=daemon.address)
    assert (told.code, present(daemon)) == (0, ["a", "b"])
    done = run("evict", "--all", address=daemon.address)
    assert (done.code, present(daemon)) == (0, ["b"])
    assert "pinned" in done.out.lower()
