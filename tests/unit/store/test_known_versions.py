"""Which push made which version: read once, and again when it was written again."""

import asyncio
import json

import pytest
from assetd_server.manifest import encode_manifest
from assetd_server.model import AssetName
from assetd_server.store.catalog import Catalog
from assetd_server.store.known_versions import KnownVersions
from assetd_server.versioning import Version, newest_first

from tests.support.clocks import BEGINNING
from tests.support.memory_store import MemoryStore
from tests.support.pausing_store import PausingStore
from tests.support.versions import manifest_of

NAME = AssetName("some/asset")


class Desk:
    """What is known of the versions in a store in memory."""

    def __init__(self) -> None:
        self.memory = MemoryStore(page_keys=3)
        self.store = PausingStore(self.memory)
        catalog = Catalog(self.store, asyncio.sleep, lambda: BEGINNING)
        self.versions = KnownVersions(catalog)

    async def has(self, key: str, data: bytes = b"{}") -> None:
        """Put an object."""
        await self.memory.put(key, data)


@pytest.fixture
def desk() -> Desk:
    """An empty store of which nothing is known."""
    return Desk()


async def test_push_ids_are_read_once_for_each_write(desk: Desk) -> None:
    """A manifest is read again only when it was written again; a damaged one was nobody's push."""
    first = manifest_of(b"data")
    await desk.has("some/asset/0.0.meta", b"{")
    await desk.has("some/asset/0.1.meta", b'{"push_date": "2026-11-01", "is_directory": false}')
    await desk.has("some/asset/0.2.meta", encode_manifest(first))
    found = await desk.versions.look_everywhere(NAME)
    assert {str(version): push_id for version, push_id in found.items()} == {
        "0.0": "",
        "0.1": "",
        "0.2": "",
    }
    reads = desk.store.count("get", ".meta")
    assert reads == 3
    assert await desk.versions.look_everywhere(NAME) == found
    assert desk.store.count("get", ".meta") == reads
    ours = json.loads(encode_manifest(first))
    ours["assetd"]["push_id"] = "mine"
    await desk.has("some/asset/0.0.meta", json.dumps(ours).encode())
    again = await desk.versions.look_everywhere(NAME)
    assert again[Version.parse("0.0")] == "mine"
    assert desk.store.count("get", ".meta") == reads + 1


async def test_a_manifest_that_goes_meanwhile_was_nobodys(desk: Desk) -> None:
    """What is deleted between listing and look is no push of anybody."""
    await desk.has("some/asset/0.0.meta")
    gate = desk.store.pause("get", "0.0.meta")
    asking = asyncio.create_task(desk.versions.look_everywhere(NAME))
    await gate.reached()
    await desk.memory.delete("some/asset/0.0.meta")
    gate.open()
    assert await asking == {Version.parse("0.0"): ""}


async def test_a_manifest_is_kept(desk: Desk) -> None:
    """Who asks for it after its push was looked up reads nothing."""
    version = Version.parse("0.2")
    assert await desk.versions.manifest(NAME, version) is None
    await desk.has("some/asset/0.2.meta", encode_manifest(manifest_of(b"data")))
    assert await desk.versions.by_push(NAME, newest_first([version])) == {}
    reads = desk.store.count("get", ".meta")
    assert await desk.versions.manifest(NAME, version) == manifest_of(b"data")
    assert desk.store.count("get", ".meta") == reads
    assert desk.store.count("list") == 0


async def test_a_version_without_a_manifest_is_asked_for_again(desk: Desk) -> None:
    """What an index lists may come later; that it was not there is not remembered."""
    version = Version.parse("0.2")
    assert await desk.versions.by_push(NAME, newest_first([version])) == {}
    ours = json.loads(encode_manifest(manifest_of(b"data")))
    ours["assetd"]["push_id"] = "mine"
    await desk.has("some/asset/0.2.meta", json.dumps(ours).encode())
    assert await desk.versions.by_push(NAME, newest_first([version])) == {"mine": version}


async def test_a_manifest_that_is_overwritten_is_its_new_writer_s(desk: Desk) -> None:
    """A blind writer's version is no longer that of the push that had made it."""
    version = Version.parse("0.2")
    ours = json.loads(encode_manifest(manifest_of(b"data")))
    ours["assetd"]["push_id"] = "mine"
    await desk.has("some/asset/0.2.meta", json.dumps(ours).encode())
    assert await desk.versions.by_push(NAME, newest_first([version])) == {"mine": version}
    await desk.has("some/asset/0.2.meta", encode_manifest(manifest_of(b"data")))
    assert await desk.versions.look_everywhere(NAME) == {version: ""}
    assert await desk.versions.by_push(NAME, newest_first([version])) == {}
