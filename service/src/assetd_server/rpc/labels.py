"""What a pusher may write on a version: how many labels, and how long they are; see `convert`."""

from collections.abc import Mapping
from typing import Final

from assetd_server.errors import InvalidFieldError

MAX_LABELS: Final = 64
MAX_KEY_BYTES: Final = 128
MAX_VALUE_BYTES: Final = 2048


def checked_labels(labels: Mapping[str, str]) -> dict[str, str]:
    """Return the labels of a push's header.

    Raises:
        InvalidFieldError: too many, or one that is too long or has no printable key.
    """
    if len(labels) > MAX_LABELS:
        raise InvalidFieldError(
            "header.labels has {count} labels: {limit} are allowed",
            field="header.labels",
            count=len(labels),
            limit=MAX_LABELS,
        )
    for key, value in labels.items():
        if not key or not key.isprintable():
            raise InvalidFieldError(
                "the key {key!r} cannot be a label's: write some printable text",
                field="header.labels",
                key=key,
            )
        _require_bytes("key", key, key, MAX_KEY_BYTES)
        _require_bytes("value", key, value, MAX_VALUE_BYTES)
    return dict(labels)


def _require_bytes(what: str, key: str, text: str, limit: int) -> None:
    length = len(text.encode())
    if length > limit:
        raise InvalidFieldError(
            "the {what} of the label {key!r} is {length} bytes long: at most {limit} are allowed",
            field="header.labels",
            what=what,
            key=key,
            length=length,
            limit=limit,
        )
