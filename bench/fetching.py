"""Cold and warm fetches against one S3 server, beside s5cmd.

Every run writes into a fresh folder. What holds many files is not deleted before the end: ext4 is
slow to give out inodes that were freed a moment ago, which would punish whoever comes second.
Both sides begin beside a daemon that has just started: a virtual machine gives memory back that has
been free for a second or two, and gets it again slowly, which would punish whoever waits for that.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from assetd import Client

from bench.figures import Comparison
from tests.support.daemon import Daemon, environment
from tests.support.processes import peak_rss_bytes
from tests.support.versitygw import S3Server

BUCKET = "bench"
PREFIX = "models"
S5CMD = Path(sys.executable).with_name("s5cmd")


@dataclass(frozen=True)
class Workload:
    """An asset to fetch: `spec` for us, `objects` (a wildcard) for s5cmd."""

    name: str
    spec: str
    objects: str
    is_one_file: bool = False


@dataclass
class Bench:
    """One S3 server, one folder for all outputs, and the largest daemon that was seen."""

    server: S3Server
    folder: Path
    peak_rss_bytes: int = 0
    _runs: Iterator[int] = field(default_factory=lambda: iter(range(10**6)))

    @contextmanager
    def daemon(self, *, durable: bool = True) -> Iterator[Daemon]:
        """Run a daemon over an empty ASSETS_DIR."""
        program = "assetd_server" if durable else "bench.undurable"
        daemon = Daemon(
            self._new_folder("ours"),
            store=f"s3://{BUCKET}/{PREFIX}",
            variables=self.server.environment,
            command=(sys.executable, "-m", program),
        )
        daemon.start()
        try:
            yield daemon
            self.peak_rss_bytes = max(self.peak_rss_bytes, peak_rss_bytes(daemon.pid))
        finally:
            daemon.stop()
            daemon.forget()

    def compare(self, comparison: Comparison, workload: Workload, *, durable: bool) -> None:
        """Add one round, in which the one goes first who went second in the last."""
        ours_first = len(comparison.ours_seconds) % 2 == 0
        ours = self.fetch_seconds(workload, durable=durable) if ours_first else 0.0
        peer = self.s5cmd_seconds(workload, durable=durable)
        if not ours_first:
            ours = self.fetch_seconds(workload, durable=durable)
        comparison.add(ours, peer)

    def fetch_seconds(self, workload: Workload, *, durable: bool) -> float:
        """Return how long a cold fetch takes its caller. The daemon runs already, as it does."""
        with self.daemon(durable=durable) as daemon, daemon.client() as client:
            client.status()  # connected, and grpc imported
            began = time.perf_counter()
            client.fetch(workload.spec)
            seconds = time.perf_counter() - began
        self._tidy(daemon.assets_dir, workload)
        return seconds

    def s5cmd_seconds(self, workload: Workload, *, durable: bool) -> float:
        """Return how long s5cmd takes; where we are durable, its output is synced too."""
        folder = self._new_folder("s5cmd")
        folder.mkdir()
        command: list[str | Path] = [
            *(S5CMD, "--endpoint-url", self.server.endpoint_url, "--log", "error", "cp"),
            f"s3://{BUCKET}/{PREFIX}/{workload.objects}",
            f"{folder}/",
        ]
        with self.daemon() as daemon:
            began = time.perf_counter()
            subprocess.run(command, env=environment(self.server.environment), check=True)
            if durable:
                subprocess.run(["sync", "-f", folder], check=True)
            seconds = time.perf_counter() - began
        shutil.rmtree(daemon.assets_dir)
        self._tidy(folder, workload)
        return seconds

    def warm_seconds(self, client: Client, spec: str, count: int) -> list[float]:
        """Return how long each of `count` hits takes the Python client."""
        client.fetch(spec)
        seconds = []
        for _ in range(count):
            began = time.perf_counter()
            client.fetch(spec)
            seconds.append(time.perf_counter() - began)
        return seconds

    def _tidy(self, folder: Path, workload: Workload) -> None:
        if workload.is_one_file:
            shutil.rmtree(folder)
        os.sync()

    def _new_folder(self, name: str) -> Path:
        return self.folder / f"{name}{next(self._runs)}"
