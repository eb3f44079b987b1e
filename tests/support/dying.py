"""A daemon that dies again and again, and callers who go on wanting versions from it.

Each caller has an asset of its own, which it fetches, reads and takes away by hand, for as long as
the daemon dies. Nobody of them is told of a death: the client's patience is for that.
"""

import random
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Final

from assetd import AssetdError

from tests.support.daemon import EAGER, Daemon, running_daemons
from tests.support.trees import read_tree, write_tree
from tests.support.watching import watching

CALLERS: Final = 8
# After it serves; a start takes about as long again.
_LONGEST_LIFE_SECONDS: Final = 1.5


@dataclass
class Toll:
    """What happened, and what was wrong with it."""

    deaths: int = 0
    deaths_in_a_fetch: int = 0
    fetches: int = 0
    findings: list[str] = field(default_factory=list)


def contents(seed: int) -> dict[str, dict[str, bytes]]:
    """What each caller's asset holds: files, and folders with small, large and empty parts."""
    source = random.Random(seed)
    assets: dict[str, dict[str, bytes]] = {}
    for number in range(CALLERS):
        small = {f"small/{part}": source.randbytes(20_000) for part in range(10)}
        folder = {"empty": b"", "deep/er/weights": source.randbytes(1_500_000), **small}
        file = {"": source.randbytes(2_000_000)}
        assets[f"dying/asset{number}"] = file if number % 2 else folder
    return assets


class _Callers:
    """Threads that want their versions, again and again."""

    def __init__(self, daemon: Daemon, assets: dict[str, dict[str, bytes]], aside: Path) -> None:
        self.toll = Toll()
        self._daemon = daemon
        self._aside = aside
        self._over = threading.Event()
        self._turn = threading.Lock()
        self._fetching = 0
        self._threads = [
            threading.Thread(target=self._want, args=[name, tree]) for name, tree in assets.items()
        ]
        for thread in self._threads:
            thread.start()

    @property
    def are_fetching(self) -> bool:
        """Whether some of them wait for a fetch this moment."""
        with self._turn:
            return self._fetching > 0

    def end(self) -> Toll:
        """Let each come to the end of what it does, and return what all have seen."""
        self._over.set()
        for thread in self._threads:
            thread.join()
        return self.toll

    def _want(self, name: str, tree: dict[str, bytes]) -> None:
        with self._daemon.client(EAGER) as client:
            while not self._over.is_set():
                self._count(fetching=1)
                try:
                    path = client.fetch(f"{name}:0.0").path
                    wrong = "" if read_tree(path) == tree else "it is not what was pushed"
                except (AssetdError, OSError) as error:
                    wrong = repr(error)
                self._count(fetching=-1, wrong=f"{name}: {wrong}" if wrong else "")
                if not wrong:
                    self._take_away(name)

    def _count(self, *, fetching: int, wrong: str = "") -> None:
        with self._turn:
            self._fetching += fetching
            self.toll.fetches += fetching < 0
            self.toll.findings += [wrong] if wrong else []

    def _take_away(self, name: str) -> None:
        aside = self._aside / name.replace("/", "-")
        (self._daemon.assets_dir / name).rename(aside)
        shutil.rmtree(aside)


def die_again_and_again(folder: Path, seed: int, is_over: Callable[[int], bool]) -> Toll:
    """Let a daemon die until `is_over`, which is told how often it has; then look at what is left.

    Findings are: a caller who was failed or got something else, anything partial at a final path,
    anything left over once all have gone, a defect in the log.
    """
    assets, source = contents(seed), random.Random(seed)
    expected = {
        folder / "assets" / name / "0.0": {p: sha256(data).hexdigest() for p, data in tree.items()}
        for name, tree in assets.items()
    }
    aside = folder / "aside"
    aside.mkdir(parents=True)
    with running_daemons(folder) as daemons:
        _fill(daemons(assets_dir=folder / "filler", store=folder / "store"), assets, folder)
        daemon = daemons(assets_dir=folder / "assets", store=folder / "store")
        with watching(expected) as watch:
            callers = _Callers(daemon, assets, aside)
            try:
                _die(daemon, callers, source, is_over)
            finally:
                toll = callers.end()
        toll.findings += [f"partial: {report.path}" for report in watch.partials]
        daemon.stop()
        daemon.start()
        toll.findings += [f"left over: {path}" for path in daemon.leftovers()]
        daemon.stop()
        toll.findings += [str(line) for line in daemon.log_lines() if "exception" in line]
    return toll


def _fill(daemon: Daemon, assets: dict[str, dict[str, bytes]], folder: Path) -> None:
    with daemon.client() as client:
        for name, tree in assets.items():
            path = folder / "sources" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if "" in tree:
                path.write_bytes(tree[""])
            else:
                write_tree(path, tree)
            client.push(path, name)
    daemon.stop()


def _die(
    daemon: Daemon, callers: _Callers, source: random.Random, is_over: Callable[[int], bool]
) -> None:
    toll = callers.toll
    while not is_over(toll.deaths):
        # Any moment of a life: what it is doing then is the callers' affair.
        threading.Event().wait(source.uniform(0.05, _LONGEST_LIFE_SECONDS))
        toll.deaths_in_a_fetch += callers.are_fetching
        daemon.kill()
        toll.deaths += 1
        daemon.start()
