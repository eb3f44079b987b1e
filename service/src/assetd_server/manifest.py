"""`.meta` and `.versions`: the two JSON documents of a bucket, to values and back.

modelkit wrote them first; assetd adds one object `assetd` to a `.meta`, which modelkit ignores
(`layout.md`, "The bucket"). Knows no key and no store. What it reads is untrusted: each document
has a size limit, which the reader of the bytes applies before they come here.
"""

import base64
import binascii
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from operator import attrgetter
from typing import Any, TypeVar

from assetd_server.errors import (
    AssetError,
    BadIndexError,
    BadManifestError,
    InvalidFieldError,
    InvalidVersionError,
)
from assetd_server.model import (
    AssetKind,
    AssetName,
    AssetVersion,
    Digest,
    PartPath,
    directory_digest,
    require_distinct_parts,
)
from assetd_server.versioning import Version, Versions, newest_first

MAX_MANIFEST_BYTES = 64 * 2**20
MAX_INDEX_BYTES = 16 * 2**20
FORMAT = 1
# Four times what a version of 50,000 parts needs, and some 120 MB as values: without this bound a
# `.meta` of 64 MiB that is all brackets would be gigabytes.
_MAX_VALUES = 2**20
# What a part needs beside its path, and what a `.meta` needs beside its parts, labels above all.
_PART_BYTES, _PART_VALUES = 192, 6
_FRAME_BYTES, _FRAME_VALUES = 2**20, 2**18
# What a signed 64-bit reader of a size can hold.
_MAX_SIZE_BYTES = 2**63 - 1

_T = TypeVar("_T")
_text_of = attrgetter("text")
_SHA256_HEX = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Part:
    """One object of a version. What modelkit pushed has neither size nor checksums here."""

    path: PartPath
    size_bytes: int | None = None
    sha256_hex: str | None = None
    crc64nvme: int | None = None


class ManifestSize:
    """How large the `.meta` of parts becomes that are counted one by one: no larger than read."""

    def __init__(self) -> None:
        self._parts = self._bytes = self._values = 0

    def add(self, part: Part) -> None:
        """Count a part.

        Raises:
            InvalidFieldError: with it nobody could read the manifest.
        """
        # A path stands there twice.
        spelled = 2 * json.dumps(part.path).encode()
        self._parts += 1
        self._bytes += len(spelled) + _PART_BYTES
        self._values += _values_of(spelled) + _PART_VALUES
        if (
            self._bytes > MAX_MANIFEST_BYTES - _FRAME_BYTES
            or self._values > _MAX_VALUES - _FRAME_VALUES
        ):
            raise InvalidFieldError(
                "a version cannot have so many files: with the {count}th its manifest would be too"
                " large to be read. Pack them, or push several assets",
                field="files",
                count=self._parts,
            )


@dataclass(frozen=True)
class Manifest:
    """What a version consists of; `parts` in bytewise order, one with the path "" for a file."""

    kind: AssetKind
    push_time: datetime
    parts: tuple[Part, ...]
    push_id: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    pushed_by: str = ""

    @cached_property
    def digest(self) -> Digest | None:
        """The version's identity, computed from the parts; None for what modelkit pushed."""
        if any(part.sha256_hex is None for part in self.parts):
            return None
        return version_digest(self.kind, self.parts)

    @cached_property
    def size_bytes(self) -> int | None:
        """The bytes of all parts together; None while a size is unknown."""
        sizes = [part.size_bytes for part in self.parts]
        return None if None in sizes else sum(size for size in sizes if size is not None)

    def describe(self, name: AssetName, version: Version) -> AssetVersion:
        """Return what a caller is told of this version."""
        return AssetVersion(
            name=name,
            version=version,
            kind=self.kind,
            size_bytes=self.size_bytes,
            file_count=len(self.parts),
            digest=self.digest,
            push_time=self.push_time,
            labels=self.labels,
            pushed_by=self.pushed_by,
        )


def version_digest(kind: AssetKind, parts: Iterable[Part]) -> Digest:
    """Return the digest of a version whose parts have all been hashed."""
    hashes = {str(part.path): part.sha256_hex or "" for part in parts}
    return Digest.of_hex(hashes[""]) if kind is AssetKind.FILE else directory_digest(hashes)


def decode_manifest(raw: bytes, key: str) -> Manifest:
    """Return the manifest that the `.meta` at `key` spells.

    Raises:
        BadManifestError: not JSON, of another shape, with parts that no folder can hold, or with a
            digest that its own files contradict. The message names `key`.
    """
    try:
        return _manifest(_document(raw))
    except (AssetError, _FaultError) as error:
        raise BadManifestError(
            "the manifest {key} cannot be believed: {why}", key=key, why=error
        ) from None


