"""ext4 and XFS on loop devices, whose power a test may cut. Root only.

The cut is the file system's own (FS_IOC_SHUTDOWN): what was not written to the device by then is
lost, and the next mount replays the journal, as after a real one. A device that lies about its
flushes is not among the faults.
"""

import ctypes
import fcntl
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from enum import IntEnum
from pathlib import Path
from typing import Final

import pytest

from tests.conftest import IN_CI
from tests.support.scratch import scratch_folder

_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_SHUTDOWN: Final = 0x8004587D
_CLONE_NEWNS: Final = 0x00020000
_MS_REC: Final = 0x4000
_MS_PRIVATE: Final = 1 << 18
_MNT_DETACH: Final = 2
_MIB: Final = 1 << 20

# By the type: the image's size (sparse; mkfs.xfs makes nothing smaller), and what makes it.
_MKFS: Final = {
    "ext4": (64 * _MIB, ["mkfs.ext4", "-q", "-F"]),
    "xfs": (300 * _MIB, ["mkfs.xfs", "-q", "-f"]),
}
# ext4 by default writes a file out when it is renamed over another, which mends who forgets to.
_OPTIONS: Final = {"ext4": b"noauto_da_alloc"}
FILE_SYSTEMS: Final = tuple(_MKFS)


class Cut(IntEnum):
    """What the device still gets of what was under way when the power went."""

    # The journal up to the last call, but no file's bytes: names and lengths outlive content.
    JOURNAL = 1
    NOTHING = 2


def cut_power(fd: int, cut: Cut) -> None:
    """Shuts the file system of `fd` down: from here on nothing reaches its device."""
    fcntl.ioctl(fd, _SHUTDOWN, struct.pack("I", cut))


class LoopDisk:
    """One file system in an image of its own, mounted at `root`."""

    def __init__(self, folder: Path, fs_type: str) -> None:
        self.fs_type = fs_type
        self.root = folder / fs_type
        self.root.mkdir()
        self._image = folder / f"{fs_type}.img"
        self._device = Path()
        self._device_fd = -1
        self._is_mounted = False

    def make(self) -> None:
        """Makes an empty file system and mounts it."""
        size_bytes, command = _MKFS[self.fs_type]
        with self._image.open("wb") as image:
            image.truncate(size_bytes)
        _run(*command, self._image)
        self._device = Path(_run("losetup", "--find", "--show", self._image).strip())
        # Both go with their last user, which is this process, however that ends.
        self._device_fd = os.open(self._device, os.O_RDONLY)
        _run("losetup", "--detach", self._device)
        self._image.unlink()
        self.mount()

    def mount(self) -> None:
        """Mounts it, which replays its journal."""
        options = _OPTIONS.get(self.fs_type)
        _mount(str(self._device), str(self.root), self.fs_type, 0, options)
        self._is_mounted = True

    def unmount(self, flags: int = 0) -> None:
        """Unmounts it; nobody may have anything open on it."""
        _checked(_LIBC.umount2(os.fsencode(self.root), flags))
        self._is_mounted = False

    def remount(self) -> None:
        """Comes back as after a restart of the machine: nothing is remembered in memory."""
        self.unmount()
        self.mount()

    def sync(self) -> None:
        """Returns when all that was done so far is on the device."""
        fd = os.open(self.root, os.O_RDONLY)
        try:
            _checked(_LIBC.syncfs(fd))
        finally:
            os.close(fd)

    def remove(self) -> None:
        """Takes all of it away, also what a process still has open."""
        if self._is_mounted:
            self.unmount(_MNT_DETACH)
        if self._device_fd >= 0:
            os.close(self._device_fd)


def _mount(source: str, target: str, kind: str, flags: int, options: bytes | None = None) -> None:
    _checked(_LIBC.mount(source.encode(), target.encode(), kind.encode(), flags, options))


def _checked(result: int) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def _run(*command: str | Path) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@contextmanager
def private_mounts() -> Iterator[None]:
    """Gives this thread, and whom it starts, mounts that nobody else sees, for the block.

    A process that copies all mounts, as `unshare` does, would keep a disk without power alive, and
    its next mount would get that one. And all of them go with us, however we end.
    """
    cwd = Path.cwd()
    ours = os.open("/proc/thread-self/ns/mnt", os.O_RDONLY)
    try:
        _checked(_LIBC.unshare(_CLONE_NEWNS))
        try:
            _mount("none", "/", "none", _MS_REC | _MS_PRIVATE)
            yield
        finally:
            _checked(_LIBC.setns(ours, _CLONE_NEWNS))
            os.chdir(cwd)
    finally:
        os.close(ours)


@contextmanager
def loop_disk(fs_type: str) -> Iterator[LoopDisk]:
    """Gives an empty disk, in memory where the machine has such a place; gone after the block.

    Raises:
        OSError, subprocess.CalledProcessError: this machine or user cannot.
    """
    with ExitStack() as stack:
        folder = stack.enter_context(scratch_folder())
        stack.enter_context(private_mounts())
        disk = LoopDisk(folder, fs_type)
        stack.callback(disk.remove)
        disk.make()
        yield disk


def require_loop_disks(fs_type: str) -> None:
    """Skips the test by name where such disks cannot be made; under CI=true that is a failure."""
    if reason := _why_not(fs_type):
        if IN_CI:
            pytest.fail(f"{reason}, and nothing is skipped in CI")
        pytest.skip(reason)


def _why_not(fs_type: str) -> str | None:
    program = _MKFS[fs_type][1][0]
    if os.geteuid() != 0:
        return f"mounting {fs_type} needs root"
    if shutil.which(program) is None:
        return f"needs {program}: run `make system-packages`"
    try:
        with loop_disk(fs_type):
            return None
    except (OSError, subprocess.CalledProcessError) as refused:
        return f"{fs_type} cannot be mounted here: {refused}"
