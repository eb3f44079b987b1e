"""Page tokens: opaque, and good for the listing that made them."""

import base64
import json
import sys
from contextlib import suppress

import pytest
from assetd_server.assets.paging import make_token, read_token
from assetd_server.errors import InvalidPageTokenError

ARGUMENTS = ("some/", "all", False)


def spelled(document: object) -> str:
    """A token that anybody can make."""
    return base64.urlsafe_b64encode(json.dumps(document).encode()).decode()


@pytest.mark.parametrize(
    "after",
    [["a"], ["some/asset", "1.0"], [""], ["é", "日本語"], ["x" * 1024, "\U0001f600" * 256]],
)
def test_a_token_says_what_its_page_follows(after: list[str]) -> None:
    """The longest names included; it travels in URLs as it is."""
    token = make_token(ARGUMENTS, after)
    assert token.isascii()
    assert set(token) & set("+/ ") == set()
    assert read_token(token, ARGUMENTS, len(after)) == after


def test_no_token_is_the_first_page() -> None:
    """The empty string, which is what an unset field reads as."""
    assert read_token("", ARGUMENTS, 2) is None


@pytest.mark.parametrize(
    "arguments", [("other/", "all", False), ("some/", "store", False), ("some/", "all", True), ()]
)
def test_a_token_is_bound_to_its_arguments(arguments: tuple[object, ...]) -> None:
    """With others the pages would skip or repeat entries."""
    token = make_token(ARGUMENTS, ["a"])
    with pytest.raises(InvalidPageTokenError, match="other arguments"):
        read_token(token, arguments, 1)


GOOD = make_token(ARGUMENTS, ["a"])


@pytest.mark.parametrize(
    "token",
    [
        "x",
        "é",
        "=",
        "!!!!",
        GOOD[:-4],
        GOOD + "AAAA",
        GOOD[:10] + "\n" + GOOD[10:],
        "A" * 20_000,
        base64.urlsafe_b64encode(b"\xff\xfe").decode(),
        base64.urlsafe_b64encode(b"[" * 9_000).decode(),
        base64.urlsafe_b64encode(b"1" * 9_000).decode(),
        spelled(None),
        spelled(1),
        spelled([]),
        spelled({}),
        spelled("text"),
        spelled([1, "a"]),
        spelled([["x"], "a"]),
        spelled(["0" * 16]),
        spelled(["0" * 16, 1]),
        spelled(["0" * 16, "a", "b"]),
        spelled(dict.fromkeys(json.loads(base64.urlsafe_b64decode(GOOD)))),
        # Found by the fuzz: no part's path compares with half of a surrogate pair.
        make_token(ARGUMENTS, ["\ud800"]),
    ],
)
def test_anything_else_is_refused(token: str) -> None:
    """Whatever a caller sends is its own fault, never a crash."""
    with pytest.raises(InvalidPageTokenError) as failure:
        read_token(token, ARGUMENTS, 1)
    assert failure.value.metadata["field"] == "page_token"


@pytest.mark.parametrize(
    "document",
    ["a" * 12_000, [""] * 3_000, dict.fromkeys(map(str, range(1_500)))],
    ids=["text", "list", "object"],
)
def test_a_token_of_very_many_words_takes_no_longer(document: object) -> None:
    """Found by the fuzz: each character of a text was read as a word, 10 ms of them."""
    calls = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event == "call"

    token = spelled(document)
    sys.setprofile(count)
    try:
        with suppress(InvalidPageTokenError):
            read_token(token, ARGUMENTS, 1)
    finally:
        sys.setprofile(None)
    assert calls < 100


def test_a_token_of_another_method_is_refused() -> None:
    """A listing of files pages by two strings, one of names by others."""
    with pytest.raises(InvalidPageTokenError):
        read_token(make_token(ARGUMENTS, ["a", "b"]), ARGUMENTS, 1)
