"""What a push may name as the place of its bytes, and what an operator allows: valid from birth.

Pure: compares names, and never asks whether anything is there. So a name that leads out of what is
allowed is refused alike whether something stands there or not.

A `file://` URI is split at `/` first and decoded after that, so that no `%2f` makes another folder
of it. An `s3://` one is taken as it is written, as the AWS tools take it: `%`, `?` and `#` may be
part of a key.
"""

import re
from dataclasses import dataclass, replace
from typing import Final, Self
from urllib.parse import quote, unquote_to_bytes

from assetd_server.errors import InvalidFieldError, SourceNotAllowedError
from assetd_server.parsing import parse_bucket

STAGED_FIELD: Final = "header.staged_path"
URI_FIELD: Final = "header.source_uri"

_MAX_BYTES: Final = 4096
_FILE: Final = "file://"
_S3: Final = "s3://"
_BROKEN_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_CREDENTIALS: Final = re.compile(r"//[^/]*@")


class _ClimbsError(ValueError):
    """The name leads out of where it begins."""


@dataclass(frozen=True)
class StagedPath:
    """A file or folder below ASSETS_DIR/.assetd/push, by its path from there."""

    path: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the path that a caller wrote.

        Raises:
            SourceNotAllowedError: it leads elsewhere, or to what is the daemon's own.
            InvalidFieldError: it is no path.
        """
        if text.startswith("/"):
            raise _not_staged(text)
        try:
            segments, _ = _segments(text)
        except _ClimbsError:
            raise _not_staged(text) from None
        except ValueError as wrong:
            raise _invalid(STAGED_FIELD, text, wrong) from None
        if not segments:
            raise _invalid(STAGED_FIELD, text, "is empty: name a file or folder that lies there")
        if segments[0].startswith("."):
            raise _not_staged(text)
        return cls("/".join(segments))


@dataclass(frozen=True)
class SourceUri:
    """A file or folder of this machine, or an object or what lies below a prefix of a bucket.

    `bucket` is empty for what is on this machine. `is_folder` where a `/` at the end says so.
    """

    bucket: str
    segments: tuple[str, ...]
    is_folder: bool = False

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the URI that a caller wrote.

        Raises:
            SourceNotAllowedError: it climbs out by `..`.
            InvalidFieldError: it is no such URI.
        """
        try:
            return cls.read(text)
        except _ClimbsError:
            raise not_allowed(text) from None
        except ValueError as wrong:
            raise _invalid(URI_FIELD, text, wrong) from None

    @classmethod
    def read(cls, text: str) -> Self:
        """Return the URI that `text` is; fails in the manner of `parsing`.

        Raises:
            ValueError: it is none.
        """
        if text.startswith(_S3):
            bucket, _, key = text.removeprefix(_S3).partition("/")
            return cls(parse_bucket(bucket), *_segments(key))
        if not text.startswith(f"{_FILE}/"):
            raise ValueError("is no source: write file:///directory or s3://bucket/prefix")
        if "?" in text or "#" in text:
            raise ValueError("goes on behind the path: write %3F for '?' and %23 for '#'")
        if _BROKEN_ESCAPE.search(text):
            raise ValueError("holds a '%' that begins no escape: write %25 for it")
        return cls("", *_segments(text.removeprefix(f"{_FILE}/"), decode=True))

    @property
    def path(self) -> str:
        """The absolute path on this machine, or the key in the bucket."""
        joined = "/".join(self.segments)
        return joined if self.bucket else f"/{joined}"

    def below(self, allowed: "SourceUri") -> "str | None":
        """Return the path from `allowed` to here, "" for itself; None where this is elsewhere."""
        count = len(allowed.segments)
        if self.bucket != allowed.bucket or self.segments[:count] != allowed.segments:
            return None
        return "/".join(self.segments[count:])

    def __str__(self) -> str:
        end = "/" if self.is_folder and self.segments else ""
        if self.bucket:
            return f"{_S3}{self.bucket}/{self.path}{end}"
        return f"{_FILE}{quote(self.path)}{end}"


def parse_allowed(text: str) -> tuple[SourceUri, ...]:
    """Return what an operator allows, separated by spaces or commas; none where it is empty.

    Raises:
        ValueError: one of them is no URI, or allows too much.
    """
    return tuple(_parse_one_allowed(word) for word in re.split(r"[\s,]+", text) if word)


def _parse_one_allowed(word: str) -> SourceUri:
    try:
        uri = SourceUri.read(word)
    except ValueError as wrong:
        raise ValueError(f"holds {_shown(word)!r}, which {wrong}") from None
    if not uri.bucket and not uri.segments:
        raise ValueError("would allow every file of the machine: name a directory")
    return replace(uri, is_folder=False)


def not_allowed(uri: object) -> SourceNotAllowedError:
    """Return the refusal of a source, the same whether it is there or not."""
    return SourceNotAllowedError(
        "{uri} is not among the sources that the operator allows: ask for it to be added to"
        " ASSETD_PUSH_SOURCES of the daemon",
        field=URI_FIELD,
        uri=_shown(str(uri)),
    )


def _not_staged(text: str) -> SourceNotAllowedError:
    return SourceNotAllowedError(
        "{path!r} is no staged path: write one below ASSETS_DIR/.assetd/push, from there on, that"
        " does not begin with a dot",
        field=STAGED_FIELD,
        path=text,
    )


def _invalid(field: str, text: str, wrong: object) -> InvalidFieldError:
    return InvalidFieldError("{source!r} {why}", field=field, source=_shown(text), why=wrong)


def _shown(text: str) -> str:
    return _CREDENTIALS.sub("//***@", text)


def _segments(text: str, *, decode: bool = False) -> tuple[tuple[str, ...], bool]:
    """Return the segments of a path, and whether a `/` at its end says that it is a folder."""
    if len(text) > _MAX_BYTES:
        raise ValueError(f"is longer than {_MAX_BYTES} bytes")
    is_folder = text.endswith("/") or not text
    names = text.removesuffix("/").split("/") if text.removesuffix("/") else []
    segments = tuple(_decoded(name) if decode else name for name in names)
    if ".." in segments:
        raise _ClimbsError("climbs by '..': write the path as it is")
    if any(segment in ("", ".") or "/" in segment for segment in segments):
        raise ValueError("holds '//', '.' or an escaped '/': write the path as it is")
    if any(ord(char) < 32 or ord(char) == 127 for segment in segments for char in segment):
        raise ValueError("holds NUL or another control character")
    return segments, is_folder


def _decoded(segment: str) -> str:
    try:
        return unquote_to_bytes(segment).decode()
    except UnicodeError:
        raise ValueError("is not UTF-8") from None
