"""Partial versions of a real daemon: whole parts, whatever is killed, and never for modelkit."""

import json
import random
import shutil
import threading
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

import grpc
import pytest
from assetd.v1.asset_pb2 import CacheState, Source
from assetd.v1.asset_service_pb2 import FetchCompleted, FetchRequest, ListRequest
from assetd.v1.asset_service_pb2_grpc import AssetServiceStub

from tests.support.daemon import Daemon, Daemons
from tests.support.proxied_store import ProxiedStore
from tests.support.trees import read_tree, write_tree
from tests.support.waiting import wait_until

KILLS = 9
SEED = 4
RATE_BYTES_PER_SECOND = 12 * 10**6
# Small ranges, so that large parts are written by many at once.
RANGES = {"ASSETD_RANGE_BYTES": "1MiB"}
PARTS = ".assetd/partial/kill/parts/0.0/parts"


def make_tree() -> dict[str, bytes]:
    """Nested, small, large and empty parts."""
    source = random.Random(SEED)
    small = {f"small/{number}.json": source.randbytes(20_000) for number in range(20)}
    large = {f"{name}/weights.bin": source.randbytes(1_500_000) for name in ("a", "b", "c")}
    return {"config.json": source.randbytes(500), "receipt": b"", **small, **large}


TREE = make_tree()


def fetch(daemon: Daemon, spec: str, **fields: object) -> FetchCompleted:
    """Fetch as a caller without a helper does, to the last event."""
    with daemon.channel() as channel:
        stub = AssetServiceStub(channel)
        *_, last = stub.Fetch(FetchRequest(spec=spec, **fields))  # type: ignore[arg-type]
    assert last.HasField("completed")
    return last.completed


def push_tree(daemon: Daemon, folder: Path) -> None:
    """Put the tree into the daemon's store."""
    with daemon.client() as client:
        client.push(write_tree(folder, TREE), "kill/parts")


def outside(assets_dir: Path) -> list[str]:
    """What modelkit could see: all but what is ours."""
    return [path.name for path in assets_dir.iterdir() if path.name != ".assetd"]


def test_parts_are_fetched_kept_and_replaced_by_the_whole(daemons: Daemons, tmp_path: Path) -> None:
    """By globs and by part_only; again after a restart without the store; then all of it."""
    store = tmp_path / "store"
    daemon = daemons(store=store)
    push_tree(daemon, tmp_path / "source")
    globbed = fetch(daemon, "kill/parts", include=["*.json", "a/**"])
    assert globbed.relative_path == PARTS
    assert globbed.path == str(daemon.assets_dir / PARTS)
    assert read_tree(Path(globbed.path)) == {
        path: TREE[path] for path in ("config.json", "a/weights.bin")
    }
    part = fetch(daemon, "kill/parts[b]", part_only=True)
    assert part.relative_path == f"{PARTS}/b"
    assert part.transferred_bytes == len(TREE["b/weights.bin"])
    assert outside(daemon.assets_dir) == []
    daemon.stop()
    store.rename(tmp_path / "away")
    daemon.start()
    again = fetch(daemon, "kill/parts:0.0[a]", include=["a/*", "b/*"])
    assert (again.relative_path, again.source) == (f"{PARTS}/a", Source.SOURCE_CACHE)
    with daemon.channel() as channel:
        scope = ListRequest.SCOPE_CACHE
        [entry] = AssetServiceStub(channel).List(ListRequest(scope=scope)).entries
    assert entry.cache_state.presence == CacheState.PRESENCE_PARTIAL
    assert entry.cache_state.path == globbed.path
    (tmp_path / "away").rename(store)
    whole = fetch(daemon, "kill/parts", include=["**"])
    assert read_tree(Path(whole.path)) == TREE
    assert fetch(daemon, "kill/parts").relative_path == "kill/parts/0.0"
    assert not (daemon.assets_dir / PARTS).exists()
    assert fetch(daemon, "kill/parts[b]", part_only=True).relative_path == "kill/parts/0.0/b"


def listed(assets_dir: Path) -> dict[str, str]:
    """What the receipt lists, with the hash that each part has on the disk."""
    receipt = (assets_dir / PARTS).with_name("receipt")
    if not receipt.exists():
        return {}
    present: Mapping[str, str] = json.loads(receipt.read_bytes())["present"]
    return {path: sha256((assets_dir / PARTS / path).read_bytes()).hexdigest() for path in present}


def kill_during_a_fetch(
    daemon: Daemon, store: ProxiedStore, include: list[str], kill_at: int
) -> bool:
    """Kill the daemon when so many bytes have come; tell whether the fetch was under way."""
    before = store.proxy.bytes_from_upstream
    failures: list[grpc.RpcError] = []

    def run() -> None:
        try:
            fetch(daemon, "kill/parts:0.0", include=include)
        except grpc.RpcError as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    wait_until(
        lambda: store.proxy.bytes_from_upstream - before >= kill_at or not thread.is_alive(),
        f"{kill_at} bytes",
    )
    daemon.kill()
    thread.join()
    return bool(failures)


@pytest.mark.needs_program("versitygw")
@pytest.mark.xdist_group("kills")
@pytest.mark.timeout(600)
def test_kills_never_show_a_torn_part(
    daemons: Daemons, slow_store: ProxiedStore, tmp_path: Path
) -> None:
    """9 kills at random bytes: what a receipt lists is whole, is kept, and the rest comes."""
    source = write_tree(tmp_path / "source", TREE)
    slow_store.fill(daemons, tmp_path / "filler", {"kill/parts": source})
    daemon = daemons(store=slow_store.url, variables=slow_store.through_proxy | RANGES)
    hashes = {path: sha256(data).hexdigest() for path, data in TREE.items()}
    # Each brings a large part of its own, and shares small ones with another.
    choices = [["a/*", "small/*"], ["b/*", "small/1*"], ["c/**", "*", "small/*"]]
    kill_points, cut, kept = random.Random(SEED), 0, 0
    slow_store.proxy.rate_bytes_per_second = RATE_BYTES_PER_SECOND
    for number in range(KILLS):
        include = choices[number % len(choices)]
        kill_at = kill_points.randrange(1_800_000)
        cut += kill_during_a_fetch(daemon, slow_store, include, kill_at)
        found = listed(daemon.assets_dir)
        assert found == {path: hashes[path] for path in found}
        daemon.start()
        answer = fetch(daemon, "kill/parts:0.0", include=include, verify=True)
        kept += answer.reused_bytes
        found = listed(daemon.assets_dir)
        assert found == {path: hashes[path] for path in found}
        assert outside(daemon.assets_dir) == []
        if include is choices[-1]:
            shutil.rmtree(daemon.assets_dir / ".assetd/partial")
    # Most kills met a fetch that was under way, and some found parts of an earlier one.
    assert cut >= KILLS // 2
    assert kept > 0
    assert daemon.leftovers() == []
