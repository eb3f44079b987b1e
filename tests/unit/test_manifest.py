"""The documents of a bucket: what modelkit wrote, what we add, what cannot be believed."""

import base64
import copy
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from assetd_server.errors import (
    BadIndexError,
    BadManifestError,
    InvalidFieldError,
    MixedVersioningError,
)
from assetd_server.manifest import (
    MAX_MANIFEST_BYTES,
    Manifest,
    ManifestSize,
    Part,
    decode_crc64nvme,
    decode_index,
    decode_manifest,
    encode_crc64nvme,
    encode_index,
    encode_manifest,
)
from assetd_server.model import AssetKind, AssetName, Digest, PartPath, directory_digest
from assetd_server.versioning import NO_VERSIONS, Version

from tests.support.versions import PUSH_TIME, manifest_of

KEY = "models/some/asset/0.1.meta"
TREE = {"b": b"2", "a/z": b"1", "a.b": b"", "é": b"4"}
OF_FILE = Manifest(
    kind=AssetKind.FILE,
    push_time=PUSH_TIME,
    parts=manifest_of(b"content").parts,
    push_id="3f2b8c1e-0000-4000-8000-000000000001",
    labels={"stage": "prod", "": "é"},
    pushed_by="somebody",
)
OF_TREE = Manifest(AssetKind.DIRECTORY, PUSH_TIME, manifest_of(TREE).parts, "id", {}, "me")


@pytest.mark.parametrize(
    "path",
    [PartPath, lambda text: PartPath("😀" * 60 + text), lambda text: PartPath("," * 240 + text)],
)
def test_no_manifest_becomes_too_large_to_be_read(path: Callable[[str], PartPath]) -> None:
    """A version whose manifest could not be read again is refused before a byte is stored.

    It has too many files, or their names are too long, or full of commas.
    """
    size, parts = ManifestSize(), []

    def fill() -> None:
        for number in range(200_000):
            part = Part(path(f"{number:06}"), 2**63 // 200_000, "e" * 64, 2**64 - 1)
            size.add(part)
            parts.append(part)

    with pytest.raises(InvalidFieldError, match="so many files") as refused:
        fill()
    assert refused.value.metadata["count"] == str(len(parts) + 1)
    assert len(parts) > 1_000
    labels = {f"{number:0128}": "," * 2048 for number in range(64)}
    manifest = Manifest(AssetKind.DIRECTORY, PUSH_TIME, tuple(parts), "id", labels, "somebody")
    raw = encode_manifest(manifest)
    assert len(raw) <= MAX_MANIFEST_BYTES
    assert decode_manifest(raw, KEY).parts == manifest.parts


@pytest.mark.parametrize("manifest", [OF_FILE, OF_TREE], ids=["file", "directory"])
def test_what_we_wrote_we_read(manifest: Manifest) -> None:
    """Every field, in every kind; describing it tells what is known."""
    decoded = decode_manifest(encode_manifest(manifest), KEY)
    assert decoded == manifest
    described = decoded.describe(AssetName("some/asset"), Version.parse("0.1"))
    assert described.digest == manifest.digest is not None
    assert described.size_bytes == sum(part.size_bytes or 0 for part in manifest.parts)
    assert described.file_count == len(manifest.parts)


def test_modelkit_finds_its_own_keys() -> None:
    """It reads `push_date` as ISO 8601, `is_directory`, and `contents` of directories only."""
    file, tree = (json.loads(encode_manifest(m)) for m in (OF_FILE, OF_TREE))
    for document in (file, tree):
        assert datetime.fromisoformat(document["push_date"]) == PUSH_TIME
    assert file["is_directory"] is False
    assert "contents" not in file
    assert tree["is_directory"] is True
    assert tree["contents"] == ["a.b", "a/z", "b", "é"]


def test_modelkits_own_documents_are_read() -> None:
    """As it writes them: no sizes, no checksums, and so no digest that could be compared."""
    file = b'{"push_date": "2021-04-20T14:11:10.402139+00:00", "is_directory": false}'
    decoded = decode_manifest(file, KEY)
    assert decoded == Manifest(
        AssetKind.FILE,
        datetime(2021, 4, 20, 14, 11, 10, 402139, tzinfo=UTC),
        (Part(PartPath.of_file()),),
    )
    assert (decoded.digest, decoded.size_bytes) == (None, None)
    tree = (
        b'{"push_date": "2021-04-20T14:11:10+02:00", "is_directory": true,'
        b' "contents": ["b", "sub/a", "a"]}'
    )
    decoded = decode_manifest(tree, KEY)
    assert [part.path for part in decoded.parts] == ["a", "b", "sub/a"]
    assert decoded.push_time == datetime(2021, 4, 20, 12, 11, 10, tzinfo=UTC)


def test_a_time_without_a_zone_is_utc() -> None:
    """Not the zone of whichever machine reads it."""
    raw = b'{"push_date": "2021-04-20T14:11:10", "is_directory": false}'
    assert decode_manifest(raw, KEY).push_time == datetime(2021, 4, 20, 14, 11, 10, tzinfo=UTC)


def test_any_zone_is_written_as_utc() -> None:
    """Two pushers in two zones write times that compare as text."""
    there = timezone(timedelta(hours=5, minutes=30))
    elsewhere = Manifest(AssetKind.FILE, PUSH_TIME.astimezone(there), OF_FILE.parts)
    assert json.loads(encode_manifest(elsewhere))["push_date"] == PUSH_TIME.isoformat()


def test_the_digest_is_computed_and_not_believed() -> None:
    """Of a file its SHA-256, of a directory that of its listing."""
    assert OF_FILE.digest == Digest.of_hex(str(OF_FILE.parts[0].sha256_hex))
    hashes = {str(part.path): str(part.sha256_hex) for part in OF_TREE.parts}
    assert OF_TREE.digest == directory_digest(hashes)


def test_a_checksum_is_spelled_as_s3_spells_it() -> None:
    """Base64 of eight bytes, the highest first."""
    assert encode_crc64nvme(0x0102030405060708) == base64.b64encode(bytes(range(1, 9))).decode()
    for value in (0, 1, 2**64 - 1):
        assert decode_crc64nvme(encode_crc64nvme(value)) == value
    for text in ("", "AAAAAAAAAA", "AAAAAAAAAAA", "é", "AAAAAAAAAAA=\n", "AAAAAAAAAAAAAAAA"):
        with pytest.raises(ValueError, match="no crc64nvme"):
            decode_crc64nvme(text)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"not JSON",
        b"\xff\xfe\xfd",
        b"null",
        b"[]",
        b"1",
        b'"text"',
        b"{",
        b"{}",
        b'{"is_directory": false, "is_directory": true}',
        b'{"push_date": "2021-01-01T00:00:00Z", "is_directory": false, "x": {"a": 1, "a": 2}}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"x": ' + b"1" * 5_000 + b"}",
    ],
    ids=repr,
)
def test_what_is_no_document_is_refused(raw: bytes) -> None:
    """Not JSON, of another shape, too deep, ambiguous: the key is named, and nothing crashes."""
    with pytest.raises(BadManifestError, match=KEY) as failure:
        decode_manifest(raw[:200_000], KEY)
    assert failure.value.metadata["key"] == KEY
    with pytest.raises(BadIndexError, match=KEY):
        decode_index(raw, KEY)


