"""Page tokens: opaque, and bound to the arguments that they were made for. Pure."""

import base64
import binascii
import hashlib
import json
from collections.abc import Sequence

from assetd_server.errors import InvalidPageTokenError
from assetd_server.manifest import decode_text

_MAX_TOKEN_CHARACTERS = 16 * 1024
_NOT_OURS = "it was not made by this method"


def make_token(arguments: Sequence[object], after: Sequence[str]) -> str:
    """Return the token of the page that follows `after`, for a listing with `arguments`."""
    document = json.dumps([_fingerprint(arguments), *after])
    return base64.urlsafe_b64encode(document.encode()).decode()


def read_token(token: str, arguments: Sequence[object], length: int) -> list[str] | None:
    """Return what the token's page follows, `length` strings; None for the empty token.

    Raises:
        InvalidPageTokenError: not a token of ours, or of a listing with other arguments.
    """
    if not token:
        return None
    try:
        if len(token) > _MAX_TOKEN_CHARACTERS:
            raise ValueError
        document = json.loads(base64.b64decode(token, altchars=b"-_", validate=True))
        # By its length first: a token holds room for thousands of words, and each takes time.
        if not isinstance(document, list) or len(document) != 1 + length:
            raise ValueError
        fingerprint, *after = (decode_text(word, "a word") for word in document)
    except (ValueError, TypeError, RecursionError, binascii.Error):
        raise invalid_token() from None
    if fingerprint != _fingerprint(arguments):
        raise invalid_token("it was made for other arguments")
    return after


def _fingerprint(arguments: Sequence[object]) -> str:
    return hashlib.sha256(repr(list(arguments)).encode()).hexdigest()[:16]


def invalid_token(why: str = _NOT_OURS) -> InvalidPageTokenError:
    """Return the error for a token that nobody can go on from."""
    return InvalidPageTokenError(
        "the page token cannot be used: {why}; list again from the first page",
        field="page_token",
        why=why,
    )
