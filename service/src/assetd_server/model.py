"""Names, parts, digests and what a caller is told of a version: valid from birth.

Nothing here does I/O. The rules for names are those of `layout.md`, "Names": what a fetch accepts
is modelkit's grammar less everything that could leave a folder; what a push accepts is stricter.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from itertools import pairwise
from typing import Self

from assetd_server.errors import (
    InvalidFieldError,
    InvalidNameError,
    InvalidPartError,
)
from assetd_server.versioning import Version

MAX_KEY_BYTES = 1024
MAX_SEGMENT_BYTES = 255
MARKER_NAME = ".SUCCESS"
INDEX_ENDING = ".versions"

_FETCHABLE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_./-]*[A-Za-z0-9])?")
_PUSHABLE_SEGMENT = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?")
_MAX_LAST_SEGMENT_BYTES = MAX_SEGMENT_BYTES - len(INDEX_ENDING)
_RESERVED_ENDINGS = (INDEX_ENDING, ".meta", ".lock", ".SUCCESS")
# What modelkit reads as a version: more than we do, leading zeros and dates that do not exist.
_VERSION_LIKE = re.compile(
    r"[0-9]+(?:\.[0-9]+)?|[0-9]{4}(?:-[0-9]{2}){2}T[0-9]{2}(?:-[0-9]{2}){2}Z"
)
# No part may hold them: `\` parts folders elsewhere, the others end a path or drive a terminal.
_UNFIT_SIGNS = re.compile(r"[\x00-\x1f\x7f\\]")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class AssetName(str):
    """The name of an asset, as a fetch accepts it: `/`-separated, ASCII, within its folder."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        """Return `text` as a name.

        Raises:
            InvalidNameError: outside the grammar, or too long.
        """
        if not _FETCHABLE.fullmatch(text):
            raise _invalid_name(
                text,
                "use letters, digits, '_', '-', '.' and '/', and begin and end with a letter or"
                " digit",
            )
        if len(text) > MAX_KEY_BYTES:
            raise _invalid_name(text, f"a name has at most {MAX_KEY_BYTES} bytes")
        for segment in text.split("/"):
            if segment in ("", ".", "..") or ".." in segment:
                raise _invalid_name(text, "'//', '/./' and '..' are not allowed")
            if len(segment) > MAX_SEGMENT_BYTES:
                raise _invalid_name(text, f"a segment has at most {MAX_SEGMENT_BYTES} bytes")
        return super().__new__(cls, text)

    @property
    def segments(self) -> tuple[str, ...]:
        """The folders that lead to the asset, its own last."""
        return tuple(self.split("/"))

    def require_pushable(self) -> None:
        """Check the stricter grammar of a push, whose header it is that errors name.

        Raises:
            InvalidNameError: a segment that modelkit could not fetch, that would hide a version, or
                that collides with the keys that belong to an asset.
        """
        for segment in self.segments:
            if not _PUSHABLE_SEGMENT.fullmatch(segment):
                raise _not_pushable(
                    self, "each segment of a pushed name begins and ends with a letter or digit"
                )
            if segment.endswith(_RESERVED_ENDINGS):
                raise _not_pushable(self, f"{segment} ends in a reserved ending")
            if _VERSION_LIKE.fullmatch(segment):
                raise _not_pushable(self, f"{segment} reads as a version")
        if len(self.segments[-1]) > _MAX_LAST_SEGMENT_BYTES:
            raise _not_pushable(
                self,
                f"the last segment of a pushed name has at most {_MAX_LAST_SEGMENT_BYTES} bytes:"
                f" its index is called {INDEX_ENDING!r} besides",
            )


class NamePrefix(str):
    """How names of assets begin; it ends anywhere, and "" is how all of them begin."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        """Return `text` as a prefix.

        Raises:
            InvalidFieldError: no name can begin so.
        """
        # Also a whole name, to which not one letter may be added.
        for ending in ("a", ""):
            with suppress(InvalidNameError):
                AssetName(text + ending)
                return super().__new__(cls, text)
        raise InvalidFieldError(
            "no name of an asset begins with {name_prefix!r}: it begins with a letter or digit, and"
            " has neither '..' nor '//'",
            field="name_prefix",
            name_prefix=text,
        )


class PartPath(str):
    """The path of a part inside a directory asset; as untrusted in a `.meta` as from a caller."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        """Return `text` as the path of a part.

        Raises:
            InvalidPartError: absolute, climbing, empty, too long, or with characters that no part
                may hold.
        """
        try:
            encoded = text.encode()
        except UnicodeEncodeError:
            raise _invalid_part(text, "it is not UTF-8") from None
        if _UNFIT_SIGNS.search(text):
            raise _invalid_part(text, "'\\', NUL and control characters are not allowed")
        if len(encoded) > MAX_KEY_BYTES:
            raise _invalid_part(text, f"a path has at most {MAX_KEY_BYTES} bytes")
        for segment in text.split("/"):
            if segment in ("", ".", ".."):
                raise _invalid_part(text, "a part lies below its version: no '/' first, '//', '..'")
            if segment == MARKER_NAME:
                raise _invalid_part(text, f"{MARKER_NAME} marks a complete version")
            if len(segment.encode()) > MAX_SEGMENT_BYTES:
                raise _invalid_part(text, f"a segment has at most {MAX_SEGMENT_BYTES} bytes")
        return super().__new__(cls, text)

    @classmethod
    def of_file(cls) -> Self:
        """Return the path of the only part of a file asset: the empty one."""
        return super().__new__(cls, "")

    @property
    def segments(self) -> tuple[str, ...]:
        """The folders that lead to the part, its own name last; () for a file asset's part."""
        return tuple(self.split("/")) if self else ()

    def is_below(self, folder: str) -> bool:
        """Tell whether the part is `folder` itself or lies inside it."""
        return self == folder or self.startswith(folder + "/")


