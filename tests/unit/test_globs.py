"""Globs over the paths of parts, and how much work they may be."""

import itertools
import re
from typing import SupportsIndex

import pytest
from assetd_server.assets.globs import PartFilter, glob_matches, segment_matches
from assetd_server.errors import InvalidFieldError


@pytest.mark.parametrize(
    ("glob", "matching", "others"),
    [
        ("*", ["a", ".hidden", "a.txt"], ["a/b", "sub/a.txt"]),
        ("*.txt", ["a.txt", ".txt"], ["a.txt.gz", "sub/a.txt", "txt"]),
        ("sub/*", ["sub/a"], ["sub", "sub/deep/a", "subway/a", "a/sub/b"]),
        ("sub/**", ["sub/a", "sub/deep/a"], ["sub", "subway/a"]),
        ("**", ["a", "sub/a", "sub/deep/a"], []),
        ("**/a", ["a", "sub/a", "sub/deep/a"], ["a/b", "ba"]),
        ("**/*.txt", ["a.txt", "sub/deep/a.txt"], ["a.txt/b"]),
        ("sub/**/a", ["sub/a", "sub/x/a", "sub/x/y/a"], ["a", "sub/b", "other/a"]),
        ("**/sub/**", ["sub/a", "x/sub/y/z"], ["sub", "x/sub"]),
        ("a?c", ["abc", "a.c"], ["ac", "abbc", "a/c"]),
        ("a**c", ["ac", "abbc"], ["a/c"]),
        ("[a]", ["[a]"], ["a"]),
        ("a", ["a"], ["A", "aa", "a/b"]),
        ("/a", [], ["a"]),
    ],
)
def test_stars_stop_at_folders_and_double_stars_cross_them(
    glob: str, matching: list[str], others: list[str]
) -> None:
    """The whole path has to match, in its own case."""
    assert [path for path in matching if not glob_matches(glob, path)] == []
    assert [path for path in others if glob_matches(glob, path)] == []


def test_segments_match_as_a_regular_expression_would() -> None:
    """All patterns of up to five signs on all texts of up to four letters."""
    texts = ["".join(t) for size in range(5) for t in itertools.product("ab", repeat=size)]
    patterns = ["".join(p) for size in range(6) for p in itertools.product("ab*?", repeat=size)]
    for pattern in patterns:
        expected = re.compile(pattern.replace("?", ".").replace("*", ".*"))
        for text in texts:
            assert segment_matches(pattern, text) is bool(expected.fullmatch(text)), pattern


@pytest.mark.parametrize(
    ("include", "exclude", "expected"),
    [
        ([], [], {"a.txt", "b.bin", "sub/c.txt"}),
        (["*.txt"], [], {"a.txt"}),
        (["*.txt", "sub/*"], [], {"a.txt", "sub/c.txt"}),
        ([], ["**/*.txt"], {"b.bin"}),
        (["**"], ["sub/**", "a*"], {"b.bin"}),
        (["nothing"], [], set()),
    ],
)
def test_excludes_are_taken_from_includes(
    include: list[str], exclude: list[str], expected: set[str]
) -> None:
    """Without an include all parts are meant."""
    parts = PartFilter(include, exclude)
    assert {p for p in ("a.txt", "b.bin", "sub/c.txt") if parts.matches(p)} == expected


@pytest.mark.parametrize("field", ["include", "exclude"])
@pytest.mark.parametrize("globs", [[""], ["a" * 1025], ["a"] * 101])
def test_globs_have_bounds(field: str, globs: list[str]) -> None:
    """Too many, too long or empty: the field is named."""
    with pytest.raises(InvalidFieldError) as failure:
        PartFilter(**{"include": [], "exclude": [], field: globs})
    assert failure.value.metadata["field"] == field


class CountedText(str):
    """Counts how often one of its characters is looked at."""

    __slots__ = ("looks",)
    looks: int

    def __getitem__(self, key: SupportsIndex | slice) -> str:
        self.looks += 1
        return super().__getitem__(key)


def looks_at(pattern: str, text: str) -> int:
    """The work of one match, in characters of the text that were looked at."""
    counted = CountedText(text)
    counted.looks = 0
    segment_matches(pattern, counted)
    return counted.looks


@pytest.mark.parametrize("pattern", ["*a*a*a*a*a*b", "a*" * 20 + "b", "*" * 40 + "b", "*?*?*?*b"])
def test_work_grows_with_the_text_and_not_with_its_powers(pattern: str) -> None:
    """Backtracking over every star would take the length to the power of the stars."""
    short, long = looks_at(pattern, "a" * 500), looks_at(pattern, "a" * 1000)
    assert long <= 2.5 * short


def test_double_stars_are_no_powers_either() -> None:
    """A path has few folders, a glob may have hundreds of `**`."""
    assert not glob_matches("/".join(["**"] * 300 + ["b"]), "/".join(["a"] * 500))
    assert glob_matches("/".join(["**"] * 300 + ["a"]), "/".join(["a"] * 500))
