"""A disk that is slower than the network: what waits for it waits in the store, not in memory.

Case 38 of docs/faults.md. strace makes each write of the daemon take longer.
"""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from assetd.v1.asset_pb2 import FetchProgress
from assetd.v1.cache_service_pb2 import VerifyResult

from tests.support.daemon import Daemons
from tests.support.processes import peak_rss_bytes
from tests.support.straced import slowed
from tests.support.trees import write_random_file

MIB = 2**20
SIZE_BYTES = 128 * MIB
MEMORY_BYTES = 32 * MIB
# A download may hold that in memory; allocators and threads take some, and never a whole file.
MAX_GROWTH_BYTES = MEMORY_BYTES + 64 * MIB
HITS = 20
SOUND = VerifyResult.OUTCOME_SOUND


@pytest.mark.needs_program("strace")
@pytest.mark.timeout(300)
def test_a_slow_disk_holds_the_network_back(daemons: Daemons, tmp_path: Path) -> None:
    """Memory stays bounded, progress is honest, hits do not wait, and the bytes are right."""
    store, source = tmp_path / "store", tmp_path / "source"
    write_random_file(source, SIZE_BYTES, seed=1)
    with daemons(assets_dir=tmp_path / "filler", store=store).client() as client:
        digest = client.push(source, "large/file").digest
        client.push(Path(__file__), "small/file")
    daemon = daemons(store=store, variables={"ASSETD_TRANSFER_MEMORY": f"{MEMORY_BYTES}"})
    seen: list[FetchProgress] = []
    under_way = threading.Event()

    def note(progress: FetchProgress) -> None:
        seen.append(progress)
        under_way.set()

    with daemon.client() as client, daemon.client() as other, ThreadPoolExecutor(1) as threads:
        other.fetch("small/file:0.0")
        before = peak_rss_bytes(daemon.pid)
        with slowed(daemon.pid, "pwritev2", seconds=0.02):
            fetching = threads.submit(
                client.fetch, "large/file", on_progress=note, progress_interval=0.05
            )
            assert under_way.wait(60)
            for _ in range(HITS):
                assert other.fetch("small/file:0.0").transferred_bytes == 0
            assert not fetching.done(), "the disk was not slow: the hits tell nothing"
            fetched = fetching.result()
        grown = peak_rss_bytes(daemon.pid) - before
        assert [result.outcome for result in client.verify("large/file:0.0")] == [SOUND]
    assert fetched.digest == digest
    present = [progress.present_bytes for progress in seen]
    assert present == sorted(present)
    assert any(0 < count < SIZE_BYTES for count in present)
    assert grown < MAX_GROWTH_BYTES
