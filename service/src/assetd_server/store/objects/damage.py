"""A body that is damaged on its way: does the store notice?

Each body goes with its SHA-256 in a signed header. AWS and most others compare the two, which
proves that they hold the very bytes that were sent; others pass over it.
"""

from typing import Any, Final

from assetd_server.store.objects.sdk_errors import SDK_ERRORS, refusal_of

_SENT: Final = b"what was sent"
_ARRIVING: Final = b"what arrived."
_MISMATCH: Final = "XAmzContentSHA256Mismatch"
_EVENT: Final = "before-send.s3.PutObject"


def refuses_damage(client: Any, where: dict[str, str]) -> bool:
    """Send a small object, damaged; tell whether the store refused it for that very reason.

    Blocks. `client` is botocore's, and nobody puts an object by it meanwhile.
    """
    client.meta.events.register(_EVENT, _damage, unique_id=_EVENT)
    try:
        client.put_object(**where, Body=_SENT)
    except SDK_ERRORS as error:
        return refusal_of(error).code == _MISMATCH
    finally:
        client.meta.events.unregister(_EVENT, unique_id=_EVENT)
    return False


def _damage(request: Any, **_: object) -> None:
    """Replace the body after the request was signed."""
    request.body = _ARRIVING
