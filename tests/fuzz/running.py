"""Targets in processes of their own, and what became of them.

Knows no target: only their names. The same seed makes nearly the same input; what an engine makes
of the branches that it sees depends on Python's own caches too.
"""

import base64
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.conftest import ROOT
from tests.support.scratch import scratch_folder

# It ends what hangs: the driver itself gives up an input after a second of the processor's time.
_TIMEOUT_SECONDS: Final = 1_800
# As the engine builds for them, and for no other: elsewhere there is no fuzz.
IS_THERE: Final = os.uname().machine == "x86_64"


@dataclass(frozen=True)
class Fuzzed:
    """What one process tried and found; `why` is empty where nothing was found."""

    target: str
    inputs: int
    accepted: int
    looks: int
    slowest_ms: float
    why: str = ""
    given: bytes = b""
    details: str = ""

    @property
    def finding(self) -> str:
        """The finding for people, with the input to put into a test."""
        return f"{self.target}: {self.why}: {self.given!r}" if self.why else ""

    def __str__(self) -> str:
        return (
            f"{self.target}: {self.inputs:,} inputs, {self.accepted:,} accepted,"
            f" {self.looks:,} looked for, at most {self.slowest_ms:.1f} ms"
        )


def fuzz(target: str, runs: int, seed: int, *, bug: str = "", corpus: Path | None = None) -> Fuzzed:
    """Try so much input, or less if something is found; what led further is kept in `corpus`."""
    with scratch_folder() as folder:
        kept = corpus or folder / "corpus"
        kept.mkdir(parents=True, exist_ok=True)
        order = {"runs": runs, "seed": seed, "seeded": bug, "folder": folder, "corpus": kept}
        command = [sys.executable, "-m", "tests.fuzz.driver", target]
        ended = subprocess.run(
            [*command, *(f"--{name}={value}" for name, value in order.items())],
            cwd=ROOT,
            # Of its own, so that nothing changes how it runs; strings are hashed alike in each run.
            env={"PATH": os.environ["PATH"], "PYTHONHASHSEED": "0"},
            capture_output=True,
            timeout=_TIMEOUT_SECONDS,
        )
        return _reported(target, folder, ended)


def _reported(target: str, folder: Path, ended: subprocess.CompletedProcess[bytes]) -> Fuzzed:
    report = folder / "report"
    if report.exists():
        said = json.loads(report.read_text())
        return Fuzzed(
            target,
            said["inputs"],
            said["accepted"],
            said["looks"],
            said["slowest_ns"] / 1e6,
            said["why"],
            base64.b64decode(said["input"]),
            said["details"],
        )
    kinds = ("crash", "oom", "timeout")
    crashes = [path.read_bytes() for kind in kinds for path in sorted(folder.glob(f"{kind}-*"))]
    last = ended.stderr.decode(errors="replace")[-4000:]
    why = f"the process ended with {ended.returncode}"
    return Fuzzed(target, 0, 0, 0, 0.0, why, crashes[0] if crashes else b"", last)
