"""Documents from a bucket and markers from a disk, by any bytes at all."""

import copy
import json
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from typing import Any

from assetd_server.cache.receipt import Marker, Receipt, decode_marker
from assetd_server.errors import (
    BadIndexError,
    BadManifestError,
    InvalidPartError,
    MixedVersioningError,
)
from assetd_server.manifest import (
    Manifest,
    Part,
    decode_index,
    decode_manifest,
    encode_index,
    encode_manifest,
)
from assetd_server.model import AssetKind, PartPath, Verification, require_distinct_parts
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.versions import manifest_of

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["\ud800", "../x", "0001-01-01T00:00:00+14:00", "", "a" * 64, "file"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)
SEGMENTS = st.text("abé.-_ ", min_size=1, max_size=4).filter(lambda s: s not in (".", ".."))
PART_PATHS = st.lists(SEGMENTS, min_size=1, max_size=3).map("/".join).map(PartPath)
ZONES = st.integers(-14 * 60, 14 * 60).map(lambda m: timezone(timedelta(minutes=m)))
WORDS = st.text(st.characters(codec="utf-8"), max_size=8)
FACTS = st.tuples(
    st.integers(0, 2**50), st.binary(min_size=32, max_size=32), st.integers(0, 2**64 - 1)
)


def fits(paths: list[PartPath]) -> bool:
    """Whether they can stand beside each other."""
    try:
        require_distinct_parts(paths)
    except InvalidPartError:
        return False
    return True


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    """Any manifest that assetd could have pushed."""
    kind = draw(st.sampled_from(AssetKind))
    paths = [PartPath.of_file()]
    if kind is AssetKind.DIRECTORY:
        paths = draw(st.lists(PART_PATHS, max_size=4, unique=True).filter(fits))
    parts = []
    for path in sorted(paths, key=str.encode):
        size, sha256, crc = draw(FACTS)
        parts.append(Part(path, size, sha256.hex(), crc))
    return Manifest(
        kind=kind,
        push_time=draw(st.datetimes(timezones=ZONES).filter(has_utc)),
        parts=tuple(parts),
        push_id=draw(WORDS),
        labels=draw(st.dictionaries(WORDS, WORDS, max_size=3)),
        pushed_by=draw(WORDS),
    )


def has_utc(moment: datetime) -> bool:
    """Whether it is a moment of the years that UTC has here too."""
    return 1 < moment.year < 9999


@settings(max_examples=100)
@given(manifests())
def test_a_manifest_survives_the_bucket_and_the_disk(manifest: Manifest) -> None:
    """What was pushed is what is read, from a `.meta` and from a receipt."""
    assert decode_manifest(encode_manifest(manifest), "key") == manifest
    receipt = Receipt(manifest, "s3://x", manifest.push_time, Verification.DIGEST)
    marker, read = decode_marker(receipt.encode())
    assert marker is Marker.RECEIPT
    assert read is not None
    assert read.manifest.parts == manifest.parts
    assert read.manifest.digest == manifest.digest


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where in a document something stands."""
    items: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    return [path, *(place for key, inner in items for place in places(inner, (*path, key)))]


def replaced(document: Any, place: tuple[Any, ...], value: Any) -> Any:
    """The document with another value at a place."""
    if not place:
        return value
    changed = copy.deepcopy(document)
    at = changed
    for key in place[:-1]:
        at = at[key]
    at[place[-1]] = value
    return changed


DOCUMENT = json.loads(encode_manifest(manifest_of({"a": b"one", "sub/b": b"two"})))
RECEIPT = json.loads(
    Receipt(
        manifest_of({"a": b"one", "sub/b": b"two"}),
        "s3://x",
        manifest_of(b"").push_time,
        Verification.SIZE,
    ).encode()
)


@settings(max_examples=400)
@given(st.sampled_from(places(DOCUMENT)), JSON_VALUES)
def test_a_changed_manifest_is_refused_or_still_consistent(
    place: tuple[Any, ...], value: Any
) -> None:
    """Whatever stands anywhere: BAD_MANIFEST, or a manifest that can be told and stored again."""
    raw = json.dumps(replaced(DOCUMENT, place, value)).encode()
    try:
        manifest = decode_manifest(raw, "key")
    except BadManifestError:
        return
    for text in (manifest.push_id, manifest.pushed_by, *manifest.labels, *manifest.labels.values()):
        text.encode()
    assert manifest.size_bytes is None or 0 <= manifest.size_bytes < 2**63
    if manifest.digest is not None:
        assert decode_manifest(encode_manifest(manifest), "key") == manifest


@settings(max_examples=400)
@given(st.sampled_from(places(RECEIPT)), JSON_VALUES)
def test_a_changed_receipt_never_crashes_a_look(place: tuple[Any, ...], value: Any) -> None:
    """It is a receipt with every size, or none."""
    _, receipt = decode_marker(json.dumps(replaced(RECEIPT, place, value)).encode())
    if receipt is not None:
        assert all(part.size_bytes is not None for part in receipt.manifest.parts)
        assert decode_marker(receipt.encode())[0] is Marker.RECEIPT


@settings(max_examples=300)
@given(st.binary(max_size=80) | JSON_VALUES.map(lambda value: json.dumps(value).encode()))
def test_no_bytes_crash_a_reader(raw: bytes) -> None:
    """Each reader says in its own words that it cannot believe them."""
    decode_marker(raw)
    for read in (decode_manifest, decode_index):
        with suppress(BadManifestError, BadIndexError, MixedVersioningError):
            assert read(raw, "key") is not None


@settings(max_examples=100)
@given(
    st.lists(
        st.tuples(st.integers(0, 99), st.integers(0, 99)).map(lambda pair: f"{pair[0]}.{pair[1]}")
        | JSON_VALUES,
        max_size=5,
    )
)
def test_an_index_is_refused_or_sorted(versions: list[Any]) -> None:
    """Each once, newest first; and it is written as it is read."""
    try:
        found = decode_index(json.dumps({"versions": versions}).encode(), "key")
    except (BadIndexError, MixedVersioningError):
        return
    assert [*found] == sorted(set(found), reverse=True)
    assert {str(version) for version in found} == set(versions)
    assert decode_index(encode_index(found), "key") == found
