"""The receipt: what our marker says, and what is not believed of a marker."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta, timezone
from typing import Any

import pytest
from assetd_server.cache.receipt import Marker, Receipt, decode_marker
from assetd_server.manifest import Manifest, Part
from assetd_server.model import AssetKind, PartPath, Verification

from tests.support.versions import PUSH_TIME, receipt_of

OF_FILE = receipt_of(b"content")
OF_TREE = receipt_of({"a": b"one", "sub/é": b""})
UNKNOWN = replace(
    OF_TREE,
    manifest=Manifest(AssetKind.DIRECTORY, PUSH_TIME, (Part(PartPath("a"), 3),)),
    verification=Verification.SIZE,
)
LABELLED = replace(
    OF_FILE, manifest=replace(OF_FILE.manifest, labels={"stage": "é"}, pushed_by="me")
)


@pytest.mark.parametrize(
    "receipt",
    [OF_FILE, OF_TREE, UNKNOWN, LABELLED],
    ids=["file", "directory", "of-modelkit", "labels"],
)
def test_a_receipt_reads_as_it_was_written(receipt: Receipt) -> None:
    """All that a hit and a listing tell without asking the store."""
    assert decode_marker(receipt.encode()) == (Marker.RECEIPT, receipt)


def test_times_are_written_in_utc() -> None:
    """Read back in another zone they are the same moment."""
    there = timezone(timedelta(hours=-7))
    receipt = replace(OF_FILE, fetch_time=OF_FILE.fetch_time.astimezone(there))
    assert b"+00:00" in receipt.encode()
    assert decode_marker(receipt.encode()) == (Marker.RECEIPT, OF_FILE)


def test_no_marker_is_absent() -> None:
    """Told apart from modelkit's, which is empty."""
    assert decode_marker(None) == (Marker.ABSENT, None)
    assert decode_marker(b"") == (Marker.FOREIGN, None)


@pytest.mark.parametrize("number", ["2", "99", "1.5", "1e300"])
def test_a_later_format_is_told_apart(number: str) -> None:
    """It is left alone, whatever else it says; an unreadable one is looked at anew."""
    assert decode_marker(f'{{"format": {number}}}'.encode()) == (Marker.NEWER, None)


Change = Callable[[dict[str, Any]], object]
CHANGES: dict[str, Change] = {
    "no format": lambda d: d.pop("format"),
    "format is text": lambda d: d.update(format="1"),
    "no kind": lambda d: d.pop("kind"),
    "another kind": lambda d: d.update(kind="socket"),
    "kind is a list": lambda d: d.update(kind=[]),
    "a file in parts": lambda d: d.update(kind="file"),
    "no files": lambda d: d.pop("files"),
    "a part climbs": lambda d: d.update(files={"../a": {"size": d["size"]}}),
    "a part twice over": lambda d: d["files"].update({"a/b": {"size": 0}}),
    "a size is missing": lambda d: d["files"]["a"].pop("size"),
    "a size is true": lambda d: d["files"]["a"].update(size=True),
    "the sum is another": lambda d: d.update(size=99),
    "a label is a number": lambda d: d.update(labels={"a": 1}),
    "labels are pairs": lambda d: d.update(labels=[["a", "b"]]),
    "a time is none": lambda d: d.update(time="now"),
    "a time is null": lambda d: d.update(push_time=None),
    "unknown verification": lambda d: d.update(verification="maybe"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_damaged_receipt_is_no_receipt(change: Change) -> None:
    """The version is looked at anew: a wrong receipt must not make damaged data a hit."""
    document = json.loads(OF_TREE.encode())
    assert decode_marker(json.dumps(document).encode())[0] is Marker.RECEIPT
    change(document)
    assert decode_marker(json.dumps(document).encode()) == (Marker.FOREIGN, None)


def test_a_file_without_parts_vouches_for_nothing() -> None:
    """Any file at all would have the sizes of no part."""
    document = json.loads(OF_FILE.encode()) | {"files": {}, "size": 0}
    assert decode_marker(json.dumps(document).encode()) == (Marker.FOREIGN, None)


@pytest.mark.parametrize("cut", range(0, len(OF_FILE.encode()), 7))
def test_a_torn_receipt_is_no_receipt(cut: int) -> None:
    """A disk that kept only the beginning."""
    assert decode_marker(OF_FILE.encode()[:cut]) == (Marker.FOREIGN, None)


@pytest.mark.parametrize("raw", [b"[" * 100_000, b"1" * 5_000, b"\xff\xfe", b"null", b"[]", b'"a"'])
def test_no_bytes_crash_a_hit(raw: bytes) -> None:
    """Whoever wrote them."""
    assert decode_marker(raw) == (Marker.FOREIGN, None)
