"""Claims: one conditional call each, and what its lost answer means."""

import asyncio
import json
from dataclasses import replace

import pytest
from assetd_server.errors import BadManifestError, StoreUnavailableError
from assetd_server.model import AssetKind, AssetName
from assetd_server.store.base import Upload
from assetd_server.store.claims import Claim, Claims, ClaimState
from assetd_server.store.retrying import RetryingStore, RetryPolicy
from assetd_server.versioning import Version

from tests.support.assets_bench import digest_of
from tests.support.clocks import BEGINNING
from tests.support.memory_store import MemoryStore
from tests.support.pausing_store import PausingStore
from tests.support.versions import part_of

NAME = AssetName("some/asset")
VERSION = Version.parse("0.1")
KEY = ".assetd/claims/some/asset/0.1"
OURS = Claim(
    state=ClaimState.OPEN,
    kind=AssetKind.DIRECTORY,
    digest=digest_of({"a": b"1", "sub/b": b"22"}),
    push_id="push",
    claim_id="ours",
    owner="host",
    time=BEGINNING,
    pushed_by="somebody",
)
THEIRS = replace(OURS, claim_id="theirs")
COMMITTING = replace(
    OURS, state=ClaimState.COMMITTING, parts=(part_of("a", b"1"), part_of("sub/b", b"22"))
)


async def _at_once(_: float) -> None:
    """Waits between tries take no time here."""


@pytest.fixture
def store() -> PausingStore:
    """An empty store whose calls can be disturbed."""
    return PausingStore(MemoryStore())


@pytest.fixture
def claims(store: PausingStore) -> Claims:
    """Claims as the daemon has them: over a store that repeats what did not answer."""
    return Claims(RetryingStore(store, RetryPolicy(attempts=3), sleep=_at_once))


async def test_a_claim_is_read_as_it_was_written(claims: Claims) -> None:
    """Every fact survives the store, and each write carries a nonce of its own."""
    claim = replace(
        OURS,
        parts=(part_of("a", b"1"), part_of("sub/b", b"22")),
        uploads=(Upload("some/asset/0.1/a", "an id"),),
    )
    written = await claims.create(NAME, VERSION, claim)
    assert written is not None
    assert written.claim.nonce
    assert replace(written.claim, nonce="") == claim
    assert await claims.read(NAME, VERSION) == written


async def test_no_claim_is_none(claims: Claims) -> None:
    """Where nobody claims there is nothing to read, and deleting it again is fine."""
    assert await claims.read(NAME, VERSION) is None
    await claims.delete(NAME, VERSION)
    assert await claims.of_asset(NAME) == {}


async def test_of_two_creates_one_wins(claims: Claims) -> None:
    """A version is claimed once; the second hears None and changes nothing."""
    first = await claims.create(NAME, VERSION, OURS)
    assert await claims.create(NAME, VERSION, THEIRS) is None
    assert await claims.read(NAME, VERSION) == first


async def test_a_swap_is_of_one_very_write(claims: Claims) -> None:
    """Two swaps of the same claim: one wins. A swap of what is gone changes nothing."""
    held = await claims.create(NAME, VERSION, OURS)
    assert held is not None
    won = await claims.swap(NAME, VERSION, held, COMMITTING)
    assert await claims.swap(NAME, VERSION, held, THEIRS) is None
    assert won is not None
    assert await claims.read(NAME, VERSION) == won
    await claims.delete(NAME, VERSION)
    assert await claims.swap(NAME, VERSION, won, THEIRS) is None
    assert await claims.read(NAME, VERSION) is None


async def test_the_same_claim_again_is_another_write(claims: Claims) -> None:
    """There is no A-B-A: writing equal facts again invalidates who read them before."""
    first = await claims.create(NAME, VERSION, OURS)
    assert first is not None
    second = await claims.swap(NAME, VERSION, first, OURS)
    assert second is not None
    assert second.claim.nonce != first.claim.nonce
    assert await claims.swap(NAME, VERSION, first, THEIRS) is None


async def test_a_lost_answer_to_a_create_is_found(store: PausingStore, claims: Claims) -> None:
    """The repeat is refused by our own first try, which is recognised by its nonce."""
    store.lose_answer("create", KEY)
    held = await claims.create(NAME, VERSION, OURS)
    assert held is not None
    assert held == await claims.read(NAME, VERSION)
    assert store.count("create") == 2


async def test_a_lost_answer_to_a_swap_is_found(store: PausingStore, claims: Claims) -> None:
    """As a create, so a swap."""
    held = await claims.create(NAME, VERSION, OURS)
    assert held is not None
    store.lose_answer("swap", KEY)
    swapped = await claims.swap(NAME, VERSION, held, replace(OURS, state=ClaimState.RELEASED))
    assert swapped is not None
    assert swapped == await claims.read(NAME, VERSION)


