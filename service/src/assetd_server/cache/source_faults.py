"""What can be wrong with the source of a push, in the words that its caller used for it.

Knows no file system and no store. Names in a source are other people's: what is not printable in
them is escaped before it is shown.
"""

import errno
import os
import stat
from typing import Final

from assetd_server.cache.layout import meaning
from assetd_server.errors import (
    AssetError,
    InvalidFieldError,
    InvalidPartError,
    SourceChangedError,
    SourceNotAllowedError,
    UnsupportedFileError,
)
from assetd_server.model import AssetKind, PartPath

# What the manifest of a version can list. It bounds what a source takes of the memory.
MAX_FILES: Final = 200_000

_KINDS: Final = {
    stat.S_IFLNK: "a symlink",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFBLK: "a device",
    stat.S_IFCHR: "a device",
}
_ABSENT: Final = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)
_DENIED: Final = (errno.EACCES, errno.EPERM)
# What stood there as a plain file or folder is absent, or a link, or something else by now.
_CHANGED: Final = (*_ABSENT, errno.ELOOP, errno.ENXIO, errno.EISDIR, errno.ESTALE)


class SourceFaults:
    """Makes the errors of one source: `shown` names it, `field` is where the caller did."""

    def __init__(self, shown: str, field: str) -> None:
        self._shown = shown
        self._field = field

    def part(self, path: str) -> PartPath:
        """Return the path of a part, if it may be one.

        Raises:
            InvalidPartError: it may not.
        """
        try:
            return PartPath(path)
        except InvalidPartError as error:
            raise self._invalid(path, error.metadata["why"]) from None

    def empty_folder(self, path: str) -> InvalidPartError:
        """Say that a folder is empty: it would silently be missing in the version."""
        return self._invalid(path, "it is an empty folder, and a version consists of files")

    def stray(self, path: str) -> InvalidPartError:
        """Say that the name of an object cannot be the path of a file."""
        return self._invalid(path, "a part has no '//', '.' or '..', and no '/' at its ends")

    def both(self, path: str) -> InvalidPartError:
        """Say that one name stands for an object, and for a folder of others."""
        return self._invalid(path, "it is a file and a folder at once")

    def _invalid(self, path: str, why: str) -> InvalidPartError:
        return InvalidPartError(
            "{path} cannot be part of an asset: {why}",
            field=self._field,
            path=self._name(path),
            why=why,
        )

    def unsupported(self, path: str, kind: str) -> UnsupportedFileError:
        """Say what stands there, where a plain file or folder is due."""
        return UnsupportedFileError(
            "{path} is {kind}: a push takes plain files and folders; put a copy in its place",
            path=self._name(path),
            kind=kind,
        )

    def no_plain_file(self, path: str, mode: int) -> UnsupportedFileError:
        """Say the same of what has that `mode`."""
        return self.unsupported(path, _KINDS.get(stat.S_IFMT(mode), "no plain file"))

    def changed(self, path: str = "") -> SourceChangedError:
        """Say that a file, or the whole, is not what it was."""
        return SourceChangedError(
            "{path} changed while it was being pushed: push again once nobody writes to it",
            path=self._name(path),
        )

    def absent(self) -> InvalidFieldError:
        """Say that there is no such source; only of a place where the caller may look."""
        return InvalidFieldError(
            "there is nothing at {path}: name a file, or a folder with files",
            field=self._field,
            path=self._name(""),
        )

    def too_many(self) -> InvalidFieldError:
        """Say that there are more files than a version can have."""
        return InvalidFieldError(
            "{path} has more than {limit_files} files and folders: push it in several assets, or as"
            " an archive",
            field=self._field,
            path=self._name(""),
            limit_files=MAX_FILES,
        )

    def wrong_kind(self, found: AssetKind, wanted: AssetKind) -> InvalidFieldError:
        """Say that the caller's `kind` is not what stands there."""
        return InvalidFieldError(
            "{path} is a {found}, and kind says {wanted}: correct it, or leave it out",
            field="header.kind",
            path=self._name(""),
            found=found.value,
            wanted=wanted.value,
        )

    def on_looking(self, error: OSError) -> AssetError:
        """Return what an error means that came before anything of the source was seen."""
        if error.errno in _ABSENT:
            return self.absent()
        if error.errno == errno.ELOOP:
            return self.unsupported("", _KINDS[stat.S_IFLNK])
        return self._of_system("", error)

    def on_reading(self, path: str, error: OSError) -> AssetError:
        """Return what an error means at what was listed a moment ago."""
        if error.errno in _CHANGED:
            return self.changed(path)
        return self._of_system(path, error)

    def _of_system(self, path: str, error: OSError) -> AssetError:
        if error.errno == errno.EXDEV:
            return self.unsupported(path, "a mount point")
        if error.errno in _DENIED:
            return SourceNotAllowedError(
                "the daemon may not read {path} ({error}): give its user leave to",
                path=self._name(path),
                error=errno.errorcode.get(error.errno or 0, "EACCES"),
            )
        return meaning(error, self._name(path))

    def _name(self, path: str) -> str:
        return printable(f"{self._shown}/{path}" if path else self._shown)


def printable(name: str) -> str:
    """Return a name of the file system on one line, escaped where it cannot be printed."""
    text = os.fsencode(name).decode(errors="backslashreplace")
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )
