"""What is pushed where faults meet pushes: each shape takes the protocol through other steps."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TypeVar

from assetd_server.model import AssetName, Digest
from assetd_server.store.base import ObjectStore
from assetd_server.store.claims import Claim, Claims, ClaimState
from assetd_server.store.local import LocalStore
from assetd_server.store.objects import S3Settings, open_s3_store
from assetd_server.versioning import Version

from tests.support.buckets import digest_of
from tests.support.proxied_store import BUCKET, PREFIX
from tests.support.versions import Content, kind_of
from tests.support.versitygw import S3Server

T = TypeVar("T")

# What one daemon may open of a store: an operator's or a test's own way in.
OpenStore = Callable[[], ObjectStore]

EXACT: Final = "1.0"
FIRST: Final = "0.0"
_FILE: Final = b"content of a push. " * 100
_TREE: Final = {"a": b"a" * 3000, "sub/b": b"b", "sub/.empty": b""}
# Longer than what is stored in one call.
_LARGE: Final = {"large": b"%16d" % 7 * ((1 << 20) + 1), "small": b"s"}


@dataclass(frozen=True)
class Shape:
    """A push, and another one that wants the same version.

    `over` is what a push that is gone has left under the exact version, its claim released.
    """

    name: str
    content: Content
    other: Content
    version: str = ""
    over: bytes | None = None
    is_large: bool = False

    @property
    def selector(self) -> str:
        """What follows the asset's name in the spec."""
        return f":{self.version}" if self.version else ""


SHAPES: Final = {
    shape.name: shape
    for shape in (
        Shape("file", _FILE, _FILE[::-1], EXACT),
        Shape("bump", _TREE, _TREE | {"a": b"z" * 3000}),
        Shape("over left-overs", _FILE, _FILE[::-1], EXACT, over=b"left over " * 190),
        Shape("large", _LARGE, {"large": b"another", "small": b"s"}, EXACT, is_large=True),
    )
}


def s3_opener(server: S3Server) -> OpenStore:
    """Return how the tests' bucket is opened, directly."""
    settings = S3Settings(BUCKET, PREFIX, server.endpoint_url, server.region)
    return lambda: open_s3_store(settings, session=server.session())


def folder_opener(root: Path) -> OpenStore:
    """Return how a store in a directory is opened."""
    return lambda: LocalStore(root)


def leave_over(open_store: OpenStore, left: Mapping[str, bytes]) -> None:
    """Leave, by asset, what a push of a file leaves that was given up, and whose daemon is gone."""

    async def leave(store: ObjectStore) -> None:
        for name, content in left.items():
            await Claims(store).create(AssetName(name), Version.parse(EXACT), _gone_claim(content))
            await store.put(f"{name}/{EXACT}", content)

    _with_store(open_store, leave)


def release_claims(open_store: OpenStore, names: list[str]) -> list[str]:
    """Release every open claim on these assets, as an operator may at any time; return whose."""

    async def release(store: ObjectStore) -> list[str]:
        claims, released = Claims(store), []
        for name in names:
            for version, held in (await claims.of_asset(AssetName(name))).items():
                if held.claim.state is ClaimState.OPEN:
                    freed = replace(held.claim, state=ClaimState.RELEASED)
                    await claims.swap(AssetName(name), version, held, freed)
                    released.append(name)
        return released

    return _with_store(open_store, release)


def _gone_claim(content: bytes) -> Claim:
    return Claim(
        state=ClaimState.RELEASED,
        kind=kind_of(content),
        digest=Digest(digest_of(content)),
        push_id="00000000-0000-4000-8000-000000000000",
        claim_id="0" * 32,
        owner="a-host-that-is-gone",
        time=datetime(2026, 11, 1, 12, tzinfo=UTC),
    )


def _with_store(open_store: OpenStore, work: Callable[[ObjectStore], Awaitable[T]]) -> T:
    async def run() -> T:
        async with _opened(open_store) as store:
            return await work(store)

    return asyncio.run(run())


@asynccontextmanager
async def _opened(open_store: OpenStore) -> AsyncIterator[ObjectStore]:
    store = await asyncio.to_thread(open_store)
    try:
        yield store
    finally:
        await store.close()
