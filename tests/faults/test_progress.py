"""What progress says, against what has really come over the line."""

import bisect
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from assetd.v1.asset_pb2 import FetchPhase
from assetd.v1.asset_service_pb2 import FetchResponse

from tests.support.command_line import ASSETD
from tests.support.daemon import Daemon, Daemons, environment
from tests.support.proxied_store import ProxiedStore
from tests.support.tcp_proxy import BLOCK_BYTES, CountingProxy
from tests.support.terminal import Terminal
from tests.support.trees import write_random_file

pytestmark = [pytest.mark.needs_program("versitygw"), pytest.mark.xdist_group("heavy")]

SIZE_BYTES = 60 * 10**6
RATE_BYTES_PER_SECOND = 20 * 10**6
# A range for each connection.
CONNECTIONS = -(-SIZE_BYTES // (8 << 20))
# On its way on each of them: a block that the proxy sends, and a chunk that the daemon gathers, the
# second of which is at most what the line carries in 30 ms, or 64 KiB. Besides, the manifest.
UNDER_WAY_BYTES = CONNECTIONS * (BLOCK_BYTES + (1 << 17))
# Each connection's block is sent before it is counted.
UNCOUNTED_BYTES = CONNECTIONS * BLOCK_BYTES


@dataclass
class Samples:
    """How many bytes had come at which moments."""

    times: list[float]
    counts: list[int]

    def at(self, moment: float) -> int:
        """The count at that moment."""
        return self.counts[min(bisect.bisect_left(self.times, moment), len(self.times) - 1)]


@contextmanager
def sampling(proxy: CountingProxy) -> Iterator[Samples]:
    """Samples the proxy's count, from 0 on, for the length of the block."""
    samples, ended, base = Samples([], []), threading.Event(), proxy.bytes_from_upstream

    def sample() -> None:
        while True:
            samples.times.append(time.time())
            samples.counts.append(proxy.bytes_from_upstream - base)
            if ended.wait(0.002):
                return

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield samples
    finally:
        ended.set()
        thread.join()


@pytest.fixture
def daemon(daemons: Daemons, slow_store: ProxiedStore, tmp_path: Path) -> Daemon:
    """A daemon whose store, with one large asset, is behind a line of 20 MB/s."""
    write_random_file(tmp_path / "source", SIZE_BYTES, seed=20)
    slow_store.fill(daemons, tmp_path / "filler", {"big/asset": tmp_path / "source"})
    slow_store.proxy.rate_bytes_per_second = RATE_BYTES_PER_SECOND
    return daemons(store=slow_store.url, variables=slow_store.through_proxy)


def test_progress_is_what_has_come(daemon: Daemon, slow_store: ProxiedStore) -> None:
    """At least 10 messages, none below the one before, all within 10 % of the line's count.

    And phase after phase, the total known from the start.
    """
    events: list[FetchResponse] = []
    with sampling(slow_store.proxy) as samples, daemon.client() as client:
        client.fetch("big/asset", progress_interval=0.1, verify=True, on_event=events.append)
    told = [event for event in events if event.HasField("progress")]
    assert len(told) >= 10
    present = [event.progress.present_bytes for event in told]
    assert present == sorted(present)
    assert {event.progress.total_bytes for event in told} == {SIZE_BYTES}
    assert {event.progress.attempt for event in told} == {1}
    for event in told:
        came = samples.at(event.event_time.ToNanoseconds() / 1e9)
        assert came * 0.9 - UNDER_WAY_BYTES <= event.progress.present_bytes
        assert event.progress.present_bytes <= came + UNCOUNTED_BYTES
    phases = [event.progress.phase for event in told]
    assert phases == sorted(phases)
    assert FetchPhase.FETCH_PHASE_DOWNLOADING in phases


def test_the_bar_moves_on_a_terminal(daemon: Daemon) -> None:
    """`M=$(assetd fetch ...)` at a terminal: the bar is drawn there, the path is captured."""
    terminal = Terminal()
    fetch = subprocess.Popen(
        [ASSETD, "--address", daemon.address, "fetch", "big/asset"],
        env=environment({"TERM": "xterm-256color", "COLUMNS": "120", "NO_COLOR": "1"}),
        stdout=subprocess.PIPE,
        stderr=terminal.theirs,
    )
    drawn = terminal.read_all()
    out, _ = fetch.communicate(timeout=60)
    assert (fetch.returncode, out.decode()) == (0, f"{daemon.assets_dir}/big/asset/0.0\n")
    megabytes = [float(done) for done in re.findall(r"(\d+\.\d)/60\.0 MB", drawn)]
    assert megabytes == sorted(megabytes)
    assert len(set(megabytes)) >= 10
    assert megabytes[-1] == 60.0
    assert "big/asset" in drawn
    assert "MB/s" in drawn
    assert "━" in drawn
