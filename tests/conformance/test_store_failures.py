"""How stores fail that cannot be used: the same from every method, and never as an absence."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from assetd_server.errors import AssetError, StoreAccessDeniedError, StoreUnavailableError
from assetd_server.store.base import CopySource, ObjectStore, Upload
from assetd_server.store.local import LocalStore
from assetd_server.store.objects import S3Settings, open_s3_store

from tests.conformance.conftest import BUCKET
from tests.support.ports import free_port
from tests.support.versitygw import S3Server

UPLOAD = Upload(key="a/k", upload_id="0" * 32)


async def _read(store: ObjectStore) -> None:
    async for _ in await store.read("a/k", start=1, length=2):
        pass


async def _list(store: ObjectStore) -> None:
    async for _ in store.list("a/"):
        pass


async def _uploads(store: ObjectStore) -> None:
    async for _ in store.uploads("a/"):
        pass


CALLS: dict[str, Callable[[ObjectStore], Awaitable[object]]] = {
    "head": lambda store: store.head("a/k"),
    "get": lambda store: store.get("a/k", 100),
    "read": _read,
    "list": _list,
    "put": lambda store: store.put("a/k", b"x"),
    "create": lambda store: store.create("a/k", b"x"),
    "swap": lambda store: store.swap("a/k", b"x", "etag"),
    "delete": lambda store: store.delete("a/k"),
    "start_upload": lambda store: store.start_upload("a/k"),
    "upload_part": lambda store: store.upload_part(UPLOAD, 1, 0, [b"x"]),
    "copy_part": lambda store: store.copy_part(
        UPLOAD, 1, 0, 1, CopySource(store.url, "source", "etag")
    ),
    "create_from_upload": lambda store: store.create_from_upload(UPLOAD, ["0+1"]),
    "put_from_upload": lambda store: store.put_from_upload(UPLOAD, ["0+1"]),
    "uploads": _uploads,
    "abort_upload": lambda store: store.abort_upload(UPLOAD),
}


def assert_tells(error: AssetError, store: ObjectStore, *words: str) -> None:
    """The message names the store and the words, and quotes no library."""
    message = str(error)
    for word in (store.url, *words):
        assert word in message
    for word in ("botocore", "obstore", "reqwest", "Debug", "Errno", "retries"):
        assert word not in message
    assert error.metadata["store"] == store.url


@pytest.mark.parametrize("call", CALLS)
async def test_s3_that_nobody_listens_for(s3_server: S3Server, call: str) -> None:
    """Named with its host and port, and the cause."""
    port = free_port()
    settings = S3Settings(BUCKET, "p", f"http://127.0.0.1:{port}", s3_server.region)
    store = open_s3_store(settings, session=s3_server.session())
    with pytest.raises(StoreUnavailableError) as caught:
        await CALLS[call](store)
    assert_tells(caught.value, store, f"127.0.0.1:{port}", "refused")
    await store.close()


@pytest.mark.parametrize("call", CALLS)
async def test_s3_without_the_bucket(s3_server: S3Server, call: str) -> None:
    """No bucket is no absence of a key: an operator has mistyped it."""
    settings = S3Settings("no-such-bucket", "p", s3_server.endpoint_url, s3_server.region)
    store = open_s3_store(settings, session=s3_server.session())
    with pytest.raises(StoreUnavailableError) as caught:
        await CALLS[call](store)
    assert_tells(caught.value, store, "'no-such-bucket'", str(s3_server.port))
    await store.close()


@pytest.mark.parametrize("call", CALLS)
async def test_s3_that_refuses_the_credentials(s3_server: S3Server, call: str) -> None:
    """A refusal is no absence, and shows neither secret nor signature."""
    settings = S3Settings(BUCKET, "p", s3_server.endpoint_url, s3_server.region)
    store = open_s3_store(settings, session=s3_server.session(secret_key="another secret"))
    with pytest.raises(StoreAccessDeniedError) as caught:
        await CALLS[call](store)
    assert_tells(caught.value, store, str(s3_server.port), "HTTP 403")
    assert "secret" not in str(caught.value)
    await store.close()


@pytest.mark.parametrize("call", CALLS)
async def test_a_directory_that_is_missing(tmp_path: Path, call: str) -> None:
    """It is not an empty store, and no call creates it."""
    store = LocalStore(tmp_path / "store")
    with pytest.raises(StoreUnavailableError) as caught:
        await CALLS[call](store)
    assert_tells(caught.value, store, "missing")
    assert not (tmp_path / "store").exists()
    await store.close()


@pytest.mark.parametrize("call", CALLS)
async def test_a_directory_that_another_has_replaced(tmp_path: Path, call: str) -> None:
    """As when a disk is unmounted: what lies beneath it is not an empty store either."""
    root = tmp_path / "store"
    root.mkdir()
    store = LocalStore(root)
    await store.create("b/k", b"x")
    root.rename(tmp_path / "moved")
    root.mkdir()
    with pytest.raises(StoreUnavailableError) as caught:
        await CALLS[call](store)
    assert_tells(caught.value, store, "another directory")
    assert list(root.iterdir()) == []
    (tmp_path / "store").rmdir()
    (tmp_path / "moved").rename(root)
    assert (await store.get("b/k", 9))[1] == b"x"
    await store.close()


async def test_calls_can_be_cancelled(store: ObjectStore) -> None:
    """A caller that goes away harms nobody; what it wrote is there or not."""
    calls = [asyncio.create_task(store.put(f"k{number}", b"x" * 100_000)) for number in range(20)]
    calls += [asyncio.create_task(store.head(f"k{number}")) for number in range(20)]
    await asyncio.sleep(0)
    for call in calls:
        call.cancel()
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(result, asyncio.CancelledError) for result in results)
    await store.put("k", b"after")
    assert (await store.get("k", 9))[1] == b"after"
    async for page in store.list(""):
        assert {found.size_bytes for found in page.objects} <= {5, 100_000}
