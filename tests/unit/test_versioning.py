"""The two versioning systems: one spelling a version, integers and dates in order."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from assetd_server.errors import InvalidVersionError, MixedVersioningError
from assetd_server.versioning import (
    NEWEST,
    NO_VERSIONS,
    Version,
    VersioningSystem,
    VersionSelector,
    newest_first,
    next_version,
    one_system,
)

NUMBERS, DATES = VersioningSystem.MAJOR_MINOR, VersioningSystem.SIMPLE_DATE
NOW = datetime(2026, 11, 23, 9, 30, 0, 999_999, tzinfo=UTC)


def versions(*texts: str) -> list[Version]:
    """The versions that these texts spell."""
    return [Version.parse(text) for text in texts]


@pytest.mark.parametrize(
    ("text", "system", "major"),
    [
        ("0.0", NUMBERS, 0),
        ("1.10", NUMBERS, 1),
        ("999999999999999999.0", NUMBERS, 999_999_999_999_999_999),
        ("2026-11-23T09-30-00Z", DATES, None),
        ("2024-02-29T23-59-59Z", DATES, None),
        ("0001-01-01T00-00-00Z", DATES, None),
        ("9999-12-31T23-59-59Z", DATES, None),
    ],
)
def test_a_canonical_version_is_read(
    text: str, system: VersioningSystem, major: int | None
) -> None:
    """It reads back as it was written, and knows its system."""
    version = Version.parse(text)
    assert (str(version), version.system, version.major) == (text, system, major)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "1.",
        ".1",
        "1.2.3",
        "00.0",
        "0.01",
        "-1.0",
        "+1.0",
        " 1.0",
        "1.0\n",
        "1.0 ",
        "1_0.0",
        "1e3.0",
        "1.0a",
        "0x1.0",
        "1000000000000000000.0",
        "\u0660.\u0660",
        "1.\uff12",
        "\u0967.\u0966",
        "2026-02-29T00-00-00Z",
        "2026-13-01T00-00-00Z",
        "2026-00-01T00-00-00Z",
        "2026-04-31T00-00-00Z",
        "2026-11-23T24-00-00Z",
        "2026-11-23T09-60-00Z",
        "2026-11-23T09-30-60Z",
        "0000-01-01T00-00-00Z",
        "2026-11-23T09-30-00",
        "2026-11-23t09-30-00z",
        "2026-11-23T09:30:00Z",
        "2026-1-23T09-30-00Z",
        "2026-11-23T09-30-00Z\n",
        "\uff12\uff10\uff12\uff16-11-23T09-30-00Z",
        "..",
        "latest",
    ],
)
def test_any_other_spelling_is_refused(text: str) -> None:
    """Two strings never name one version, and nothing that is no version becomes a path."""
    with pytest.raises(InvalidVersionError):
        Version.parse(text)


def test_versions_order_by_number_and_not_by_text() -> None:
    """1.10 follows 1.9; each once; the newest first."""
    mixed_up = versions("1.9", "0.100", "12.0", "1.10", "2.0", "1.9", "1.0")
    ordered = [str(version) for version in newest_first(mixed_up)]
    assert ordered == ["12.0", "2.0", "1.10", "1.9", "1.0", "0.100"]


def test_dates_order_by_time() -> None:
    """Older than the epoch too."""
    texts = ["2026-11-23T09-30-00Z", "1969-12-31T23-59-59Z", "0999-01-01T00-00-00Z"]
    assert [str(v) for v in newest_first(versions(*reversed(texts)))] == texts


def test_one_asset_counts_in_one_way() -> None:
    """Numbers and dates have no order between them: both are named in the error."""
    mixed = versions("1.0", "2026-11-23T09-30-00Z")
    for judge in (newest_first, one_system, NEWEST.choose):
        with pytest.raises(MixedVersioningError, match=r"1\.0 and 2026-11-23T09-30-00Z"):
            judge(mixed)
    assert one_system([]) is None
    assert one_system(versions("0.1", "0.2")) is NUMBERS
    assert one_system(mixed[1:]) is DATES


def test_what_joins_versions_is_of_their_system() -> None:
    """Wherever it would stand between them."""
    numbers = newest_first(versions("3.0", "1.0"))
    assert numbers.joined_by(versions("1.0")) is numbers
    for text in ("2026-11-23T09-30-00Z", "1970-01-01T00-00-02Z", "0999-01-01T00-00-00Z"):
        with pytest.raises(MixedVersioningError):
            numbers.joined_by(versions(text))
        with pytest.raises(MixedVersioningError):
            newest_first(versions(text)).joined_by(numbers)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "12.0"),
        ("1", "1.5"),
        ("12", "12.0"),
        ("10", "10.0"),
        ("2", "2.0"),
        ("0", None),
        ("1.5", "1.5"),
        ("1.6", None),
        ("120", None),
    ],
)
def test_a_major_number_chooses_its_own_line(text: str, expected: str | None) -> None:
    """`1` means the newest 1.x and never 10.0 or 12.0, which modelkit would choose."""
    known = versions("12.0", "2.0", "1.5", "1.0", "10.0")
    chosen = VersionSelector.parse(text).choose(known)
    assert (chosen and str(chosen)) == expected


def test_no_major_number_of_a_date() -> None:
    """`2026` is a line of numbers, not a year."""
    selector = VersionSelector.parse("2026")
    assert selector.choose(versions("2026-11-23T09-30-00Z")) is None


@pytest.mark.parametrize("text", ["", "0", "7", "1.2", "2026-11-23T09-30-00Z"])
def test_a_selector_reads_as_it_was_written(text: str) -> None:
    """What is echoed to the caller is what it wrote."""
    assert str(VersionSelector.parse(text)) == text


@pytest.mark.parametrize("text", ["01", "1.", "v1", "1.x", "*", "\uff11", "1\n"])
def test_a_selector_is_a_version_or_a_major_number(text: str) -> None:
    """The error tells what may be written."""
    with pytest.raises(InvalidVersionError, match="write a major number"):
        VersionSelector.parse(text)


@pytest.mark.parametrize(
    ("known", "major", "bump_major", "expected"),
    [
        ([], None, False, "0.0"),
        ([], None, True, "0.0"),
        ([], 3, False, "3.0"),
        (["0.9"], None, False, "0.10"),
        (["1.5", "2.0", "1.7"], None, False, "2.1"),
        (["1.5", "2.0", "1.7"], 1, False, "1.8"),
        (["1.5", "2.0"], 7, False, "7.0"),
        (["1.5", "2.0", "1.7"], None, True, "3.0"),
    ],
)
def test_the_next_number(
    known: list[str], major: int | None, bump_major: bool, expected: str
) -> None:
    """The minor of the newest, or of the line that is named; a new line begins at 0."""
    there = newest_first(versions(*known))
    found = next_version(there, NUMBERS, NOW, major=major, bump_major=bump_major)
    assert str(found) == expected
    assert found not in there


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ([], "2026-11-23T09-30-00Z"),
        (["2026-11-23T09-29-59Z"], "2026-11-23T09-30-00Z"),
        (["2026-11-23T09-30-00Z"], "2026-11-23T09-30-01Z"),
        (["2030-12-31T23-59-59Z", "2020-01-01T00-00-00Z"], "2031-01-01T00-00-00Z"),
    ],
)
def test_the_next_date(known: list[str], expected: str) -> None:
    """Now, to the second; where that is taken, or the clock lags, one second after the newest."""
    elsewhere = NOW.astimezone(timezone(timedelta(hours=-9)))
    assert str(next_version(newest_first(versions(*known)), DATES, elsewhere)) == expected


def test_a_date_has_no_major() -> None:
    """Asking for one is refused: the push would otherwise create a version nobody meant."""
    for asked, field in (({"major": 1}, "header.spec"), ({"bump_major": True}, "header.bump")):
        with pytest.raises(InvalidVersionError, match="dates") as raised:
            next_version(NO_VERSIONS, DATES, NOW, **asked)
        assert raised.value.metadata["field"] == field


@pytest.mark.parametrize(
    ("newest", "bump_major"),
    [
        ("0.999999999999999999", False),
        ("999999999999999999.0", True),
        ("9999-12-31T23-59-59Z", False),
    ],
)
def test_what_follows_the_last_version_is_refused(newest: str, bump_major: bool) -> None:
    """A version that nobody could read again would spoil the index of the whole asset."""
    known = newest_first(versions(newest))
    with pytest.raises(InvalidVersionError, match=f"follows '?{newest}'?: ") as raised:
        next_version(known, known[0].system, NOW, bump_major=bump_major)
    assert raised.value.metadata["field"] == "header.spec"
