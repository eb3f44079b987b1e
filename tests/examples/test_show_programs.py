"""No program of the show outlives it, whenever a signal comes."""

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.conftest import ROOT
from tests.support.waiting import wait_until

# The signal comes when the program is there, and before anybody but Popen knows of it.
SIGNALLED = """
import os, signal, subprocess, sys
from pathlib import Path
from examples.show import programs

class Signalled(subprocess.Popen):
    def _execute_child(self, *arguments, **more):
        super()._execute_child(*arguments, **more)
        print(self.pid, flush=True)
        os.kill(os.getpid(), int(sys.argv[1]))

subprocess.Popen = Signalled
programs.ENDING.install()
"""
FINISHED = "programs.finish(['sleep', '100'])"
RUNNING = """
with programs.running('sleep', ['sleep', '100'], os.environ, Path(sys.argv[2])):
    pass
"""


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize("how", [FINISHED, RUNNING], ids=["finish", "running"])
def test_a_signal_while_a_program_starts_ends_it(
    number: signal.Signals, exit_code: int, how: str, tmp_path: Path
) -> None:
    """As one that comes later does, and without a word."""
    command = [
        sys.executable,
        "-W",
        "error",
        "-c",
        SIGNALLED + how,
        str(number.value),
        str(tmp_path),
    ]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (exit_code, "")
    wait_until(lambda: not psutil.pid_exists(int(ended.stdout)), "the end of the program")
