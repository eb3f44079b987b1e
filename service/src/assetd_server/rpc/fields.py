"""What one field of a request may say; each failure names the field."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

from assetd_server.errors import AssetError, InvalidFieldError
from assetd_server.model import Digest

T = TypeVar("T")


@contextmanager
def field_named(field: str) -> Iterator[None]:
    """Have a failure of the block name the field of the request that its value came from."""
    try:
        yield
    except AssetError as error:
        error.metadata["field"] = field
        raise


def choice(field: str, value: int, meanings: Mapping[int, T]) -> T:
    """Return what an enum's value means.

    Raises:
        InvalidFieldError: nothing. Also 0, where that has no meaning: the field is required.
    """
    if value not in meanings:
        raise InvalidFieldError(
            "{field} cannot be {value}: set one of the values that the API names",
            field=field,
            value=value,
        )
    return meanings[value]


def optional_digest(field: str, text: str) -> Digest | None:
    """Return the digest; None where the field is not set.

    Raises:
        InvalidFieldError: it is none.
    """
    return Digest(text, field) if text else None


def not_negative(field: str, value: int) -> int:
    """Return the value.

    Raises:
        InvalidFieldError: it is negative.
    """
    if value < 0:
        raise out_of_range(field, str(value), "it must not be negative")
    return value


def out_of_range(field: str, value: str, rule: str) -> InvalidFieldError:
    """Return the error for a value that breaks a rule."""
    return InvalidFieldError("{field} is {value}: {rule}", field=field, value=value, rule=rule)
