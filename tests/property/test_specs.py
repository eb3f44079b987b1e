"""Specs, versions, globs and page tokens, by any text at all."""

import re
from datetime import UTC, datetime

from assetd_server.assets.globs import glob_matches
from assetd_server.assets.paging import make_token, read_token
from assetd_server.errors import (
    InvalidNameError,
    InvalidPageTokenError,
    InvalidPartError,
    InvalidSpecError,
    InvalidVersionError,
)
from assetd_server.spec import Spec
from assetd_server.versioning import (
    Version,
    VersioningSystem,
    VersionSelector,
    newest_first,
    next_version,
)
from hypothesis import given, settings
from hypothesis import strategies as st

PIECES = st.sampled_from(
    ["some/asset", "a", ":", "1", "1.2", "2026-11-23T09-30-00Z", "[", "]", "/", "..", "sub", "\n"]
)
TEXTS = st.one_of(st.text(max_size=60), st.lists(PIECES, max_size=8).map("".join))
NUMBERS = st.tuples(st.integers(0, 30), st.integers(0, 30)).map(lambda pair: Version.of(*pair))
DATES = st.datetimes(timezones=st.just(UTC))
CLOCKS = st.datetimes(datetime(1970, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - it is given one
DAY = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)


@settings(max_examples=300)
@given(TEXTS)
def test_a_spec_is_refused_for_one_of_four_reasons_or_reads_back(text: str) -> None:
    """What is echoed means what was asked; nothing else ever comes out of the parser."""
    try:
        spec = Spec.parse(text)
    except (InvalidSpecError, InvalidNameError, InvalidVersionError, InvalidPartError):
        return
    assert Spec.parse(str(spec)) == spec
    assert str(spec).replace("[/", "[") == text.replace("[/", "[")


@settings(max_examples=200)
@given(st.one_of(TEXTS, st.from_regex(r"[0-9]{1,4}[.-][0-9]{1,4}.?", fullmatch=True)))
def test_a_version_has_one_spelling(text: str) -> None:
    """What is read is written the same, so that one version is never two folders."""
    try:
        version = Version.parse(text)
    except InvalidVersionError:
        return
    assert str(version) == text
    if version.system is VersioningSystem.MAJOR_MINOR:
        assert Version.of(*version) == version


@settings(max_examples=200)
@given(st.sets(NUMBERS, max_size=12), st.integers(0, 30))
def test_a_line_is_the_newest_of_its_major(known: set[Version], major: int) -> None:
    """Compared with the definition, on integers."""
    chosen = VersionSelector.parse(str(major)).choose(known)
    line = [version for version in known if version[0] == major]
    assert chosen == max(line, default=None)
    assert VersionSelector.parse("").choose(known) == max(known, default=None)


@settings(max_examples=300)
@given(st.sets(NUMBERS), st.sets(NUMBERS), st.integers(0, 30))
def test_versions_are_a_set_in_order(some: set[Version], others: set[Version], major: int) -> None:
    """What they answer without a look at all of them is what sets answer."""
    versions = newest_first(some)
    assert [*versions] == sorted(some, reverse=True)
    assert [*versions.joined_by(others)] == sorted(some | others, reverse=True)
    assert versions.beyond(newest_first(others)) == some - others
    assert versions.joined_by(others).beyond(versions) == others - some
    assert all((version in versions) == (version in some) for version in some | others)
    assert versions.newest == max(some, default=None)
    assert versions.newest_of(major) == max((v for v in some if v[0] == major), default=None)


@settings(max_examples=200)
@given(st.sets(NUMBERS, max_size=12), st.booleans(), st.none() | st.integers(0, 30))
def test_the_next_number_is_new_and_the_newest_of_its_line(
    known: set[Version], bump_major: bool, major: int | None
) -> None:
    """Without a line it is the newest of all: an unpinned spec finds what was just pushed."""
    following = next_version(
        newest_first(known), VersioningSystem.MAJOR_MINOR, DAY, major=major, bump_major=bump_major
    )
    assert following not in known
    if major is None or bump_major:
        assert newest_first({*known, following})[0] == following
    else:
        assert VersionSelector(major=major).choose({*known, following}) == following


@settings(max_examples=200)
@given(st.lists(DATES, max_size=8), CLOCKS)
def test_the_next_date_is_new_and_the_newest(taken: list[datetime], now: datetime) -> None:
    """However the clock of the pusher stands."""
    known = {Version.parse(f"{moment:%Y-%m-%dT%H-%M-%SZ}".zfill(20)) for moment in taken}
    try:
        following = next_version(newest_first(known), VersioningSystem.SIMPLE_DATE, now)
    except InvalidVersionError:
        assert max(known).text == "9999-12-31T23-59-59Z"
        return
    assert newest_first({*known, following})[0] == following
    assert following not in known


@settings(max_examples=200)
@given(st.lists(st.text(max_size=20), max_size=3), st.lists(st.text(max_size=5), max_size=3))
def test_a_page_token_brings_back_what_it_was_given(after: list[str], args: list[str]) -> None:
    """For its own arguments; for any others it is refused."""
    token = make_token(args, after)
    assert read_token(token, args, len(after)) == after
    try:
        read_token(token, [*args, "more"], len(after))
    except InvalidPageTokenError:
        return
    raise AssertionError("a token of other arguments was taken")


@settings(max_examples=300)
@given(st.one_of(st.text(max_size=60), st.binary(max_size=60).map(bytes.hex)))
def test_no_text_crashes_the_reader_of_tokens(token: str) -> None:
    """It is refused, or it is empty."""
    try:
        assert read_token(token, ["x"], 1) is None
        assert token == ""
    except InvalidPageTokenError:
        pass


def as_regular_expression(glob: str) -> str:
    """The glob by its definition."""
    *folders, last = [None if segment == "**" else segment for segment in glob.split("/")]
    text = "".join("(?:[^/]*/)*" if f is None else one_segment(f) + "/" for f in folders)
    return text + (".*" if last is None else one_segment(last))


def one_segment(segment: str) -> str:
    """One segment of it."""
    signs = {"*": "[^/]*", "?": "[^/]"}
    return "".join(signs.get(sign, re.escape(sign)) for sign in segment)


GLOBS = st.lists(st.sampled_from(["a", "b", "*", "**", "a*", "?", "*b*", "ab"]), min_size=1)
PATHS = st.lists(st.sampled_from(["a", "b", "ab", "ba", "aab"]), min_size=1, max_size=6)


@settings(max_examples=300)
@given(GLOBS.filter(lambda segments: len(segments) <= 5).map("/".join), PATHS.map("/".join))
def test_globs_match_by_their_definition(glob: str, path: str) -> None:
    """The table gives what the regular expression gives that it stands for."""
    expected = re.fullmatch(as_regular_expression(glob), path, re.DOTALL) is not None
    assert glob_matches(glob, path) is expected
