"""Names, parts and digests: valid from birth, or refused with the reason."""

import hashlib
import subprocess
from pathlib import Path

import pytest
from assetd_server.errors import InvalidFieldError, InvalidNameError, InvalidPartError
from assetd_server.model import (
    AssetName,
    AssetVersion,
    Digest,
    NamePrefix,
    PartPath,
    directory_digest,
    require_distinct_parts,
)
from assetd_server.versioning import Version

LONG = "a" * 255
# Its index is called `.versions` besides.
LONGEST_PUSHED = "a" * 246


@pytest.mark.parametrize(
    "text",
    ["a", "0", "some/asset", "A-b_c.d/E9", "a/.hidden/b", "a/-b", "a/b_/c", LONG, f"{LONG}/{LONG}"],
)
def test_names_that_a_fetch_accepts(text: str) -> None:
    """Modelkit's grammar: what it once pushed can be fetched."""
    assert AssetName(text) == text
    assert "/".join(AssetName(text).segments) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/a",
        "a/",
        "a//b",
        ".",
        "..",
        "a/..",
        "../a",
        "a/../b",
        "a/./b",
        "a..b",
        ".a",
        "a.",
        "-a",
        "a_",
        "a b",
        "a\\b",
        "C:\\a",
        "a\0b",
        "a\nb",
        "a\n",
        "a:b",
        "a[b]",
        "é",
        "e\u0301",
        "a\u202eb",
        "a\u200bb",
        "😀",
        "\u0661",
        "\ud800",
        "a" * 256,
        "/".join(["a" * 200] * 6),
    ],
)
def test_names_that_lead_elsewhere_are_refused(text: str) -> None:
    """Nothing climbs, hides, or looks like another name; the field and the value are named."""
    with pytest.raises(InvalidNameError) as failure:
        AssetName(text)
    assert failure.value.metadata["field"] == "spec"
    assert failure.value.metadata["name"] == text


@pytest.mark.parametrize(
    "text",
    ["a", "some/asset", "a.b-c_d/E9", "a/v1", "a/1.2.3", "a/1.2b", "2026-11-23", LONGEST_PUSHED],
)
def test_names_that_a_push_accepts(text: str) -> None:
    """A push creates only names that every reader can fetch."""
    AssetName(text).require_pushable()


@pytest.mark.parametrize(
    "text",
    [
        "a/.hidden",
        "a/-b",
        "a/b_/c",
        "a/0.0",
        "0.0/a",
        "a/1/b",
        "a/00.0",
        "a/007",
        "a/2026-99-99T99-99-99Z",
        "a/2026-11-23T09-30-00Z",
        "a.versions",
        "a.versions/b",
        "a/0.0.meta",
        "a.lock",
        "a/0.0.SUCCESS",
        f"{LONGEST_PUSHED}a",
        f"a/{LONG}",
    ],
)
def test_names_that_would_collide_are_not_pushed(text: str) -> None:
    """They would hide a version, or stand where an index, a lock or a marker of another stands."""
    name = AssetName(text)
    with pytest.raises(InvalidNameError) as failure:
        name.require_pushable()
    assert failure.value.metadata["field"] == "header.spec"


@pytest.mark.parametrize("text", ["", "a", "some/", "some/a", "a.", "a/.", "A-", LONG, f"a/{LONG}"])
def test_how_names_begin(text: str) -> None:
    """A prefix ends anywhere in a name that a fetch accepts."""
    assert NamePrefix(text) == text


@pytest.mark.parametrize(
    "text",
    [
        *("/", "/etc/", "../", "..", "a/../", "a//", "a..", ".", ".assetd/", "-", "a\0/", "a\n"),
        *("\ud800", "a b", "a:", "a[", "\u00e9", LONG + "a", "a/" * 600),
    ],
)
def test_what_no_name_begins_with_is_no_prefix(text: str) -> None:
    """A listing that walked what it names would leave the store's folder."""
    with pytest.raises(InvalidFieldError) as failure:
        NamePrefix(text)
    assert failure.value.metadata["field"] == "name_prefix"


