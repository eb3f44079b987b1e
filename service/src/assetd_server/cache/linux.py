"""The file system's calls that the cache makes, each once: the seam.

Every path is relative to an open directory descriptor, and is resolved beneath it without following
links (openat2, Linux 5.6; step by step where a sandbox forbids that call). The methods are thin and
raise OSError; what an error means is said in `cache.layout`. Tests pass a subclass that counts the
calls, fails the Nth, or stops at it.
"""

import ctypes
import errno
import fcntl
import itertools
import os
import stat
from collections.abc import Sequence
from pathlib import Path

_LIBC = ctypes.CDLL(None, use_errno=True)

_SYS_OPENAT2 = 437  # the same number on every architecture: it came after the tables were unified
_RESOLVE_NO_XDEV = 0x01
_RESOLVE_NO_SYMLINKS = 0x04  # magic links of /proc among them
_RESOLVE_BENEATH = 0x08
_BENEATH = _RESOLVE_BENEATH | _RESOLVE_NO_SYMLINKS
_RENAME_NOREPLACE = 1
_RENAME_EXCHANGE = 2
_SYNC_FILE_RANGE_WRITE = 2
_FICLONE = 0x40049409

_ALWAYS = os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
# What a kernel before 5.6, and what a sandbox says.
_NO_OPENAT2 = (errno.ENOSYS, errno.EPERM)
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW


Buffer = bytes | bytearray | memoryview

# A longer write makes the page cache look for larger folios. On a virtual machine whose memory had
# been in use, 2 GiB in writes of 64 KiB took 0.8 s of system time, of 128 KiB 1.7, of 1 MiB 4.8.
_WRITE_BYTES = 64 * 2**10


class _OpenHow(ctypes.Structure):
    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


