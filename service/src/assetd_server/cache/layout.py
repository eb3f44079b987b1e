"""ASSETS_DIR: the only builder of its paths, and the only way to open one.

Every open goes through the descriptor of the root, beneath it and without following links, so
nothing escapes whatever stands in the tree (`layout.md`, "ASSETS_DIR"). Knows no store. All methods
block; `assets` calls them from a bounded executor.
"""

import errno
import fcntl
import hashlib
import os
import stat
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property

from assetd_server.cache.linux import FileSystem
from assetd_server.errors import (
    AssetError,
    DiskFullError,
    IoError,
    ReadOnlyError,
    TooManyRequestsError,
    UnsafePathError,
)
from assetd_server.model import MARKER_NAME, MAX_SEGMENT_BYTES, AssetKind, AssetName, PartPath
from assetd_server.versioning import Version

OWN_FOLDER = ".assetd"
STAGING = f"{OWN_FOLDER}/staging"
TRASH = f"{OWN_FOLDER}/trash"
PUSH = f"{OWN_FOLDER}/push"
# Ours, among the folders that clients stage their pushes in.
PUSH_JOURNAL = f"{PUSH}/.journal"
PUSH_SPOOL = f"{PUSH}/.spool"
PARTIAL = f"{OWN_FOLDER}/partial"
# The entry of a partial version's receipt in its folder.
PARTIAL_RECEIPT = "receipt"
PINS = f"{OWN_FOLDER}/pins"

# A link, a folder for a file or the reverse; a socket (ENXIO) and a FIFO (ESPIPE) for a file.
_OUT_OF_PLACE = (
    errno.ELOOP,
    errno.EXDEV,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ENXIO,
    errno.ESPIPE,
)


@dataclass(frozen=True)
class VersionPaths:
    """Where one version stands, relative to ASSETS_DIR; modelkit's layout, byte for byte."""

    name: AssetName
    version: Version

    @property
    def folder(self) -> str:
        """The asset's folder."""
        return str(self.name)

    @property
    def leaf(self) -> str:
        """The entry of the version in the asset's folder."""
        return str(self.version)

    @property
    def spec(self) -> str:
        """The version as a caller writes it."""
        return f"{self.name}:{self.version}"

    @property
    def final(self) -> str:
        """The version's final path, wherever this is about: what a pin names."""
        return f"{self.name}/{self.version}"

    @cached_property
    def data(self) -> str:
        """The version itself: a file or a folder."""
        # The ledger knows a version by it, and asks for it a dozen times in a walk.
        return f"{self.folder}/{self.leaf}"

    def part(self, part: PartPath) -> str:
        """Return the path of a part, or of a folder of parts."""
        return f"{self.data}/{part}" if part else self.data

    @property
    def file_marker_leaf(self) -> str:
        """The entry in the asset's folder that marks a complete file."""
        return f".{self.leaf}{MARKER_NAME}"

    def marker(self, kind: AssetKind) -> str:
        """Return the path of the marker: there = complete."""
        if kind is AssetKind.FILE:
            return f"{self.folder}/{self.file_marker_leaf}"
        return f"{self.data}/{MARKER_NAME}"

    @property
    def modelkit_lock(self) -> str | None:
        """The file that modelkit locks while it fetches any version of the asset.

        None where its name would be too long for a file: modelkit cannot fetch such an asset.
        """
        leaf = f"{self.name.segments[-1]}.lock"
        return f".cache/{self.name}.lock" if len(leaf) <= MAX_SEGMENT_BYTES else None

    @property
    def key(self) -> str:
        """A name for the version that fits in one folder entry, whatever the asset is called."""
        return hashlib.sha256(self.data.encode()).hexdigest()[:32]


