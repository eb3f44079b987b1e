"""The S3 store: obstore carries the bytes, botocore does what obstore has no call for.

obstore's native code costs a fraction of botocore's time. What it cannot do is complete an upload
only where the key is absent, and list page by page, or past keys of other people's making such as
`a//b`. The errors of both end here. Knows no asset and no version.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import botocore.session
import obstore

from assetd_server.store.base import (
    Buffer,
    EtagMismatchError,
    KeyExistsError,
    KeyNotFoundError,
    Listing,
    ObjectInfo,
    ObjectReader,
    ObjectStore,
    ObjectTooLargeError,
)
from assetd_server.store.objects.checksums import (
    md5_of,
    whole_checksum,
)
from assetd_server.store.objects.clients import (
    S3Settings,
    make_client,
    make_store,
)
from assetd_server.store.objects.damage import refuses_damage
from assetd_server.store.objects.failures import Refusal, S3Failures
from assetd_server.store.objects.pace import Pace
from assetd_server.store.objects.reader import S3Reader
from assetd_server.store.objects.sdk_errors import (
    NO_CREDENTIALS_ERRORS,
    SDK_ERRORS,
    refusal_of,
    translated,
)
from assetd_server.store.objects.uploads import S3Uploads, is_key

if TYPE_CHECKING:
    from obstore import GetOptions, GetResult, PutMode

P = ParamSpec("P")
T = TypeVar("T")


def open_s3_store(
    settings: S3Settings,
    *,
    session: botocore.session.Session | None = None,
    executor: Executor | None = None,
) -> ObjectStore:
    """Return the store that `settings` describe. Does not look whether the bucket is there.

    Credentials are found as the AWS tools find them: environment, profile, SSO, web identity,
    container, instance; or they are those of `session`. Objects are addressed by host on AWS, by
    path elsewhere, over plain http only where the endpoint says so. botocore runs in `executor`,
    which stays the caller's, or in threads of the store's own.

    Blocks, for seconds where credentials have to be looked for on the network: call it in a thread.

    Raises:
        StoreAccessDeniedError: the environment names a profile that does not exist.
        StoreUnavailableError: the endpoint, the region or the certificates cannot be such.
    """
    failures = S3Failures(settings.url, settings.bucket, settings.endpoint_url or "AWS")
    try:
        session = session or botocore.session.get_session()
        return S3ObjectStore(settings, session, make_client(settings, session), executor)
    except NO_CREDENTIALS_ERRORS as error:
        raise failures.error("", Refusal.no_credentials()) from error
    except (*SDK_ERRORS, OSError, ValueError) as error:
        raise failures.unusable() from error


class S3ObjectStore(S3Uploads):
    """A bucket, or what lies below a prefix of it. Made by `open_s3_store`."""

    def __init__(
        self,
        settings: S3Settings,
        session: botocore.session.Session,
        client: Any,
        executor: Executor | None,
    ) -> None:
        self._owns_executor = executor is None
        super().__init__(settings, client, executor or _make_executor(settings.max_calls))
        self._store = make_store(settings, session, client, self._executor)
        self._whole_below_bytes = settings.chunk_bytes
        self._pace = Pace(settings.chunk_bytes)
        # It was seen to compare what arrives with what was sent.
        self._compares = False

    @property
    def url(self) -> str:
        """The address as the settings give it."""
        return self._url

    async def head(self, key: str) -> ObjectInfo:
        """Ask for the object's headers; see `ObjectStore.head`."""
        try:
            meta = await obstore.head_async(self._store, self._root + key)
        except SDK_ERRORS as error:
            refusal = refusal_of(error)
            if refusal.status != HTTPStatus.NOT_FOUND:
                raise self._failures.error(key, refusal) from error
            # An answer to HEAD has no body, so it cannot say what is absent. One to GET can.
            meta = (await self._open(key, {})).meta
        return self._info(key, meta["size"], meta["e_tag"])

    async def checksum(self, key: str) -> tuple[ObjectInfo, int | None]:
        """Ask for the headers with checksums; see `ObjectStore.checksum`."""
        try:
            answer = await self._run(
                self._client.head_object, **self._where(key), ChecksumMode="ENABLED"
            )
        except SDK_ERRORS:
            # An answer to HEAD has no body to say what is wrong.
            return await self.head(key), None
        info = self._info(key, answer["ContentLength"], answer.get("ETag"))
        return info, whole_checksum(answer)

    async def get(self, key: str, max_bytes: int) -> tuple[ObjectInfo, bytes]:
        """Read the object in one request; see `ObjectStore.get`."""
        reader = await self.read(key)
        if reader.info.size_bytes > max_bytes:
            raise ObjectTooLargeError(key)
        return reader.info, b"".join([chunk async for chunk in reader])

    async def read(
        self, key: str, *, start: int = 0, length: int | None = None, etag: str | None = None
    ) -> ObjectReader:
        """Ask for the range in one request; see `ObjectStore.read`."""
        if length == 0:
            return await self._read_nothing(key, etag)
        options: GetOptions = {} if etag is None else {"if_match": etag}
        if length is not None:
            options["range"] = (start, start + length)
        elif start:
            options["range"] = {"offset": start}
        try:
            answer = await obstore.get_async(self._store, self._root + key, options=options)
        except SDK_ERRORS as error:
            refusal = refusal_of(error)
            if refusal.status != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                raise self._failures.error(key, refusal) from error
            return await self._read_nothing(key, etag, start)
        return self._reader(key, answer, start, length, etag)

    def _reader(
        self, key: str, answer: "GetResult", start: int, length: int | None, etag: str | None
    ) -> ObjectReader:
        """Return the reader of an answer, if it answers what was asked."""
        info = self._info(key, answer.meta["size"], answer.meta["e_tag"])
        if etag is not None and info.etag != etag:
            raise EtagMismatchError(key)
        end = info.size_bytes if length is None else min(start + length, info.size_bytes)
        if answer.range != (start, end):
            raise self._failures.unavailable(key, "not the range that was asked for")
        # Without a range the HTTP framing itself bounds the body by the size: one await is enough.
        is_small = length is None and start == 0 and end <= self._whole_below_bytes
        pace = None if is_small else self._pace
        return S3Reader(info, answer, end - start, pace, self._failures)

    async def _read_nothing(
        self, key: str, etag: str | None, start: int | None = None
    ) -> ObjectReader:
        """Return the reader of a range that holds nothing; its facts are those of a HEAD."""
        info = await self.head(key)
        if etag is not None and info.etag != etag:
            raise EtagMismatchError(key)
        if start is not None and start < info.size_bytes:
            raise self._failures.unavailable(key, "HTTP 416 for a range that is there")
        return S3Reader(info, None, 0, None, self._failures)

    async def list(
        self, prefix: str, *, after: str = "", delimiter: bool = False
    ) -> AsyncIterator[Listing]:
        """Ask page by page; see `ObjectStore.list`. What is no key, such as `a//b`, is a stray."""
        arguments = {"Bucket": self._bucket, "Prefix": self._root + prefix}
        if after:
            arguments["StartAfter"] = self._root + after
        if delimiter:
            arguments["Delimiter"] = "/"
        while True:
            page = await self._call(prefix, self._client.list_objects_v2, **arguments)
            # A page of nothing says so: what has no such word comes from something else.
            if "IsTruncated" not in page:
                raise self._failures.unavailable(prefix, "not S3")
            yield self._listing(page, after)
            if not page["IsTruncated"]:
                return
            if "NextContinuationToken" not in page:
                raise self._failures.unavailable(prefix, "not S3")
            arguments["ContinuationToken"] = page["NextContinuationToken"]

    def _listing(self, page: Mapping[str, Any], after: str) -> Listing:
        skip = len(self._root)
        keys = ((entry["Key"][skip:], entry) for entry in page.get("Contents", ()))
        found = [
            self._info(key, entry["Size"], entry["ETag"]) for key, entry in keys if key > after
        ]
        prefixes = (entry["Prefix"][skip:] for entry in page.get("CommonPrefixes", ()))
        return Listing(
            objects=[info for info in found if is_key(info.key)],
            prefixes=[name for name in prefixes if name > after and is_key(name[:-1])],
            strays=[info for info in found if not is_key(info.key)],
        )

    async def put(self, key: str, data: Buffer) -> ObjectInfo:
        """Send the object in one request; see `ObjectStore.put`."""
        return await self._write(key, data, "overwrite")

    async def create(self, key: str, data: Buffer) -> ObjectInfo:
        """Send the object with If-None-Match; see `ObjectStore.create`."""
        try:
            return await self._write(key, data, "create")
        except EtagMismatchError:
            raise KeyExistsError(key) from None

    async def swap(self, key: str, data: Buffer, etag: str) -> ObjectInfo:
        """Send the object with If-Match; see `ObjectStore.swap`."""
        try:
            return await self._write(key, data, {"e_tag": etag})
        except (KeyNotFoundError, KeyExistsError):
            raise EtagMismatchError(key) from None

    async def _write(self, key: str, data: Buffer, mode: "PutMode") -> ObjectInfo:
        sent = obstore.put_async(
            self._store, self._root + key, data, mode=mode, use_multipart=False
        )
        result = await self._ask(key, sent)
        size_bytes = memoryview(data).nbytes
        return self._info(key, size_bytes, result["e_tag"], is_compared=self._compares)

    async def refuses_damage(self, key: str) -> bool:
        """Send an object whose body is not what was signed; see `ObjectStore.refuses_damage`."""
        where = self._where(key) | self._encryption
        self._compares = await self._run(refuses_damage, self._client, where)
        return self._compares

    async def delete(self, key: str) -> None:
        """Send a DELETE; see `ObjectStore.delete`."""
        with suppress(KeyNotFoundError):
            await self._ask(key, obstore.delete_async(self._store, self._root + key))

    async def close(self) -> None:
        """End the store's own threads, after what they are doing; see `ObjectStore.close`."""
        if self._owns_executor:
            await asyncio.to_thread(self._executor.shutdown)
        self._client.close()

    def _info(
        self, key: str, size_bytes: int, etag: str | None, *, is_compared: bool = False
    ) -> ObjectInfo:
        if not etag:
            raise self._failures.unavailable(key, "an answer without an ETag")
        return ObjectInfo(
            key=key,
            size_bytes=size_bytes,
            etag=etag,
            md5_hex=md5_of(etag),
            is_compared=is_compared,
        )

    async def _open(self, key: str, options: "GetOptions") -> "GetResult":
        return await self._ask(
            key, obstore.get_async(self._store, self._root + key, options=options)
        )

    async def _ask(self, key: str, answer: Awaitable[T]) -> T:
        with translated(self._failures, key):
            return await answer


def _make_executor(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="assetd-s3")
