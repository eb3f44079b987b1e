"""What operators write, as values: durations, sizes, counts, switches, choices, S3 addresses.

A leaf: knows no variable and no module of the service. Each function takes the text and raises
ValueError that goes on where "'soon' ..." begins: what is wrong, and what to write instead.
"""

import re
from collections.abc import Callable, Iterable
from enum import Enum
from typing import TypeVar
from urllib.parse import urlsplit

E = TypeVar("E", bound=Enum)

_SECONDS_BY_UNIT = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(ms|s|m|h)", re.ASCII)
_BYTES_BY_UNIT = {
    "": 1,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}
_SIZE = re.compile(r"(\d{1,15})([kMGT]B|[KMGT]iB|)", re.ASCII)
_SHARE = re.compile(r"(\d{1,2}(?:\.\d{1,6})?)%", re.ASCII)
_COUNT = re.compile(r"[1-9]\d{0,5}", re.ASCII)
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]")


def parse_duration_seconds(text: str) -> float:
    """Return the seconds of `500ms`, `10s`, `5m`, `1.5h`."""
    if not (match := _DURATION.fullmatch(text)):
        raise ValueError("is no duration: write a number and its unit, as in 500ms, 10s, 5m or 1h")
    return float(match[1]) * _SECONDS_BY_UNIT[match[2]]


def parse_timeout_seconds(text: str) -> float:
    """Return the seconds of a duration that is not zero."""
    if (seconds := parse_duration_seconds(text)) <= 0:
        raise ValueError("leaves no time at all: write more than 0s")
    return seconds


def parse_bytes(text: str) -> int:
    """Return the bytes of `8MiB`, `2GB`, `1048576`."""
    if not (match := _SIZE.fullmatch(text)):
        raise ValueError(
            "is no size: write bytes, or a number with kB, MB, GB, TB, KiB, MiB, GiB or TiB"
        )
    return int(match[1]) * _BYTES_BY_UNIT[match[2]]


def parse_bytes_or_share(text: str) -> int | float:
    """Return the bytes of `20GiB`, or the share of `10%` as a float below 1."""
    if match := _SHARE.fullmatch(text):
        return float(match[1]) / 100
    if text.endswith("%"):
        raise ValueError("is no share: write a percentage below 100, as in 10%")
    return parse_bytes(text)


def parse_count(text: str) -> int:
    """Return a number from 1 to 999,999."""
    if not _COUNT.fullmatch(text):
        raise ValueError("is no count: write a number from 1 to 999999")
    return int(text)


def parse_switch(text: str) -> bool:
    """Return whether `true` or `false` is written."""
    return one_of(("true", "false"))(text) == "true"


def one_of(texts: Iterable[str]) -> Callable[[str], str]:
    """Return a parser that takes one of `texts` as it is."""
    known = tuple(texts)

    def parse(text: str) -> str:
        if text not in known:
            raise ValueError(f"is unknown: write one of {', '.join(known)}")
        return text

    return parse


def member_of(members: type[E]) -> Callable[[str], E]:
    """Return a parser that takes the value of one of the `members`."""
    text_of = one_of(str(member.value) for member in members)
    return lambda text: members(text_of(text))


def parse_bucket(text: str) -> str:
    """Return the name of a bucket; which names a store takes is the store's business."""
    if not _BUCKET.fullmatch(text):
        raise ValueError("is no bucket: write its name, 3 to 63 letters, digits, '.', '-' and '_'")
    return text


def parse_prefix(text: str) -> str:
    """Return the folder of a bucket, without `/` at its ends; "" is the bucket itself."""
    prefix = text.strip("/")
    if prefix and any(part in ("", ".", "..") for part in prefix.split("/")):
        raise ValueError("holds '//', '.' or '..': write the folder as it is")
    return prefix


def parse_endpoint(text: str) -> str:
    """Return the URL of an S3 server."""
    url = urlsplit(text)
    if url.scheme not in ("http", "https") or not url.hostname:
        raise ValueError("is no endpoint: write https://host or http://host:port")
    if "@" in url.netloc:
        raise ValueError("holds credentials: leave them out, AWS_ACCESS_KEY_ID is their place")
    return text
