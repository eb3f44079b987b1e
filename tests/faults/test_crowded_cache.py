"""A cache that is always full: many callers, readers in containers, a disk that others fill.

Judged from outside: by what the disk says that is used, and by those who hold leases.
"""

import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from assetd import AssetExceedsCacheError, CacheFullError, DiskFullError

from tests.conftest import ROOT
from tests.support.daemon import EAGER, IMPATIENT, Daemon, Daemons, running_daemons
from tests.support.holding import CONTAINER, read_only_container, require_namespaces
from tests.support.small_disk import SmallDisks, free_bytes, free_inodes, small_disks
from tests.support.trees import write_tree

__all__ = ["small_disks"]

SIZE = 200_000
VERSIONS = 12
LIMIT = 5 * SIZE
# Receipts, journals, locks, and the ends of pages: together less than one version.
SLACK = SIZE * 3 // 4
CALLERS = 100
EAGER_LIMITS = {"ASSETD_CACHE_MIN_AGE": "0s", "ASSETD_RESTART_GRACE": "0s"}
SPECS = [f"x/v{number}:0.0" for number in range(VERSIONS)]

pytestmark = pytest.mark.xdist_group("disk")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve versions, files and folders."""
    folder = tmp_path_factory.mktemp("crowded")
    store = folder / "store"
    with running_daemons(folder) as daemons, daemons(store=store).client() as client:
        for number in range(VERSIONS):
            source = folder / "sources" / str(number)
            half = bytes([number]) * (SIZE // 2)
            if number % 2:
                write_tree(source, {"a": half, "sub/b": half})
            else:
                write_tree(source.parent, {source.name: half * 2})
            client.push(source, f"x/v{number}")
    return store


class Gauge:
    """Looks at the disk again and again: what it says in one call was so at one moment."""

    def __init__(self, disk: Path) -> None:
        self.largest = 0
        self.looks = 0
        self._disk = disk
        self._before = free_bytes(disk)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def _look(self) -> None:
        while not self._ended.is_set():
            self.largest = max(self.largest, self._before - free_bytes(self._disk))
            self.looks += 1

    def end(self) -> None:
        """Look no more."""
        self._ended.set()
        self._thread.join()


def fetch_some(daemon: Daemon, seed: int) -> int:
    """Fetch a few versions one after the other; return how many were refused for want of room."""
    source, refused = random.Random(seed), 0
    with daemon.client(IMPATIENT) as client:
        for spec in source.sample(SPECS, 4):
            try:
                client.fetch(spec)
            except CacheFullError:
                refused += 1
    return refused


def test_a_crowd_never_takes_more_than_the_limit(
    small_disks: SmallDisks, daemons: Daemons, store: Path
) -> None:
    """A hundred callers at once: at no moment does the disk hold more than the limit."""
    disk = small_disks.mount(size="64m")
    limits = EAGER_LIMITS | {"ASSETD_CACHE_MAX_BYTES": str(LIMIT)}
    daemon = daemons(assets_dir=disk, store=store, variables=limits)
    gauge = Gauge(disk)
    try:
        with ThreadPoolExecutor(CALLERS) as callers:
            refused = sum(callers.map(lambda seed: fetch_some(daemon, seed), range(CALLERS)))
    finally:
        gauge.end()
    assert gauge.looks > 100
    assert LIMIT - SIZE < gauge.largest <= LIMIT + SLACK
    assert refused < 4 * CALLERS / 2
    with daemon.client() as client:
        status = client.status()
        assert status.reserved_bytes == 0
        assert status.used_bytes <= LIMIT
        assert status.used_bytes == status.version_count * SIZE
    assert daemon.leftovers() == daemon.kept_downloads()


def test_room_on_the_disk_is_kept(small_disks: SmallDisks, daemons: Daemons, store: Path) -> None:
    """What has to stay free stays free, also where another program takes the rest."""
    disk = small_disks.mount(size="2m")
    keeps = EAGER_LIMITS | {"ASSETD_CACHE_MIN_FREE": "1MiB"}
    daemon = daemons(assets_dir=disk, store=store, variables=keeps)
    with daemon.client() as client:
        for spec in SPECS:
            client.fetch(spec)
            assert free_bytes(disk) >= 2**20 - SLACK
        assert client.status().version_count >= 3
        other = disk / ".another-program"
        other.write_bytes(b"x" * 700_000)
        client.fetch(SPECS[0])
        assert client.status().version_count == 1
        other.write_bytes(b"x" * 1_000_000)
        with pytest.raises(CacheFullError) as refused:
            client.fetch(SPECS[1])
        assert int(refused.value.metadata["free_bytes"]) == 0
        assert client.status().version_count == 1, "nothing goes in vain"
        other.unlink()
        client.fetch(SPECS[1])


def test_what_never_leaves_room_is_told_apart(
    small_disks: SmallDisks, daemons: Daemons, store: Path
) -> None:
    """A disk that could not hold it and keep free what has to be free: not a matter of waiting."""
    disk = small_disks.mount(size="1m")
    keeps = EAGER_LIMITS | {"ASSETD_CACHE_MIN_FREE": "90%"}
    daemon = daemons(assets_dir=disk, store=store, variables=keeps)
    with daemon.client() as client, pytest.raises(AssetExceedsCacheError):
        client.fetch(SPECS[0])


def test_a_disk_without_inodes_can_be_emptied(
    small_disks: SmallDisks, daemons: Daemons, store: Path
) -> None:
    """An eviction needs no new file: where none is to be had, it is what helps."""
    disk = small_disks.mount(size="16m", nr_inodes=80)
    daemon = daemons(assets_dir=disk, store=store)
    with daemon.client() as client:
        client.fetch(SPECS[0])
        client.fetch(SPECS[1])
        for number in range(free_inodes(disk)):
            (disk / f".filler{number}").touch()
        with pytest.raises(DiskFullError):
            client.fetch(SPECS[2])
        assert client.evict(everything=True).freed_bytes == 2 * SIZE
        client.fetch(SPECS[2])


# Takes a lease, sees for a while that what it has leased stands whole, and lets go; again and
# again, until its input ends. Says how often it had one, and what was wrong.
_READER = """
import os, sys, random, select
from assetd._holds import Holds
from assetd._local import FastPath
root, seed, size, specs = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:]
source, path, leases, wrong = random.Random(seed), FastPath(root, Holds()), 0, []

