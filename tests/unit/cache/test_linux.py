"""The calls below ASSETS_DIR: nothing leaves the folder, whichever way the kernel lets us open."""

import errno
import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from assetd_server.cache import linux
from assetd_server.cache.linux import FileSystem

Open = Callable[[int, str, int, int], int]

REAL = FileSystem()
READ, FOLDER, CREATE = os.O_RDONLY, os.O_RDONLY | os.O_DIRECTORY, os.O_RDWR | os.O_CREAT


def open_by_steps(dir_fd: int, path: str, flags: int, mode: int) -> int:
    """What a sandbox without openat2 gets, with the flags that `FileSystem.open` adds."""
    extra = os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
    return linux._open_by_steps(dir_fd, path, flags | extra, mode)  # noqa: SLF001


both_ways = pytest.mark.parametrize(
    "open_", [REAL.open, open_by_steps], ids=["openat2", "by-steps"]
)


@pytest.fixture
def top(root: Path) -> Iterator[int]:
    """A folder with a file, a folder and links of each kind, and a secret beside it."""
    secret = root.parent / "secret"
    secret.mkdir()
    (secret / "file").write_bytes(b"secret")
    (root / "sub/inner").mkdir(parents=True)
    (root / "sub/inner/file").write_bytes(b"content")
    (root / "file").write_bytes(b"top")
    (root / "link-out").symlink_to(secret)
    (root / "link-file-out").symlink_to(secret / "file")
    (root / "link-in").symlink_to("sub")
    (root / "dangling").symlink_to(secret / "new")
    (root / "sub/link-up").symlink_to("../..")
    os.mkfifo(root / "fifo")
    fd = REAL.open_root(str(root))
    yield fd
    REAL.close(fd)


def answer(open_: Open, fd: int, path: str, flags: int) -> str:
    """What opening came to: the inode that was reached, or the error's name."""
    try:
        opened = open_(fd, path, flags, 0o600)
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    try:
        return str(os.fstat(opened).st_ino)
    finally:
        os.close(opened)


REFUSED = [
    ("link-out", FOLDER, "ELOOP"),
    ("link-out", READ, "ELOOP"),
    ("link-out/file", READ, "ELOOP"),
    ("link-file-out", READ, "ELOOP"),
    ("link-file-out", CREATE, "ELOOP"),
    ("link-in", FOLDER, "ELOOP"),
    ("link-in/inner/file", READ, "ELOOP"),
    ("dangling", READ, "ELOOP"),
    ("dangling", CREATE, "ELOOP"),
    ("sub/link-up/secret/file", READ, "ELOOP"),
    ("../secret/file", READ, "EXDEV"),
    ("..", FOLDER, "EXDEV"),
    ("sub/../../secret/file", READ, "EXDEV"),
    ("/etc/hostname", READ, "EXDEV"),
    ("file/below", READ, "ENOTDIR"),
    ("file", FOLDER, "ENOTDIR"),
    ("absent", READ, "ENOENT"),
    ("absent/file", CREATE, "ENOENT"),
    ("sub", CREATE, "EISDIR"),
]


@both_ways
@pytest.mark.parametrize(("path", "flags", "expected"), REFUSED)
def test_what_leads_elsewhere_is_refused_alike(
    open_: Open, top: int, path: str, flags: int, expected: str
) -> None:
    """A link, a way up and an absolute path are refused, with and without openat2."""
    assert answer(open_, top, path, flags) == expected


@both_ways
def test_a_dangling_link_creates_nothing(open_: Open, top: int, root: Path) -> None:
    """O_CREAT through a link that points outside would write outside."""
    answer(open_, top, "dangling", CREATE)
    assert sorted(path.name for path in (root.parent / "secret").iterdir()) == ["file"]


@both_ways
@pytest.mark.parametrize(
    ("path", "flags"),
    [("file", READ), ("sub/inner/file", READ), ("sub/inner", FOLDER), (".", FOLDER)],
)
def test_what_stands_beneath_is_opened(
    open_: Open, top: int, root: Path, path: str, flags: int
) -> None:
    """Both ways reach the entry itself."""
    assert answer(open_, top, path, flags) == str((root / path).stat().st_ino)


@both_ways
def test_a_fifo_does_not_hang_its_reader(open_: Open, top: int, root: Path) -> None:
    """Nobody writes to it, so that an open that waits would wait for ever."""
    assert answer(open_, top, "fifo", READ) == str((root / "fifo").stat().st_ino)


