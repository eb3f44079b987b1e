"""The inventory: every key is counted where it belongs, and nobody else's is."""

from assetd_server.model import AssetName, NamePrefix
from assetd_server.store.inventory import StoredAsset, StoredVersion, take_inventory
from assetd_server.versioning import Version

from tests.support.memory_store import MemoryStore

KEYS = [
    "a/file.versions",
    "a/file/0.0",
    "a/file/0.0.meta",
    "a/folder/1.2/x",
    "a/folder/1.2/sub/y",
    ".assetd/claims/a/folder/1.2",
    ".assetd/claims/ab/0.0",
    ".assetd/probe/0.create",
    "b.versions",
    "README",
]


async def filled() -> MemoryStore:
    """A store that holds the keys, ten bytes each, told three at a time."""
    store = MemoryStore(page_keys=3)
    for key in KEYS:
        await store.put(key, bytes(10))
    return store


async def test_all_that_lies_in_the_bucket_is_counted() -> None:
    """By asset and version; what is outside of the layout is left out."""
    inventory = await take_inventory(await filled(), NamePrefix(""))
    assert inventory.assets == {
        AssetName("a/file"): StoredAsset(
            True, {Version.parse("0.0"): StoredVersion(False, True, 1, 10)}
        ),
        AssetName("a/folder"): StoredAsset(
            False, {Version.parse("1.2"): StoredVersion(True, False, 2, 20)}
        ),
        AssetName("ab"): StoredAsset(False, {Version.parse("0.0"): StoredVersion(True)}),
        AssetName("b"): StoredAsset(True),
    }
    assert inventory.probe_keys == [".assetd/probe/0.create"]


async def test_a_prefix_keeps_the_rest_out() -> None:
    """It ends anywhere in a name, and what is listed is no more than its folder."""
    store = await filled()
    inventory = await take_inventory(store, NamePrefix("a/fo"))
    assert list(inventory.assets) == ["a/folder"]
    assert inventory.probe_keys == []
    assert set(store.operations("page")) == {"a/", ".assetd/claims/a/"}
    assert set((await take_inventory(store, NamePrefix("a"))).assets) == {
        *("a/file", "a/folder", "ab")
    }