class FileSystem:
    """The real calls. Stateless, safe from any thread; all of them may block."""

    def open_root(self, path: str) -> int:
        """Open the directory at an absolute `path`, following links: the operator chose it."""
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def stat_root(self, path: str) -> os.stat_result:
        """Return the facts of what stands at an absolute `path` now, following links."""
        return Path(path).stat()

    def open(self, dir_fd: int, path: str, flags: int, mode: int = 0o644) -> int:
        """Open `path` beneath `dir_fd`; a link on the way is ELOOP, a way out EXDEV.

        Never waits for the other end of a FIFO that somebody put there.
        """
        flags |= _ALWAYS
        try:
            return _openat2(dir_fd, path, flags, mode, _BENEATH)
        except OSError as error:
            if error.errno not in _NO_OPENAT2:
                raise
        return _open_by_steps(dir_fd, path, flags, mode)

    def open_inside(self, dir_fd: int, path: str, flags: int) -> int:
        """Open what is there as `open` does, and on the mount of `dir_fd` alone: else EXDEV.

        Where openat2 is forbidden, mounts of one and the same file system are not told apart.
        """
        flags |= _ALWAYS
        try:
            return _openat2(dir_fd, path, flags, 0, _BENEATH | _RESOLVE_NO_XDEV)
        except OSError as error:
            if error.errno not in _NO_OPENAT2:
                raise
        return _open_by_steps(dir_fd, path, flags, 0, one_device=True)

    def close(self, fd: int) -> None:
        """Close a descriptor, and with it the locks that it carries."""
        os.close(fd)

    def fstat(self, fd: int) -> os.stat_result:
        """Return the facts of an open file."""
        return os.fstat(fd)

    def lstat(self, dir_fd: int, name: str) -> os.stat_result:
        """Return the facts of an entry of the open folder, of a link itself where it is one."""
        return os.stat(name, dir_fd=dir_fd, follow_symlinks=False)

    def list_names(self, fd: int) -> Sequence[os.DirEntry[str]]:
        """Return the entries of an open folder, in no order."""
        with os.scandir(fd) as entries:
            return list(entries)

    def first_names(self, fd: int, count: int) -> Sequence[str]:
        """Return the names of the entries of an open folder, at most `count`, in no order."""
        with os.scandir(fd) as entries:
            return [entry.name for entry in itertools.islice(entries, count)]

    def mkdir(self, dir_fd: int, name: str, mode: int = 0o755) -> None:
        """Make a folder in the open folder."""
        os.mkdir(name, mode, dir_fd=dir_fd)

    def rename(self, from_fd: int, name: str, to_fd: int, new_name: str) -> None:
        """Rename over whatever stands there."""
        os.rename(name, new_name, src_dir_fd=from_fd, dst_dir_fd=to_fd)

    def rename_noreplace(self, from_fd: int, name: str, to_fd: int, new_name: str) -> None:
        """Rename where nothing stands; EEXIST where something does."""
        _renameat2(from_fd, name, to_fd, new_name, _RENAME_NOREPLACE)

    def rename_exchange(self, from_fd: int, name: str, to_fd: int, new_name: str) -> None:
        """Swap two entries in one step; ENOENT where either is missing."""
        _renameat2(from_fd, name, to_fd, new_name, _RENAME_EXCHANGE)

    def unlink(self, dir_fd: int, name: str) -> None:
        """Remove a file's name from the open folder."""
        os.unlink(name, dir_fd=dir_fd)

    def rmdir(self, dir_fd: int, name: str) -> None:
        """Remove an empty folder from the open folder."""
        os.rmdir(name, dir_fd=dir_fd)

    def truncate(self, fd: int, length: int) -> None:
        """Set the length of an open file."""
        os.ftruncate(fd, length)

    def pread(self, fd: int, length: int, offset: int) -> bytes:
        """Read at most `length` bytes from `offset` on."""
        return os.pread(fd, length, offset)

    def pwritev(self, fd: int, buffers: Sequence[Buffer], offset: int) -> int:
        """Write the buffers one behind the other at `offset`; may write less than all."""
        return os.pwritev(fd, buffers, offset)

    def clone(self, from_fd: int, to_fd: int) -> None:
        """Let an empty file share all the bytes of another, which stays as it is whoever writes.

        Not every file system can: EOPNOTSUPP, EINVAL or ENOTTY; EXDEV between two of them.
        """
        fcntl.ioctl(to_fd, _FICLONE, from_fd)

    def copy_range(self, from_fd: int, to_fd: int, length: int, offset: int) -> int:
        """Copy at most `length` bytes at `offset` inside the kernel; return how many that was."""
        return os.copy_file_range(from_fd, to_fd, length, offset, offset)

    def start_writeback(self, fd: int, offset: int, length: int) -> None:
        """Ask the kernel to begin writing a range out, so that a later fsync finds little to do."""
        if _LIBC.sync_file_range(
            ctypes.c_int(fd),
            ctypes.c_int64(offset),
            ctypes.c_int64(length),
            ctypes.c_uint(_SYNC_FILE_RANGE_WRITE),
        ):
            _raise_errno()

    def fsync(self, fd: int) -> None:
        """Return when file or folder is on stable storage. After EIO never repeat it on it."""
        os.fsync(fd)

    def syncfs(self, fd: int) -> None:
        """Return when the whole file system of `fd` is on stable storage.

        Write errors since `fd` was opened are reported (Linux 5.8): open it before the first write.
        """
        if _LIBC.syncfs(ctypes.c_int(fd)):
            _raise_errno()

    def flock(self, fd: int, operation: int) -> None:
        """Take or drop a whole-file lock that lives as long as the descriptor's open file."""
        fcntl.flock(fd, operation)

    def free_bytes(self, fd: int) -> int:
        """Return what an unprivileged writer may still write to the file system of `fd`."""
        facts = os.fstatvfs(fd)
        return facts.f_bavail * facts.f_frsize

    def file_system_type(self, fd: int) -> str:
        """Return what the kernel calls the type of the file system of `fd`; "" = unknown."""
        device = os.fstat(fd).st_dev
        number = f"{os.major(device)}:{os.minor(device)}"
        try:
            mounts = Path("/proc/self/mountinfo").read_text(errors="replace")
        except OSError:
            return ""  # no /proc, as in some sandboxes
        for line in mounts.splitlines():
            fields, _, rest = line.partition(" - ")
            if fields.split(" ")[2] == number:
                return rest.split(" ")[0]
        return ""

    def total_bytes(self, fd: int) -> int:
        """Return the size of the file system of `fd`."""
        facts = os.fstatvfs(fd)
        return facts.f_blocks * facts.f_frsize


