"""The command `assetd` as a process, as a shell runs it."""

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support.daemon import environment

ASSETD: Final = Path(sys.executable).with_name("assetd")
_TIMEOUT_SECONDS: Final = 120


@dataclass(frozen=True)
class Ended:
    """What a command left: its exit code, and what it printed where."""

    code: int
    out: str
    err: str


def run(*arguments: str | Path, address: str = "", **variables: str) -> Ended:
    """Runs `assetd` to its end."""
    done = subprocess.run(
        [ASSETD, *arguments],
        env=_environment(address, variables),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_SECONDS,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def start(*arguments: str | Path, address: str = "") -> "subprocess.Popen[str]":
    """Starts `assetd`; whoever calls this waits for its end."""
    return subprocess.Popen(
        [ASSETD, *arguments],
        env=_environment(address, {}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _environment(address: str, variables: Mapping[str, str]) -> dict[str, str]:
    return environment({**({"ASSETD_ADDRESS": address} if address else {}), **variables})
