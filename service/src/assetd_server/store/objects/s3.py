"""The S3 store: obstore carries the bytes, botocore does what obstore has no call for.

obstore's native code costs a fraction of botocore's time. What it cannot do is complete an upload
only where the key is absent, and list page by page, or past keys of other people's making such as
`a//b`. The errors of both end here. Knows no asset and no version.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar
from urllib.parse import urlsplit

import botocore.session
import obstore

from assetd_server.store.base import (
    Buffer,
    CopySource,
    EtagMismatchError,
    KeyExistsError,
    KeyNotFoundError,
    Listing,
    ObjectInfo,
    ObjectReader,
    ObjectStore,
    ObjectTooLargeError,
    UnfinishedUpload,
    Upload,
    UploadNotFoundError,
)
from assetd_server.store.objects.body import BodyFile
from assetd_server.store.objects.checksums import (
    CHECKED_UPLOAD,
    checksum_text,
    completed_part,
    is_unknown,
    md5_of,
    receipt_of,
    whole_checksum,
)
from assetd_server.store.objects.clients import (
    S3Settings,
    encryption_of,
    make_client,
    make_store,
)
from assetd_server.store.objects.copies import bucket_of, copied_range
from assetd_server.store.objects.failures import Refusal, S3Failures
from assetd_server.store.objects.pace import Pace
from assetd_server.store.objects.reader import S3Reader
from assetd_server.store.objects.sdk_errors import (
    NO_CREDENTIALS_ERRORS,
    SDK_ERRORS,
    refusal_of,
    translated,
)

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


class S3ObjectStore(ObjectStore):
    """A bucket, or what lies below a prefix of it. Made by `open_s3_store`."""

    def __init__(
        self,
        settings: S3Settings,
        session: botocore.session.Session,
        client: Any,
        executor: Executor | None,
    ) -> None:
        self._owns_executor = executor is None
        self._executor = executor or _make_executor(settings.max_calls)
        self._client = client
        self._store = make_store(settings, session, client, self._executor)
        self._url = settings.url
        self._bucket = settings.bucket
        self._root = f"{settings.prefix}/" if settings.prefix else ""
        self._encryption = encryption_of(settings)
        # Whether the store may know of checksums that it keeps.
        self._checks = True
        self._whole_below_bytes = settings.chunk_bytes
        self._pace = Pace(settings.chunk_bytes)
        where = urlsplit(client.meta.endpoint_url).netloc
        self._failures = S3Failures(settings.url, settings.bucket, where)

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
            yield self._listing(page, after)
            if not page.get("IsTruncated"):
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
            objects=[info for info in found if _is_key(info.key)],
            prefixes=[name for name in prefixes if name > after and _is_key(name[:-1])],
            strays=[info for info in found if not _is_key(info.key)],
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
        return self._info(key, memoryview(data).nbytes, result["e_tag"])

    async def delete(self, key: str) -> None:
        """Send a DELETE; see `ObjectStore.delete`."""
        with suppress(KeyNotFoundError):
            await self._ask(key, obstore.delete_async(self._store, self._root + key))

    async def start_upload(self, key: str, *, for_copies: bool = False) -> Upload:
        """Send CreateMultipartUpload; see `ObjectStore.start_upload`.

        The store is asked to keep a checksum of the whole. One that refuses for want of knowing
        such a thing is not asked again. Nor is one that copies: what versitygw 1.8 says a range
        hashes to is what the whole source does, and readers would refuse the object. Without being
        asked stores compute a checksum that is right, if any.
        """
        create, named = self._client.create_multipart_upload, self._where(key) | self._encryption
        if self._checks and not for_copies:
            try:
                answer = await self._run(create, **named, **CHECKED_UPLOAD)
            except SDK_ERRORS as error:
                self._checks = not is_unknown(refusal_of(error))
                if self._checks:
                    raise self._failures.error(key, refusal_of(error)) from error
            else:
                return Upload(key=key, upload_id=answer["UploadId"])
        answer = await self._call(key, create, **named)
        return Upload(key, answer["UploadId"], for_copies)

    async def upload_part(
        self,
        upload: Upload,
        number: int,
        offset: int,  # noqa: ARG002 - the number says it
        data: Buffer,
    ) -> str:
        """Send UploadPart with its checksum; see `ObjectStore.upload_part`."""
        return await self._call(upload.key, self._send_part, upload, number, data)

    def _send_part(self, upload: Upload, number: int, data: Buffer) -> str:
        is_checked = self._checks and not upload.for_copies
        checked = {"ChecksumCRC64NVME": checksum_text(data)} if is_checked else {}
        answer = self._client.upload_part(
            **self._named(upload), **checked, PartNumber=number, Body=BodyFile(data)
        )
        return receipt_of(answer["ETag"], answer.get("ChecksumCRC64NVME") if is_checked else None)

    async def copy_part(
        self, upload: Upload, number: int, offset: int, length: int, source: CopySource
    ) -> str:
        """Send UploadPartCopy with the source's ETag; see `ObjectStore.copy_part`."""
        wanted = self._named(upload) | copied_range(source, offset, length)
        try:
            answer = await self._run(self._client.upload_part_copy, **wanted, PartNumber=number)
        except SDK_ERRORS as error:
            refusal, bucket = refusal_of(error), bucket_of(source)
            raise self._failures.of_copy(upload.key, bucket, source.key, refusal) from error
        return str(answer["CopyPartResult"]["ETag"])

    async def create_from_upload(self, upload: Upload, receipts: Sequence[str]) -> ObjectInfo:
        """Send CompleteMultipartUpload with If-None-Match; see `ObjectStore.create_from_upload`."""
        try:
            return await self._complete(upload, receipts, IfNoneMatch="*")
        except EtagMismatchError:
            raise KeyExistsError(upload.key) from None

    async def put_from_upload(self, upload: Upload, receipts: Sequence[str]) -> ObjectInfo:
        """Send CompleteMultipartUpload; see `ObjectStore.put_from_upload`."""
        return await self._complete(upload, receipts)

    async def _complete(
        self, upload: Upload, receipts: Sequence[str], **condition: str
    ) -> ObjectInfo:
        parts = [completed_part(n, receipt) for n, receipt in enumerate(receipts, start=1)]
        answer = await self._call(
            upload.key,
            self._client.complete_multipart_upload,
            **self._named(upload),
            **condition,
            MultipartUpload={"Parts": parts},
        )
        # Some servers (versitygw 1.8) say yes where the upload is gone and the key is somebody
        # else's; and none says how long the object is.
        try:
            info = await self.head(upload.key)
        except KeyNotFoundError:
            raise UploadNotFoundError(upload.key) from None
        if info.etag != answer.get("ETag"):
            raise UploadNotFoundError(upload.key)
        return info

    async def abort_upload(self, upload: Upload) -> None:
        """Send AbortMultipartUpload; see `ObjectStore.abort_upload`."""
        with suppress(UploadNotFoundError):
            await self._call(upload.key, self._client.abort_multipart_upload, **self._named(upload))

    async def uploads(self, prefix: str) -> AsyncIterator[UnfinishedUpload]:
        """Send ListMultipartUploads page by page; see `ObjectStore.uploads`."""
        arguments = {"Bucket": self._bucket, "Prefix": self._root + prefix}
        markers: Mapping[str, str] | None = {}
        while markers is not None:
            list_page = self._client.list_multipart_uploads
            page = await self._call(prefix, list_page, **arguments, **markers)
            if page.get("IsTruncated") and not page.get("Uploads"):
                raise self._failures.unavailable(prefix, "not S3")
            entries, markers = _whole_keys(page)
            for entry in entries:
                key = entry["Key"][len(self._root) :]
                if _is_key(key):
                    yield UnfinishedUpload(Upload(key, entry["UploadId"]), entry["Initiated"])

    async def close(self) -> None:
        """End the store's own threads, after what they are doing; see `ObjectStore.close`."""
        if self._owns_executor:
            await asyncio.to_thread(self._executor.shutdown)
        self._client.close()

    def _named(self, upload: Upload) -> dict[str, str]:
        return {**self._where(upload.key), "UploadId": upload.upload_id}

    def _where(self, key: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": self._root + key}

    def _info(self, key: str, size_bytes: int, etag: str | None) -> ObjectInfo:
        if not etag:
            raise self._failures.unavailable(key, "an answer without an ETag")
        return ObjectInfo(key=key, size_bytes=size_bytes, etag=etag, md5_hex=md5_of(etag))

    async def _open(self, key: str, options: "GetOptions") -> "GetResult":
        return await self._ask(
            key, obstore.get_async(self._store, self._root + key, options=options)
        )

    async def _ask(self, key: str, answer: Awaitable[T]) -> T:
        with translated(self._failures, key):
            return await answer

    async def _call(self, key: str, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        with translated(self._failures, key):
            return await self._run(call, *args, **kwargs)

    async def _run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, lambda: call(*args, **kwargs))


def _whole_keys(
    page: Mapping[str, Any],
) -> tuple[Sequence[Mapping[str, Any]], Mapping[str, str] | None]:
    """Return the uploads of a page, and after what the next page begins; None: it is the last.

    The last key may have more uploads on the next page. S3 goes on in the midst of a key, but
    versitygw 1.8 refuses to: so all of that key is left to the next page, unless it fills this one.
    """
    entries = page.get("Uploads", [])
    if not page.get("IsTruncated"):
        return entries, None
    before = [entry for entry in entries if entry["Key"] != entries[-1]["Key"]]
    if before:
        return before, {"KeyMarker": before[-1]["Key"]}
    last = entries[-1]
    return entries, {"KeyMarker": last["Key"], "UploadIdMarker": last["UploadId"]}


def _is_key(name: str) -> bool:
    return not any(segment in ("", ".", "..") for segment in name.split("/"))


def _make_executor(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="assetd-s3")
