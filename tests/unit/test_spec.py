"""The spec string: the grammar that modelkit users write, in linear time."""

import pytest
from assetd_server.errors import (
    AssetError,
    InvalidNameError,
    InvalidPartError,
    InvalidSpecError,
    InvalidVersionError,
)
from assetd_server.spec import MAX_SPEC_CHARACTERS, Spec
from assetd_server.versioning import Version


@pytest.mark.parametrize(
    ("text", "name", "version", "part"),
    [
        ("some/asset", "some/asset", "", None),
        ("some/asset:1", "some/asset", "1", None),
        ("some/asset:1.2", "some/asset", "1.2", None),
        ("asset:2026-11-23T09-30-00Z", "asset", "2026-11-23T09-30-00Z", None),
        ("some/dir:0.1[content0]", "some/dir", "0.1", "content0"),
        ("some/dir[sub/content0]", "some/dir", "", "sub/content0"),
        ("some/dir:0[/sub/content0]", "some/dir", "0", "sub/content0"),
        ("some/dir[.hidden]", "some/dir", "", ".hidden"),
        ("some/dir[a:b]", "some/dir", "", "a:b"),
        ("some/dir[a[1].txt]", "some/dir", "", "a[1].txt"),
    ],
)
def test_a_spec_names_an_asset_a_version_and_a_part(
    text: str, name: str, version: str, part: str | None
) -> None:
    """Each piece where it was written; a leading `/` of the part is dropped, as in modelkit."""
    spec = Spec.parse(text)
    assert (spec.name, str(spec.selector), spec.part) == (name, version, part)
    assert Spec.parse(str(spec)) == spec


@pytest.mark.parametrize(
    ("text", "error", "why"),
    [
        ("", InvalidSpecError, "empty"),
        ("a" * (MAX_SPEC_CHARACTERS + 1), InvalidSpecError, "at most"),
        ("a:", InvalidSpecError, "version is missing"),
        ("a:[x]", InvalidSpecError, "version is missing"),
        ("a]", InvalidSpecError, "without"),
        ("a:1.0]", InvalidSpecError, "without"),
        ("a[x", InvalidSpecError, "not closed"),
        ("a[x]y", InvalidSpecError, "not closed"),
        ("a[x]:1.0", InvalidSpecError, "not closed"),
        (":1.0", InvalidNameError, "no asset name"),
        ("[x]", InvalidNameError, "no asset name"),
        ("/etc/passwd", InvalidNameError, "no asset name"),
        ("../a", InvalidNameError, "no asset name"),
        ("a\0b", InvalidNameError, "no asset name"),
        ("a:latest", InvalidVersionError, "no version"),
        ("a:1.0:2.0", InvalidVersionError, "no version"),
        ("a:../../x", InvalidVersionError, "no version"),
        ("a:\u0660.\u0660", InvalidVersionError, "no version"),
        ("a:1.0\n", InvalidVersionError, "no version"),
        ("a[]", InvalidPartError, "no part"),
        ("a[/]", InvalidPartError, "no part"),
        ("a[//x]", InvalidPartError, "no part"),
        ("a[../x]", InvalidPartError, "no part"),
        ("a[x/.SUCCESS]", InvalidPartError, "no part"),
    ],
)
def test_each_piece_is_refused_for_its_own_reason(
    text: str, error: type[AssetError], why: str
) -> None:
    """The class says which piece is wrong, the message what to write, `field` where it stood."""
    with pytest.raises(error, match=why) as failure:
        Spec.parse(text)
    assert type(failure.value) is error
    assert failure.value.metadata["field"] == "spec"


@pytest.mark.parametrize("size", [28, 280, 2800])
@pytest.mark.parametrize(
    ("pattern", "error"),
    [
        ("name[{a}!]", None),
        ("name[{a}", InvalidSpecError),
        ("name[{slashes}!", InvalidSpecError),
        ("{a}!", InvalidNameError),
        ("{dots}!", InvalidNameError),
        ("name:{ones}!", InvalidVersionError),
        ("name:{brackets}", InvalidVersionError),
    ],
)
def test_what_takes_modelkit_for_ever_is_read_at_once(
    pattern: str, size: int, error: type[AssetError] | None
) -> None:
    """Modelkit's expression doubles its time with each character: 28 take seconds, 2,800 no end."""
    short = min(size, 250)
    text = pattern.format(
        a="a" * short, dots="a." * size, slashes="a/" * size, ones="1" * size, brackets="a[" * size
    )
    if error is None:
        assert Spec.parse(text).part is not None
    else:
        with pytest.raises((error, InvalidSpecError)):
            Spec.parse(text)


def test_a_spec_is_pinned_to_what_was_found() -> None:
    """Name and part stay; the version becomes exact."""
    version = Version.parse("1.4")
    spec = Spec.parse("some/dir:1[sub]")
    assert spec.exact is None
    pinned = spec.pinned_to(version)
    assert (str(pinned), pinned.exact) == ("some/dir:1.4[sub]", version)
