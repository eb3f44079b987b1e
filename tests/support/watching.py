"""The watcher as a process of its own, and what it has reported so far."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import ROOT
from tests.support.waiting import wait_until

Hashes = Mapping[str, str]


@dataclass(frozen=True)
class Report:
    """Something that stood at a final path."""

    path: str
    inode: int
    changed_ns: int
    whole: bool


class Watch:
    """What the watcher saw, in order."""

    def __init__(self) -> None:
        self.reports: list[Report] = []

    @property
    def partials(self) -> list[Report]:
        """Whatever was not whole."""
        return [report for report in self.reports if not report.whole]

    def wait_for(self, path: Path) -> None:
        """Waits until it has looked at what stands at the path now."""
        status = path.stat()
        # Inodes come back once they are free; with the time they do not.
        sought = (str(path), status.st_ino, status.st_ctime_ns)
        wait_until(
            lambda: any((r.path, r.inode, r.changed_ns) == sought for r in self.reports),
            f"a report of {path}",
        )


@contextmanager
def watching(expected: Mapping[Path, Hashes]) -> Iterator[Watch]:
    """Watches paths, each with the SHA-256 of its parts, for the length of the block.

    After the block all reports are there.
    """
    watch = Watch()
    order = json.dumps({str(path): dict(hashes) for path, hashes in expected.items()})
    with subprocess.Popen(
        [sys.executable, "-m", "tests.support.watcher", order],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        output = process.stdout
        assert output.readline() == "ready\n"

        def read() -> None:
            watch.reports.extend(Report(**json.loads(line)) for line in output)

        reader = threading.Thread(target=read)
        reader.start()
        try:
            yield watch
        finally:
            process.stdin.close()
            reader.join()
    assert process.returncode == 0, "the watcher died"
