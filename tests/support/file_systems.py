"""A file system that counts and records its calls, and fails or stops at the one that a test names.

It works on real folders, so that what a test finds there is what a reader would have found. Only
the waiting for the disk is left out, where a test cannot cut the power.
"""

import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from assetd_server.cache.linux import Buffer, FileSystem


class Stopped(BaseException):
    """The process ended here, as by SIGKILL: no handler of an `Exception` may see it."""


@dataclass(frozen=True)
class Call:
    """One call: its name, and the paths below the root that it works on."""

    name: str
    paths: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.name} {' -> '.join(self.paths)}"


def _nothing() -> None:
    """Do nothing."""


@dataclass
class _Plan:
    """What happens at a call that is still to come: the `number`-th one (of a name) from now on."""

    number: int
    name: str | None
    act: Callable[[], None]


class RecordingFileSystem(FileSystem):
    """The real calls, numbered and recorded. Safe from any thread, as the real one is."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self._plans: list[_Plan] = []
        self._stops: dict[Call, Callable[[], None]] = {}
        self._paths: dict[int, str] = {}
        self._stopped = False
        self._turn = threading.RLock()

    def fail(self, number: int, code: int, name: str | None = None) -> None:
        """Let the `number`-th call from now on (of that name) fail with the errno `code`."""

        def act() -> None:
            raise OSError(code, os.strerror(code))

        self._plans.append(_Plan(number, name, act))

    def stop(self, number: int) -> None:
        """End the process, so to speak, right before the `number`-th call from now on."""
        self._plans.append(_Plan(number, None, self._die))

    def before(self, name: str, act: Callable[[], None], number: int = 1) -> None:
        """Let somebody else act right before the `number`-th call of that name."""
        self._plans.append(_Plan(number, name, act))

    def before_call(self, number: int, act: Callable[[], None]) -> None:
        """Let somebody else act right before the `number`-th call from now on, of any name."""
        self._plans.append(_Plan(number, None, act))

    def at(self, call: Call, act: Callable[[], None]) -> None:
        """Do something right before the next such call, once; it may wait, and others go on."""
        self._stops[call] = act

    def heal(self) -> None:
        """Let nothing that is planned happen any more."""
        self._plans.clear()
        self._stops.clear()

    @property
    def planned(self) -> int:
        """How much is still to happen."""
        return len(self._plans)

    @property
    def open_paths(self) -> list[str]:
        """The paths of all open descriptors."""
        return list(self._paths.values())

    def named(self, *names: str) -> list[Call]:
        """The calls of these names, in order."""
        return [call for call in self.calls if call.name in names]

    def _die(self) -> None:
        # The kernel closes what a dead process had open, and so drops its locks.
        for fd in self._paths:
            os.close(fd)
        self._paths.clear()
        self._stopped = True

    def _begin(self, name: str, paths: tuple[str, ...]) -> None:
        call = Call(name, paths)
        # Outside of the turn: who waits here keeps nobody from going on.
        self._stops.pop(call, _nothing)()
        with self._turn:
            self.calls.append(call)
            due = [plan for plan in self._plans if plan.name in (None, name)]
            for plan in due:
                plan.number -= 1
            self._plans = [plan for plan in self._plans if plan.number > 0]
            for plan in due:
                if plan.number == 0:
                    plan.act()
            if self._stopped:
                raise Stopped

    def _opened(self, path: str, fd: int) -> int:
        with self._turn:
            self._paths[fd] = path
        return fd

    def _at(self, dir_fd: int, name: str) -> str:
        above = self._paths.get(dir_fd, "?")
        if name == ".":
            return above
        return f"{above}/{name}" if above else name

    def _of(self, fd: int) -> tuple[str, ...]:
        return (self._paths.get(fd, "?"),)

    def open_root(self, path: str) -> int:
        self._begin("open_root", (path,))
        return self._opened("", super().open_root(path))

    def stat_root(self, path: str) -> os.stat_result:
        self._begin("stat_root", (path,))
        return super().stat_root(path)

    def open(self, dir_fd: int, path: str, flags: int, mode: int = 0o644) -> int:
        full = self._at(dir_fd, path)
        self._begin("create" if flags & os.O_CREAT else "open", (full,))
        return self._opened(full, super().open(dir_fd, path, flags, mode))

    def open_inside(self, dir_fd: int, path: str, flags: int) -> int:
        full = self._at(dir_fd, path)
        self._begin("open", (full,))
        return self._opened(full, super().open_inside(dir_fd, path, flags))

    def close(self, fd: int) -> None:
        # Linux drops the descriptor even where close reports an error, and so does this.
        try:
            self._begin("close", self._of(fd))
        finally:
            with self._turn:
                known = self._paths.pop(fd, None)
            if known is not None:
                super().close(fd)

    def fstat(self, fd: int) -> os.stat_result:
        self._begin("fstat", self._of(fd))
        return super().fstat(fd)

    def lstat(self, dir_fd: int, name: str) -> os.stat_result:
        self._begin("lstat", (self._at(dir_fd, name),))
        return super().lstat(dir_fd, name)

    def list_names(self, fd: int) -> Sequence[os.DirEntry[str]]:
        self._begin("list_names", self._of(fd))
        return super().list_names(fd)

    def first_names(self, fd: int, count: int) -> Sequence[str]:
        self._begin("list_names", self._of(fd))
        return super().first_names(fd, count)

    def mkdir(self, dir_fd: int, name: str, mode: int = 0o755) -> None:
        self._begin("mkdir", (self._at(dir_fd, name),))
        super().mkdir(dir_fd, name, mode)

    def rename(self, from_fd: int, name: str, to_fd: int, new_name: str) -> None:
        self._begin("rename", (self._at(from_fd, name), self._at(to_fd, new_name)))
        super().rename(from_fd, name, to_fd, new_name)

    def rename_noreplace(self, from_fd: int, name: str, to_fd: int, new_name: str) -> None:
        self._begin("rename_noreplace", (self._at(from_fd, name), self._at(to_fd, new_name)))
        super().rename_noreplace(from_fd, name, to_fd, new_name)

    def rename_exchange(self, from_fd: int, name: str, to_fd: int, new_name: str) -> None:
        self._begin("rename_exchange", (self._at(from_fd, name), self._at(to_fd, new_name)))
        super().rename_exchange(from_fd, name, to_fd, new_name)

    def unlink(self, dir_fd: int, name: str) -> None:
        self._begin("unlink", (self._at(dir_fd, name),))
        super().unlink(dir_fd, name)

    def rmdir(self, dir_fd: int, name: str) -> None:
        self._begin("rmdir", (self._at(dir_fd, name),))
        super().rmdir(dir_fd, name)

    def truncate(self, fd: int, length: int) -> None:
        self._begin("truncate", self._of(fd))
        super().truncate(fd, length)

    def pread(self, fd: int, length: int, offset: int) -> bytes:
        self._begin("pread", self._of(fd))
        return super().pread(fd, length, offset)

    def pwritev(self, fd: int, buffers: Sequence[Buffer], offset: int) -> int:
        self._begin("pwritev", self._of(fd))
        return super().pwritev(fd, buffers, offset)

    def clone(self, from_fd: int, to_fd: int) -> None:
        self._begin("clone", (*self._of(from_fd), *self._of(to_fd)))
        super().clone(from_fd, to_fd)

    def copy_range(self, from_fd: int, to_fd: int, length: int, offset: int) -> int:
        self._begin("copy_range", (*self._of(from_fd), *self._of(to_fd)))
        return super().copy_range(from_fd, to_fd, length, offset)

    def start_writeback(self, fd: int, offset: int, length: int) -> None:
        self._begin("start_writeback", self._of(fd))
        super().start_writeback(fd, offset, length)

    def fsync(self, fd: int) -> None:
        self._begin("fsync", self._of(fd))
        super().fsync(fd)

    def syncfs(self, fd: int) -> None:
        self._begin("syncfs", self._of(fd))
        super().syncfs(fd)

    def flock(self, fd: int, operation: int) -> None:
        self._begin("flock", self._of(fd))
        super().flock(fd, operation)

    def free_bytes(self, fd: int) -> int:
        self._begin("free_bytes", self._of(fd))
        return super().free_bytes(fd)

    def file_system_type(self, fd: int) -> str:
        self._begin("file_system_type", self._of(fd))
        return super().file_system_type(fd)

    def total_bytes(self, fd: int) -> int:
        self._begin("total_bytes", self._of(fd))
        return super().total_bytes(fd)


class FaultyFileSystem(RecordingFileSystem):
    """The same without the waiting for the disk, which takes most of a test's time."""

    def fsync(self, fd: int) -> None:
        self._begin("fsync", self._of(fd))
        os.fstat(fd)

    def syncfs(self, fd: int) -> None:
        self._begin("syncfs", self._of(fd))
        os.fstat(fd)


