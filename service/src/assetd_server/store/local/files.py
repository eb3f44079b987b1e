"""The blocking half of the store in a directory: its system calls, and in which order.

Called from threads only (`store.py` sees to that). Knows keys and bytes, no asset. Two rules carry
the contract's promises:

* Bytes are written aside, under `.assetd/store/`, and fsynced; then one system call shows them:
  link(2) where the key has to be absent, rename(2) where it need not be. The folders are fsynced
  after it, up to the root: what a caller was told survives a power cut.
* Whoever replaces or removes an object holds the lock of its key (flock, so that it works between
  processes). A link needs none: it is atomic, and a swap never lets its key be absent.

An ETag is inode, mtime and size. The inode alone comes back soon after a delete, and kernels count
mtime in ticks of milliseconds; so we set each mtime ourselves, from a clock of nanoseconds, and
under the lock always later than that of the object replaced. Symbolic links are not followed at the
end of a key, and not listed.
"""

import errno
import os
import shutil
import stat
import uuid
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from assetd_server.errors import StoreAccessDeniedError
from assetd_server.store.base import (
    Buffer,
    EtagMismatchError,
    KeyExistsError,
    ObjectInfo,
    ObjectTooLargeError,
)
from assetd_server.store.local.root import WORK_FOLDER, LocalRoot, is_absence

