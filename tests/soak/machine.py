"""Five thousand histories of one cache, beside a dict.

`python -m tests.soak.machine`. What is found is shrunk by hypothesis, printed, and kept in
`.hypothesis`, from where `make test` tries it first.
"""

import functools
import os
import subprocess
import sys

from tests.conftest import ROOT
from tests.soak.running import Soak, arguments

_HISTORIES_A_RUN = 50


def main() -> int:
    """Run, and return the exit code."""
    parser = arguments("Play histories of fetches, holds, evictions, edits and restarts.")
    parser.add_argument("--histories", type=int, default=5_000)
    given = parser.parse_args()
    soak = Soak("machine", given)
    left = [
        number
        for number in range(-(-given.histories // _HISTORIES_A_RUN))
        if not soak.has_done(str(number))
    ]
    play = functools.partial(_play, soak.seed)
    return soak.end(finished=soak.try_all(left, play, functools.partial(_note, soak)))


def _play(seed: int, number: int) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "pytest", "tests/property/test_cache_machine.py", "-q"]
    return subprocess.run(
        [*command, f"--hypothesis-seed={1_000_000 * seed + number}", "--timeout=0"],
        cwd=ROOT,
        env=os.environ | {"CACHE_MACHINE_EXAMPLES": str(_HISTORIES_A_RUN)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _note(soak: Soak, number: int, played: "subprocess.CompletedProcess[str]") -> None:
    findings = [f"in run {number}: {played.stdout}"] if played.returncode else []
    soak.note(str(number), findings, {"histories": _HISTORIES_A_RUN})
    if number % 10 == 0:
        soak.tell(f"{soak.figures['histories']:,} histories")


if __name__ == "__main__":
    sys.exit(main())
