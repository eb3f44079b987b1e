"""How S3 is asked to copy a range of an object into an upload. Knows no SDK."""

from typing import Any

from assetd_server.store.base import CannotCopyError, CopySource

_SCHEME = "s3://"


def bucket_of(source: CopySource) -> str:
    """Return the bucket that the source lies in.

    Raises:
        CannotCopyError: it lies in none.
    """
    if not source.url.startswith(_SCHEME):
        raise CannotCopyError(source.key)
    return source.url.removeprefix(_SCHEME).partition("/")[0]


def copied_range(source: CopySource, offset: int, length: int) -> dict[str, Any]:
    """Return the arguments that say what is copied, and of which write."""
    prefix = source.url.removeprefix(_SCHEME).partition("/")[2]
    key = f"{prefix}/{source.key}" if prefix else source.key
    return {
        "CopySource": {"Bucket": bucket_of(source), "Key": key},
        "CopySourceIfMatch": source.etag,
        "CopySourceRange": f"bytes={offset}-{offset + length - 1}",
    }
