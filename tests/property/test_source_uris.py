"""What a push names, and what is allowed: no spelling of a name leads out of where it may."""

import os
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import TypeVar
from urllib.parse import quote

import pytest
from assetd_server.assets.source_uris import SourceUri, StagedPath, parse_allowed
from assetd_server.errors import InvalidFieldError, SourceNotAllowedError
from hypothesis import example, given
from hypothesis import strategies as st

T = TypeVar("T")

REFUSALS = (InvalidFieldError, SourceNotAllowedError)

# Alphabets in which the dangerous words are likely.
CLIMBING = st.lists(
    st.sampled_from(
        [
            "a",
            "b",
            "..",
            ".",
            "",
            "%2e%2e",
            "%2E.",
            ".%2e",
            "%2f",
            "%5c",
            "%00",
            "%",
            "%zz",
            "a%20b",
            "%25",
            "%252e%252e",
            "\x00",
            "\n",
            "...",
            "..a",
            "a..",
            "ä",
            "%c3%a4",
            "%ff",
            "~",
            "\\",
        ]
    ),
    max_size=6,
).map("/".join)
SEGMENTS = st.lists(
    st.text(
        st.characters(exclude_characters="/", exclude_categories=("Cs", "Cc")), min_size=1
    ).filter(lambda name: name not in (".", "..")),
    min_size=1,
    max_size=4,
)


def is_inside(path: str) -> bool:
    """Whether every reader of the path stays within where it begins."""
    return (
        os.path.normpath(path) == path
        and not path.startswith("/")
        and ".." not in path.split("/")
        and all(ord(char) >= 32 and ord(char) != 127 for char in path)
    )


def parsed(parse: Callable[[str], T], text: str, field: str) -> T | None:
    """What the text is; None where it is refused, by an error that names the field."""
    try:
        return parse(text)
    except REFUSALS as error:
        named = error.metadata["field"]
    assert named == field
    return None


@given(CLIMBING | st.text(max_size=40))
def test_a_staged_path_stays_below_the_push_folder(text: str) -> None:
    """Whatever a caller writes names something below it that is not ours, or is refused."""
    staged = parsed(StagedPath.parse, text, "header.staged_path")
    if staged is None:
        return
    path = staged.path
    assert is_inside(path)
    assert not path.startswith(".")
    assert text.removesuffix("/") == path


@given(
    CLIMBING | st.text(max_size=40), st.sampled_from(["file:///", "file://", "s3://bucket/", ""])
)
@example("allowed/%2e%2e/etc", "file:///")
@example("allowed%2f..%2fetc", "file:///")
def test_a_uri_names_what_stays_where_it_is_read(text: str, scheme: str) -> None:
    """Whatever a caller writes is decoded once, climbs nowhere, or is refused."""
    uri = parsed(SourceUri.parse, scheme + text, "header.source_uri")
    if uri is None:
        return
    joined = "/".join(uri.segments)
    assert joined == "" or is_inside(joined)
    assert joined.count("/") == max(len(uri.segments) - 1, 0)
    assert SourceUri.parse(str(uri)) == uri


@given(SEGMENTS, st.booleans())
def test_any_path_can_be_written_as_a_uri(segments: list[str], is_folder: bool) -> None:
    """As `Path.as_uri` does; a key of a bucket as it stands."""
    path = "/" + "/".join(segments)
    end = "/" if is_folder else ""
    if len(quote(path)) < 4000:
        assert SourceUri.parse(f"file://{quote(path)}{end}").segments == tuple(segments)
        assert SourceUri.parse(PurePosixPath(path).as_uri()).path == path
    assert SourceUri.parse(f"s3://bucket{path}{end}") == SourceUri(
        "bucket", tuple(segments), is_folder
    )


@given(
    SEGMENTS, SEGMENTS, st.sampled_from(["", "bucket", "other"]), st.sampled_from(["", "bucket"])
)
def test_below_is_by_whole_segments(
    one: list[str], other: list[str], bucket: str, allowed_bucket: str
) -> None:
    """A prefix of a name allows nothing: `pre` is not above `prefix`."""
    allowed = SourceUri(allowed_bucket, tuple(one))
    for segments in (other, [*one, *other], one, one[:-1], [*one[:-1], f"{one[-1]}x"]):
        uri = SourceUri(bucket, tuple(segments))
        inside = bucket == allowed_bucket and segments[: len(one)] == one
        expected = "/".join(segments[len(one) :]) if inside else None
        assert uri.below(allowed) == expected