def parts(at):
    return [at] if os.path.isfile(at) else [at + "/a", at + "/sub/b"]

def bytes_at(at):
    return b"".join(open(part, "rb").read() for part in parts(at))

while not select.select([0], [], [], 0)[0]:
    spec = source.choice(specs)
    asset = path.hit(spec, hold=True)
    if asset is None:
        continue
    leases += 1
    at, number = str(asset.path), int(spec.partition(":")[0].rpartition("v")[2])
    inode = os.stat(at).st_ino
    for _ in range(source.randrange(1, 20)):
        try:
            if bytes_at(at) != bytes([number]) * size or os.stat(at).st_ino != inode:
                wrong.append(spec + " is not whole")
        except OSError as error:
            wrong.append(f"{spec}: {error}")
    asset.close()
print(leases, *wrong[:3], sep="\\n")
"""


class ReaderProcess:
    """A reader that runs until it is asked what it saw."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def ask(self) -> tuple[int, list[str]]:
        """End it, and return how often it had a lease, and what was wrong."""
        out, _ = self._process.communicate("")
        leases, *wrong = out.splitlines()
        return int(leases), wrong


@contextmanager
def reading(assets_dir: Path, seed: int, within: list[str | Path]) -> Iterator[ReaderProcess]:
    """Run a reader for the block."""
    program: list[str | Path] = [sys.executable, "-c", _READER, assets_dir]
    words = [str(seed), str(SIZE), *SPECS]
    with subprocess.Popen(
        [*within, *program, *words],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield ReaderProcess(process)
        finally:
            process.kill()


def test_leases_keep_versions_of_a_daemon_that_is_always_full(
    daemons: Daemons, store: Path, tmp_path: Path
) -> None:
    """Four readers, three of them in containers: what they have leased stands, whole, throughout.

    Meanwhile fetches go round, each of which has to evict.
    """
    require_namespaces()
    limits = EAGER_LIMITS | {"ASSETD_CACHE_MAX_BYTES": str(LIMIT)}
    daemon = daemons(assets_dir=tmp_path / "assets", store=store, variables=limits)
    (tmp_path / "elsewhere").mkdir()
    places: list[tuple[Path, list[str | Path]]] = [
        (daemon.assets_dir, []),
        (daemon.assets_dir, list(CONTAINER)),
        (daemon.assets_dir, list(CONTAINER)),
        (tmp_path / "elsewhere", read_only_container(daemon.assets_dir, tmp_path / "elsewhere")),
    ]
    fetched = evicting = 0
    with ExitStack() as stack:
        client = stack.enter_context(daemon.client(EAGER))
        for spec in SPECS[:5]:
            client.fetch(spec)
        readers = [
            stack.enter_context(reading(root, seed, within))
            for seed, (root, within) in enumerate(places)
        ]
        source = random.Random(6)
        while fetched < 200:
            present = {path.parent.name for path in daemon.assets_dir.glob("x/*/0.0")}
            spec = source.choice(SPECS)
            # Four leases at once, and one that began a moment ago, may leave too little to go.
            with suppress(CacheFullError):
                client.fetch(spec)
                fetched += 1
                evicting += spec.partition(":")[0].rpartition("/")[2] not in present
        seen = [reader.ask() for reader in readers]
    assert [wrong for _, wrong in seen] == [[]] * 4
    assert min(leases for leases, _ in seen) > 10
    assert evicting > 50
    assert list((daemon.assets_dir / ".assetd/trash").iterdir()) == []