@pytest.mark.parametrize(
    "text",
    ["a", "sub/b", ".gitattributes", "a b", "é", "日本語", "a..b", "...", "-x", "[1]", "a:b", LONG],
)
def test_parts_are_paths_below_their_version(text: str) -> None:
    """What people have in folders; a leading dot is fine."""
    part = PartPath(text)
    assert (part, "/".join(part.segments)) == (text, text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "/a",
        "a/",
        "a//b",
        ".",
        "..",
        "a/..",
        "../a",
        "a/../../b",
        "a/./b",
        "a\\b",
        "a\0b",
        "a\nb",
        "a\x7fb",
        "\x1b[31m",
        ".SUCCESS",
        "sub/.SUCCESS",
        ".SUCCESS/a",
        "\ud800",
        "é" * 128,
        "a" * 256,
        "/".join(["a" * 200] * 6),
    ],
)
def test_parts_that_no_folder_may_hold_are_refused(text: str) -> None:
    """A `.meta` is as untrusted as a caller."""
    with pytest.raises(InvalidPartError):
        PartPath(text)


def test_the_part_of_a_file_is_empty() -> None:
    """A file asset has one part, which has no path of its own."""
    assert PartPath.of_file() == ""
    assert PartPath.of_file().segments == ()


def test_below_means_a_whole_segment() -> None:
    """`sub` does not contain `subway`."""
    assert PartPath("sub/a").is_below("sub")
    assert PartPath("sub").is_below("sub")
    assert not PartPath("subway/a").is_below("sub")
    assert not PartPath("sub").is_below("sub/a")


@pytest.mark.parametrize(
    ("paths", "fine"),
    [
        (["a", "b", "a.b", "ab/c"], True),
        (["sub/a", "sub/b", "sub/deep/a"], True),
        (["a", "a"], False),
        (["a", "a/b"], False),
        (["a/b/c", "a"], False),
        (["a/b/c", "a/b"], False),
        # Between a file and what would lie inside of it others may be sorted.
        (["a", "a b", "a-b", "a!", "a/b"], False),
        (["a", "a!", "a!/b"], False),
        (["a/b", "a!", "a!b/c", "a b/c"], True),
    ],
)
def test_parts_can_stand_beside_each_other(paths: list[str], fine: bool) -> None:
    """No path twice, and none is a file and a folder at once; prefixes of names are no folders."""
    parts = [PartPath(path) for path in paths]
    if fine:
        require_distinct_parts(parts)
    else:
        with pytest.raises(InvalidPartError):
            require_distinct_parts(parts)


def test_a_digest_is_canonical() -> None:
    """Lower case, 64 digits, `sha256:`: equal digests are equal strings."""
    hexes = hashlib.sha256(b"x").hexdigest()
    assert Digest("sha256:" + hexes).hex == hexes
    assert Digest.of_hex(hexes) == "sha256:" + hexes
    bad = [hexes, "sha256:", "sha256:" + hexes.upper(), "sha256:" + hexes + "\n", "md5:" + hexes]
    for text in bad:
        with pytest.raises(InvalidFieldError) as failure:
            Digest(text, field="expected_digest")
        assert failure.value.metadata["field"] == "expected_digest"


@pytest.mark.needs_program("sha256sum")
def test_anybody_can_compute_the_digest_of_a_directory(tmp_path: Path) -> None:
    """A directory's digest is the SHA-256 of what `sha256sum` prints for its files, in order."""
    files = {"b": b"1", "a/z": b"2", "a.b": b"3", "B": b"4", "é": b"5", "a/é b": b""}
    for path, data in files.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(data)
    ordered = sorted(files, key=str.encode)
    printed = subprocess.run(
        ["sha256sum", *ordered], cwd=tmp_path, capture_output=True, check=True
    ).stdout
    hashes = {path: hashlib.sha256(data).hexdigest() for path, data in files.items()}
    assert directory_digest(hashes) == Digest.of_hex(hashlib.sha256(printed).hexdigest())


def test_a_version_reads_as_its_spec() -> None:
    """Without a version it is the bare name, as modelkit answers a plain path."""
    name = AssetName("some/asset")
    assert str(AssetVersion(name, Version.parse("1.2"))) == "some/asset:1.2"
    assert str(AssetVersion(name, None)) == "some/asset"
