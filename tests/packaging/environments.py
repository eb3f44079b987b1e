"""The client's wheel, and environments that hold it: installed as a user installs it."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from tests.conftest import IN_CI, ROOT
from tests.support.daemon import environment

UV: Final = Path(sys.executable).with_name("uv")
LOCKS: Final = ROOT / "tools/neighbours"
SMALL_PROGRAM: Final = Path(__file__).with_name("small_program.py")
# What uv says of a package that it has not in its cache, and cannot or may not fetch.
_NO_NETWORK: Final = ("error sending request", "the network was disabled")


def uv(*arguments: str | Path, folder: Path) -> None:
    """Runs uv in `folder`; without a network the test is skipped, and in CI it fails."""
    done = subprocess.run(
        [UV, *arguments],
        # Not in the root, whose settings are the service's.
        cwd=folder,
        # As the Makefile says: trust whom this machine trusts.
        env={"UV_SYSTEM_CERTS": "1", **os.environ, "UV_NO_PROGRESS": "1"},
        capture_output=True,
        text=True,
    )
    if any(text in done.stderr for text in _NO_NETWORK) and not IN_CI:
        pytest.skip("needs a network: the packages are not in uv's cache")
    assert done.returncode == 0, done.stderr


def build_wheel(folder: Path) -> Path:
    """Returns the client's wheel, built into `folder` by the command of `make wheels`."""
    uv(
        *("build", "--quiet", "--wheel", "--require-hashes"),
        *("--build-constraints", ROOT / "requirements.lock"),
        *("--python", sys.executable, "--out-dir", folder, ROOT / "clients/python"),
        folder=folder,
    )
    (wheel,) = folder.glob("*.whl")
    return wheel


@dataclass(frozen=True)
class Installed:
    """An environment with the client in it."""

    folder: Path

    def run(self, program: str, *arguments: str | Path, **variables: str) -> str:
        """Returns what a program of the environment printed; it had nothing of ours to import."""
        done = subprocess.run(
            [self.folder / "bin" / program, *arguments],
            cwd=self.folder,
            env=self._variables(variables),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr == "", done.stderr
        return done.stdout

    def run_small_program(self, *arguments: str | Path, **variables: str) -> dict[str, Any]:
        """Returns what `small_program.py` saw; a warning would have ended it."""
        printed = self.run("python", "-I", "-W", "error", SMALL_PROGRAM, *arguments, **variables)
        answer: dict[str, Any] = json.loads(printed)
        return answer

    def _variables(self, variables: Mapping[str, str]) -> dict[str, str]:
        inherited = {k: v for k, v in environment({}).items() if not k.startswith("PYTHON")}
        return {**inherited, **variables}


def install(wheel: Path, lock: Path, folder: Path) -> Installed:
    """Makes an environment in `folder` of what the lock names and the wheel, and nothing else.

    Fails unless all of it fits together: whatever the wheel says that it needs is there.
    """
    folder.mkdir()
    python = folder / "bin/python"
    uv("venv", "--quiet", "--clear", "--python", sys.executable, folder, folder=folder)
    into = ("pip", "install", "--quiet", "--no-deps", "--python", python)
    uv(*into, "--require-hashes", "-r", lock, folder=folder)
    uv(*into, wheel, folder=folder)
    uv("pip", "check", "--quiet", "--python", python, folder=folder)
    return Installed(folder)


def locked_versions(lock: Path) -> dict[str, str]:
    """The versions that a lock holds, by package."""
    pins = [line.split()[0] for line in lock.read_text().splitlines() if "==" in line]
    return dict(pin.split("==") for pin in pins)
