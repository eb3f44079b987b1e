"""The multipart uploads of the S3 store, which botocore carries: obstore has no call for them.

Complete one only where the key is absent, copy a range, tell what is unfinished. Knows no asset
and no version.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from functools import partial
from typing import Any, ParamSpec, TypeVar
from urllib.parse import urlsplit

import structlog

from assetd_server.blocking import run_to_its_end
from assetd_server.store.base import (
    Buffer,
    CopySource,
    EtagMismatchError,
    KeyExistsError,
    KeyNotFoundError,
    ObjectInfo,
    ObjectStore,
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
    receipt_of,
)
from assetd_server.store.objects.clients import (
    S3Settings,
    encryption_of,
)
from assetd_server.store.objects.copies import bucket_of, copied_range
from assetd_server.store.objects.failures import S3Failures
from assetd_server.store.objects.sdk_errors import (
    SDK_ERRORS,
    refusal_of,
    translated,
)

P = ParamSpec("P")
T = TypeVar("T")


class S3Uploads(ObjectStore):
    """The half of an S3 store that is uploads; `S3ObjectStore` is the other."""

    def __init__(self, settings: S3Settings, client: Any, executor: Executor) -> None:
        self._executor = executor
        self._client = client
        self._bucket = settings.bucket
        self._root = f"{settings.prefix}/" if settings.prefix else ""
        self._encryption = encryption_of(settings)
        # Whether the store may know of checksums that it keeps.
        self._checks = True
        self._has_warned = False
        self._log = structlog.get_logger()
        self._url = settings.url
        where = urlsplit(client.meta.endpoint_url).netloc
        self._failures = S3Failures(settings.url, settings.bucket, where)

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
                self._warn()
            else:
                return Upload(key=key, upload_id=answer["UploadId"])
        answer = await self._call(key, create, **named)
        return Upload(key, answer["UploadId"], for_copies)

    async def upload_part(
        self,
        upload: Upload,
        number: int,
        offset: int,  # noqa: ARG002 - the number says it
        data: Sequence[Buffer],
    ) -> str:
        """Send UploadPart with its checksum; see `ObjectStore.upload_part`."""
        body = BodyFile(data)
        send = partial(self._send_part, upload, number, data, body)
        with translated(self._failures, upload.key):
            return await self._see_to_its_end(send, hurry=body.cut)

    def _send_part(
        self, upload: Upload, number: int, data: Sequence[Buffer], body: BodyFile
    ) -> str:
        is_checked = self._checks and not upload.for_copies
        checked = {"ChecksumCRC64NVME": checksum_text(data)} if is_checked else {}
        answer = self._client.upload_part(
            **self._named(upload), **checked, PartNumber=number, Body=body
        )
        return receipt_of(answer["ETag"], answer.get("ChecksumCRC64NVME") if is_checked else None)

    async def copy_part(
        self, upload: Upload, number: int, offset: int, length: int, source: CopySource
    ) -> str:
        """Send UploadPartCopy with the source's ETag; see `ObjectStore.copy_part`."""
        wanted = self._named(upload) | copied_range(source, offset, length)
        copy = partial(self._client.upload_part_copy, **wanted, PartNumber=number)
        try:
            answer = await self._see_to_its_end(copy)
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

    async def put_from_upload(
        self,
        upload: Upload,
        receipts: Sequence[str],
        *,
        within: str = "",  # noqa: ARG002 - keys are no paths here
    ) -> ObjectInfo:
        """Send CompleteMultipartUpload; see `ObjectStore.put_from_upload`."""
        return await self._complete(upload, receipts)

    async def _complete(
        self, upload: Upload, receipts: Sequence[str], **condition: str
    ) -> ObjectInfo:
        parts = [completed_part(n, receipt) for n, receipt in enumerate(receipts, start=1)]
        complete = partial(
            self._client.complete_multipart_upload,
            **self._named(upload),
            **condition,
            MultipartUpload={"Parts": parts},
        )
        with translated(self._failures, upload.key):
            answer = await self._see_to_its_end(complete)
        if not upload.for_copies and not answer.get("ChecksumCRC64NVME"):
            self._warn()
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
                if is_key(key):
                    yield UnfinishedUpload(Upload(key, entry["UploadId"]), entry["Initiated"])

    def _warn(self) -> None:
        """Say once why pushes take longer than they could."""
        if not self._has_warned:
            self._has_warned = True
            self._log.warning(
                "the store keeps no CRC-64/NVME: large parts of pushes are read back from it",
                store=self._url,
            )

    def _named(self, upload: Upload) -> dict[str, str]:
        return {**self._where(upload.key), "UploadId": upload.upload_id}

    def _where(self, key: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": self._root + key}

    async def _call(self, key: str, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        with translated(self._failures, key):
            return await self._run(call, *args, **kwargs)

    async def _run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, lambda: call(*args, **kwargs))

    async def _see_to_its_end(
        self, call: Callable[[], T], hurry: Callable[[], object] | None = None
    ) -> T:
        """Return what a call of an upload returns; a cancelled caller waits for its end.

        S3 takes parts that come after the upload was aborted, and keeps them: whoever aborts must
        know that none is under way. The client's timeouts bound the wait.
        """
        return await run_to_its_end(self._executor, call, hurry=hurry)


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


def is_key(name: str) -> bool:
    """Tell whether an object's name is one that a key can have."""
    return not any(segment in ("", ".", "..") for segment in name.split("/"))
