"""An index that is read by what has changed in it says what it says when it is read as a whole."""

import json

import pytest
from assetd_server.errors import BadIndexError
from assetd_server.manifest import decode_index, encode_index
from assetd_server.store.index_text import IndexText, IndexTexts
from assetd_server.versioning import Version
from hypothesis import given, settings
from hypothesis import strategies as st

VERSIONS = st.sets(
    st.tuples(st.integers(0, 3), st.integers(0, 120)).map(lambda pair: Version.of(*pair)),
    max_size=80,
)
DATES = st.just({Version.parse("2026-11-23T09-30-00Z")})
# What a hand or another program may do to the bytes.
CHANGES = st.sampled_from(
    [b"", b"0", b'"', b", ", b'", "', b"1.1", b'"0.7", ', b" ", b"]}", b"[", b"\\"]
)


def text_of(versions: set[Version]) -> IndexText:
    """The text of an index that lists these versions."""
    return IndexText.decode(encode_index(versions), "key")


@settings(max_examples=300)
@given(VERSIONS, VERSIONS)
def test_versions_that_join_are_spelled_like_all(some: set[Version], others: set[Version]) -> None:
    """The bytes are those that the whole would be given."""
    joined = text_of(some).joined_by(others)
    assert joined.raw == encode_index(some | others)
    assert [*joined.versions] == sorted(some | others, reverse=True)


@settings(max_examples=300)
@given(VERSIONS, VERSIONS, VERSIONS | DATES)
def test_what_changed_is_read_like_all(
    common: set[Version], before: set[Version], after: set[Version]
) -> None:
    """Whatever came and went, between any two reads."""
    raw = json.dumps({"versions": [str(v) for v in sorted(common | after, reverse=True)]}).encode()
    changed = text_of(common | before).changed_to(raw)
    if changed is not None:
        assert (changed.raw, changed.versions) == (raw, decode_index(raw, "key"))


@settings(max_examples=500)
@given(VERSIONS, st.integers(0, 200), st.integers(0, 6), CHANGES)
def test_damage_is_not_read_over(
    versions: set[Version], place: int, length: int, change: bytes
) -> None:
    """Bytes that cannot be believed, or are spelled otherwise, are left to who reads the whole."""
    text = text_of(versions)
    raw = text.raw[:place] + change + text.raw[place + length :]
    changed = text.changed_to(raw)
    if changed is None:
        return
    assert changed.raw == raw == encode_index(changed.versions)
    assert changed.versions == decode_index(raw, "key")


def test_one_more_is_read_by_itself() -> None:
    """That is what it is for: of thousands only the new one is decoded."""
    text = text_of({Version.of(0, minor) for minor in range(3000)})
    longer = text.joined_by([Version.of(0, 3000)])
    texts = IndexTexts()
    assert texts.find("key", longer.raw) is None
    texts.keep("key", text)
    found = texts.find("key", longer.raw)
    assert found == longer
    assert texts.find("key", longer.raw) is found
    assert texts.find("other", longer.raw) is None


def test_few_are_kept() -> None:
    """A daemon that looks at many assets does not keep all their indexes."""
    texts = IndexTexts()
    text = text_of({Version.of(0, 0)})
    for number in range(17):
        texts.keep(f"key{number}", text)
    assert texts.find("key0", text.raw) is None
    assert texts.find("key1", text.raw) is text


def test_an_index_that_is_another_is_decoded_as_a_whole() -> None:
    """Of what shares little with the last one nothing is taken over."""
    text = text_of({Version.of(0, minor) for minor in range(3000)})
    raw = encode_index([Version.of(1, minor) for minor in range(3000)])
    assert text.changed_to(raw) is None
    for odd in (b"", b"{}", text.raw[:-1], b"x" + text.raw):
        with pytest.raises(BadIndexError):
            decode_index(odd, "key")
        assert text.changed_to(odd) is None


def test_what_came_in_several_lines_is_read_by_itself() -> None:
    """Versions come at the front of each major's line, so in the midst of an index too."""
    lines = range(3)
    text = text_of({Version.of(line, minor) for line in lines for minor in range(2000)})
    longer = text.joined_by([Version.of(line, 2000) for line in lines])
    assert longer.raw == encode_index(longer.versions)
    assert text.changed_to(longer.raw) == longer
    assert longer.changed_to(text.raw) == text
