"""Pushes into one S3 server, beside s5cmd copying the same files there.

Every push makes an asset of its own, so that no part is there already. Both sides read from a page
cache that holds the files; the hash pass of the client, or the daemon, is part of our time. Both
begin beside a daemon that has just started, see `fetching`.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from assetd import Client

from bench.fetching import BUCKET, PREFIX, S5CMD, Bench
from bench.figures import Comparison
from tests.support.daemon import Daemon, environment


@dataclass(frozen=True)
class PushWorkload:
    """A file or folder to push."""

    name: str
    source: Path

    @property
    def as_s5cmd_source(self) -> str:
        """How s5cmd is told to copy it."""
        return f"{self.source}/*" if self.source.is_dir() else str(self.source)


Push = Callable[[Client, Path, str, Path], object]


def push_inline(client: Client, source: Path, name: str, assets_dir: Path) -> None:  # noqa: ARG001
    """Push as most do: the bytes travel through the call."""
    client.push(source, name)


def push_staged(client: Client, source: Path, name: str, assets_dir: Path) -> None:
    """Push what lies where the daemon may read it.

    Moved there and back: a copy would take memory from the server that no other push takes.
    """
    staged = source.rename(assets_dir / ".assetd/push" / source.name)
    try:
        client.push_staged(staged.name, name)
    finally:
        staged.rename(source)


class PushBench:
    """Pushes of one workload and s5cmd's copies of it, in alternating order."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._runs = 0

    def compare(self, comparison: Comparison, workload: PushWorkload, push: Push) -> None:
        """Add one round, in which the one goes first who went second in the last."""
        ours_first = len(comparison.ours_seconds) % 2 == 0
        ours = self._push_seconds(workload, push) if ours_first else 0.0
        peer = self._s5cmd_seconds(workload)
        if not ours_first:
            ours = self._push_seconds(workload, push)
        comparison.add(ours, peer)

    def _push_seconds(self, workload: PushWorkload, push: Push) -> float:
        name = self._new_name()
        with self._ready(name) as (daemon, client):
            began = time.perf_counter()
            push(client, workload.source, name, daemon.assets_dir)
            return time.perf_counter() - began

    def _s5cmd_seconds(self, workload: PushWorkload) -> float:
        name = self._new_name()
        with self._ready(name):
            began = time.perf_counter()
            self._s5cmd("cp", workload.as_s5cmd_source, f"s3://{BUCKET}/{PREFIX}/{name}/0.0/")
            return time.perf_counter() - began

    @contextmanager
    def _ready(self, name: str) -> Iterator[tuple[Daemon, Client]]:
        """Give a daemon that has looked whether the store is safe, and its client; tidy up."""
        with self._bench.daemon() as daemon, daemon.client() as client:
            client.push(Path(__file__), f"{name}-first")
            yield daemon, client
        shutil.rmtree(daemon.assets_dir)
        self._tidy(name)

    def _new_name(self) -> str:
        self._runs += 1
        return f"pushed{self._runs}"

    def _tidy(self, name: str) -> None:
        """Make room: the server's objects are files."""
        for path in (self._bench.folder / "s3/data" / BUCKET / PREFIX).glob(f"{name}*"):
            if path.is_dir():
                shutil.rmtree(path)
        os.sync()

    def _s5cmd(self, *arguments: str) -> None:
        command: list[str | Path] = [
            *(S5CMD, "--endpoint-url", self._bench.server.endpoint_url, "--log", "error"),
            *arguments,
        ]
        subprocess.run(command, env=environment(self._bench.server.environment), check=True)
