"""Input that gets further than bytes at random: pieces of a grammar, and documents changed as such.

Each mutator takes what the engine chose, and now and then leaves it to the engine. Knows no reader.
"""

import base64
import binascii
import json
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from random import Random
from typing import Any, Final

from tests.fuzz.target import Havoc, Mutate

_PIECES: Final = [
    *("..", ".", "/", "//", "/../", "./", "\\", "\0", "\n", "\r\n", " ", ":", "[", "]", "[/", "~"),
    *("a", "b", "a/b", "0", "0.0", "1", "00.0", "0.01", "1.2", "9" * 18, "9" * 20, "\u0663.\u0663"),
    *("2026-11-23T09-30-00Z", "2026-99-99T99-99-99Z", "0001-01-01T00-00-00Z", "\uff11"),
    *(
        ".SUCCESS",
        ".versions",
        ".meta",
        ".lock",
        ".assetd",
        ".cache",
        "some/asset",
        "CON",
        "-",
        "_",
    ),
    *("\u202e", "e\u0301", "\u00e9", "\U0001f600", "\u200b", "\x7f", "\x9b", "\u2028", "\ufeff"),
    *("%2e%2e", "{}", "{0.__class__}", "%s", "a" * 255, "a" * 256, "a/" * 200, "a." * 600),
]
PIECES: Final = [piece.encode() for piece in _PIECES] + [b"\xff", b"\xed\xa0\x80", b"\xc0\xae"]
_WORDS: Final = [*_PIECES, "\ud800", "\udfff"]

