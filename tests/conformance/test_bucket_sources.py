"""The source of a push in a bucket, and its copy inside the store, on a real S3 server."""

import hashlib
import os
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from assetd_server.assets.source_uris import SourceUri
from assetd_server.assets.sources import Sources
from assetd_server.cache.layout import AssetsDir
from assetd_server.cache.linux import FileSystem
from assetd_server.errors import InvalidPartError, StoreUnavailableError
from assetd_server.model import AssetKind, PartPath
from assetd_server.store.base import EtagMismatchError, KeyExistsError, ObjectStore
from assetd_server.store.objects import S3Settings, open_s3_store

from tests.conformance.conftest import BUCKET
from tests.support.versitygw import S3Server

MIB = 1 << 20


@dataclass
class Place:
    """Sources that allow a prefix of their own, and the bucket as other people write to it."""

    sources: Sources
    bucket: ObjectStore
    prefix: str
    client: Any

    def uri(self, path: str) -> SourceUri:
        return SourceUri.parse(f"s3://{BUCKET}/{self.prefix}/{path}")

    def put_marker(self, folder: str) -> None:
        """Makes an empty object `folder/`, as consoles do."""
        self.client.put_object(Bucket=BUCKET, Key=f"{self.prefix}/{folder}/", Body=b"")


@pytest.fixture
async def place(
    s3_server: S3Server, s3_session: botocore.session.Session, tmp_path: Path
) -> AsyncIterator[Place]:
    """With a model of two objects."""

    def open_bucket(bucket: str) -> ObjectStore:
        settings = S3Settings(bucket, "", s3_server.endpoint_url, s3_server.region)
        return open_s3_store(settings, session=s3_session)

    prefix = f"sources-{uuid.uuid4().hex}"
    assets_dir = AssetsDir(str(tmp_path), FileSystem())
    bucket = open_bucket(BUCKET)
    await bucket.create(f"{prefix}/model/ä b/+%20", b"odd")
    await bucket.create(f"{prefix}/model/weights", os.urandom(11 * MIB))
    allowed = [SourceUri.read(f"s3://{BUCKET}/{prefix}"), SourceUri.read("s3://no-such-bucket")]
    client = s3_server.client()
    place = Place(Sources(assets_dir, allowed, open_bucket), bucket, prefix, client)
    yield place
    await place.sources.close()
    await bucket.close()
    assets_dir.close()
    client.close()


async def test_a_prefix_is_hashed_and_copied_into_the_store(
    place: Place, s3_store: ObjectStore
) -> None:
    """What lies in an allowed bucket is copied by the store itself, and bound to one write.

    A copied object is created where none is, as any other, and holds what was hashed.
    """
    source = await place.sources.open(place.uri("model"), None)
    assert source.kind is AssetKind.DIRECTORY
    parts = await source.parts(lambda _: None)
    assert [part.path for part in parts] == ["weights", "ä b/+%20"]
    for part in parts:
        origin, size_bytes = source.copy_source(part.path), part.size_bytes or 0
        assert origin is not None
        for _ in range(2):
            begun = await s3_store.start_upload(part.path, for_copies=True)
            cut = min(5 * MIB, size_bytes)
            receipts = [await s3_store.copy_part(begun, 1, 0, cut, origin)]
            if size_bytes > cut:
                receipts.append(await s3_store.copy_part(begun, 2, cut, size_bytes - cut, origin))
            try:
                await s3_store.create_from_upload(begun, receipts)
            except KeyExistsError:
                await s3_store.abort_upload(begun)
        _, data = await s3_store.get(part.path, 64 * MIB)
        assert hashlib.sha256(data).hexdigest() == part.sha256_hex
    await source.check_unchanged()
    await place.bucket.put(f"{place.prefix}/model/weights", os.urandom(11 * MIB))
    begun = await s3_store.start_upload("late", for_copies=True)
    origin = source.copy_source(PartPath("weights"))
    assert origin is not None
    with pytest.raises(EtagMismatchError):
        await s3_store.copy_part(begun, 1, 0, MIB, origin)
    await s3_store.close()


async def test_the_markers_of_a_console(place: Place) -> None:
    """Those of folders with files are passed over; one of an empty folder is refused."""
    place.put_marker("model")
    place.put_marker("model/ä b")
    source = await place.sources.open(place.uri("model"), None)
    assert len(await source.parts(lambda _: None)) == 2
    place.put_marker("model/empty")
    source = await place.sources.open(place.uri("model"), None)
    with pytest.raises(InvalidPartError, match="model/empty cannot be part of an asset"):
        await source.parts(lambda _: None)


async def test_a_bucket_that_is_not_there_is_told(place: Place) -> None:
    """By its name: an operator has allowed it."""
    with pytest.raises(StoreUnavailableError, match="no bucket 'no-such-bucket'"):
        await place.sources.open(SourceUri.parse("s3://no-such-bucket/key"), None)