def encode_manifest(manifest: Manifest) -> bytes:
    """Return the `.meta` of a version that assetd pushed: all sizes and checksums are known."""
    document: dict[str, object] = {
        "push_date": manifest.push_time.astimezone(UTC).isoformat(),
        "is_directory": manifest.kind is AssetKind.DIRECTORY,
    }
    if manifest.kind is AssetKind.DIRECTORY:
        document["contents"] = [part.path for part in manifest.parts]
    document["assetd"] = {
        "format": FORMAT,
        "push_id": manifest.push_id,
        "labels": dict(manifest.labels),
        "pushed_by": manifest.pushed_by,
        "digest": manifest.digest,
        "files": encode_parts(manifest.parts),
    }
    return json.dumps(document, separators=(",", ":")).encode()


def decode_index(raw: bytes, key: str) -> Versions:
    """Return the versions that the `.versions` at `key` lists, newest first, each once.

    Raises:
        BadIndexError: not JSON, of another shape, or with a string that is no version.
        MixedVersioningError: versions of two systems.
    """
    try:
        listed = _typed(_document(raw).get("versions"), list, "versions")
        if not set(map(type, listed)) <= {str}:
            raise _FaultError("a version is no string")
        return newest_first(map(Version.parse, listed))
    except (InvalidVersionError, _FaultError) as error:
        raise BadIndexError(
            "the index {key} cannot be believed: {why}", key=key, why=error
        ) from None


def encode_index(versions: Iterable[Version]) -> bytes:
    """Return the `.versions` that lists `versions`, newest first."""
    return json.dumps({"versions": [*map(_text_of, newest_first(versions))]}).encode()


def encode_parts(parts: tuple[Part, ...]) -> dict[str, dict[str, object]]:
    """Return `files` as it stands in a `.meta`, a claim and a receipt: one object a part, by path.

    What is not known of a part is left out.
    """
    return {part.path: _facts(part) for part in parts}


def decode_parts(files: object) -> tuple[Part, ...]:
    """Return the parts that `files` spells, in bytewise order; facts may be missing.

    Raises:
        ValueError: another shape, or a size or checksum that is none.
        InvalidPartError: a path that no folder can hold.
    """
    parts = [_part(path, facts) for path, facts in _typed(files, dict, "files").items()]
    require_distinct_parts(part.path for part in parts)
    if sum(part.size_bytes or 0 for part in parts) > _MAX_SIZE_BYTES:
        raise _FaultError("its sizes add up to more than any disk holds")
    return tuple(sorted(parts, key=lambda part: part.path.encode()))


def decode_labels(labels: object) -> dict[str, str]:
    """Return the labels that a `.meta` or a receipt spells.

    Raises:
        ValueError: another shape, or text that is no UTF-8.
    """
    found = _typed(labels, dict, "labels")
    return {
        decode_text(key, "a label"): decode_text(value, "a label") for key, value in found.items()
    }


def _facts(part: Part) -> dict[str, object]:
    facts: dict[str, object] = {}
    if part.size_bytes is not None:
        facts["size"] = part.size_bytes
    if part.sha256_hex is not None:
        facts["sha256"] = part.sha256_hex
    if part.crc64nvme is not None:
        facts["crc64nvme"] = encode_crc64nvme(part.crc64nvme)
    return facts


def _part(path: str, facts: object) -> Part:
    known = _typed(facts, dict, f"files[{path!r}]")
    size = known.get("size")
    if size is not None and (_typed(size, int, "size") < 0 or isinstance(size, bool)):
        raise _FaultError(f"the size of {path!r} is none")
    sha256_hex = known.get("sha256")
    if sha256_hex is not None and not _SHA256_HEX.fullmatch(_typed(sha256_hex, str, "sha256")):
        raise _FaultError(f"the sha256 of {path!r} is none")
    crc = known.get("crc64nvme")
    return Part(
        path=PartPath(path) if path else PartPath.of_file(),
        size_bytes=size,
        sha256_hex=sha256_hex,
        crc64nvme=None if crc is None else decode_crc64nvme(_typed(crc, str, "crc64nvme")),
    )


def encode_crc64nvme(value: int) -> str:
    """Return the checksum as S3 spells it: base64 of its eight bytes, big-endian."""
    return base64.b64encode(value.to_bytes(8, "big")).decode()


