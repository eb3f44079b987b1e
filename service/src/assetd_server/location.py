"""Where a store is, as an operator writes it. Opens nothing."""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from assetd_server import parsing


@dataclass(frozen=True)
class S3Location:
    """A folder of a bucket. Credentials and region are found as the AWS tools find them."""

    bucket: str
    prefix: str
    endpoint_url: str | None = None
    region: str | None = None
    kms_key_id: str | None = None


@dataclass(frozen=True)
class DirectoryLocation:
    """A plain directory as the store."""

    path: Path


StoreLocation = S3Location | DirectoryLocation


def parse_location(text: str) -> StoreLocation | None:
    """Return what `s3://bucket/prefix` or `file:///directory` names; None for `none`.

    Raises:
        ValueError: it names no store, in the manner of `parsing`.
    """
    if text in ("", "none"):
        return None
    url = urlsplit(text)
    if url.scheme in ("gs", "az"):
        raise ValueError("is a kind of store that comes in a later release: write s3:// or file://")
    if "@" in url.netloc:
        raise ValueError("holds credentials: leave them out, they are found as AWS tools find them")
    if url.query or url.fragment:
        raise ValueError("goes on behind the path: leave out '?', '#' and what follows")
    if url.scheme == "s3":
        return S3Location(parsing.parse_bucket(url.netloc), parsing.parse_prefix(url.path))
    path = Path(unquote(url.path))
    if url.scheme != "file" or url.netloc or not path.is_absolute():
        raise ValueError("is no store: write s3://bucket/prefix, file:///directory or none")
    if ".." in path.parts:
        raise ValueError("climbs by '..': write the directory as it is")
    return DirectoryLocation(path)