@given(CLIMBING, CLIMBING)
def test_what_is_below_by_name_is_below_on_the_disk(root: str, text: str) -> None:
    """Joined as the system joins them, what is allowed never leaves what allows it."""
    try:
        allowed, uri = SourceUri.read(f"file:///root/{root}"), SourceUri.read(f"file:///{text}")
        inside = SourceUri.read(f"file:///root/{root.rstrip('/')}/{text}")
    except ValueError:
        return
    for candidate in (uri, inside):
        if candidate.below(allowed) is not None:
            assert os.path.commonpath([os.path.normpath(candidate.path), allowed.path]) == (
                allowed.path
            )


@given(st.text(max_size=60))
def test_an_operators_list_is_read_or_refused(text: str) -> None:
    """In the manner of the configuration, and nothing allows the whole machine."""
    try:
        allowed = parse_allowed(text)
    except ValueError:
        return
    assert all(uri.bucket or uri.segments for uri in allowed)


@pytest.mark.parametrize(
    "text",
    [
        "/etc/shadow",
        "/proc/self/environ",
        "..",
        "../x",
        "a/../../x",
        "a/..",
        ".spool/x",
        ".",
        "..a",
    ],
)
def test_what_leads_elsewhere_is_not_allowed(text: str) -> None:
    """Nor is what lies there and is the daemon's own; each said alike, and nothing looked at."""
    expected = InvalidFieldError if text == "." else SourceNotAllowedError
    with pytest.raises(expected, match=r"staged path|holds"):
        StagedPath.parse(text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is empty"),
        ("a//b", "holds '//'"),
        ("a/./b", "holds '//', '.'"),
        ("a\x00b", "NUL or another control character"),
        ("a\nb", "control character"),
        ("a" * 5000, "longer than"),
    ],
)
def test_what_is_no_path_is_an_invalid_field(text: str, why: str) -> None:
    """The caller mends it."""
    with pytest.raises(InvalidFieldError, match=why):
        StagedPath.parse(text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("http://bucket/key", "is no source: write file:///directory or s3://bucket/prefix"),
        ("file://host/share", "is no source"),
        ("file:/etc/passwd", "is no source"),
        ("/etc/passwd", "is no source"),
        ("FILE:///etc/passwd", "is no source"),
        ("", "is no source"),
        ("file:///a?b", "write %3F"),
        ("file:///a#b", "%23"),
        ("file:///a%2fb", "an escaped '/'"),
        ("file:///a%zz", "begins no escape"),
        ("file:///a%00", "NUL"),
        ("file:///a%ff", "is not UTF-8"),
        ("file:///a//b", "holds '//'"),
        ("s3:///key", "is no bucket"),
        ("s3://key:secret@bucket/x", "is no bucket"),
        ("s3://bucket//key", "holds '//'"),
        ("s3://bucket/a\x01", "control character"),
    ],
)
def test_what_is_no_uri_is_an_invalid_field(text: str, why: str) -> None:
    """Without the credentials that somebody may have put there."""
    with pytest.raises(InvalidFieldError, match=why) as raised:
        SourceUri.parse(text)
    assert "secret" not in str(raised.value)
    assert "secret" not in "".join(raised.value.metadata.values())


@pytest.mark.parametrize("text", ["file:///srv/../etc", "file:///%2e%2e/etc", "s3://b-1/a/../../x"])
def test_a_uri_that_climbs_is_not_allowed(text: str) -> None:
    """However the dots are written."""
    with pytest.raises(SourceNotAllowedError):
        SourceUri.parse(text)


def test_an_escape_in_a_bucket_is_part_of_the_key() -> None:
    """As the AWS tools take it: decoding would make another object of it."""
    uri = SourceUri.parse("s3://bucket/pre%2Ffix/100%25?x#y")
    assert uri.segments == ("pre%2Ffix", "100%25?x#y")
    assert uri.below(SourceUri.read("s3://bucket/pre")) is None
