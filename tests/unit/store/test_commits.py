"""Manifest and index: created once, swapped without loss, listed at the latest by the next."""

import asyncio
import json

import pytest
from assetd_server.errors import BadIndexError, BadManifestError, PushInProgressError
from assetd_server.manifest import Manifest, decode_manifest, encode_manifest
from assetd_server.model import AssetName
from assetd_server.store.base import EtagMismatchError
from assetd_server.store.catalog import Catalog
from assetd_server.store.commits import Commits
from assetd_server.store.retrying import RetryingStore, RetryPolicy
from assetd_server.versioning import Version, newest_first

from tests.support.clocks import BEGINNING
from tests.support.memory_store import MemoryStore
from tests.support.pausing_store import PausingStore
from tests.support.versions import manifest_of

NAME = AssetName("some/asset")
VERSION = Version.parse("0.1")
META = "some/asset/0.1.meta"
INDEX = "some/asset.versions"
OURS = manifest_of(b"ours")
THEIRS = manifest_of(b"theirs")


class Press:
    """Commits as the daemon has them, and the index that they write."""

    def __init__(self) -> None:
        self.memory = MemoryStore()
        self.store = PausingStore(self.memory)
        self.slept_seconds: list[float] = []
        retrying = RetryingStore(self.store, RetryPolicy(attempts=3), sleep=self._sleep)
        catalog = Catalog(retrying, self._sleep, lambda: BEGINNING)
        self.commits = Commits(catalog, self._sleep, jitter=lambda: 0.5)

    async def _sleep(self, seconds: float) -> None:
        self.slept_seconds.append(seconds)
        await asyncio.sleep(0)

    async def listed(self) -> list[str]:
        """The versions that the index lists."""
        versions: list[str] = json.loads(await self.store.bytes_of(INDEX))["versions"]
        return versions

    async def list_versions(self, *texts: str) -> None:
        """List several versions at once."""
        await asyncio.gather(
            *(self.commits.list_version(NAME, Version.parse(text)) for text in texts)
        )


@pytest.fixture
def press() -> Press:
    """An empty store, ready for commits."""
    return Press()


async def written(press: Press) -> Manifest:
    """The manifest that stands in the store."""
    return decode_manifest(await press.store.bytes_of(META), META)


# The manifest


async def test_a_manifest_is_created(press: Press) -> None:
    """Where there is none, ours stands afterwards."""
    assert await press.commits.create_manifest(NAME, VERSION, OURS) == OURS
    assert await written(press) == OURS


async def test_a_manifest_is_never_overwritten(press: Press) -> None:
    """Where another stands, that is what is returned, and it stays."""
    await press.commits.create_manifest(NAME, VERSION, THEIRS)
    assert await press.commits.create_manifest(NAME, VERSION, OURS) == THEIRS
    assert await written(press) == THEIRS


async def test_a_lost_answer_is_our_own_manifest(press: Press) -> None:
    """The repeat is refused by our own first try, and that is read back."""
    press.store.lose_answer("create", META)
    assert await press.commits.create_manifest(NAME, VERSION, OURS) == OURS


async def test_a_damaged_manifest_is_told(press: Press) -> None:
    """What stands there and cannot be believed is BAD_MANIFEST, and stays for the operator."""
    await press.memory.put(META, b"{")
    with pytest.raises(BadManifestError):
        await press.commits.create_manifest(NAME, VERSION, OURS)
    assert await press.store.bytes_of(META) == b"{"


async def test_a_manifest_that_flickers_is_told(press: Press) -> None:
    """A store that says "exists" and then "absent" is not believed either way."""
    await press.memory.put(META, encode_manifest(THEIRS))
    look = press.store.pause("get", META)
    creating = asyncio.create_task(press.commits.create_manifest(NAME, VERSION, OURS))
    await look.reached()
    await press.memory.delete(META)
    look.open()
    with pytest.raises(BadManifestError) as failure:
        await creating
    assert failure.value.metadata["key"] == META


# The index


async def test_the_first_version_makes_the_index(press: Press) -> None:
    """Without an index one is created, with everything that is committed."""
    for text in ("0.0", "0.5"):
        await press.memory.put(f"some/asset/{text}.meta", b"{}")
    await press.list_versions("0.1")
    assert await press.listed() == ["0.5", "0.1", "0.0"]


async def test_a_listed_version_is_not_listed_again(press: Press) -> None:
    """Listing is idempotent, and costs one look then."""
    await press.list_versions("0.1")
    press.store.calls.clear()
    await press.list_versions("0.1")
    assert [call for call, _ in press.store.calls] == ["get"]


async def test_others_versions_are_kept(press: Press) -> None:
    """A swap adds; it drops nothing, and mends what a blind writer dropped of what we know."""
    await press.memory.put(INDEX, b'{"versions": ["3.0", "1.0"]}')
    known = newest_first([Version.parse("2.0")])
    await press.commits.list_version(NAME, VERSION, known)
    assert await press.listed() == ["3.0", "2.0", "1.0", "0.1"]


@pytest.mark.parametrize("count", [2, 16])
@pytest.mark.parametrize("exists", [False, True])
async def test_racers_all_get_listed(press: Press, count: int, *, exists: bool) -> None:
    """Of any number of writers at once none loses its version, the first index included."""
    if exists:
        await press.list_versions("9.9")
    texts = [f"0.{number}" for number in range(count)]
    await press.list_versions(*texts)
    assert await press.listed() == [*(["9.9"] if exists else []), *reversed(texts)]


@pytest.mark.parametrize("operation", ["create", "swap"])
async def test_a_lost_answer_to_the_index(press: Press, operation: str) -> None:
    """Whether it took effect is settled by reading again."""
    if operation == "swap":
        await press.list_versions("0.0")
    press.store.lose_answer(operation, INDEX)
    await press.list_versions("0.1")
    assert "0.1" in await press.listed()


async def test_an_index_that_is_deleted_meanwhile(press: Press) -> None:
    """Modelkit deletes before it writes: a swap that finds nothing begins again."""
    await press.memory.put("some/asset/0.0.meta", b"{}")
    await press.list_versions("0.0")
    gate = press.store.pause("swap", INDEX)
    listing = asyncio.create_task(press.list_versions("0.1"))
    await gate.reached()
    await press.memory.delete(INDEX)
    gate.open()
    await listing
    assert await press.listed() == ["0.1", "0.0"]


async def test_waits_grow_and_end(press: Press) -> None:
    """Each lost race waits longer, up to a second; after many the caller hears of it."""
    await press.list_versions("0.0")
    press.slept_seconds.clear()
    error = EtagMismatchError(INDEX)
    press.store.fail("swap", INDEX, error=error, times=1000)
    with pytest.raises(PushInProgressError, match="not listed yet"):
        await press.list_versions("0.1")
    assert press.slept_seconds == sorted(press.slept_seconds)
    assert press.slept_seconds[0] == 0.01
    assert press.slept_seconds[-1] == 1.0
    press.store.come_back()
    await press.list_versions("0.1")
    assert await press.listed() == ["0.1", "0.0"]


async def test_a_damaged_index_is_never_replaced(press: Press) -> None:
    """What cannot be believed may hold versions: it is told, and stays."""
    await press.memory.put(INDEX, b'{"versions": ["0.0"')
    with pytest.raises(BadIndexError):
        await press.list_versions("0.1")
    assert await press.store.bytes_of(INDEX) == b'{"versions": ["0.0"'