@dataclass(frozen=True)
class PartialPaths(VersionPaths):
    """Where some parts of a version stand: below `.assetd`, where modelkit never looks.

    `data` is one folder for all of it, so that one lock on it is a lease and one rename takes it
    away: the receipt, and beside it a folder with the parts. Not among them: a part may have any
    name that a person would give a receipt.
    """

    @classmethod
    def of(cls, paths: VersionPaths) -> "PartialPaths":
        """Return where parts of the version stand that has its final path at `paths`."""
        return cls(paths.name, paths.version)

    @property
    def folder(self) -> str:
        """The folder of the asset's partial versions."""
        return f"{PARTIAL}/{self.name}"

    @property
    def parts(self) -> str:
        """The folder below which each part has its own path."""
        return f"{self.data}/parts"

    def part(self, part: PartPath) -> str:
        """Return the path of a part, of a folder of parts, or of the folder of all of them."""
        return f"{self.parts}/{part}" if part else self.parts

    @property
    def receipt(self) -> str:
        """The receipt, which says what of the version is here; without it nothing is."""
        return f"{self.data}/{PARTIAL_RECEIPT}"

    def marker(self, kind: AssetKind) -> str:  # noqa: ARG002 - only directories have parts
        """Return the path of the receipt: a lease looks at it as at a marker."""
        return self.receipt


class KeysInUse:
    """The folders in staging that a flight of this daemon works in: nobody else moves them."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._users: Counter[str] = Counter()

    def begin(self, key: str) -> None:
        """Take the folder into use; more than one may."""
        with self._turn:
            self._users[key] += 1

    def end(self, key: str) -> None:
        """Undo one `begin`."""
        with self._turn:
            self._users -= Counter((key,))

    def is_used(self, key: str) -> bool:
        """Tell whether somebody uses the folder now."""
        with self._turn:
            return self._users[key] > 0

    @contextmanager
    def unused(self, key: str) -> Iterator[bool]:
        """Tell whether nobody uses the folder; for the length of the block nobody begins to."""
        with self._turn:
            yield self._users[key] == 0


class AssetsDir:
    """The open ASSETS_DIR. Its descriptor stays valid when the path is renamed or unmounted."""

    def __init__(self, path: str, fs: FileSystem) -> None:
        """Open the directory at the absolute `path`.

        Raises:
            ReadOnlyError, UnsafePathError, IoError: it cannot be opened.
        """
        self.path = path
        self.fs = fs
        self.lease_probe = threading.Lock()
        self.staging_keys = KeysInUse()
        with os_errors(path):
            self.fd = fs.open_root(path)

    def close(self) -> None:
        """Close the directory; drops the instance lock."""
        self.fs.close(self.fd)

    def absolute(self, relative_path: str) -> str:
        """Return what a caller on this host opens."""
        return f"{self.path}/{relative_path}" if relative_path else self.path

    def require_in_place(self) -> None:
        """Check that the path which callers are told still leads to this directory.

        Raises:
            UnsafePathError: it was renamed, unmounted or mounted over since it was opened.
        """
        with os_errors(self.path):
            ours = self.fs.fstat(self.fd)
            try:
                standing = self.fs.stat_root(self.path)
            except FileNotFoundError:
                standing = None
        if standing is None or not os.path.samestat(ours, standing):
            raise UnsafePathError(
                "{path} is not the ASSETS_DIR that this daemon opened when it started: put that"
                " back, or restart the daemon; nothing was touched",
                path=self.path,
            )

    def try_lock_instance(self) -> bool:
        """Take the lock that one daemon holds on its ASSETS_DIR; False where another has it."""
        with os_errors(self.path):
            return try_flock(self.fs, self.fd, fcntl.LOCK_EX)

    @contextmanager
    def opened(self, path: str, flags: int = os.O_RDONLY, mode: int = 0o644) -> Iterator[int]:
        """Open `path` beneath the root for the length of the block."""
        fd = self.fs.open(self.fd, path, flags, mode)
        try:
            yield fd
        finally:
            self.fs.close(fd)

    @contextmanager
    def folder(self, path: str) -> Iterator[int]:
        """Open an existing folder for the length of the block."""
        with self.opened(path, os.O_RDONLY | os.O_DIRECTORY) as fd:
            yield fd

    @contextmanager
    def ensured_folder(self, path: str) -> Iterator[int]:
        """Open a folder, making it and its parents first; a power cut may take them away."""
        self._make_folders(path)
        with self.folder(path) as fd:
            yield fd

    @contextmanager
    def durable_folder(self, path: str) -> Iterator[int]:
        """Open a folder, making it and its parents first; a power cut leaves it there."""
        self._make_folders(path)
        above = path
        while above:
            # Each is an entry of the one above. Those that stood there already are synced too:
            # another fetch may have made them a moment ago, or have failed before its own sync.
            above = above.rpartition("/")[0]
            self.fsync(above or ".")
        with self.folder(path) as fd:
            yield fd

    def _make_folders(self, path: str) -> None:
        try:
            with self.folder(path):
                return
        except FileNotFoundError:
            above, _, leaf = path.rpartition("/")
        if above:
            self._make_folders(above)
        with self.folder(above or ".") as fd, suppress(FileExistsError):
            self.fs.mkdir(fd, leaf)

    def stat(self, path: str) -> os.stat_result | None:
        """Return the facts of an entry, of a link itself where it is one; None = absent."""
        above, _, leaf = path.rpartition("/")
        try:
            with self.folder(above or ".") as fd:
                return self.fs.lstat(fd, leaf)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def read_small(self, path: str, max_bytes: int) -> bytes | None:
        """Return a small file's bytes; None where it is absent, is no file, or is larger."""
        try:
            with self.opened(path) as fd:
                facts = self.fs.fstat(fd)
                if not stat.S_ISREG(facts.st_mode) or facts.st_size > max_bytes:
                    return None
                return self.fs.pread(fd, facts.st_size, 0)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None

    def fsync(self, path: str) -> None:
        """Return when the file or folder at `path` is on stable storage."""
        with self.opened(path) as fd:
            self.fs.fsync(fd)

    def remove_tree(self, path: str) -> None:
        """Delete a file or folder of our own with all that is in it; absent is fine.

        Never follows a link. Used below `.assetd` only: what stands at a final path is renamed
        away first, so that nobody sees half of it.
        """
        above, _, leaf = path.rpartition("/")
        try:
            with self.folder(above) as fd:
                self._remove_entry(fd, leaf, path)
        except FileNotFoundError:
            return

    def _remove_entry(self, dir_fd: int, leaf: str, path: str) -> None:
        if not stat.S_ISDIR(self.fs.lstat(dir_fd, leaf).st_mode):
            self.fs.unlink(dir_fd, leaf)
            return
        with self.folder(path) as fd:
            for entry in self.fs.list_names(fd):
                self._remove_entry(fd, entry.name, f"{path}/{entry.name}")
        self.fs.rmdir(dir_fd, leaf)

    def free_bytes(self) -> int:
        """Return what may still be written to the disk of ASSETS_DIR."""
        return self.fs.free_bytes(self.fd)

    def total_bytes(self) -> int:
        """Return the size of the disk of ASSETS_DIR."""
        return self.fs.total_bytes(self.fd)