_PLACE_ATTEMPTS = 10
# What copy_file_range says where it is not to be had: between file systems, or on an old kernel.
_CANNOT_COPY = (errno.EXDEV, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
_COPY_BYTES = 1 << 20


class OpenObject:
    """One write of an object, held open: whatever happens to its key, these are its bytes.

    Closed when nobody refers to it any more, so that neither a cancelled caller nor a reader that
    nobody reads leaks a descriptor, and none is closed while a thread still reads from it.
    """

    def __init__(self, key: str, descriptor: int) -> None:
        self._descriptor = descriptor
        weakref.finalize(self, os.close, descriptor)
        self.status = os.fstat(descriptor)
        self.info = object_info(key, self.status)

    def read_at(self, offset: int, size_bytes: int) -> bytes:
        """Return up to `size_bytes` from `offset`; less only at the end of the file."""
        return os.pread(self._descriptor, size_bytes, offset)

    def copy_to(self, descriptor: int, offset: int, length: int) -> None:
        """Write the range to the same place of another file, without reading it where possible.

        A file system that can share blocks does that. Less is written where the file ends before.
        """
        end = offset + length
        while offset < end and (copied := self._copy_some(descriptor, offset, end - offset)):
            offset += copied

    def _copy_some(self, descriptor: int, offset: int, length: int) -> int:
        try:
            return os.copy_file_range(self._descriptor, descriptor, length, offset, offset)
        except OSError as error:
            if error.errno not in _CANNOT_COPY:
                raise
        data = self.read_at(offset, min(length, _COPY_BYTES))
        write_at(descriptor, memoryview(data), offset)
        return len(data)

    def is_unchanged(self) -> bool:
        """Tell whether the file is still what it was when it was opened.

        We never write in place, but modelkit does: without this a reader beside it would take half
        of one object and half of another for one write.
        """
        return _etag(os.fstat(self._descriptor)) == self.info.etag


class LocalFiles:
    """A directory as a map from key to bytes, with the guarantees of `ObjectStore`, blocking."""

    def __init__(self, root: LocalRoot) -> None:
        self._root = root

    def open(self, key: str) -> OpenObject:
        """Open the object under `key`.

        Raises:
            KeyNotFoundError: the key is absent.
        """
        with self._root.failures(key):
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            try:
                found = OpenObject(key, os.open(self._root.path(key), flags))
            except OSError as error:
                if is_absence(error):
                    raise self._root.absent(key) from None
                raise self._no_file(key) if error.errno == errno.ELOOP else error from None
            if stat.S_ISDIR(found.status.st_mode):
                raise self._root.absent(key)
            if not stat.S_ISREG(found.status.st_mode):
                raise self._no_file(key)
            return found

    def _no_file(self, key: str) -> StoreAccessDeniedError:
        return self._root.denied(key, "it is a link or a device, and those are never opened")

    def get(self, key: str, max_bytes: int) -> tuple[ObjectInfo, bytes]:
        """Return the object whole; see `ObjectStore.get`."""
        found = self.open(key)
        if found.info.size_bytes > max_bytes:
            raise ObjectTooLargeError(key)
        return found.info, self.read(found, 0, found.info.size_bytes, is_last=True)

    def read(self, source: OpenObject, offset: int, size_bytes: int, *, is_last: bool) -> bytes:
        """Return exactly `size_bytes` from `offset`; `is_last` makes sure that all is of one write.

        Raises:
            StoreUnavailableError: somebody writes to the file in place.
        """
        key = source.info.key
        with self._root.failures(key):
            data = source.read_at(offset, size_bytes)
            if len(data) < size_bytes or (is_last and not source.is_unchanged()):
                raise self._root.unavailable(key, "the file changed while it was read")
            return data

    def walk(self, prefix: str, after: str, delimiter: bool) -> Iterator[ObjectInfo | str]:
        """Yield objects, and common prefixes as strings, in order; see `ObjectStore.list`."""
        with self._root.failures(prefix):
            yield from self._walk(prefix, after, delimiter)
            self._root.require(prefix)

    def _walk(self, prefix: str, after: str, delimiter: bool) -> Iterator[ObjectInfo | str]:
        for key, is_folder in self._children(prefix):
            if not is_folder:
                if key > after and (status := self._regular_file(key)):
                    yield object_info(key, status)
            elif delimiter:
                if key > after and any(self._walk(key, "", delimiter=False)):
                    yield key
            elif key > after or after.startswith(key):
                yield from self._walk(key, after, delimiter=False)

    def _children(self, prefix: str) -> list[tuple[str, bool]]:
        """Return what lies directly below `prefix`; folders end in `/`, as that decides the order.

        Python compares strings by code point, which is the order of their bytes in UTF-8.
        """
        children = []
        try:
            with os.scandir(self._root.path(prefix)) as entries:
                for entry in entries:
                    is_folder = entry.is_dir(follow_symlinks=False)
                    key = f"{prefix}{entry.name}/" if is_folder else prefix + entry.name
                    if _is_utf8(key) and key != f"{WORK_FOLDER}/":
                        children.append((key, is_folder))
        except OSError as error:
            if not is_absence(error):
                raise
        return sorted(children)

    def _regular_file(self, key: str) -> os.stat_result | None:
        try:
            status = self._root.path(key).lstat()
        except OSError as error:
            if not is_absence(error):
                raise
            return None
        return status if stat.S_ISREG(status.st_mode) else None

    def put(self, key: str, data: Buffer) -> ObjectInfo:
        """Write the object over whatever is there; see `ObjectStore.put`."""
        with self._root.failures(key), self._staged(data) as staged, self._root.key_lock(key):
            return self.replace(key, staged)

    def create(self, key: str, data: Buffer) -> ObjectInfo:
        """Write the object where the key is absent; see `ObjectStore.create`."""
        with self._root.failures(key), self._staged(data) as staged:
            self.place(key, lambda target: target.hardlink_to(staged))
            return object_info(key, staged.stat())

    def swap(self, key: str, data: Buffer, etag: str) -> ObjectInfo:
        """Write the object over the one that `etag` names; see `ObjectStore.swap`."""
        with self._root.failures(key), self._staged(data) as staged, self._root.key_lock(key):
            current = self._regular_file(key)
            if current is None or _etag(current) != etag:
                raise EtagMismatchError(key)
            return self.replace(key, staged)

    def delete(self, key: str) -> None:
        """Remove the object if it is there; see `ObjectStore.delete`."""
        with self._root.failures(key), self._root.key_lock(key):
            try:
                self._root.path(key).unlink()
            except IsADirectoryError:
                return
            except OSError as error:
                if not is_absence(error):
                    raise
                return
            self._root.sync_folders(key)

    @contextmanager
    def _staged(self, data: Buffer) -> Iterator[Path]:
        """Write `data` aside, durably; what still stands there at the end is removed."""
        path = self._root.work_path("incoming", uuid.uuid4().hex)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            try:
                write_at(descriptor, memoryview(data).cast("B"), 0)
                self.stamp(descriptor)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            yield path
        finally:
            with suppress(FileNotFoundError):
                path.unlink()

    def stamp(self, file: int | Path, *, after_ns: int = 0) -> None:
        """Set the mtime to now, and in any case later than `after_ns`."""
        mtime_ns = max(self._root.now_ns(), after_ns + 1)
        os.utime(file, ns=(mtime_ns, mtime_ns))

    def replace(self, key: str, staged: Path) -> ObjectInfo:
        """Rename `staged` over the key, whose lock is held."""
        if current := self._regular_file(key):
            self.stamp(staged, after_ns=current.st_mtime_ns)
        info = object_info(key, staged.stat())
        self.place(key, staged.rename)
        return info

    def clear_way(self, key: str, within: str) -> None:
        """Remove the files above the key, at `within` or below it, and whatever is below the key.

        Keys are no paths, but files are: one that stands in the other's way has to go.
        """
        target, highest = self._root.path(key), self._root.path(within)
        above = [path for path in target.parents if path.is_relative_to(highest)]
        for path in above:
            with suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
                path.unlink()
        if target.is_dir() and not target.is_symlink():
            shutil.rmtree(target)

    def place(self, key: str, show: Callable[[Path], object]) -> None:
        """Call `show` with the key's path in folders that exist, and make its effect last.

        Raises:
            KeyExistsError: something stands there, or above it, or below it.
        """
        target = self._root.path(key)
        for _ in range(_PLACE_ATTEMPTS):
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                show(target)
            except FileNotFoundError:
                continue  # somebody took the folder for a left-over: `_remove_empty_folders`
            except (FileExistsError, NotADirectoryError, IsADirectoryError):
                if not _remove_empty_folders(target):
                    raise KeyExistsError(key) from None
            else:
                self._root.sync_folders(key)
                return
        raise self._root.unavailable(key, "its folder keeps disappearing")


def _etag(status: os.stat_result) -> str:
    return f"{status.st_ino:x}-{status.st_mtime_ns:x}-{status.st_size:x}"


def object_info(key: str, status: os.stat_result) -> ObjectInfo:
    """Return the facts of the object whose file has this `status`."""
    return ObjectInfo(key=key, size_bytes=status.st_size, etag=_etag(status))


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def write_at(descriptor: int, view: memoryview, offset: int) -> None:
    """Write all of `view`, which counts bytes, at `offset`."""
    done = 0
    while done < view.nbytes:
        done += os.pwrite(descriptor, view[done:], offset + done)


def _remove_empty_folders(path: Path) -> bool:
    """Remove a tree of folders that holds no file; tell whether it is gone.

    Keys have no folders: those that a delete leaves behind must not stand in the way of a key.
    """
    try:
        if not stat.S_ISDIR(path.lstat().st_mode):
            return False
        for folder, _, _ in os.walk(path, topdown=False):
            Path(folder).rmdir()
    except OSError:
        return False
    return True