class Digest(str):
    """`sha256:<hex>` of a file, or of the listing of a directory (see `directory_digest`)."""

    __slots__ = ()

    def __new__(cls, text: str, field: str = "digest") -> Self:
        """Return `text` as a digest; `field` is what the error names.

        Raises:
            InvalidFieldError: not `sha256:` and 64 lower-case hex digits.
        """
        if not _DIGEST.fullmatch(text):
            raise InvalidFieldError(
                "{digest!r} is no digest: write sha256: and 64 lower-case hex digits",
                field=field,
                digest=text,
            )
        return super().__new__(cls, text)

    @classmethod
    def of_hex(cls, sha256_hex: str) -> Self:
        """Return the digest of the file whose SHA-256 is `sha256_hex`."""
        return cls("sha256:" + sha256_hex)

    @property
    def hex(self) -> str:
        """The 64 hex digits."""
        return self.removeprefix("sha256:")


def directory_digest(sha256_by_path: Mapping[str, str]) -> Digest:
    """Return the digest of a directory: of the text that `sha256sum` prints for its files.

    One line `<hex>  <path>` a file, in bytewise order of the paths, so that anyone can compute it
    (`api.md`, "digest").
    """
    listing = hashlib.sha256()
    for path in sorted(sha256_by_path, key=str.encode):
        listing.update(f"{sha256_by_path[path]}  {path}\n".encode())
    return Digest.of_hex(listing.hexdigest())


def require_distinct_parts(paths: Iterable[PartPath], field: str = "spec") -> None:
    """Check that the paths can stand beside each other in one folder; errors name `field`.

    Raises:
        InvalidPartError: a path twice, or `a` beside `a/b`.
    """
    # With a sign for `/` that is smaller than all that a part may hold, what lies inside of a path
    # follows it at once. To gather the folders instead takes, where they are deep, hundreds of
    # times the memory of the document that names them.
    ordered = sorted(path.replace("/", "\0") for path in paths)
    for path, following in pairwise(ordered):
        if path == following:
            raise _invalid_part(path.replace("\0", "/"), "it is there twice", field)
        if following.startswith(path + "\0"):
            raise _invalid_part(path.replace("\0", "/"), "it is a file and a folder at once", field)


class AssetKind(Enum):
    """Whether a version is one file or a folder of parts."""

    FILE = "file"
    DIRECTORY = "directory"


class Resolution(Enum):
    """How the version of a spec was found."""

    EXACT = "exact"
    STORE = "store"
    CACHE = "cache"
    FALLBACK = "fallback"


class Freshness(Enum):
    """Whom an unpinned spec asks; STORE acts as CACHE where no store is configured."""

    STORE = "store"
    STORE_OR_CACHE = "store_or_cache"
    CACHE = "cache"


class Source(Enum):
    """Where the bytes of an answer came from."""

    CACHE = "cache"
    STORE = "store"


class Verification(Enum):
    """What was compared before a version was shown, weakest first."""

    NONE = "none"
    SIZE = "size"
    CHECKSUM = "checksum"
    DIGEST = "digest"


class Presence(Enum):
    """How much of a version is in the cache."""

    ABSENT = "absent"
    PARTIAL = "partial"
    PRESENT = "present"


@dataclass(frozen=True)
class AssetVersion:
    """One version and what is known of it; what is not known is None or empty."""

    name: AssetName
    version: Version | None
    kind: AssetKind | None = None
    size_bytes: int | None = None
    file_count: int | None = None
    digest: Digest | None = None
    push_time: datetime | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    pushed_by: str = ""

    def __str__(self) -> str:
        return f"{self.name}:{self.version}" if self.version else str(self.name)


def _invalid_name(name: str, why: str, field: str = "spec") -> InvalidNameError:
    return InvalidNameError("{name!r} is no asset name: {why}", field=field, name=name, why=why)


def _not_pushable(name: str, why: str) -> InvalidNameError:
    return _invalid_name(name, why, field="header.spec")


def _invalid_part(part: str, why: str, field: str = "spec") -> InvalidPartError:
    return InvalidPartError("{part!r} is no part: {why}", field=field, part=part, why=why)
