"""A bucket seen from outside, by its layout: what is listed, committed, claimed, and left over.

Knows the layout as `layout.md` draws it, and computes digests by itself: nothing of the service is
asked whether the service did right. One look is for a bucket that nobody is changing.
"""

import hashlib
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from botocore.config import Config
from botocore.exceptions import ClientError

from tests.support.proxied_store import BUCKET, PREFIX
from tests.support.versions import Content
from tests.support.versitygw import S3Server

CLAIMS: Final = ".assetd/claims/"
_META: Final = re.compile(r"(\d+)\.(\d+)\.meta")


class Bucket(ABC):
    """What is below a store's prefix, and the uploads under way."""

    @abstractmethod
    def keys(self, prefix: str = "") -> list[str]:
        """Return the keys that begin so, in order."""

    @abstractmethod
    def get(self, key: str) -> bytes | None:
        """Return an object's bytes; None where there is none."""

    @abstractmethod
    def put(self, key: str, data: bytes) -> None:
        """Write an object, blindly."""

    @abstractmethod
    def uploads(self) -> list[str]:
        """Return the multipart uploads that nobody has completed or aborted."""


class S3Bucket(Bucket):
    """The bucket of the tests on a real S3 server, asked directly."""

    def __init__(self, server: S3Server) -> None:
        self._client: Any = server.session().create_client(
            "s3",
            region_name=server.region,
            endpoint_url=server.endpoint_url,
            config=Config(
                s3={"addressing_style": "path"},
                max_pool_connections=64,
                request_checksum_calculation="when_required",
            ),
        )

    def keys(self, prefix: str = "") -> list[str]:
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=BUCKET, Prefix=f"{PREFIX}/{prefix}"
        )
        skip = len(PREFIX) + 1
        return [found["Key"][skip:] for page in pages for found in page.get("Contents", ())]

    def get(self, key: str) -> bytes | None:
        try:
            answer = self._client.get_object(Bucket=BUCKET, Key=f"{PREFIX}/{key}")
        except ClientError as error:
            if error.response["Error"]["Code"] != "NoSuchKey":
                raise
            return None
        data: bytes = answer["Body"].read()
        return data

    def put(self, key: str, data: bytes) -> None:
        self._client.put_object(Bucket=BUCKET, Key=f"{PREFIX}/{key}", Body=data)

    def uploads(self) -> list[str]:
        answer = self._client.list_multipart_uploads(Bucket=BUCKET)
        assert not answer.get("IsTruncated")
        return [upload["Key"] for upload in answer.get("Uploads", ())]

    def close(self) -> None:
        """End its connections."""
        self._client.close()


class FolderBucket(Bucket):
    """A store in a directory."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def keys(self, prefix: str = "") -> list[str]:
        folder = self.root / prefix.rpartition("/")[0]
        found = [
            path.relative_to(self.root).as_posix()
            for path in folder.rglob("*")
            if path.is_file() and self.root / ".assetd/store" not in path.parents
        ]
        return sorted(key for key in found if key.startswith(prefix))

    def get(self, key: str) -> bytes | None:
        with suppress(FileNotFoundError, IsADirectoryError, NotADirectoryError):
            return (self.root / key).read_bytes()
        return None

    def put(self, key: str, data: bytes) -> None:
        path = self.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def uploads(self) -> list[str]:
        return [path.name for path in (self.root / ".assetd/store/uploads").glob("*")]


@dataclass(frozen=True)
class SeenAsset:
    """One asset as a bucket holds it."""

    name: str
    listed: list[str]
    metas: dict[str, dict[str, Any]]
    claims: dict[str, dict[str, Any]]
    bucket: Bucket

    def content(self, version: str) -> Content:
        """Return what a committed version holds."""
        key = f"{self.name}/{version}"
        if not self.metas[version]["is_directory"]:
            return self.bucket.get(key) or b""
        parts = {part: self.bucket.get(f"{key}/{part}") for part in self.metas[version]["contents"]}
        return {part: data for part, data in parts.items() if data is not None}

    def claim_states(self) -> dict[str, str]:
        """Return the state of each claim by its version."""
        return {version: claim["state"] for version, claim in self.claims.items()}

    def findings(self) -> Iterator[str]:
        """Yield what is wrong with the index, and with the bytes of each version."""
        if self.listed != newest_first(self.metas):
            yield f"{self.name} lists {self.listed}, and there are {newest_first(self.metas)}"
        for version, meta in self.metas.items():
            if digest_of(self.content(version)) != meta["assetd"]["digest"]:
                yield f"{self.name}:{version} does not hold what it was committed with"


def look(bucket: Bucket, name: str) -> SeenAsset:
    """Return what the bucket holds of an asset."""
    index = bucket.get(f"{name}.versions")
    leaves = [key.removeprefix(f"{name}/") for key in bucket.keys(f"{name}/")]
    claims = [key.removeprefix(f"{CLAIMS}{name}/") for key in bucket.keys(f"{CLAIMS}{name}/")]
    versions = [leaf.removesuffix(".meta") for leaf in leaves if _META.fullmatch(leaf)]
    return SeenAsset(
        name,
        json.loads(index)["versions"] if index is not None else [],
        {version: _document(bucket, f"{name}/{version}.meta") for version in versions},
        {version: _document(bucket, f"{CLAIMS}{name}/{version}") for version in claims},
        bucket,
    )


def newest_first(versions: Sequence[str] | dict[str, Any]) -> list[str]:
    """Return versions as an index lists them."""
    return sorted(versions, key=lambda text: [*map(int, text.split("."))], reverse=True)


def digest_of(content: Content) -> str:
    """Return the digest of a content as the contract defines it, with the means of `sha256sum`."""
    if isinstance(content, bytes):
        return f"sha256:{_hex(content)}"
    lines = [b"%s  %s\n" % (_hex(content[p]).encode(), p.encode()) for p in _in_order(content)]
    return f"sha256:{_hex(b''.join(lines))}"


def _in_order(paths: Sequence[str] | Any) -> list[str]:
    return sorted(paths, key=lambda path: path.encode())


def _hex(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _document(bucket: Bucket, key: str) -> dict[str, Any]:
    raw = bucket.get(key)
    assert raw is not None, f"{key} was listed and is gone: somebody is still at work"
    document: dict[str, Any] = json.loads(raw)
    return document
