"""The source of a push in a bucket: which objects it is, what they hash to, what changes."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from assetd_server.assets.source_uris import SourceUri
from assetd_server.assets.sources import PushSource, Sources
from assetd_server.cache.layout import AssetsDir
from assetd_server.cache.linux import FileSystem
from assetd_server.errors import (
    InvalidFieldError,
    InvalidPartError,
    SourceChangedError,
    SourceNotAllowedError,
    StoreUnavailableError,
)
from assetd_server.model import AssetKind, PartPath
from assetd_server.store.base import CopySource, Listing, ObjectInfo

from tests.support.memory_store import MemoryStore

FILE = PartPath.of_file()
MIB = 1 << 20


class BucketWithStrays(MemoryStore):
    """A bucket in which other people have made objects whose names are no keys."""

    def __init__(self) -> None:
        super().__init__()
        self.strays: list[ObjectInfo] = []

    async def list(
        self, prefix: str, *, after: str = "", delimiter: bool = False
    ) -> AsyncIterator[Listing]:
        async for page in super().list(prefix, after=after, delimiter=delimiter):
            yield page
        yield Listing((), strays=[s for s in self.strays if s.key.startswith(prefix)])


@dataclass
class Place:
    """Sources that allow `s3://bucket/in` and all of `s3://whole`, and the bucket behind both."""

    sources: Sources
    bucket: BucketWithStrays
    opened: Sequence[str]

    async def open(self, uri: str, kind: AssetKind | None = None) -> PushSource:
        return await self.sources.open(SourceUri.parse(uri), kind)

    async def put(self, objects: dict[str, bytes]) -> None:
        for key, data in objects.items():
            await self.bucket.put(key, data)


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    """With a model of three objects, and one whose name only begins alike."""
    opened: list[str] = []
    bucket = BucketWithStrays()

    def open_bucket(name: str) -> MemoryStore:
        opened.append(name)
        return bucket

    assets_dir = AssetsDir(str(tmp_path), FileSystem())
    allowed = [SourceUri.read("s3://bucket/in"), SourceUri.read("s3://whole")]
    place = Place(Sources(assets_dir, allowed, open_bucket), bucket, opened)
    await place.put(
        {
            "in/model/a-b": b"dash",
            "in/model/a/b": b"slash",
            "in/model/.c": b"",
            "in/model-2/d": b"d",
        }
    )
    yield place
    await place.sources.close()
    assert bucket.is_closed or not opened
    assets_dir.close()


async def parts_of(source: PushSource) -> dict[str, tuple[int | None, str | None]]:
    """Size and hash of each part, in order."""
    told: list[int] = []
    parts = await source.parts(told.append)
    assert sum(told) == sum(part.size_bytes or 0 for part in parts)
    return {str(part.path): (part.size_bytes, part.sha256_hex) for part in parts}


def facts(data: bytes) -> tuple[int, str]:
    """What a part with these bytes is to have."""
    return len(data), hashlib.sha256(data).hexdigest()


async def test_a_prefix_is_a_folder(place: Place) -> None:
    """All that lies below it, and nothing that only begins alike; each bound to its write."""
    source = await place.open("s3://bucket/in/model")
    assert source.kind is AssetKind.DIRECTORY
    assert await parts_of(source) == {
        ".c": facts(b""),
        "a-b": facts(b"dash"),
        "a/b": facts(b"slash"),
    }
    assert await source.read(PartPath("a/b"), 1, 3) == b"las"
    assert await source.read(PartPath("a/b"), 1, 1 << 30) == b"lash"
    info = await place.bucket.head("in/model/a/b")
    assert source.copy_source(PartPath("a/b")) == CopySource("memory://", info.key, info.etag)
    await source.check_unchanged()
    await source.close()


async def test_an_object_is_a_file(place: Place) -> None:
    """Read in ranges at once, and hashed in their order; the bucket is opened once."""
    data = os.urandom(30 * MIB + 5)
    await place.bucket.put("in/weights", data)
    for _ in range(2):
        source = await place.open("s3://bucket/in/weights", AssetKind.FILE)
        assert source.kind is AssetKind.FILE
        assert await parts_of(source) == {"": facts(data)}
        assert await source.read(FILE, 8 * MIB, MIB) == data[8 * MIB : 9 * MIB]
        await source.check_unchanged()
    assert place.opened == ["bucket"]


async def test_many_objects_of_all_sizes(place: Place) -> None:
    """However many are read at once, each has its own hash."""
    objects = {f"in/many/{n:03d}": os.urandom(n % 5 * 3 * MIB // 2 + n) for n in range(20)}
    await place.put(objects)
    source = await place.open("s3://bucket/in/many")
    assert await parts_of(source) == {
        key.removeprefix("in/many/"): facts(data) for key, data in objects.items()
    }


async def test_a_whole_bucket_may_be_pushed(place: Place) -> None:
    """Where the operator allows all of it."""
    for uri in ("s3://whole", "s3://whole/"):
        source = await place.open(uri)
        assert min(await parts_of(source)).startswith("in/")


@pytest.mark.parametrize(
    ("uri", "kind", "found"),
    [
        ("s3://bucket/in/both", None, AssetKind.FILE),
        ("s3://bucket/in/both", AssetKind.FILE, AssetKind.FILE),
        ("s3://bucket/in/both", AssetKind.DIRECTORY, AssetKind.DIRECTORY),
        ("s3://bucket/in/both/", None, AssetKind.DIRECTORY),
    ],
)
async def test_an_object_beside_a_prefix(
    place: Place, uri: str, kind: AssetKind | None, found: AssetKind
) -> None:
    """A bucket can hold both under one name: a `/`, or the kind, says which is meant."""
    await place.put({"in/both": b"file", "in/both/part": b"part"})
    source = await place.open(uri, kind)
    assert source.kind is found
    assert list(await parts_of(source)) == (["part"] if found is AssetKind.DIRECTORY else [""])


@pytest.mark.parametrize(
    ("uri", "kind", "wrong"),
    [
        ("s3://bucket/in/absent", None, "there is nothing at s3://bucket/in/absent"),
        ("s3://bucket/in/mod", None, "there is nothing at"),
        ("s3://bucket/in/model/a-b/", None, "there is nothing at"),
        ("s3://bucket/in/model", AssetKind.FILE, "is a directory, and kind says file"),
        ("s3://bucket/in/model/a-b", AssetKind.DIRECTORY, "is a file, and kind says directory"),
    ],
)
async def test_what_is_not_there_is_told(
    place: Place, uri: str, kind: AssetKind | None, wrong: str
) -> None:
    """Below what is allowed it is no secret."""
    with pytest.raises(InvalidFieldError, match=wrong):
        await place.open(uri, kind)


@pytest.mark.parametrize("key", ["in-2/x", "", "other", "i", "in/%2e%2e/x/../../y"])
async def test_what_is_not_allowed_is_not_asked_for(place: Place, key: str) -> None:
    """Whole segments are compared; the bucket is not even opened."""
    with pytest.raises(SourceNotAllowedError):
        await place.open(f"s3://bucket/{key}")
    assert place.opened == []
    assert [step for step in place.bucket.steps if step.operation != "put"] == []


# Names of other people's making


def stray(key: str, size_bytes: int = 0) -> ObjectInfo:
    """An object whose name is no key."""
    return ObjectInfo(key, size_bytes, "etag-of-a-stray")


async def test_the_marker_of_a_folder_with_files_is_no_file(place: Place) -> None:
    """Consoles make an empty object `folder/` for each folder: the files are what is pushed."""
    place.bucket.strays = [stray("in/model/"), stray("in/model/a/")]
    source = await place.open("s3://bucket/in/model")
    assert list(await parts_of(source)) == [".c", "a-b", "a/b"]


@pytest.mark.parametrize(
    ("strays", "wrong"),
    [
        ([stray("in/model/empty/")], "in/model/empty cannot be .* it is an empty folder"),
        ([stray("in/model/a/", 3)], "in/model/a/ cannot be part of an asset"),
        ([stray("in/model//b")], "a part has no '//'"),
        ([stray("in/model/a//")], "cannot be part"),
        ([stray("in/model/../b")], "'..'"),
        ([stray("in/model/./")], "cannot be part"),
    ],
)
async def test_a_name_that_no_part_may_have_is_refused(
    place: Place, strays: list[ObjectInfo], wrong: str
) -> None:
    """Never left out: what is pushed would not be what lies there."""
    place.bucket.strays = strays
    source = await place.open("s3://bucket/in/model")
    with pytest.raises(InvalidPartError, match=wrong) as raised:
        await source.parts(lambda _: None)
    assert raised.value.metadata["field"] == "header.source_uri"


@pytest.mark.parametrize(
    ("key", "wrong"),
    [
        ("line\nbreak", "line\\\\nbreak"),
        ("back\\slash", "are not allowed"),
        (".SUCCESS", "marks a complete version"),
        ("n" * 256, "at most 255 bytes"),
        ("a-b/below", "it is a file and a folder at once"),
    ],
)
async def test_a_key_that_no_part_may_have_is_refused(place: Place, key: str, wrong: str) -> None:
    """As a name on the disk is."""
    await place.bucket.put(f"in/model/{key}", b"x")
    source = await place.open("s3://bucket/in/model")
    with pytest.raises(InvalidPartError, match=wrong):
        await source.parts(lambda _: None)


async def test_a_folder_of_nothing_but_its_marker_is_empty(place: Place) -> None:
    """It is there, but a version consists of files."""
    place.bucket.strays = [stray("in/nothing/")]
    source = await place.open("s3://bucket/in/nothing")
    with pytest.raises(InvalidPartError, match=r"in/nothing cannot be .* empty folder"):
        await source.parts(lambda _: None)


# What changes, fails


async def test_an_object_that_was_replaced_is_not_read(place: Place) -> None:
    """Each read is bound to the write that was hashed."""
    source = await place.open("s3://bucket/in/model")
    await source.parts(lambda _: None)
    await place.bucket.put("in/model/a/b", b"other")
    with pytest.raises(SourceChangedError, match="s3://bucket/in/model/a/b changed"):
        await source.read(PartPath("a/b"), 0, 1)
    await place.bucket.delete("in/model/a-b")
    with pytest.raises(SourceChangedError, match="s3://bucket/in/model/a-b changed"):
        await source.read(PartPath("a-b"), 0, 1)


async def test_an_object_that_is_replaced_while_it_is_hashed(place: Place) -> None:
    """Ranges of two writes are never mixed."""
    await place.bucket.put("in/weights", os.urandom(20 * MIB))
    source = await place.open("s3://bucket/in/weights")
    gate = place.bucket.pause_next("read")
    hashing = asyncio.create_task(source.parts(lambda _: None))
    await gate.reached()
    await place.bucket.put("in/weights", os.urandom(20 * MIB))
    gate.open()
    with pytest.raises(SourceChangedError):
        await hashing


async def test_a_store_that_fails_ends_the_hash(place: Place) -> None:
    """With what it said; and who leaves in the middle leaves nothing under way."""
    await place.bucket.put("in/weights", os.urandom(20 * MIB))
    source = await place.open("s3://bucket/in/weights")
    place.bucket.fail_next("chunk")
    with pytest.raises(StoreUnavailableError):
        await source.parts(lambda _: None)
    gate = place.bucket.pause_next("chunk")
    hashing = asyncio.create_task(source.parts(lambda _: None))
    await gate.reached()
    hashing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await hashing
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_an_object_that_went_before_it_was_listed_is_a_change(place: Place) -> None:
    """It was there when it was found."""
    source = await place.open("s3://bucket/in/model/a-b")
    await place.bucket.delete("in/model/a-b")
    with pytest.raises(SourceChangedError):
        await source.parts(lambda _: None)


CHANGES: dict[str, Callable[[MemoryStore], Awaitable[object]]] = {
    "replaced": lambda bucket: bucket.put("in/model/a/b", b"other"),
    "added": lambda bucket: bucket.put("in/model/new", b""),
    "removed": lambda bucket: bucket.delete("in/model/a/b"),
    "refused": lambda bucket: bucket.put("in/model/.SUCCESS", b""),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_whatever_is_other_in_the_end_is_a_change(place: Place, change: str) -> None:
    """Also what would have been refused in the first place."""
    source = await place.open("s3://bucket/in/model")
    await source.parts(lambda _: None)
    await source.check_unchanged()
    await CHANGES[change](place.bucket)
    with pytest.raises(SourceChangedError):
        await source.check_unchanged()
