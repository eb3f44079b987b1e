"""A crowd that pushes versions of one asset at once, and the look at what came of it.

Several daemons, each with an ASSETS_DIR of its own and callers in a process of their own. Where the
store is S3 its answers to all daemons go through one proxy, which cuts some; callers cut their
calls too. What was acknowledged stands in the callers' logs.
"""

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.conftest import ROOT
from tests.support.buckets import Bucket, FolderBucket, S3Bucket, look
from tests.support.daemon import Daemon, Daemons, running_daemons
from tests.support.http_proxy import Fate, JudgingProxy, Request
from tests.support.ports import LOOPBACK
from tests.support.proxied_store import BUCKET, PREFIX
from tests.support.versitygw import versitygw

STORES: Final = ("s3", "folder")
NAME: Final = "crowd/asset"
_CUT_SHARE: Final = 0.05


@dataclass(frozen=True)
class Place:
    """A store, as daemons are told of it, and as it is seen from outside.

    `proxy`, where there is one, has counted the daemons' requests.
    """

    bucket: Bucket
    store: str
    variables: dict[str, str]
    proxy: JudgingProxy | None = None


@contextmanager
def s3_place(folder: Path, seed: int | None = None) -> Iterator[Place]:
    """Run an S3 server; with a seed, behind a proxy that cuts its answers."""
    source = random.Random(seed)

    def judge(_: Request) -> Fate:
        is_cut = seed is not None and source.random() < _CUT_SHARE
        return Fate.LOSE_ANSWER if is_cut else Fate.PASS

    with versitygw(folder) as server, JudgingProxy(server.port, judge) as proxy:
        if not (folder / "data" / BUCKET).exists():
            server.make_bucket(BUCKET)
        port = server.port if seed is None else proxy.port
        variables = server.environment | {"S3_ENDPOINT": f"http://{LOOPBACK}:{port}"}
        bucket = S3Bucket(server)
        try:
            yield Place(bucket, f"s3://{BUCKET}/{PREFIX}", variables, proxy)
        finally:
            bucket.close()


@contextmanager
def place(kind: str, folder: Path, seed: int | None = None) -> Iterator[Place]:
    """Give a store of a kind, empty, below an existing folder."""
    if kind == "s3":
        with s3_place(folder / "s3", seed) as made:
            yield made
    else:
        root = folder / "store"
        root.mkdir(exist_ok=True)
        yield Place(FolderBucket(root), f"file://{root}", {})


@dataclass(frozen=True)
class Crowd:
    """How many daemons there are, how many push through each, and how many versions each pushes."""

    daemons: int
    pushers: int
    versions: int
    seed: int

    @property
    def total(self) -> int:
        """How many pushes there are in a round."""
        return self.daemons * self.pushers * self.versions


class CrowdedStore:
    """A store with one asset, to which a crowd pushes round after round."""

    def __init__(self, store: Place, daemons: Daemons, folder: Path, crowd: Crowd) -> None:
        self._bucket = store.bucket
        self._proxy = store.proxy
        self._folder = folder
        self._crowd = crowd
        self._daemons = [
            daemons.prepare(store=store.store, variables=store.variables)
            for _ in range(crowd.daemons)
        ]
        with ThreadPoolExecutor(crowd.daemons) as starters:
            list(starters.map(Daemon.start, self._daemons))

    @property
    def request_count(self) -> int:
        """How many requests the store has got from the daemons; 0 where nobody counts them."""
        return self._proxy.request_count if self._proxy else 0

    def push(self, number: int) -> list[str]:
        """Let the crowd push a round; return what is wrong with its calls."""
        logs = self._folder / f"round{number:03}"
        logs.mkdir()
        with ExitStack() as stack:
            processes = [
                stack.enter_context(self._callers(index, daemon, logs, number))
                for index, daemon in enumerate(self._daemons)
            ]
            codes = [process.wait() for process in processes]
        lines = acknowledged(logs)
        findings = [f"a push ended with {line['failure']}" for line in lines if line["failure"]]
        if any(codes) or len(lines) != self._crowd.total:
            findings.append(f"{len(lines)} of {self._crowd.total} pushes have ended: {codes}")
        return findings

    def judge(self) -> list[str]:
        """Return what is wrong with the versions of all rounds: it reads each of them."""
        return list(_judge(self._bucket, acknowledged(self._folder)))

    @contextmanager
    def _callers(
        self, index: int, daemon: Daemon, logs: Path, number: int
    ) -> Iterator["subprocess.Popen[bytes]"]:
        crowd = self._crowd
        given = {
            "address": f"unix:{daemon.socket}",
            "name": NAME,
            "log": logs / f"log{index}",
            "first": index * crowd.pushers,
            "pushers": crowd.pushers,
            "turn": number * crowd.versions,
            "versions": crowd.versions,
            "seed": crowd.seed,
        }
        options = [f"--{name}={value}" for name, value in given.items()]
        command = [sys.executable, "-m", "tests.support.pusher", *options]
        with subprocess.Popen(command, cwd=ROOT) as process:
            try:
                yield process
            finally:
                process.kill()


@contextmanager
def crowded_store(kind: str, folder: Path, crowd: Crowd) -> Iterator[CrowdedStore]:
    """Run a store and daemons over a folder, new or left by an earlier run."""
    folder.mkdir(exist_ok=True)
    with place(kind, folder, crowd.seed) as store, running_daemons(folder) as daemons:
        yield CrowdedStore(store, daemons, folder, crowd)


def acknowledged(folder: Path) -> list[dict[str, Any]]:
    """Return what the callers of one round, or of all, have noted."""
    logs = sorted(folder.rglob("log[0-9]*"))
    return [json.loads(line) for log in logs for line in log.read_text().splitlines()]


def _judge(bucket: Bucket, lines: list[dict[str, Any]]) -> Iterator[str]:
    """Compare what was acknowledged with what is there, by the layout and by hash."""
    promised = {line["version"]: line["digest"] for line in lines}
    if len(promised) != len(lines):
        yield "a version was acknowledged to two pushes"
    seen = look(bucket, NAME)
    yield from seen.findings()
    if set(promised) != set(seen.metas):
        yield f"acknowledged or there, but not both: {set(promised) ^ set(seen.metas)}"
    for version in promised.keys() & seen.metas.keys():
        if seen.metas[version]["assetd"]["digest"] != promised[version]:
            yield f"{version} is not what was acknowledged"
    for version, state in seen.claim_states().items():
        # A number that was given up keeps its record, until somebody takes it.
        if state != "released":
            yield f"the claim on {version} is left, {state}"
    # The probe may have lost the answer that named one of its own: `assetd doctor` tells of it.
    uploads = [key for key in bucket.uploads() if "/probe/" not in key]
    yield from (f"an upload of {key} is left" for key in uploads)
