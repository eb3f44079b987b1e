"""Who signs the pieces of an upload. The only module that knows how botocore finds its signers.

Where awscrt is there, botocore has it sign. It reads a body in blocks of 4 KiB: thousands of turns
at the interpreter for one piece, each behind whatever else the daemon does. botocore's own signer,
which is made for where awscrt is not, hashes what it reads without holding anybody up.
"""

from typing import Any, Final

from botocore.auth import AUTH_TYPE_MAPS, S3SigV4Auth

_OWN: Final = "assetd-s3v4"
# What botocore makes of them for S3 is one: Signature Version 4, and no presigned URL.
_SIGNED: Final = {"v4", "s3v4"}


def sign_pieces_at_once(client: Any) -> None:
    """Have botocore itself sign the pieces that an S3 client uploads."""
    AUTH_TYPE_MAPS[_OWN] = S3SigV4Auth
    client.meta.events.register_first("choose-signer.s3.UploadPart", _choose)


def _choose(signature_version: object, **_: object) -> str | None:
    return _OWN if signature_version in _SIGNED else None
