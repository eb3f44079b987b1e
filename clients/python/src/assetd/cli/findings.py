"""What `assetd doctor` says of one thing."""

from typing import NamedTuple


class Finding(NamedTuple):
    """One check: `state` is ok, warn or fail; `text` explains it and says what to do."""

    check: str
    state: str
    text: str


def ok(check: str, text: str) -> Finding:
    """Nothing is to be done."""
    return Finding(check, "ok", text)


def warn(check: str, text: str) -> Finding:
    """It works, and somebody should look at it."""
    return Finding(check, "warn", text)


def fail(check: str, text: str) -> Finding:
    """It does not work."""
    return Finding(check, "fail", text)
