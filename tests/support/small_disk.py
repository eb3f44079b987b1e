"""File systems of a test's own, small enough to be filled: tmpfs, which only root can mount."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import IN_CI


class SmallDisks:
    """Mounts and remounts. All that it has mounted is gone after the test."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._mounted: list[Path] = []

    def mount(self, at: Path | None = None, **options: object) -> Path:
        """Returns the root of a new tmpfs with options such as `size="8m"` or `nr_inodes=40`.

        It lies in a new folder, or over the one that is given.
        """
        root = at or self._folder / f"disk{len(self._mounted)}"
        root.mkdir(parents=True, exist_ok=at is not None)
        given = ",".join(f"{name}={value}" for name, value in options.items())
        _run("mount", "-t", "tmpfs", "-o", given, "assetd-test", root)
        self._mounted.append(root)
        return root

    def bind(self, what: Path, at: Path) -> None:
        """Shows a folder or file at another place too, where something of its kind lies."""
        _run("mount", "--bind", what, at)
        self._mounted.append(at)

    def fuse(self, what: Path, at: Path) -> None:
        """Shows a folder at another place too, by a program in user space."""
        _run("bindfs", what, at)
        self._mounted.append(at)

    def remount(self, root: Path, how: str) -> None:
        """Makes it read-only by `ro`, writable again by `rw`."""
        _run("mount", "-o", f"remount,{how}", root)

    def unmount(self, root: Path) -> None:
        """Takes it away, also while a process has it open."""
        self._mounted.remove(root)
        _run("umount", "--lazy", root)

    def unmount_all(self) -> None:
        """Takes all away, also what a process still has open."""
        while self._mounted:
            self.unmount(self._mounted[-1])


def _run(*command: str | Path) -> None:
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture
def small_disks(tmp_path: Path) -> Iterator[SmallDisks]:
    """Small disks; skipped where nobody may mount, which under CI=true is a failure."""
    disks = SmallDisks(tmp_path / "disks")
    try:
        disks.mount(size="1m")
    except (OSError, subprocess.CalledProcessError) as refused:
        reason = f"mounting a tmpfs needs root (uid {os.geteuid()}): {refused}"
        if IN_CI:
            pytest.fail(f"{reason}, and nothing is skipped in CI")
        pytest.skip(reason)
    try:
        yield disks
    finally:
        disks.unmount_all()


def free_bytes(root: Path) -> int:
    """Returns what is left on the disk."""
    facts = os.statvfs(root)
    return facts.f_bavail * facts.f_frsize


def free_inodes(root: Path) -> int:
    """Returns how many more files fit on the disk."""
    return os.statvfs(root).f_favail
