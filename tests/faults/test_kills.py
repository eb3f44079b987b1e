"""kill -9 in the middle of fetches: what appears at a final path is whole, always.

A watcher outside hashes whatever stands there. It is believed because it catches writers in place.
"""

import random
import shutil
import threading
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path

import pytest
from assetd import AssetdError, DaemonUnavailableError

from tests.support.daemon import EAGER, Daemon, Daemons
from tests.support.proxied_store import ProxiedStore
from tests.support.trees import write_tree
from tests.support.waiting import wait_until
from tests.support.watching import Watch, watching

KILLS = 50
SEED = 9
RATE_BYTES_PER_SECOND = 24 * 10**6
# Small ranges, so that large files are written by many at once.
RANGES = {"ASSETD_RANGE_BYTES": "1MiB"}

Contents = Mapping[str, bytes]


def make_contents() -> dict[str, Contents]:
    """A file and a folder with nested, small, large and empty files; by the asset's name."""
    source = random.Random(SEED)
    small = {f"small/{number}": source.randbytes(20_000) for number in range(20)}
    return {
        "kill/file": {"": source.randbytes(4_000_000)},
        "kill/folder": {
            "config.json": source.randbytes(500),
            "empty": b"",
            "sub/deep/weights": source.randbytes(3_000_000),
            **small,
        },
    }


CONTENTS = make_contents()
TOTAL_BYTES = sum(len(data) for contents in CONTENTS.values() for data in contents.values())


def hashes_at(assets_dir: Path) -> dict[Path, dict[str, str]]:
    """What has to stand at the final paths, if anything does."""
    return {
        assets_dir / name / "0.0": {p: sha256(data).hexdigest() for p, data in contents.items()}
        for name, contents in CONTENTS.items()
    }


def write(path: Path, contents: Contents) -> Path:
    """Write an asset in place: a file, or a folder file by file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if "" in contents:
        path.write_bytes(contents[""])
        return path
    return write_tree(path, contents)


class Fetches:
    """A fetch of every asset at once, each in a thread, and how they ended."""

    def __init__(self, daemon: Daemon) -> None:
        self.failures: list[AssetdError] = []
        self._daemon = daemon
        self._threads = [threading.Thread(target=self._fetch, args=[name]) for name in CONTENTS]
        for thread in self._threads:
            thread.start()

    def _fetch(self, name: str) -> None:
        with self._daemon.client() as client:
            try:
                client.fetch(f"{name}:0.0")
            except AssetdError as error:
                self.failures.append(error)

    def join(self) -> list[AssetdError]:
        """Wait until all have ended, and return the failures."""
        for thread in self._threads:
            thread.join()
        return self.failures

    @property
    def have_ended(self) -> bool:
        """Whether none is under way."""
        return not any(thread.is_alive() for thread in self._threads)


def take_away(assets_dir: Path, aside: Path) -> None:
    """Remove all versions by hand, as an operator may, each in one step for whoever looks."""
    for name in CONTENTS:
        (assets_dir / name).rename(aside)
        shutil.rmtree(aside)


@pytest.mark.needs_program("versitygw")
@pytest.mark.xdist_group("kills")
@pytest.mark.timeout(600)
def test_kills_never_show_a_partial(
    daemons: Daemons, slow_store: ProxiedStore, tmp_path: Path
) -> None:
    """A kill at any moment shows nothing partial at a final path, and the next fetch succeeds.

    50 kills at random bytes of a file and a folder.
    """
    sources = {name: write(tmp_path / name, contents) for name, contents in CONTENTS.items()}
    slow_store.fill(daemons, tmp_path / "filler", sources)
    daemon = daemons(store=slow_store.url, variables=slow_store.through_proxy | RANGES)
    source, cut = random.Random(SEED), 0
    with watching(hashes_at(daemon.assets_dir)) as watch:
        for _ in range(KILLS):
            # A sixth of the kills come when all bytes have: verifying, publishing, or after it.
            kill_at = source.randrange(TOTAL_BYTES * 6 // 5)
            cut += kill_during_fetches(daemon, slow_store, kill_at)
            fetch_again(daemon, slow_store, watch)
            take_away(daemon.assets_dir, tmp_path / "aside")
    assert watch.partials == []
    # Both assets of each kill, at least; and most kills met a fetch that was under way.
    assert len(watch.reports) >= KILLS * len(CONTENTS)
    assert cut >= KILLS * 2 // 3


def kill_during_fetches(daemon: Daemon, store: ProxiedStore, kill_at: int) -> bool:
    """Kill the daemon when so many bytes have come; tell whether a fetch was under way."""
    proxy = store.proxy
    proxy.rate_bytes_per_second = RATE_BYTES_PER_SECOND
    before = proxy.bytes_from_upstream
    fetches = Fetches(daemon)
    wait_until(
        lambda: proxy.bytes_from_upstream - before >= kill_at or fetches.have_ended,
        f"{kill_at} bytes",
    )
    daemon.kill()
    failures = fetches.join()
    assert all(isinstance(failure, DaemonUnavailableError) for failure in failures), failures
    return bool(failures)


def fetch_again(daemon: Daemon, store: ProxiedStore, watch: Watch) -> None:
    """Start the daemon's successor and fetch: whole, nothing left over, and seen by the watcher."""
    store.proxy.rate_bytes_per_second = None
    daemon.start()
    with daemon.client(EAGER) as client:
        for name in CONTENTS:
            asset = client.fetch(f"{name}:0.0", verify=True)
            watch.wait_for(asset.path)
    assert daemon.leftovers() == []


def write_all(path: Path, contents: Contents) -> None:
    """What a naive program does: open the final path, and write."""
    write(path, contents)


def write_backwards(path: Path, contents: Contents) -> None:
    """Make everything at its full size first, then fill it."""
    files = {path / part if part else path: data for part, data in contents.items()}
    for file, data in files.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("wb") as opened:
            opened.truncate(len(data))
    for file, data in files.items():
        with file.open("r+b") as opened:
            opened.write(data)


@pytest.mark.parametrize("name", CONTENTS)
@pytest.mark.parametrize("writer", [write_all, write_backwards])
def test_the_watcher_catches_a_writer_in_place(
    tmp_path: Path, name: str, writer: Callable[[Path, Contents], None]
) -> None:
    """The harness is believed only because it fails for those whom it has to fail for."""
    path = tmp_path / name / "0.0"
    with watching(hashes_at(tmp_path)) as watch:
        # It looks again and again, and a fast writer is seldom met in mid-way.
        for _ in range(20 * KILLS):
            writer(path, CONTENTS[name])
            watch.wait_for(path)
            if watch.partials:
                break
            take_aside = tmp_path / "aside"
            path.rename(take_aside)
            shutil.rmtree(take_aside) if take_aside.is_dir() else take_aside.unlink()
    assert watch.partials != []


def test_the_watcher_lets_a_careful_writer_pass(tmp_path: Path) -> None:
    """Written aside and renamed: no partial, whatever is renamed over it or taken away."""
    with watching(hashes_at(tmp_path)) as watch:
        for _ in range(10):
            for name, contents in CONTENTS.items():
                path = tmp_path / name / "0.0"
                aside = write(tmp_path / "aside", contents)
                path.parent.mkdir(parents=True, exist_ok=True)
                aside.rename(path)
                watch.wait_for(path)
            take_away(tmp_path, tmp_path / "away")
    assert watch.partials == []
    assert len(watch.reports) >= 10 * len(CONTENTS)
