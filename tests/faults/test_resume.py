"""Interrupted downloads of a real daemon: what had come does not come over the line again."""

import random
import shutil
import signal
from pathlib import Path

import pytest
from assetd import Asset

from tests.support.command_line import start
from tests.support.daemon import EAGER, Daemon, Daemons
from tests.support.proxied_store import ProxiedStore
from tests.support.trees import read_tree, sha256_of, write_random_file, write_tree
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.needs_program("versitygw"), pytest.mark.xdist_group("resume")]

MIB = 1 << 20
SIZE_BYTES = 40 * MIB
RATE_BYTES_PER_SECOND = 48 * MIB
CONNECTIONS = 4
SETTINGS = {"ASSETD_RANGE_BYTES": "1MiB", "ASSETD_CONNECTIONS": str(CONNECTIONS)}
UNDER_WAY_BYTES = CONNECTIONS * MIB
# Beside the asset: manifests, and the headers of every answer.
OVERHEAD_BYTES = MIB // 4
KILLS = 6
SEED = 11
SPEC = "big/asset:0.0"


@pytest.fixture
def daemon(daemons: Daemons, slow_store: ProxiedStore, tmp_path: Path) -> Daemon:
    """A daemon whose store, with one large asset, is behind a slow line."""
    write_random_file(tmp_path / "source", SIZE_BYTES, seed=SEED)
    slow_store.fill(daemons, tmp_path / "filler", {"big/asset": tmp_path / "source"})
    slow_store.proxy.rate_bytes_per_second = RATE_BYTES_PER_SECOND
    return daemons(store=slow_store.url, variables=slow_store.through_proxy | SETTINGS)


def wait_for_bytes(daemon: Daemon, store: ProxiedStore, count: int) -> None:
    """Wait until so many have come over the line, or all has."""
    wait_until(
        lambda: store.proxy.bytes_from_upstream >= count or is_present(daemon), f"{count} bytes"
    )


def is_present(daemon: Daemon) -> bool:
    """Whether the version stands."""
    return (daemon.assets_dir / "big/asset/0.0").exists()


def fetch(daemon: Daemon, store: ProxiedStore) -> Asset:
    """Fetch at full speed, and check what stands and what is left."""
    store.proxy.rate_bytes_per_second = None
    with daemon.client(EAGER) as client:
        asset = client.fetch(SPEC)
    assert sha256_of(asset.path) == sha256_of(daemon.assets_dir.with_name("source"))
    assert daemon.leftovers() == []
    return asset


@pytest.mark.timeout(240)
def test_a_kill_at_a_random_byte_costs_the_ranges_under_way(
    daemon: Daemon, slow_store: ProxiedStore
) -> None:
    """Over a kill at a random byte only the ranges under way are fetched twice.

    Bytes over the line, both runs together: the size and the ranges in flight, no more.
    """
    source, proxy, kept = random.Random(SEED), slow_store.proxy, 0
    for _ in range(KILLS):
        before = proxy.bytes_from_upstream
        caller = start("fetch", SPEC, address=daemon.address)
        wait_for_bytes(daemon, slow_store, before + source.randrange(SIZE_BYTES))
        daemon.kill()
        caller.kill()
        caller.communicate()
        daemon.start()
        asset = fetch(daemon, slow_store)
        came = proxy.bytes_from_upstream - before
        assert came <= SIZE_BYTES + UNDER_WAY_BYTES + OVERHEAD_BYTES
        assert asset.transferred_bytes + asset.reused_bytes == SIZE_BYTES
        kept += asset.reused_bytes > 0
        shutil.rmtree(daemon.assets_dir / "big")
        proxy.rate_bytes_per_second = RATE_BYTES_PER_SECOND
    assert kept >= KILLS // 2


