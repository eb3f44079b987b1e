"""The bucket's layout: what is absent, what cannot be believed, and what the store only refuses."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from assetd_server.errors import (
    AssetError,
    AssetNotFoundError,
    BadIndexError,
    BadManifestError,
    InvalidNameError,
    InvalidPartError,
    MixedVersioningError,
    StoreAccessDeniedError,
    StoreUnavailableError,
    VersionNotFoundError,
)
from assetd_server.manifest import MAX_INDEX_BYTES, MAX_MANIFEST_BYTES, encode_manifest
from assetd_server.model import AssetKind, AssetName, NamePrefix, PartPath
from assetd_server.store.catalog import (
    Catalog,
    Place,
    PlaceKind,
    claim_key,
    claims_prefix,
    index_key,
    meta_key,
    part_key,
    place_of,
)
from assetd_server.versioning import NO_VERSIONS, Version

from tests.support.clocks import BEGINNING
from tests.support.memory_store import MemoryStore
from tests.support.pausing_store import PausingStore
from tests.support.versions import Content, manifest_of

NAME = AssetName("some/asset")
VERSION = Version.parse("0.1")
INDEX = b'{"versions": ["0.1", "0.0"]}'


class Shop:
    """A catalog over a store in memory; what happens while it sleeps, a test decides."""

    def __init__(self) -> None:
        self.memory = MemoryStore(page_keys=3)
        self.store = PausingStore(self.memory)
        self.slept_seconds: list[float] = []
        self.meanwhile: Callable[[], Awaitable[object]] | None = None
        self.catalog = Catalog(self.store, self._sleep, lambda: BEGINNING)

    async def _sleep(self, seconds: float) -> None:
        self.slept_seconds.append(seconds)
        if self.meanwhile is not None:
            await self.meanwhile()

    async def has(self, key: str, data: bytes = b"{}") -> None:
        """Put an object."""
        await self.memory.put(key, data)

    async def has_modelkits(self, content: Content, version: str = "0.1") -> None:
        """Put a version as modelkit does."""
        data = f"{NAME}/{version}"
        meta: dict[str, object] = {"push_date": "2026-11-01T12:00:00", "is_directory": False}
        if isinstance(content, bytes):
            await self.has(data, content)
        else:
            meta |= {"is_directory": True, "contents": list(content)}
            for path, part in content.items():
                await self.has(f"{data}/{path}", part)
        await self.has(f"{data}.meta", json.dumps(meta).encode())


@pytest.fixture
def shop() -> Shop:
    """An empty store with its catalog."""
    return Shop()


# Keys


def test_keys_are_modelkits() -> None:
    """The layout, byte for byte; claims lie where modelkit never looks."""
    assert index_key(NAME) == "some/asset.versions"
    assert meta_key(NAME, VERSION) == "some/asset/0.1.meta"
    assert part_key(NAME, VERSION, PartPath("sub/a")) == "some/asset/0.1/sub/a"
    assert part_key(NAME, VERSION, PartPath.of_file()) == "some/asset/0.1"
    assert claim_key(NAME, VERSION) == ".assetd/claims/some/asset/0.1"
    assert claims_prefix(NAME) == ".assetd/claims/some/asset/"


# The index


async def test_an_index_is_read_newest_first(shop: Shop) -> None:
    """Versions come newest first, each once, however the index has them."""
    await shop.has("some/asset.versions", b'{"versions": ["0.9", "0.10", "0.9", "0.2"]}')
    assert [str(v) for v in await shop.catalog.versions(NAME)] == ["0.10", "0.9", "0.2"]
    assert shop.slept_seconds == []


async def test_without_a_manifest_there_is_no_index(shop: Shop) -> None:
    """Nobody rewrites an index that has nothing to list: an asset that is new costs no wait."""
    await shop.has("some/asset/nested/0.1.meta", b"")
    assert await shop.catalog.index(NAME) is None
    assert shop.slept_seconds == []
    with pytest.raises(AssetNotFoundError):
        await shop.catalog.versions(NAME)


async def test_an_index_that_is_absent_twice_is_absent(shop: Shop) -> None:
    """None, and no such asset, only after a second look where there are versions to list."""
    await shop.has("some/asset/0.1.meta", b"")
    assert await shop.catalog.index(NAME) is None
    assert shop.store.count("get", "some/asset.versions") == 2
    assert len(shop.slept_seconds) == 1
    with pytest.raises(AssetNotFoundError):
        await shop.catalog.versions(NAME)


@pytest.mark.parametrize("first", [None, b"", b'{"versions": ["0.1"', b"{}"])
async def test_an_index_is_looked_at_twice(shop: Shop, first: bytes | None) -> None:
    """Modelkit deletes an index before it writes it: none, or half, is no answer at first."""
    await shop.has("some/asset/0.1.meta", b"")
    if first is not None:
        await shop.has("some/asset.versions", first)
    shop.meanwhile = lambda: shop.has("some/asset.versions", INDEX)
    found = await shop.catalog.index(NAME)
    assert found is not None
    assert [str(version) for version in found.versions] == ["0.1", "0.0"]


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"versions": 7}',
        b'{"versions": ["latest"]}',
        b'{"versions": [0.1]}',
        b'{"versions": ["00.1"]}',
        b"\xff",
        b"[" * 100_000,
    ],
)
async def test_an_index_that_stays_damaged(shop: Shop, raw: bytes) -> None:
    """Damage on the second look as well is BAD_INDEX with the key."""
    await shop.has("some/asset.versions", raw)
    with pytest.raises(BadIndexError) as failure:
        await shop.catalog.versions(NAME)
    assert failure.value.metadata["key"] == "some/asset.versions"
    assert len(shop.slept_seconds) == 1


async def test_an_index_of_two_systems(shop: Shop) -> None:
    """Numbers beside dates are MIXED_VERSIONING."""
    await shop.has("some/asset.versions", b'{"versions": ["0.1", "2026-11-23T09-30-00Z"]}')
    with pytest.raises(MixedVersioningError):
        await shop.catalog.versions(NAME)


async def test_an_empty_index_is_no_asset(shop: Shop) -> None:
    """An index without versions names no asset, and is there all the same."""
    await shop.has("some/asset.versions", b'{"versions": []}')
    with pytest.raises(AssetNotFoundError):
        await shop.catalog.versions(NAME)
    found = await shop.catalog.index(NAME)
    assert found is not None
    assert found.versions == NO_VERSIONS


async def test_documents_have_an_end(shop: Shop) -> None:
    """A document longer than its limit is damaged, and is not read."""
    await shop.has("some/asset.versions", b" " * (MAX_INDEX_BYTES + 1))
    with pytest.raises(BadIndexError) as failure:
        await shop.catalog.versions(NAME)
    assert failure.value.metadata["limit_bytes"] == str(MAX_INDEX_BYTES)
    await shop.has("some/asset/0.1.meta", b" " * (MAX_MANIFEST_BYTES + 1))
    with pytest.raises(BadManifestError) as other:
        await shop.catalog.find_manifest(NAME, VERSION)
    assert other.value.metadata["limit_bytes"] == str(MAX_MANIFEST_BYTES)


class CountingExecutor(ThreadPoolExecutor):
    """Threads that count what they are given."""

    def __init__(self) -> None:
        super().__init__(1)
        self.count = 0

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        self.count += 1
        return super().submit(fn, *args, **kwargs)


@pytest.mark.parametrize(("part_count", "hops"), [(3, 0), (300, 1)])
async def test_a_long_document_keeps_nobody_waiting(shop: Shop, part_count: int, hops: int) -> None:
    """It is decoded beside the loop; a short one is not worth the hop."""
    threads = CountingExecutor()
    asyncio.get_running_loop().set_default_executor(threads)
    parts = {f"{number:04}": b"" for number in range(part_count)}
    await shop.has("some/asset/0.1.meta", encode_manifest(manifest_of(parts)))
    assert await shop.catalog.find_manifest(NAME, VERSION) == manifest_of(parts)
    assert threads.count == hops


# Only a 404 is absence


@pytest.mark.parametrize("error", [StoreAccessDeniedError("403"), StoreUnavailableError("503")])
async def test_a_refusal_is_never_absence(shop: Shop, error: AssetError) -> None:
    """What the store refuses or cannot do now is its failure, from every question."""
    questions: list[Callable[[], Awaitable[object]]] = [
        lambda: shop.catalog.index(NAME),
        lambda: shop.catalog.versions(NAME),
        lambda: shop.catalog.find_manifest(NAME, VERSION),
        lambda: shop.catalog.manifest(NAME, VERSION),
        lambda: shop.catalog.committed(NAME),
        shop.catalog.names,
        lambda: shop.catalog.parts_in_store(NAME, VERSION, AssetKind.FILE),
        lambda: shop.catalog.parts_in_store(NAME, VERSION, AssetKind.DIRECTORY),
    ]
    for ask in questions:
        shop.store.fail("*", error=error)
        with pytest.raises(type(error)):
            await ask()
        shop.store.come_back()
    assert shop.slept_seconds == []


@pytest.mark.parametrize("error", [StoreAccessDeniedError("403"), StoreUnavailableError("503")])
async def test_a_refusal_on_the_second_look_is_no_absence(shop: Shop, error: AssetError) -> None:
    """A 404, then a refusal, is a refusal."""

    async def refuse() -> None:
        shop.store.fail("get", error=error)

    await shop.has("some/asset/0.1.meta", b"")
    shop.meanwhile = refuse
    with pytest.raises(type(error)):
        await shop.catalog.index(NAME)


async def test_the_last_answer_is_remembered(shop: Shop) -> None:
    """A 404 is an answer, a failure is none."""
    shop.store.fail("get")
    with pytest.raises(StoreUnavailableError):
        await shop.catalog.find_manifest(NAME, VERSION)
    assert shop.catalog.last_ok_time is None
    await shop.catalog.find_manifest(NAME, VERSION)
    assert shop.catalog.last_ok_time == BEGINNING


# Manifests


@pytest.mark.parametrize("content", [b"data", {"a": b"1", "sub/b": b""}])
async def test_our_manifest_needs_one_call(shop: Shop, content: Content) -> None:
    """What assetd pushed states its sizes itself."""
    await shop.has("some/asset/0.1.meta", encode_manifest(manifest_of(content)))
    assert await shop.catalog.manifest(NAME, VERSION) == manifest_of(content)
    assert [call for call, _ in shop.store.calls] == ["get"]


async def test_sizes_of_modelkits_file_by_one_look(shop: Shop) -> None:
    """A file that modelkit pushed is looked at once."""
    await shop.has_modelkits(b"data")
    manifest = await shop.catalog.manifest(NAME, VERSION)
    assert [(part.path, part.size_bytes) for part in manifest.parts] == [("", 4)]
    assert manifest.digest is None
    assert [call for call, _ in shop.store.calls] == ["get", "head"]


async def test_sizes_of_modelkits_folder_by_one_listing(shop: Shop) -> None:
    """A folder that modelkit pushed is listed once, whatever the number of its parts."""
    tree = {f"sub/{number}": b"d" * number for number in range(10)}
    await shop.has_modelkits(tree)
    await shop.has("some/asset/0.1/extra", b"unnamed")
    manifest = await shop.catalog.manifest(NAME, VERSION)
    assert {part.path: part.size_bytes for part in manifest.parts} == {
        path: len(data) for path, data in tree.items()
    }
    assert [call for call, _ in shop.store.calls] == ["get", "list"]


@pytest.mark.parametrize(("content", "gone"), [(b"data", ""), ({"a": b"1", "b": b"2"}, "/b")])
async def test_a_part_of_modelkits_that_is_gone(shop: Shop, content: Content, gone: str) -> None:
    """A part that the manifest names and the store lacks is BAD_MANIFEST with its key."""
    await shop.has_modelkits(content)
    await shop.memory.delete(f"some/asset/0.1{gone}")
    with pytest.raises(BadManifestError) as failure:
        await shop.catalog.manifest(NAME, VERSION)
    assert failure.value.metadata["key"] == f"some/asset/0.1{gone}"


async def test_what_is_absent_is_named(shop: Shop) -> None:
    """No asset, no version, and a version that is listed without a manifest, are three answers."""
    with pytest.raises(AssetNotFoundError):
        await shop.catalog.manifest(NAME, VERSION)
    await shop.has("some/asset.versions", INDEX)
    with pytest.raises(BadManifestError) as listed:
        await shop.catalog.manifest(NAME, VERSION)
    assert listed.value.metadata["key"] == "some/asset/0.1.meta"
    with pytest.raises(VersionNotFoundError) as unknown:
        await shop.catalog.manifest(NAME, Version.parse("7.7"))
    assert unknown.value.metadata["newest"] == "0.1"
    assert await shop.catalog.find_manifest(NAME, VERSION) is None


# What is committed


async def test_committed_versions_are_those_with_a_manifest(shop: Shop) -> None:
    """Listed or not; parts, odd keys and other assets are none."""
    for key in (
        "some/asset/0.0.meta",
        "some/asset/0.10.meta",
        "some/asset/0.5",
        "some/asset/0.6/0.7.meta",
        "some/asset/latest.meta",
        "some/asset/00.1.meta",
        "some/asset/deeper/0.9.meta",
        "some/asset2/0.8.meta",
    ):
        await shop.has(key)
    assert {str(version) for version in await shop.catalog.committed(NAME)} == {"0.0", "0.10"}


# Names


async def fill(shop: Shop) -> None:
    """Some assets, and much that is none."""
    for key in (
        "a.versions",
        "some/asset.versions",
        "some/asset/0.0.meta",
        "some/asset/0.0/part.versions",
        "some/asset/0.1/deep/x.versions",
        "some/asset/2026-11-23T09-30-00Z/y.versions",
        "some/asset/deeper.versions",
        "some/1/asset.versions",
        "some/-.versions",
        "some/..versions",
        "some/notes.txt",
        "z/y/x.versions",
        ".versions",
        ".assetd/claims/a.versions",
        ".hidden/a.versions",
    ):
        await shop.has(key)


async def test_names_are_those_with_an_index(shop: Shop) -> None:
    """All assets in bytewise order; odd keys and what lies inside versions are skipped."""
    await fill(shop)
    assert await shop.catalog.names() == [
        "a",
        "some/1/asset",
        "some/asset",
        "some/asset/deeper",
        "z/y/x",
    ]


async def test_names_does_not_descend_into_versions(shop: Shop) -> None:
    """The cost grows with assets and versions, not with parts."""
    await fill(shop)
    await shop.catalog.names()
    walked = [key for call, key in shop.store.calls if call == "list"]
    assert sorted(walked) == ["", "some/", "some/1/", "some/asset/", "z/", "z/y/"]


@pytest.mark.parametrize(
    ("prefix", "names", "folders"),
    [
        ("some/as", ["some/asset", "some/asset/deeper"], ["some/", "some/asset/"]),
        ("some/asset/", ["some/asset/deeper"], ["some/asset/"]),
        ("z", ["z/y/x"], ["", "z/", "z/y/"]),
        ("z/y/x", ["z/y/x"], ["z/y/"]),
        ("nothing/here", [], ["nothing/"]),
        # How the key of an index goes on is no part of a name.
        ("some/asset.", [], ["some/"]),
        ("some/asset.versions", [], ["some/"]),
    ],
)
async def test_a_prefix_narrows_the_walk(
    shop: Shop, prefix: str, names: list[str], folders: list[str]
) -> None:
    """Only folders that may hold such names are listed."""
    await fill(shop)
    assert await shop.catalog.names(NamePrefix(prefix)) == names
    assert sorted(key for call, key in shop.store.calls if call == "list") == folders


# Keys have an end


class LongUrl(MemoryStore):
    """A store deep inside a bucket."""

    @property
    def url(self) -> str:
        return "s3://bucket/" + "p" * 500


def test_keys_that_no_store_can_hold() -> None:
    """The prefix counts: a name or part whose key would be too long is refused with its length."""
    catalog = Shop().catalog
    name = AssetName("/".join(["n" * 100] * 5))
    part = PartPath("/".join(["d" * 100] * 4))
    catalog.require_short_keys(name)
    catalog.require_short_keys(name, part)
    deep = Catalog(LongUrl(), lambda _: _never(), lambda: BEGINNING)
    with pytest.raises(InvalidNameError) as long_name:
        deep.require_short_keys(name)
    assert int(long_name.value.metadata["length"]) > 1024
    with pytest.raises(InvalidPartError):
        deep.require_short_keys(AssetName("n"), PartPath("/".join(["d" * 100] * 6)))


async def _never() -> None:
    raise AssertionError("nobody waits here")


@pytest.mark.parametrize(
    ("key", "kind", "name", "version"),
    [
        ("some/asset.versions", PlaceKind.INDEX, "some/asset", None),
        ("some/asset/0.1.meta", PlaceKind.MANIFEST, "some/asset", "0.1"),
        ("some/asset/0.1", PlaceKind.PART, "some/asset", "0.1"),
        ("some/asset/0.1/sub/part", PlaceKind.PART, "some/asset", "0.1"),
        ("a/2026-11-23T00-00-00Z/x", PlaceKind.PART, "a", "2026-11-23T00-00-00Z"),
        # What a part is called means nothing.
        ("some/asset/0.1/b.versions", PlaceKind.PART, "some/asset", "0.1"),
        ("some/asset/0.1/2.0.meta", PlaceKind.PART, "some/asset", "0.1"),
        (".assetd/claims/some/asset/0.1", PlaceKind.CLAIM, "some/asset", "0.1"),
    ],
)
def test_every_key_of_the_layout_is_known(
    key: str, kind: PlaceKind, name: str, version: str | None
) -> None:
    """By whoever looks a bucket through: what it is of which asset, and of which version."""
    expected = Version.parse(version) if version else None
    assert place_of(key) == Place(kind, AssetName(name), expected)


@pytest.mark.parametrize(
    "key",
    [
        "README.md",
        "0.1",
        "0.1/part",
        "some/asset/notes.meta",
        "some/asset/0.1.meta.bak",
        "..versions",
        ".assetd/claims/0.1",
        ".assetd/claims/some/asset/none",
        ".assetd/probe/0a.absent",
        "some/../asset/0.1",
    ],
)
def test_what_is_outside_of_the_layout_is_nobodys(key: str) -> None:
    """It may be anybody's, so it is neither counted nor touched."""
    assert place_of(key) is None
