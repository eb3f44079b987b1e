"""Durations, sizes and the like: what is understood, and what is said of the rest."""

from collections.abc import Callable
from enum import Enum

import pytest
from assetd_server import parsing


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (parsing.parse_duration_seconds, "500ms", 0.5),
        (parsing.parse_duration_seconds, "90s", 90.0),
        (parsing.parse_duration_seconds, "10m", 600.0),
        (parsing.parse_duration_seconds, "1.5h", 5400.0),
        (parsing.parse_duration_seconds, "0s", 0.0),
        (parsing.parse_timeout_seconds, "1ms", 0.001),
        (parsing.parse_bytes, "1048576", 2**20),
        (parsing.parse_bytes, "8MiB", 8 * 2**20),
        (parsing.parse_bytes, "2GB", 2 * 10**9),
        (parsing.parse_bytes, "3kB", 3000),
        (parsing.parse_bytes, "0", 0),
        (parsing.parse_count, "1", 1),
        (parsing.parse_count, "999999", 999_999),
        (parsing.parse_switch, "true", True),
        (parsing.parse_switch, "false", False),
        (parsing.one_of(["a", "b"]), "b", "b"),
        (parsing.member_of(Colour), "blue", Colour.BLUE),
        (parsing.parse_bucket, "my-models.eu", "my-models.eu"),
        (parsing.parse_prefix, "", ""),
        (parsing.parse_prefix, "/", ""),
        (parsing.parse_prefix, "/prod/models/", "prod/models"),
        (parsing.parse_endpoint, "http://127.0.0.1:9000", "http://127.0.0.1:9000"),
        (parsing.parse_endpoint, "https://s3.example", "https://s3.example"),
    ],
)
def test_values(parse: Callable[[str], object], text: str, value: object) -> None:
    """What an operator writes means this."""
    assert parse(text) == value


@pytest.mark.parametrize(
    ("parse", "text", "hint"),
    [
        (parsing.parse_duration_seconds, "10", "a number and its unit"),
        (parsing.parse_duration_seconds, "ten s", "a number and its unit"),
        (parsing.parse_duration_seconds, "-1s", "a number and its unit"),
        (parsing.parse_duration_seconds, "1s ", "a number and its unit"),
        (parsing.parse_duration_seconds, "1d", "a number and its unit"),
        (parsing.parse_duration_seconds, "\u0661s", "a number and its unit"),
        (parsing.parse_duration_seconds, "9" * 400 + "h", "a number and its unit"),
        (parsing.parse_timeout_seconds, "0s", "more than 0s"),
        (parsing.parse_bytes, "8M", "write bytes"),
        (parsing.parse_bytes, "8 MiB", "write bytes"),
        (parsing.parse_bytes, "1.5GB", "write bytes"),
        (parsing.parse_bytes, "-1", "write bytes"),
        (parsing.parse_count, "0", "from 1 to 999999"),
        (parsing.parse_count, "1000000", "from 1 to 999999"),
        (parsing.parse_count, "3.0", "from 1 to 999999"),
        (parsing.parse_switch, "yes", "write one of true, false"),
        (parsing.one_of(["a", "b"]), "c", "write one of a, b"),
        (parsing.member_of(Colour), "RED", "write one of red, blue"),
        (parsing.parse_bucket, "", "write its name"),
        (parsing.parse_bucket, "a/b", "write its name"),
        (parsing.parse_bucket, "-ab", "write its name"),
        (parsing.parse_prefix, "a/../b", "as it is"),
        (parsing.parse_prefix, "a//b", "as it is"),
        (parsing.parse_endpoint, "127.0.0.1:9000", "write https://host"),
        (parsing.parse_endpoint, "s3://bucket", "write https://host"),
        (parsing.parse_endpoint, "http://", "write https://host"),
        (parsing.parse_endpoint, "http://key:secret@host", "leave them out"),
    ],
)
def test_faults(parse: Callable[[str], object], text: str, hint: str) -> None:
    """A fault says what to write instead."""
    with pytest.raises(ValueError, match=hint):
        parse(text)
