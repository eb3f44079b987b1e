"""Many callers for one cold asset: one download, whoever comes late and whoever dies."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.support.daemon import Daemon, Daemons, environment
from tests.support.proxied_store import ProxiedStore
from tests.support.tcp_proxy import CountingProxy
from tests.support.trees import write_random_file
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.needs_program("versitygw"), pytest.mark.xdist_group("heavy")]

CALLERS = 32
SIZE_BYTES = 200 * 10**6
# Beside the asset: its manifest, a retry of nothing, and the headers of every answer.
OVERHEAD_BYTES = 1 << 20
RATE_BYTES_PER_SECOND = 30 * 10**6

Caller = subprocess.Popen[str]


@contextmanager
def calling(daemon: Daemon, spec: str) -> Iterator[Caller]:
    """A caller's process, which ends with the block at the latest."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.support.caller", daemon.address, spec],
        cwd=ROOT,
        env=environment({}),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def read_line(caller: Caller) -> str:
    """What a caller says next."""
    assert caller.stdout is not None
    return caller.stdout.readline().rstrip("\n")


def begin(caller: Caller) -> None:
    """Tell a caller to fetch."""
    assert caller.stdin is not None
    caller.stdin.write("go\n")
    caller.stdin.flush()


def wait_for_bytes(proxy: CountingProxy, count: int) -> None:
    """Wait until so many have passed the proxy."""
    wait_until(lambda: proxy.bytes_from_upstream >= count, f"{count} bytes")


@pytest.mark.timeout(240)
def test_all_callers_share_one_download(
    daemons: Daemons, slow_store: ProxiedStore, tmp_path: Path
) -> None:
    """All callers for a version share one download: the store sends each byte once.

    32 processes, staggered over half of the download; the first, which began it, is killed.
    All others get the asset with the right hash, and the store sends it once.
    """
    sha256 = write_random_file(tmp_path / "source", SIZE_BYTES, seed=32)
    slow_store.fill(daemons, tmp_path / "filler", {"big/asset": tmp_path / "source"})
    daemon = daemons(store=slow_store.url, variables=slow_store.through_proxy)
    proxy = slow_store.proxy
    proxy.rate_bytes_per_second = RATE_BYTES_PER_SECOND
    with ExitStack() as stack:
        callers = [stack.enter_context(calling(daemon, "big/asset")) for _ in range(CALLERS)]
        assert [read_line(caller) for caller in callers] == ["ready"] * CALLERS
        before = proxy.bytes_from_upstream
        stagger = SIZE_BYTES // 2 // CALLERS
        for number, caller in enumerate(callers):
            begin(caller)
            assert read_line(caller) == "started"
            if number == CALLERS // 4:
                callers[0].kill()
            wait_for_bytes(proxy, before + number * stagger)
        # The stagger ended while the download was under way, or there was nothing to share.
        assert proxy.bytes_from_upstream < before + SIZE_BYTES
        others = callers[1:]
        answers = [read_line(caller) for caller in others]
    assert answers == [f"{sha256} {SIZE_BYTES}"] * len(others)
    assert proxy.bytes_from_upstream - before <= SIZE_BYTES + OVERHEAD_BYTES

    fetches = [line for line in daemon.log_lines() if line.get("rpc") == "Fetch"]
    assert len({line["flight_id"] for line in fetches}) == 1
    assert [line["joined"] for line in fetches].count(False) == 1