async def test_a_create_that_others_overtook(store: PausingStore, claims: Claims) -> None:
    """Where the first try did not take effect and somebody else came first, the claim is theirs."""
    store.fail("create", KEY)
    second_try = store.pause("create", KEY)
    claiming = asyncio.create_task(claims.create(NAME, VERSION, OURS))
    await second_try.reached()
    theirs = await Claims(store.inner).create(NAME, VERSION, THEIRS)
    second_try.open()
    assert await claiming is None
    assert await claims.read(NAME, VERSION) == theirs


async def test_a_store_that_stays_silent_is_no_answer(store: PausingStore, claims: Claims) -> None:
    """After the tries are over the failure is the store's, and nothing is decided."""
    store.fail("create", KEY, times=3)
    with pytest.raises(StoreUnavailableError):
        await claims.create(NAME, VERSION, OURS)


async def test_all_claims_of_one_asset(store: PausingStore, claims: Claims) -> None:
    """Those of the asset itself, of no deeper one; what names no version is skipped."""
    for name, version in (("some/asset", "0.1"), ("some/asset", "0.10"), ("some/asset/x", "0.2")):
        await claims.create(AssetName(name), Version.parse(version), OURS)
    await store.put(".assetd/claims/some/asset/README", b"not a claim")
    found = await claims.of_asset(NAME)
    assert {str(version) for version in found} == {"0.1", "0.10"}


async def test_a_claim_that_goes_while_they_are_listed(store: PausingStore, claims: Claims) -> None:
    """What is deleted between listing and look is no claim."""
    await claims.create(NAME, VERSION, OURS)
    look = store.pause("get", KEY)
    asking = asyncio.create_task(claims.of_asset(NAME))
    await look.reached()
    await store.inner.delete(KEY)
    look.open()
    assert await asking == {}


GOOD = {
    "format": 1,
    "state": "open",
    "kind": "file",
    "digest": digest_of(b"data"),
    "push_id": "p",
    "id": "i",
    "owner": "o",
    "time": "2026-11-23T09:30:00+00:00",
    "files": {},
    "pushed_by": "",
    "uploads": [],
    "nonce": "n",
}


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"null",
        b"[]",
        b"[" * 100_000,
        b"\xff",
        b"1" * 5000,
        *(json.dumps({**GOOD, key: "?"}).encode() for key in ("state", "kind", "digest", "time")),
        *(json.dumps({k: v for k, v in GOOD.items() if k != key}).encode() for key in GOOD),
        json.dumps({**GOOD, "format": 2}).encode(),
        json.dumps({**GOOD, "files": {"../a": {}}}).encode(),
        json.dumps({**GOOD, "files": {"a": {}, "a/b": {}}}).encode(),
        json.dumps({**GOOD, "files": {"a": {"size": -1}}}).encode(),
        json.dumps({**GOOD, "uploads": ["x"]}).encode(),
        # Found by the fuzz: they were read, and then could not be compared, told or stored.
        json.dumps({**GOOD, "time": "0001-01-01T00:00:00+14:00"}).encode(),
        json.dumps({**GOOD, "owner": "\ud800"}).encode(),
        json.dumps({**GOOD, "push_id": 7}).encode(),
        json.dumps({**GOOD, "uploads": [["\ud800", "id"]]}).encode(),
        json.dumps({**GOOD, "files": {"a": {}}}).encode(),
        json.dumps({**GOOD, "kind": "directory", "files": {"": {}}}).encode(),
        json.dumps(GOOD).encode().replace(b'"format"', b'"format": 1, "format"'),
        json.dumps({**GOOD, "uploads": 7}).encode(),
        json.dumps({**GOOD, "state": "committing"}).encode(),
        json.dumps({**GOOD, "state": "committing", "kind": "directory"}).encode(),
    ],
)
async def test_what_is_no_claim_is_told(store: PausingStore, claims: Claims, raw: bytes) -> None:
    """Whatever stands there that we cannot read is BAD_MANIFEST with its key, never a crash."""
    await store.put(KEY, raw)
    with pytest.raises(BadManifestError) as failure:
        await claims.read(NAME, VERSION)
    assert failure.value.metadata["key"] == KEY
    assert "Error" not in str(failure.value)


async def test_a_good_claim_is_read(store: PausingStore, claims: Claims) -> None:
    """The document that the bad ones were made of is a claim."""
    await store.put(KEY, json.dumps(GOOD).encode())
    held = await claims.read(NAME, VERSION)
    assert held is not None
    assert held.claim.state is ClaimState.OPEN


async def test_no_claim_names_what_is_not_its_own(store: PausingStore, claims: Claims) -> None:
    """Whoever takes a claim over ends its uploads: a claim may name none of anything else."""
    for key in ("some/asset/0.10", "some/asset/0.1.meta", "other/0.1", "../x", "some/asset/0.1"):
        await store.inner.delete(KEY)
        await claims.create(NAME, VERSION, replace(OURS, uploads=(Upload(key, "id"),)))
        if key == "some/asset/0.1":
            assert await claims.read(NAME, VERSION) is not None
            continue
        with pytest.raises(BadManifestError):
            await claims.read(NAME, VERSION)