@both_ways
def test_a_created_file_has_its_mode_and_is_not_inherited(
    open_: Open, top: int, root: Path
) -> None:
    """A program that the daemon starts must not keep a version's lock alive."""
    fd = open_(top, "new", CREATE, 0o600)
    try:
        assert not os.get_inheritable(fd)
        assert (root / "new").stat().st_mode & 0o777 == 0o600
    finally:
        os.close(fd)


@both_ways
def test_names_that_are_not_utf8_can_be_opened(open_: Open, top: int, root: Path) -> None:
    """Such a folder in the trash would otherwise stop every start of the daemon."""
    name = os.fsdecode(b"\xff\xfe")
    (root / name).mkdir()
    assert answer(open_, top, name, FOLDER).isdigit()


def test_noreplace_keeps_what_stands_there(top: int, root: Path) -> None:
    """RENAME_NOREPLACE: EEXIST, and both entries as they were; else it is a rename."""
    (root / "other").write_bytes(b"other")
    with pytest.raises(FileExistsError):
        REAL.rename_noreplace(top, "other", top, "file")
    assert ((root / "file").read_bytes(), (root / "other").read_bytes()) == (b"top", b"other")
    REAL.rename_noreplace(top, "other", top, "free")
    assert (root / "free").read_bytes() == b"other"


def test_exchange_swaps_or_does_nothing(top: int, root: Path) -> None:
    """RENAME_EXCHANGE: a file and a folder change places; ENOENT where either is missing."""
    REAL.rename_exchange(top, "file", top, "sub")
    assert (root / "sub").read_bytes() == b"top"
    assert (root / "file/inner/file").read_bytes() == b"content"
    with pytest.raises(FileNotFoundError):
        REAL.rename_exchange(top, "file", top, "absent")
    assert (root / "file").is_dir()


def test_a_lock_lives_as_long_as_its_descriptor(top: int) -> None:
    """A lock belongs to the open file: another descriptor of this process is kept away too."""
    first, second = (REAL.open(top, "file", READ) for _ in range(2))
    REAL.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with pytest.raises(BlockingIOError):
        REAL.flock(second, fcntl.LOCK_SH | fcntl.LOCK_NB)
    REAL.close(first)
    REAL.flock(second, fcntl.LOCK_SH | fcntl.LOCK_NB)
    REAL.close(second)


def test_the_calls_for_the_disk_work_on_files_and_folders(top: int, root: Path) -> None:
    """fsync, syncfs and write-back accept what the cache hands them; a bad one is an OSError."""
    fd = REAL.open(top, "file", os.O_RDWR)
    assert REAL.pwritev(fd, [b"ab", memoryview(b"cd")], 1) == 4
    REAL.start_writeback(fd, 0, 5)
    REAL.truncate(fd, 4)
    REAL.fsync(fd)
    REAL.fsync(top)
    REAL.syncfs(top)
    assert REAL.pread(fd, 100, 1) == b"abc"
    assert REAL.free_bytes(top) > 0
    REAL.close(fd)
    with pytest.raises(OSError, match="Bad file descriptor"):
        REAL.syncfs(fd)
    with pytest.raises(OSError, match="Bad file descriptor"):
        REAL.start_writeback(fd, 0, 1)
    assert (root / "file").read_bytes() == b"tabc"


class Stingy(FileSystem):
    """Takes seven bytes a call, and remembers how many each call offered."""

    def __init__(self) -> None:
        self.offered: list[int] = []

    def pwritev(self, fd: int, buffers: Sequence[linux.Buffer], offset: int) -> int:
        [buffer] = buffers
        self.offered.append(len(buffer))
        return super().pwritev(fd, [memoryview(buffer)[:7]], offset)


def test_writes_are_short_and_none_of_them_is_believed_to_be_whole(top: int) -> None:
    """A call may take less than it is offered, and is never offered more than 64 KiB."""
    fd, fs = REAL.open(top, "new", CREATE, 0o644), Stingy()
    data: list[linux.Buffer] = [b"", b"0123456789" * 3, memoryview(b"abcde")]
    assert linux.write_at(fs, fd, data, 2) == 35
    assert REAL.pread(fd, 100, 0) == b"\0\0" + b"0123456789" * 3 + b"abcde"
    REAL.truncate(fd, 0)
    large = bytes(range(256)) * 800
    assert linux.write_at(REAL, fd, [large], 0) == len(large)
    assert REAL.pread(fd, 2**20, 0) == large
    fs.offered.clear()
    linux.write_at(fs, fd, [large[:100_000]], 0)
    assert max(fs.offered) == 64 * 2**10
    REAL.close(fd)