_SCALARS: Final = [
    *(None, True, False, 0, 1, 2, -1, 2**31, 2**63 - 1, 2**63, 2**64, -(2**63), 10**400),
    *(
        0.0,
        -0.0,
        1.0,
        1e308,
        float("inf"),
        float("-inf"),
        float("nan"),
        "",
        "0",
        "file",
        "directory",
    ),
    *_WORDS,
    *("0" * 64, "f" * 64, "F" * 64, f"sha256:{'0' * 64}", "AAAAAAAAAAA=", "AAAAAAAAAAA", "===="),
    *("2026-11-23", "2026-11-23T09:30:00+00:00", "2026-11-23T09:30:00", "2026-W01-1"),
    *("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "9999-12-31T23:59:60Z"),
    *("open", "committing", "released", "none", "size", "checksum", "digest"),
]
_TOKENS: Final = [
    *(
        b"1e999",
        b"-0",
        b"9" * 5000,
        b"0." + b"1" * 3000,
        b"1e-400",
        b"NaN",
        b"-Infinity",
        b"01",
        b"+1",
    ),
    *(
        b"[" * 3000,
        b"[" * 900 + b"]" * 900,
        b'{"a":' * 900,
        b'{"a":1,"a":2}',
        b'"\\ud800"',
        b'"\\u0000"',
    ),
    *(b"'a'", b"undefined", b'"\xff"', b'"\xed\xa0\x80"', b'"a\nb"', b"//", b"", b"tru"),
]
_MANY: Final = (10, 100, 1_000, 3_000)
# Of what may be large itself.
_SOME: Final = (10, 100)


def of_pieces(seeds: Sequence[bytes], pieces: Sequence[bytes] = PIECES) -> Mutate:
    """Change texts by the signs that mean something in them."""

    def mutate(data: bytes, max_size: int, dice: Random, havoc: Havoc) -> bytes:
        if dice.random() < 0.4:
            return havoc(data, max_size)
        if dice.random() < 0.1:
            data = dice.choice(seeds)
        for _ in range(dice.choice((1, 1, 2, 4))):
            data = _with_a_piece(data, dice.choice(pieces), dice)
        return data[:max_size]

    return mutate


def _with_a_piece(data: bytes, piece: bytes, dice: Random) -> bytes:
    at = dice.randint(0, len(data))
    to = min(len(data), at + dice.choice((0, 0, 1, 1, 2, 5)))
    match dice.randrange(8):
        case 0:  # the same over and over
            return (
                data[:at] + (data[at : to + 1] or piece) * dice.choice((2, 10, 30, 300)) + data[to:]
            )
        case 1:
            return data[:at] + data[to:]
        case 2:
            return piece + data
        case 3:
            return data + piece
        case _:
            return data[:at] + piece + data[to:]


def of_documents(
    seeds: Sequence[bytes], repair: Callable[[Any], object] = lambda document: document
) -> Mutate:
    """Change JSON by what stands in it; `repair` makes a changed document agree with itself.

    Without a repair whatever is compared, a digest or a sum, would end each reader early.
    """

    def mutate(data: bytes, max_size: int, dice: Random, havoc: Havoc) -> bytes:
        if dice.random() < 0.1:
            return havoc(data, max_size)
        try:
            document = json.loads(data if dice.random() < 0.9 else dice.choice(seeds))
        except (ValueError, RecursionError):
            document = json.loads(dice.choice(seeds))
        for _ in range(dice.choice((1, 1, 1, 2, 3))):
            document = changed(document, dice)
        if dice.random() < 0.6:
            with suppress(AttributeError, KeyError, TypeError, ValueError):
                document = repair(document)
        raw = _spelled(document, dice)
        return raw if raw is not None and len(raw) <= max_size else havoc(data, max_size)

    return mutate


def _spelled(document: object, dice: Random) -> bytes | None:
    try:
        text = json.dumps(document, ensure_ascii=dice.random() < 0.5, separators=(",", ":"))
    except (ValueError, RecursionError):
        return None
    if dice.random() < 0.005:
        return text.encode(dice.choice(("utf-16", "utf-32", "utf-8-sig")), "surrogatepass")
    raw = text.encode("utf-8", "surrogatepass")
    return _misspelled(raw, dice) if dice.random() < 0.1 else raw


def _misspelled(raw: bytes, dice: Random) -> bytes:
    """Say what no `json.dumps` says."""
    tokens = [*re.finditer(rb'"[^"\\]*"(:?)|[-\w.]+', raw)]
    if not tokens:
        return dice.choice(_TOKENS)
    token = dice.choice(tokens)
    if token[1]:
        return raw[: token.start()] + token[0] + b"null," + raw[token.start() :]
    return raw[: token.start()] + dice.choice(_TOKENS) + raw[token.end() :]


def changed(document: Any, dice: Random) -> Any:
    """The document with a change somewhere in it."""
    inside = (
        list(document)
        if isinstance(document, dict)
        else range(len(document))
        if isinstance(document, list)
        else ()
    )
    if not inside or dice.random() < 0.3:
        return _replaced(document, dice)
    key = dice.choice(inside)
    document[key] = changed(document[key], dice)
    return document


def _replaced(value: Any, dice: Random) -> Any:
    if dice.random() < 0.25:
        return _any_value(dice)
    match value:
        case dict():
            return _changed_object(value, dice)
        case list():
            return _changed_list(value, dice)
        case str():
            raw = value.encode("utf-8", "surrogatepass")
            return _with_a_piece(raw, dice.choice(PIECES), dice).decode("utf-8", "surrogateescape")
        case bool() | None | float():
            return _any_value(dice)
        case _:
            return value + dice.choice((-1, 1, 2**32, -(2**63), 2**63))


def _any_value(dice: Random) -> Any:
    match dice.randrange(12):
        case 0:
            return {dice.choice(_WORDS): _any_value(dice)}
        case 1:
            return [_any_value(dice) for _ in range(dice.randrange(3))]
        case 2:
            deep: object = []
            for _ in range(dice.choice((10, 100, 400))):
                deep = [deep]
            return deep
        case _:
            return dice.choice(_SCALARS)


def _changed_object(value: dict[str, Any], dice: Random) -> dict[str, Any]:
    keys = list(value)
    match dice.randrange(5) if keys else 4:
        case 0:
            del value[dice.choice(keys)]
        case 1:
            value[dice.choice(_WORDS)] = value.pop(dice.choice(keys))
        case 2:
            key = dice.choice(keys)
            value[f"{key}/{dice.choice(_WORDS)}"] = value[key]
        case 3 if dice.random() < 0.06:
            fact = value[dice.choice(keys)]
            value.update({f"p{number}": fact for number in range(_how_many(fact, dice))})
        case _:
            value[dice.choice(_WORDS)] = value[dice.choice(keys)] if keys else _any_value(dice)
    return value


def _how_many(element: object, dice: Random) -> int:
    return dice.choice(_MANY) if isinstance(element, str | int | None) else dice.choice(_SOME)


def _changed_list(value: list[Any], dice: Random) -> list[Any]:
    at = dice.randint(0, len(value))
    match dice.randrange(6) if value else 5:
        case 0:
            del value[at:]
        case 1:
            value.insert(at, dice.choice(value))
        case 2:
            dice.shuffle(value)
        case 3 if dice.random() < 0.06:
            return value * (1 + _how_many(value[0], dice) // len(value))
        case 4 if dice.random() < 0.06:
            value += [f"{number}.{number}" for number in range(dice.choice(_MANY))]
        case _:
            value.insert(at, _any_value(dice))
    return value


def in_base64(mutate: Mutate) -> Mutate:
    """Change what the text spells in base64; now and then the text."""

    def outer(data: bytes, max_size: int, dice: Random, havoc: Havoc) -> bytes:
        if dice.random() < 0.15:
            return havoc(data, max_size)
        try:
            inner = base64.urlsafe_b64decode(data)
        except (ValueError, binascii.Error):
            inner = data
        return base64.urlsafe_b64encode(mutate(inner, max_size * 3 // 4, dice, havoc))[:max_size]

    return outer


def in_lines(mutate: Mutate, sign: Callable[[bytes], bytes]) -> Mutate:
    """Change a line, and sign most of those that are changed; or which lines there are."""

    def outer(data: bytes, max_size: int, dice: Random, havoc: Havoc) -> bytes:
        if dice.random() < 0.1:
            return havoc(data, max_size)
        lines = data.split(b"\n")
        at = dice.randrange(len(lines))
        match dice.randrange(5):
            case 0:
                lines.insert(at, dice.choice(lines))
            case 1:
                del lines[at]
            case _:
                _, _, text = lines[at].partition(b" ")
                text = mutate(text, max_size, dice, havoc).replace(b"\n", b" ")
                lines[at] = sign(text) if dice.random() < 0.9 else text
        return b"\n".join(lines)[:max_size]

    return outer