def test_callers_that_leave_cost_the_ranges_under_way(
    daemon: Daemon, slow_store: ProxiedStore
) -> None:
    """When nobody waits any more the download ends, and what has come is kept for the next one.

    Ctrl-C of the only caller: the download ends at once, and the next one goes on with it.
    """
    before = slow_store.proxy.bytes_from_upstream
    caller = start("fetch", SPEC, address=daemon.address)
    wait_for_bytes(daemon, slow_store, before + SIZE_BYTES // 2)
    caller.send_signal(signal.SIGINT)
    caller.communicate(timeout=60)
    with daemon.client() as client:
        wait_until(lambda: not client.status().flights, "the end of the download")
    assert daemon.leftovers() == daemon.kept_downloads() != []
    asset = fetch(daemon, slow_store)
    came = slow_store.proxy.bytes_from_upstream - before
    assert came <= SIZE_BYTES + UNDER_WAY_BYTES + OVERHEAD_BYTES
    assert asset.reused_bytes >= SIZE_BYTES // 2 - UNDER_WAY_BYTES - OVERHEAD_BYTES


def test_a_line_that_stays_cut_costs_the_ranges_under_way(
    daemon: Daemon, slow_store: ProxiedStore
) -> None:
    """The fetch fails when the store does not come back, and the next one goes on, over a stop."""
    proxy = slow_store.proxy
    before = proxy.bytes_from_upstream
    caller = start("fetch", SPEC, address=daemon.address)
    wait_for_bytes(daemon, slow_store, before + SIZE_BYTES // 2)
    proxy.refuses = True
    proxy.cut()
    _, errors = caller.communicate(timeout=120)
    assert "(STORE_UNAVAILABLE)" in errors
    assert daemon.leftovers() == daemon.kept_downloads() != []
    proxy.refuses = False
    daemon.stop()
    daemon.start()
    fetch(daemon, slow_store)
    came = proxy.bytes_from_upstream - before
    assert came <= SIZE_BYTES + UNDER_WAY_BYTES + OVERHEAD_BYTES


def test_what_is_too_old_is_swept(
    daemons: Daemons, slow_store: ProxiedStore, tmp_path: Path
) -> None:
    """ASSETD_STAGING_MAX_AGE after the last byte, while the daemon runs."""
    write_random_file(tmp_path / "source", SIZE_BYTES, seed=SEED)
    slow_store.fill(daemons, tmp_path / "filler", {"big/asset": tmp_path / "source"})
    slow_store.proxy.rate_bytes_per_second = RATE_BYTES_PER_SECOND
    variables = slow_store.through_proxy | SETTINGS | {"ASSETD_STAGING_MAX_AGE": "1s"}
    daemon = daemons(store=slow_store.url, variables=variables)
    before = slow_store.proxy.bytes_from_upstream
    caller = start("fetch", SPEC, address=daemon.address)
    wait_for_bytes(daemon, slow_store, before + SIZE_BYTES // 2)
    caller.send_signal(signal.SIGINT)
    caller.communicate(timeout=60)
    wait_until(lambda: not daemon.leftovers(), "the sweep")


def test_a_second_version_brings_only_what_is_new(
    daemons: Daemons, slow_store: ProxiedStore, tmp_path: Path
) -> None:
    """Of ten parts nine are here already: one comes over the line, and no two files are one."""
    seeded = random.Random(SEED)
    old = {f"part{number}": seeded.randbytes(MIB + number) for number in range(10)}
    new = old | {"part3": seeded.randbytes(MIB)}
    daemon = daemons(store=slow_store.url, variables=slow_store.through_proxy)
    with daemon.client() as client:
        client.push(write_tree(tmp_path / "old", old), "big/folder")
        client.push(write_tree(tmp_path / "new", new), "big/folder")
        client.fetch("big/folder:0.0")
        before = slow_store.proxy.bytes_from_upstream
        asset = client.fetch("big/folder:0.1", verify=True)
    assert slow_store.proxy.bytes_from_upstream - before <= MIB + OVERHEAD_BYTES
    assert asset.transferred_bytes == MIB
    assert asset.reused_bytes == sum(map(len, new.values())) - MIB
    assert read_tree(asset.path) == new
    files = [path for path in (daemon.assets_dir / "big").rglob("part*") if path.is_file()]
    assert {path.stat().st_nlink for path in files} == {1}
    # Written to in place, as modelkit may, one version does not change the other.
    (daemon.assets_dir / "big/folder/0.0/part0").write_bytes(b"changed")
    assert read_tree(asset.path) == new
