"""The crash enumerator: an operation is cut off before each call, and what is left examined.

On a disk of its own, whose power is cut (`loop_disks`). `crash_driver` runs the operation in
another process; here is who outlives it, and judges.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.conftest import ROOT
from tests.support.crash_judging import Operation
from tests.support.crash_operations import OPERATIONS
from tests.support.loop_disks import Cut, LoopDisk

_LOOKS = {
    *("open", "close", "fstat", "lstat", "list_names", "pread", "flock", "stat_root"),
    *("free_bytes", "total_bytes", "file_system_type"),
}


class Driver:
    """The driver as a process of its own."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def run(
        self,
        operation: Operation,
        root: Path,
        *,
        number: int = 0,
        cut: Cut = Cut.NOTHING,
        mutant: str = "",
    ) -> dict[str, Any]:
        """Runs an operation, until the power is cut before that call; with 0, to its end."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        line = {
            "operation": operation.name,
            "root": str(root),
            "number": number,
            "cut": cut,
            "mutant": mutant,
        }
        self._process.stdin.write(json.dumps(line) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer


@contextmanager
def crash_driver(*tracer: str | Path) -> Iterator[Driver]:
    """Gives a driver, which another program may watch, for the length of the block."""
    with subprocess.Popen(
        [*tracer, sys.executable, "-m", "tests.support.crash_driver"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield Driver(process)


@dataclass(frozen=True)
class Point:
    """Where the power goes: right before this call of the operation, the first being 1."""

    operation: str
    number: int
    cut: Cut

    def __str__(self) -> str:
        lost = "all that was not written" if self.cut is Cut.NOTHING else "files, not their names"
        return f"{self.operation}, before call {self.number}, losing {lost}"


class PowerCuts:
    """Cuts the power of one disk again and again."""

    def __init__(self, disk: LoopDisk, driver: Driver, mutant: str = "") -> None:
        self._disk = disk
        self._driver = driver
        self._mutant = mutant

    def calls(self, operation: Operation) -> list[str]:
        """Returns the calls of an undisturbed run, each as text."""
        root = self._prepared(operation, "undisturbed")
        ran = self._driver.run(operation, root, mutant=self._mutant)
        assert ran["acknowledged"], f"{operation.name} fails undisturbed"
        shutil.rmtree(root)
        calls: list[str] = ran["calls"]
        return calls

    def points(self, operation: Operation, cut: Cut = Cut.NOTHING) -> list[Point]:
        """Returns a point for each call, and one for after the last."""
        count = len(self.calls(operation))
        return [Point(operation.name, number, cut) for number in range(1, count + 2)]

    def points_of_change(self, operation: Operation, cut: Cut = Cut.NOTHING) -> list[Point]:
        """Returns the points that differ: a call that only looks leaves the disk as it was."""
        changes = [call.split(" ")[0] not in _LOOKS for call in self.calls(operation)]
        points = self.points(operation, cut)
        return [point for point, is_one in zip(points, [*changes, True], strict=True) if is_one]

    def findings(self, point: Point) -> list[str]:
        """Cuts the power there, comes back, and returns what is wrong; nothing = sound."""
        operation = OPERATIONS[point.operation]
        root = self._prepared(operation, f"{point.operation}-{point.number}")
        ran = self._driver.run(
            operation, root, number=point.number, cut=point.cut, mutant=self._mutant
        )
        self._disk.remount()
        wrong = ["the operation failed"] if ran["failed"] else []
        wrong += operation.findings(root, acknowledged=ran["acknowledged"])
        wrong += operation.after_the_next_run(root)
        shutil.rmtree(root)
        return [f"{point}: {what}" for what in wrong]

    def _prepared(self, operation: Operation, name: str) -> Path:
        root = self._disk.root / name
        root.mkdir()
        operation.prepare(root)
        self._disk.sync()
        operation.disturb(root)
        return root