def try_flock(fs: FileSystem, fd: int, operation: int) -> bool:
    """Take a lock without waiting; False where somebody else's is in the way."""
    try:
        fs.flock(fd, operation | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def os_errors(path: str) -> Iterator[None]:
    """Give the system's errors their meaning; the cache's public functions run inside this.

    The message names the path below ASSETS_DIR, never what the system said beyond the error's name.
    """
    try:
        yield
    except OSError as error:
        raise meaning(error, path) from error


def meaning(error: OSError, path: str) -> AssetError:
    """Return the domain's error for a failed call on `path`."""
    name = errno.errorcode.get(error.errno or 0, "EIO")
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFullError(
            "the disk of ASSETS_DIR has no room left for {path} ({error}): free some, or point"
            " ASSETS_DIR at a larger disk; nothing was published",
            path=path,
            error=name,
        )
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return ReadOnlyError(
            "{path} in ASSETS_DIR cannot be written ({error}): check mount, owner and mode",
            path=path,
            error=name,
        )
    if error.errno in _OUT_OF_PLACE:
        return UnsafePathError(
            "{path} in ASSETS_DIR leads through a link or is not what should stand there"
            " ({error}): move it away; nothing was touched",
            path=path,
            error=name,
        )
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return TooManyRequestsError(
            "the daemon has no file descriptor left ({error}): raise its limit of open files",
            error=name,
        )
    return IoError(
        "the file system failed at {path} ({error}): what was being written is dropped",
        path=path,
        error=name,
    )