def decode_crc64nvme(text: str) -> int:
    """Return the checksum that S3's spelling `text` stands for.

    Raises:
        ValueError: not base64 of eight bytes.
    """
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != 8:
        raise _FaultError(f"{text!r} is no crc64nvme")
    return int.from_bytes(raw, "big")


class _FaultError(ValueError):
    """Why a document cannot be believed; the caller adds which document."""


def decode_json(raw: bytes) -> Any:
    """Return what JSON from a bucket or a disk spells.

    Takes memory and time for a million values at most, whatever the document's size.

    Raises:
        ValueError: not JSON, nested too deeply, a key twice in an object, or too many values.
    """
    if _values_of(raw) > _MAX_VALUES:
        raise _FaultError(f"it has more than {_MAX_VALUES} values")
    try:
        return json.loads(raw, object_pairs_hook=_distinct_keys)
    except RecursionError:
        raise _FaultError("it is nested too deeply") from None
    except ValueError as error:
        # Not only JSONDecodeError: a number of 5,000 digits, bytes that are no UTF-8.
        raise _FaultError(f"it is not JSON ({error})") from None


def _values_of(raw: bytes) -> int:
    """Return how many values a document may have, at most."""
    # Each but the first follows one of these; those inside of texts count too, and are few.
    return sum(map(raw.count, (b",", b"[", b"{")))


def _document(raw: bytes) -> dict[str, Any]:
    return _typed(decode_json(raw), dict, "the document")


def _distinct_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise _FaultError("a key stands in one object twice")
    return value


def _typed(value: object, kind: type[_T], what: str) -> _T:
    if not isinstance(value, kind):
        raise _FaultError(f"{what} is {type(value).__name__} where {kind.__name__} is due")
    return value


def decode_text(value: object, what: str) -> str:
    """Return a text that any message can carry.

    Raises:
        ValueError: another type, or no UTF-8.
    """
    text = _typed(value, str, what)
    try:
        text.encode()
    except UnicodeEncodeError:
        # JSON can spell half of a surrogate pair, which no message can carry.
        raise _FaultError(f"{what} is not UTF-8") from None
    return text


def _manifest(document: dict[str, Any]) -> Manifest:
    is_directory = _typed(document.get("is_directory"), bool, "is_directory")
    kind = AssetKind.DIRECTORY if is_directory else AssetKind.FILE
    push_time = decode_moment(document.get("push_date"), "push_date")
    paths = _contents(document) if is_directory else (PartPath.of_file(),)
    ours = document.get("assetd")
    if ours is None:
        return Manifest(kind, push_time, tuple(Part(path) for path in paths))
    return _ours(kind, push_time, paths, _typed(ours, dict, "assetd"))


def _ours(
    kind: AssetKind, push_time: datetime, paths: tuple[PartPath, ...], ours: dict[str, Any]
) -> Manifest:
    if _typed(ours.get("format"), int, "format") != FORMAT:
        raise _FaultError(f"its format is {ours['format']}, and this release reads {FORMAT}")
    parts = decode_parts(ours.get("files"))
    if any(None in (part.size_bytes, part.sha256_hex, part.crc64nvme) for part in parts):
        raise _FaultError("`files` leaves out a size or a checksum")
    if tuple(part.path for part in parts) != paths:
        raise _FaultError("`files` and `contents` name different parts")
    manifest = Manifest(
        kind=kind,
        push_time=push_time,
        parts=parts,
        push_id=decode_text(ours.get("push_id", ""), "push_id"),
        labels=decode_labels(ours.get("labels", {})),
        pushed_by=decode_text(ours.get("pushed_by", ""), "pushed_by"),
    )
    if ours.get("digest") != manifest.digest:
        raise _FaultError("its digest is not the digest of its files")
    return manifest


def _contents(document: dict[str, Any]) -> tuple[PartPath, ...]:
    listed = _typed(document.get("contents"), list, "contents")
    paths = [PartPath(_typed(path, str, "a part")) for path in listed]
    require_distinct_parts(paths)
    return tuple(sorted(paths, key=str.encode))


def decode_moment(value: object, what: str) -> datetime:
    """Return a moment in UTC; a time without a zone is UTC.

    Raises:
        ValueError: another type, or no ISO date.
    """
    text = _typed(value, str, what)
    try:
        moment = datetime.fromisoformat(text)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        # The first hours of year 1 east of Greenwich have no UTC.
        raise _FaultError(f"{what} {text!r} is no ISO date") from None