def is_unknown_call(error: OSError) -> bool:
    """Tell whether a file system, a kernel or a sandbox does not know such a rename."""
    return error.errno in (errno.EINVAL, errno.ENOSYS)


def rename_new(fs: FileSystem, from_fd: int, name: str, to_fd: int, new_name: str) -> None:
    """Rename where nothing stands; EEXIST where something does.

    Not every file system knows RENAME_NOREPLACE (FUSE, some network ones). There a folder replaces
    an empty folder too, which holds nothing that anybody could use; it never replaces more. A file
    is renamed after a look, so it is for places where nobody else puts files.
    """
    try:
        fs.rename_noreplace(from_fd, name, to_fd, new_name)
    except OSError as error:
        if not is_unknown_call(error):
            raise
        _rename_after_a_look(fs, from_fd, name, to_fd, new_name)


def _rename_after_a_look(
    fs: FileSystem, from_fd: int, name: str, to_fd: int, new_name: str
) -> None:
    try:
        stands = fs.lstat(to_fd, new_name)
    except FileNotFoundError:
        stands = None
    if stands is not None and not stat.S_ISDIR(stands.st_mode):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), new_name)
    try:
        fs.rename(from_fd, name, to_fd, new_name)
    except OSError as error:
        # What the kernel says of a folder that is not empty, and of a file where a folder stands.
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR, errno.EISDIR):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), new_name) from error
        raise


def write_at(fs: FileSystem, fd: int, data: Sequence[Buffer], offset: int) -> int:
    """Write all the buffers, one behind the other, at `offset`; return how many bytes that is.

    Raises:
        OSError: some of it may be written.
    """
    done = 0
    for buffer in data:
        rest = memoryview(buffer)
        while rest:
            written = fs.pwritev(fd, [rest[:_WRITE_BYTES]], offset + done)
            if written == 0:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            done += written
            rest = rest[written:]
    return done


def _renameat2(from_fd: int, name: str, to_fd: int, new_name: str, flags: int) -> None:
    if _LIBC.renameat2(
        ctypes.c_int(from_fd),
        ctypes.c_char_p(os.fsencode(name)),
        ctypes.c_int(to_fd),
        ctypes.c_char_p(os.fsencode(new_name)),
        ctypes.c_uint(flags),
    ):
        _raise_errno()


def _raise_errno() -> None:
    code = ctypes.get_errno()
    raise OSError(code, os.strerror(code))


def _openat2(dir_fd: int, path: str, flags: int, mode: int, resolve: int) -> int:
    # No O_NOFOLLOW: beside O_DIRECTORY it would make a link at the end ENOTDIR, as if nothing but a
    # plain file stood there.
    how = _OpenHow(flags=flags, mode=mode if flags & os.O_CREAT else 0, resolve=resolve)
    fd: int = _LIBC.syscall(
        ctypes.c_long(_SYS_OPENAT2),
        ctypes.c_int(dir_fd),
        ctypes.c_char_p(os.fsencode(path)),
        ctypes.byref(how),
        ctypes.c_size_t(ctypes.sizeof(how)),
    )
    if fd < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), path)
    return fd


def _open_by_steps(
    dir_fd: int, path: str, flags: int, mode: int, *, one_device: bool = False
) -> int:
    """Open as openat2 would have, one folder at a time; each step refuses links."""
    flags |= os.O_NOFOLLOW
    *folders, name = path.split("/")
    if ".." in (*folders, name) or path.startswith("/"):
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), path)
    at = os.open(".", _DIRECTORY, dir_fd=dir_fd)
    try:
        for folder in folders:
            above, at = at, _open_one(at, folder, _DIRECTORY, 0)
            os.close(above)
        opened = _open_one(at, name, flags, mode)
    finally:
        os.close(at)
    if one_device and os.fstat(opened).st_dev != os.fstat(dir_fd).st_dev:
        os.close(opened)
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), path)
    return opened


def _open_one(at: int, name: str, flags: int, mode: int) -> int:
    try:
        return os.open(name, flags, mode, dir_fd=at)
    except NotADirectoryError:
        # O_DIRECTORY|O_NOFOLLOW on a link is ENOTDIR; openat2 says ELOOP, and so do we.
        if stat.S_ISLNK(os.stat(name, dir_fd=at, follow_symlinks=False).st_mode):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), name) from None
        raise