class FixedDisk(FaultyFileSystem):
    """A disk of `size_bytes`, of which what lies below `root` takes a part, and others the rest."""

    def __init__(self, root: Path, size_bytes: int) -> None:
        super().__init__()
        self.root = root
        self.size_bytes = size_bytes
        self.taken_by_others_bytes = 0

    def free_bytes(self, fd: int) -> int:
        self._begin("free_bytes", self._of(fd))
        # Our own small files take none: they are not what tests are about.
        taken = sum(_size_of(path) for path in self.root.rglob("*"))
        return max(self.size_bytes - taken - self.taken_by_others_bytes, 0)

    def total_bytes(self, fd: int) -> int:
        self._begin("total_bytes", self._of(fd))
        return self.size_bytes


def _size_of(path: Path) -> int:
    if path.name.endswith((".SUCCESS", ".lock", "order", "journal", "receipt")):
        return 0
    with suppress(FileNotFoundError):
        return path.stat().st_size if path.is_file() else 0
    return 0


class StutteringFileSystem(FaultyFileSystem):
    """Writes at most three bytes a call, as a nearly full disk or a signal may."""

    def pwritev(self, fd: int, buffers: Sequence[Buffer], offset: int) -> int:
        joined = b"".join(bytes(buffer) for buffer in buffers)
        return super().pwritev(fd, [joined[:3]], offset)


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    """Fail where the block leaves a descriptor of this process open."""
    before = _descriptors()
    yield
    assert _descriptors() - before == Counter(), "descriptors left open"


def _descriptors() -> "Counter[str]":
    targets: Counter[str] = Counter()
    for link in Path("/proc/self/fd").iterdir():
        try:
            targets[str(link.readlink())] += 1
        except FileNotFoundError:  # the descriptor of this very listing
            continue
    return targets