Change = Callable[[dict[str, Any]], object]


def ours(document: dict[str, Any]) -> dict[str, Any]:
    """What assetd added to the document."""
    added: dict[str, Any] = document["assetd"]
    return added


def part(document: dict[str, Any]) -> dict[str, Any]:
    """The facts of one part."""
    facts: dict[str, Any] = ours(document)["files"]["b"]
    return facts


CHANGES: dict[str, Change] = {
    "no push_date": lambda d: d.pop("push_date"),
    "push_date is no date": lambda d: d.update(push_date="yesterday"),
    "push_date is a number": lambda d: d.update(push_date=1),
    "push_date before year 1": lambda d: d.update(push_date="0001-01-01T00:00:00+14:00"),
    "no is_directory": lambda d: d.pop("is_directory"),
    "is_directory is a number": lambda d: d.update(is_directory=1),
    "is_directory contradicts": lambda d: d.update(is_directory=False),
    "no contents": lambda d: d.pop("contents"),
    "contents is text": lambda d: d.update(contents="b"),
    "a part is a number": lambda d: d.update(contents=[1]),
    "a part climbs": lambda d: d.update(contents=["../b"]),
    "a part is absolute": lambda d: d.update(contents=["/b"]),
    "a part is the marker": lambda d: d.update(contents=[".SUCCESS"]),
    "a part with a backslash": lambda d: d.update(contents=["a\\b"]),
    "a part with NUL": lambda d: d.update(contents=["a\0b"]),
    "a part is half a character": lambda d: d.update(contents=["\ud800"]),
    "a part twice": lambda d: d.update(contents=["b", "b"]),
    "a part and a folder": lambda d: d.update(contents=["b", "b/c"]),
    "another part": lambda d: d.update(contents=["a.b", "a/z", "b", "c"]),
    "a part less": lambda d: d.update(contents=["a.b", "a/z", "b"]),
    "assetd is a list": lambda d: d.update(assetd=[]),
    "no format": lambda d: ours(d).pop("format"),
    "a later format": lambda d: ours(d).update(format=2),
    "no files": lambda d: ours(d).pop("files"),
    "files is a list": lambda d: ours(d).update(files=[]),
    "a part has no facts": lambda d: ours(d)["files"].update(b=None),
    "a file for a directory": lambda d: ours(d).update(files={"": part(d)}),
    "no digest": lambda d: ours(d).pop("digest"),
    "another digest": lambda d: ours(d).update(digest="sha256:" + "0" * 64),
    "labels is a list": lambda d: ours(d).update(labels=["a"]),
    "a label is a number": lambda d: ours(d).update(labels={"a": 1}),
    "a label is half a character": lambda d: ours(d).update(labels={"a": "\ud800"}),
    "a label's key is half a character": lambda d: ours(d).update(labels={"\udfff": "a"}),
    "push_id is a number": lambda d: ours(d).update(push_id=1),
    "push_id is half a character": lambda d: ours(d).update(push_id="\ud800"),
    "pushed_by is half a character": lambda d: ours(d).update(pushed_by="\ud800"),
    "no size": lambda d: part(d).pop("size"),
    "a negative size": lambda d: part(d).update(size=-1),
    "a size is true": lambda d: part(d).update(size=True),
    "a size is text": lambda d: part(d).update(size="1"),
    "a size is a fraction": lambda d: part(d).update(size=1.0),
    "a size that no reader holds": lambda d: part(d).update(size=2**63),
    "no sha256": lambda d: part(d).pop("sha256"),
    "a sha256 in upper case": lambda d: part(d).update(sha256="A" * 64),
    "a sha256 with a line end": lambda d: part(d).update(sha256="a" * 64 + "\n"),
    "another sha256": lambda d: part(d).update(sha256="a" * 64),
    "no crc64nvme": lambda d: part(d).pop("crc64nvme"),
    "a crc64nvme is a number": lambda d: part(d).update(crc64nvme=1),
    "a crc64nvme of seven bytes": lambda d: part(d).update(crc64nvme="AAAAAAAAAA=="),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_contradicts_itself_is_refused(change: Change) -> None:
    """One change to a good document: BAD_MANIFEST with its key, never another error or a guess."""
    document = json.loads(encode_manifest(OF_TREE))
    assert decode_manifest(json.dumps(document).encode(), KEY) == OF_TREE
    change(document)
    with pytest.raises(BadManifestError, match=KEY):
        decode_manifest(json.dumps(document).encode(), KEY)


def test_sizes_that_add_up_to_too_much_are_refused() -> None:
    """The total travels as a signed 64-bit number too."""
    document = json.loads(encode_manifest(OF_TREE))
    for facts in document["assetd"]["files"].values():
        facts["size"] = 2**62
    with pytest.raises(BadManifestError, match="add up"):
        decode_manifest(json.dumps(document).encode(), KEY)


def test_what_later_releases_add_is_read_over() -> None:
    """A key that we do not know changes nothing, as ours change nothing for modelkit."""
    document = json.loads(encode_manifest(OF_TREE))
    changed = copy.deepcopy(document)
    changed["new"] = {"deep": [1]}
    changed["assetd"]["new"] = None
    changed["assetd"]["files"]["b"]["new"] = "x"
    assert decode_manifest(json.dumps(changed).encode(), KEY) == OF_TREE


def test_an_index_lists_each_version_once_newest_first() -> None:
    """Whatever order it was written in; modelkit takes the first one for the newest."""
    raw = b'{"versions": ["0.2", "1.10", "1.9", "0.2"]}'
    assert [str(v) for v in decode_index(raw, KEY)] == ["1.10", "1.9", "0.2"]
    versions = [Version.parse(text) for text in ("0.2", "1.10", "1.9")]
    assert json.loads(encode_index(versions)) == {"versions": ["1.10", "1.9", "0.2"]}
    assert decode_index(encode_index([]), KEY) == NO_VERSIONS


@pytest.mark.parametrize(
    "versions",
    [
        '"0.1"',
        "null",
        "{}",
        "[1]",
        "[0.1]",
        "[null]",
        '[["0.1"]]',
        '["0.1", "latest"]',
        '["00.1"]',
        '["0.1 "]',
        '["../0.1"]',
        '["\\u0660.\\u0660"]',
        '["0.1", ""]',
    ],
)
def test_an_index_with_anything_else_is_refused(versions: str) -> None:
    """A string that is no version is damage, or somebody else's file."""
    with pytest.raises(BadIndexError, match=KEY):
        decode_index(f'{{"versions": {versions}}}'.encode(), KEY)


def test_an_index_of_two_systems_is_its_own_failure() -> None:
    """The operator has to choose: it is no damage."""
    with pytest.raises(MixedVersioningError):
        decode_index(b'{"versions": ["0.1", "2026-11-23T09-30-00Z"]}', KEY)
