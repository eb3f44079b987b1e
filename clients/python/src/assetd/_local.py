"""Hits without a call: a pinned version that stands below ASSETS_DIR is found by this process.

Imports neither grpc nor the stubs, and works while the daemon is down. Nothing is remembered from
one hit to the next: each looks at the file system anew. Whatever is odd is no hit, and the
daemon decides. What a hit trusts is the marker: there = complete, whoever wrote it, as modelkit
itself reads it. A fetch that asks the daemon checks what modelkit marked; a fetch with `verify`
always asks it.
"""

import errno
import json
import os
import re
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from assetd._holds import Holds
from assetd._lease import Lease
from assetd.asset import Asset, AssetKind, Resolution, Source, Verification

# The names that a push accepts, an exact version, and parts in plain letters: narrower than the
# daemon's grammar, and linear. Nothing in it can climb, is hidden, or reads as a version.
SPEC = re.compile(
    r"""
    ((?: (?!\d+\.\d+[/:]|\d{4}-\d\d-\d\dT) [A-Za-z0-9][A-Za-z0-9_.-]* / )*
         (?!\d+\.\d+[/:]|\d{4}-\d\d-\d\dT) [A-Za-z0-9][A-Za-z0-9_.-]* (?<![_.-]) )
    : ( (?:0|[1-9]\d{0,17}) \. (?:0|[1-9]\d{0,17}) | \d{4}-\d\d-\d\dT\d\d-\d\d-\d\dZ )
    (?: \[ /? ( (?!\.(?:SUCCESS)?[/\]]) [A-Za-z0-9_.\ +=@,-]+
           (?: / (?!\.(?:SUCCESS)?[/\]]) [A-Za-z0-9_.\ +=@,-]+ )* ) \] )?
    """,
    re.VERBOSE | re.ASCII,
)
MARKER = ".SUCCESS"
# A marker is touched by its mtime's age, so that a thousand readers write once a minute, not a
# thousand times. The daemon looks at changes of the mtime, never at its value: clocks jump.
TOUCH_SECONDS = 60
MAY_NOT = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
RECEIPT_FORMAT = 1
MAX_RECEIPT_BYTES = 64 << 20


class LocalAsset(Asset):
    """An asset that was found without a call.

    What the hit itself did not need is read when it is first asked for, from the daemon's receipt;
    should the version have been evicted by then, it is not known.
    """

    resolution = Resolution.EXACT
    source = Source.CACHE
    transferred_bytes = 0
    joined = False
    elapsed_seconds = 0.0
    _text: str
    _marker: str

    def __init__(self, values: dict[str, object]) -> None:
        """Take the values of a hit as they are: a tenth of what a dataclass takes to begin."""
        self.__dict__.update(values)

    def __getattr__(self, name: str) -> object:
        if name == "path":
            self.__dict__["path"] = Path(self._text)
        elif name == "kind":
            is_inside = self._marker.endswith(f"/{MARKER}")
            self.__dict__["kind"] = AssetKind.DIRECTORY if is_inside else AssetKind.FILE
        elif name in {"digest", "size_bytes", "file_count", "verification", "reused_bytes"}:
            self.__dict__.update(_facts(self._marker))
        else:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return self.__dict__[name]

    def __fspath__(self) -> str:
        return self._text

    def __str__(self) -> str:
        return self._text


class FastPath:
    """Looks for versions below one ASSETS_DIR. Safe for threads; nothing in it waits."""

    def __init__(
        self, assets_dir: str, holds: Holds, clock: Callable[[], float] = time.time
    ) -> None:
        """Look below `assets_dir`, an absolute path; leases are closed with `holds`."""
        self._prefix = f"{assets_dir.rstrip('/')}/"
        self._holds = holds
        self._clock = clock
        self._denied_at = -float("inf")

    def hit(self, spec: str, *, hold: bool) -> Asset | None:
        """Return the asset if the spec pins a version that stands here, complete; else None.

        With `hold` it is leased: neither evicted nor replaced until the asset is closed. Folders
        on the way to the version may be links, as the operator likes; the version and what is in it
        may not.
        """
        match = SPEC.fullmatch(spec)
        if match is None or ".." in spec:
            return None
        name, version, part = match.groups()
        relative_path = f"{name}/{version}"
        path = self._prefix + relative_path
        lease = Lease.of(path, self._holds) if hold else None
        if hold and lease is None:
            return None
        found = self._standing(name, version, part, path)
        if lease is not None and (found is None or not lease.begin(path)):
            lease.close()
            return None
        if found is None:
            return None
        text, marker = found
        return LocalAsset(
            {
                "name": name,
                "version": version,
                "relative_path": f"{relative_path}/{part}" if part else relative_path,
                "_text": text,
                "_marker": marker,
                "_hold": lease,
            }
        )

    def _standing(
        self, name: str, version: str, part: str | None, path: str
    ) -> tuple[str, str] | None:
        """Return the paths of what was asked for and of its marker; None where it is no hit.

        The marker is looked at after the version: an eviction takes it away first, or both at once.
        """
        marker = f"{path}/{MARKER}"
        try:
            mode = os.lstat(path).st_mode
            for segment in part.split("/") if part else ():
                if not stat.S_ISDIR(mode):
                    return None
                path = f"{path}/{segment}"
                mode = os.lstat(path).st_mode
            if not part and stat.S_ISREG(mode):
                marker = f"{self._prefix}{name}/.{version}{MARKER}"
            marked = os.lstat(marker)
        except OSError:
            # Absent, half gone, not ours to look at: the daemon knows more.
            return None
        if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
            return None
        if not stat.S_ISREG(marked.st_mode):
            return None
        age = self._clock() - marked.st_mtime
        if not 0 <= age < TOUCH_SECONDS:
            self._touch(marker)
        return path, marker

    def _touch(self, marker: str) -> None:
        """Leave a trace of this use for the evictor, where this process may."""
        now = self._clock()
        if 0 <= now - self._denied_at < TOUCH_SECONDS:
            return
        try:
            os.utime(marker, follow_symlinks=False)
        except OSError as error:
            if error.errno in MAY_NOT:
                self._denied_at = now


def _facts(marker: str) -> dict[str, object]:
    """Return what the receipt in the marker says of the version, in the fields of an asset."""
    try:
        with open(marker, "rb") as file:  # noqa: PTH123 - no Path is needed for it
            receipt: Any = json.loads(file.read(MAX_RECEIPT_BYTES))
        if receipt["format"] != RECEIPT_FORMAT:
            raise ValueError("a later release's")
        return {
            "digest": str(receipt["digest"]),
            "size_bytes": int(receipt["size"]),
            "file_count": len(receipt["files"]),
            "verification": Verification(receipt["verification"]),
            "reused_bytes": int(receipt["size"]),
        }
    except (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError):
        unknown = Verification.UNSPECIFIED
        return {
            "digest": "",
            "size_bytes": None,
            "file_count": None,
            "verification": unknown,
            "reused_bytes": 0,
        }
