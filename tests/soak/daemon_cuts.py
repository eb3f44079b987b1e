"""A real daemon is killed right before a system call, and the power goes with it.

strace kills at the call's entry, counted per thread; the cut comes at once, so that what the daemon
had not synced is lost. Whoever was told that a fetch completed finds the version there afterwards.
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import psutil
from assetd import AssetdError, Source

from tests.support.daemon import Daemon, StartFailedError, running_daemons
from tests.support.loop_disks import Cut, LoopDisk, cut_power
from tests.support.trees import read_tree, write_tree

# What changes the disk, or shows the daemon what is on it.
SYSTEM_CALLS: Final = (
    "openat2", "mkdirat", "pwritev2", "sync_file_range", "fsync", "syncfs", "renameat", "renameat2",
    "unlinkat", "flock",
)  # fmt: skip
_SERVE: Final = (sys.executable, "-m", "assetd_server")
_STRACE: Final = ("strace", "-ff", "--seccomp-bpf", "-o")

Contents = dict[str, bytes]
_FILE: Final[Contents] = {"": b"content" * 3000}
_FOLDER: Final[Contents] = {"a": b"a" * 9000, "sub/b": b"b", "sub/deep/c": b""}
_MANY: Final[Contents] = {f"sub{number % 2}/{number}": b"%03d" % number for number in range(20)}
# By the asset's name: what the store has, and what stands torn where modelkit was killed.
ASSETS: Final = {
    "new/file": _FILE,
    "new/folder": _FOLDER,
    "new/many": _MANY,
    "torn/file": _FILE,
    "torn/folder": _FOLDER,
    "whole/folder": _FOLDER,
}
TORN: Final[dict[str, Contents]] = {"torn/file": {"": b"cont"}, "torn/folder": {"a": b"a" * 10}}


@dataclass(frozen=True)
class CallPoint:
    """Right before the `number`th call of a thread."""

    system_call: str
    number: int


class TracedDaemon(Daemon):
    """A daemon below strace, which counts or kills. Its process is strace's."""

    def __init__(self, assets_dir: Path, store: Path, logs: Path, *expressions: str) -> None:
        options = [word for expression in expressions for word in ("-e", expression)]
        command: list[str | Path] = [*_STRACE, logs / "log", *options, *_SERVE]
        super().__init__(assets_dir, store=store, command=command)

    def kill(self) -> None:
        """Kill the daemon, and wait for strace, which would let it go on if it were killed."""
        assert self.process is not None
        self.was_killed = True
        for traced in psutil.Process(self.pid).children() if self.is_running else ():
            traced.kill()
        self.process.wait()


class DaemonCuts:
    """Cuts on one disk; the store is elsewhere, and keeps its power."""

    def __init__(self, disk: LoopDisk) -> None:
        self._disk = disk
        self._assets_dir = disk.root / "assets"
        self._stack = ExitStack()
        self._folder = Path()

    def __enter__(self) -> Self:
        folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="assetd-"))
        self._folder = Path(folder)
        self._fill_store()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def _store(self) -> Path:
        return self._folder / "store"

    def _fill_store(self) -> None:
        with (
            running_daemons(self._folder) as daemons,
            daemons(store=self._store).client() as client,
        ):
            for number, (name, contents) in enumerate(ASSETS.items()):
                source = _write(self._folder / f"source{number}", contents)
                client.push(source, f"{name}:0.0")

    def points(self) -> list[CallPoint]:
        """Returns a point for each call that a thread of an undisturbed daemon makes."""
        self._prepare()
        calls = f"trace={','.join(SYSTEM_CALLS)}"
        logs = self._logs()
        assert self._fetch_all(TracedDaemon(self._assets_dir, self._store, logs, calls)) == [
            *ASSETS
        ]
        return [
            CallPoint(name, number)
            for name in SYSTEM_CALLS
            for number in range(1, 1 + max(_counts(logs, name)))
        ]

    def findings(self, point: CallPoint) -> list[str]:
        """Kill there, cut the power, come back, and return what is wrong; nothing = sound."""
        self._prepare()
        name, when = point.system_call, point.number
        power = os.open(self._disk.root, os.O_RDONLY)
        expressions = (f"trace={name}", f"inject={name}:signal=KILL:when={when}")
        daemon = TracedDaemon(self._assets_dir, self._store, self._logs(), *expressions)
        told = self._fetch_all(daemon)
        cut_power(power, Cut.NOTHING)
        os.close(power)
        self._disk.remount()
        wrong = [finding for name in ASSETS for finding in self._look(name, name in told)]
        wrong += self._fetch_again(told)
        return [f"{point}: {finding}" for finding in wrong]

    def _logs(self) -> Path:
        logs = self._folder / "logs"
        shutil.rmtree(logs, ignore_errors=True)
        logs.mkdir()
        return logs

    def _prepare(self) -> None:
        shutil.rmtree(self._assets_dir, ignore_errors=True)
        for name, contents in TORN.items():
            _write(self._assets_dir / name / "0.0", contents)
        self._disk.sync()
        # As modelkit leaves it: marked, and unsynced.
        _write(self._assets_dir / "whole/folder/0.0", _FOLDER | {".SUCCESS": b""})

    def _fetch_all(self, daemon: Daemon) -> list[str]:
        """Start, fetch everything, kill; return what was acknowledged."""
        told = []
        try:
            with daemon.start().client() as client:
                for name in ASSETS:
                    client.fetch(f"{name}:0.0")
                    told.append(name)
        except (AssetdError, StartFailedError):
            pass
        finally:
            daemon.kill()
            daemon.forget()
        return told

    def _look(self, name: str, was_told: bool) -> Iterator[str]:
        path = self._assets_dir / name / "0.0"
        found = read_tree(path) if path.exists() else {}
        if found == ASSETS[name]:
            return
        if was_told:
            yield f"{name} was acknowledged and is lost"
        elif name != "whole/folder" and found not in ({}, TORN.get(name, {})):
            yield f"{name} is partial: {sorted(found)}"

    def _fetch_again(self, told: list[str]) -> Iterator[str]:
        with running_daemons(self._folder) as daemons:
            daemon = daemons(assets_dir=self._assets_dir, store=self._store)
            with daemon.client() as client:
                for name, contents in ASSETS.items():
                    asset = client.fetch(f"{name}:0.0", verify=True)
                    if name in told and asset.source is not Source.CACHE:
                        yield f"{name} was acknowledged and is fetched again"
                    if read_tree(asset.path) != contents:
                        yield f"{name} is not whole after the next run"
            if left := daemon.leftovers():
                yield f"left over: {left}"


def _write(path: Path, contents: Contents) -> Path:
    if "" not in contents:
        return write_tree(path, contents)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(contents[""])
    return path


def _counts(logs: Path, name: str) -> list[int]:
    """How often each thread made the call."""
    texts = [log.read_text().splitlines() for log in logs.iterdir()]
    return [sum(line.startswith(f"{name}(") for line in lines) for lines in texts]
