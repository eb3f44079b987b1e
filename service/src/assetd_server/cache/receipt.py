"""The receipt: the JSON inside our marker, which says what stands beside it.

modelkit looks at the marker's presence only; its own markers are empty. A receipt lets a start, a
hit and a listing do without the store and without reading the data. Does no I/O.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any, TypeVar

from assetd_server.errors import InvalidPartError
from assetd_server.manifest import (
    Manifest,
    decode_json,
    decode_labels,
    decode_moment,
    decode_parts,
    decode_text,
    encode_parts,
)
from assetd_server.model import AssetKind, Verification

FORMAT = 1
MAX_RECEIPT_BYTES = 64 * 2**20

_T = TypeVar("_T")


class Marker(Enum):
    """What the marker is: absent, modelkit's (or unreadable), ours, or a later release's."""

    ABSENT = "absent"
    FOREIGN = "foreign"
    RECEIPT = "receipt"
    NEWER = "newer"


@dataclass(frozen=True)
class Receipt:
    """What was published, from where, and how it had been checked."""

    manifest: Manifest
    source: str
    fetch_time: datetime
    verification: Verification

    def encode(self) -> bytes:
        """Return the marker's content."""
        return encode_document(self.document())

    def document(self) -> dict[str, object]:
        """Return the marker's content before it is spelled."""
        manifest = self.manifest
        return {
            "format": FORMAT,
            "kind": manifest.kind.value,
            "size": manifest.size_bytes,
            "digest": manifest.digest,
            "files": encode_parts(manifest.parts),
            "source": self.source,
            "time": self.fetch_time.astimezone(UTC).isoformat(),
            "verification": self.verification.value,
            "push_time": manifest.push_time.astimezone(UTC).isoformat(),
            "labels": dict(manifest.labels),
            "pushed_by": manifest.pushed_by,
        }


def encode_document(document: Mapping[str, object]) -> bytes:
    """Return a receipt's document as it stands on the disk."""
    return json.dumps(document, separators=(",", ":")).encode()


def decode_marker(raw: bytes | None) -> tuple[Marker, Receipt | None]:
    """Return what a marker's content means; None = no marker stands there.

    Whatever cannot be read as a receipt counts as foreign: the version is looked at anew.
    """
    return decode_document(raw, receipt_in)


def decode_document(
    raw: bytes | None, read: Callable[[dict[str, Any]], _T]
) -> tuple[Marker, _T | None]:
    """As `decode_marker`, for a document that `read` understands or cannot believe."""
    if raw is None:
        return Marker.ABSENT, None
    try:
        document = decode_json(raw)
        if document["format"] > FORMAT:
            return Marker.NEWER, None
        return Marker.RECEIPT, read(document)
    except (ValueError, TypeError, KeyError, AttributeError, InvalidPartError):
        return Marker.FOREIGN, None


def receipt_in(document: dict[str, Any]) -> Receipt:
    """Return the receipt that a document of our format spells.

    Raises:
        ValueError, TypeError, KeyError, AttributeError, InvalidPartError: it spells none.
    """
    manifest = Manifest(
        kind=AssetKind(document["kind"]),
        push_time=decode_moment(document["push_time"], "push_time"),
        parts=decode_parts(document["files"]),
        labels=decode_labels(document["labels"]),
        pushed_by=decode_text(document["pushed_by"], "pushed_by"),
    )
    if manifest.size_bytes is None or manifest.size_bytes != document["size"]:
        raise ValueError("a receipt knows every size")
    paths = [part.path for part in manifest.parts]
    if (paths != [""]) if manifest.kind is AssetKind.FILE else ("" in paths):
        raise ValueError("a file has one part without a name, and a directory has none such")
    return Receipt(
        manifest=manifest,
        source=decode_text(document["source"], "source"),
        fetch_time=decode_moment(document["time"], "time"),
        verification=Verification(document["verification"]),
    )
