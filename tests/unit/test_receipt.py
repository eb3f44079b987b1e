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
    # Found by the fuzz: each was a receipt that could not be told, written or compared.
    "a time has no UTC": lambda d: d.update(time="0001-01-01T00:00:00+14:00"),
    "a push time has no UTC": lambda d: d.update(push_time="9999-12-31T23:59:59-14:00"),
    "who pushed is a number": lambda d: d.update(pushed_by=7),
    "half a surrogate pair pushed": lambda d: d.update(pushed_by="\ud800"),
    "the source is half a surrogate pair": lambda d: d.update(source="\udfff"),
    "a part of a directory has no name": lambda d: d["files"].update({"": {"size": 0}}),
    "unknown verification": lambda d: d.update(verification="maybe"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_damaged_receipt_is_no_receipt(change: Change) -> None:
    """The version is looked at anew: a wrong receipt must not make damaged data a hit."""
    document = json.loads(OF_TREE.encode())
    assert decode_marker(json.dumps(document).encode())[0] is Marker.RECEIPT
    change(document)
    assert decode_marker(json.dumps(document).encode()) == (Marker.FOREIGN, None)


def test_a_key_that_stands_twice_is_no_receipt() -> None:
    """Two readers would take it for two receipts."""
    twice = OF_TREE.encode().replace(b'"format":1,', b'"format":1,"format":1,')
    assert decode_marker(twice) == (Marker.FOREIGN, None)


def test_a_time_without_a_zone_is_utc() -> None:
    """Whatever the zone of the machine is."""
    document = json.loads(OF_TREE.encode())
    naive = {key: document[key].removesuffix("+00:00") for key in ("time", "push_time")}
    assert decode_marker(json.dumps(document | naive).encode()) == (Marker.RECEIPT, OF_TREE)


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
