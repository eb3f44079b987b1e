"""What an S3 store's refusals mean in the words of the contract.

Knows HTTP statuses and the error codes of S3, no SDK: `sdk_errors.py` brings what those raise down
to a `Refusal`. None of their text goes further, as it may hold anything and helps nobody.
"""

import re
from dataclasses import dataclass
from http import HTTPStatus

from assetd_server.errors import (
    AssetError,
    DiskFullError,
    StoreAccessDeniedError,
    StoreUnavailableError,
    UnsafeStoreError,
)
from assetd_server.store.base import (
    CannotCopyError,
    EtagMismatchError,
    KeyExistsError,
    KeyNotFoundError,
    StoreSignalError,
    UploadNotFoundError,
)

# Where `clients.py` leads what would follow a redirect to another host.
NOWHERE = "127.0.0.1:9"
NO_CREDENTIALS = (
    "no usable AWS credentials; set AWS_ACCESS_KEY_ID or AWS_PROFILE, or give it a role"
)

_DENIED_STATUSES = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}
_DENIED_CODES = {  # those that come with status 400, or 404 from versitygw
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidToken",
    "TokenRefreshRequired",
    "XAdminUserNotFound",
}
_PASSING_STATUSES = {
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.CONFLICT,
    HTTPStatus.TOO_MANY_REQUESTS,
}
_FULL_CODES = {"QuotaExceeded", "XMinioStorageFull"}
# The second is what a store says that is just dropping the parts.
_NO_UPLOAD_CODES = {"NoSuchUpload", "InvalidPart"}
# What stores that keep objects as files say of `a` beside `a/b`.
_FOLDER_CODES = {
    "ExistingObjectIsDirectory",
    "ObjectParentIsFile",
    "XMinioObjectExistsAsDirectory",
    "XMinioParentIsObject",
}

# obstore tells the status and the body of an answer in its text only. Taken from the part that it
# prints for debugging: there each string stands on one line, so that no key can imitate a status.
_STATUS = re.compile(r'^ +status: (\d{3}),\n +body: (?:None|Some\(\n +"(.*)",$)?', re.MULTILINE)
_CODE = re.compile(r"<Code>(\w{1,64})</Code>")
_CAUSES = (
    (re.escape(NOWHERE), "redirected to another host"),
    (r"without LOCATION|RecursionError", "redirected: is the region right?"),
    (r"ConnectionRefused|Connection refused", "refused"),
    (r"dns error|failed to lookup|[Ff]ailed to resolve", "no such host"),
    (r"TimedOut|kind: Timeout|Timeout", "timeout"),
    (r"[Cc]ertificate|InvalidMessage|HandshakeFailure|SSL", "TLS"),
    (r"Content-Length|Content-Range|non-partial|Requested \d|ResponseParser", "not S3"),
)


@dataclass(frozen=True)
class Refusal:
    """Why a call failed: the answer's status and S3 code, or, without an answer, a short cause.

    `is_denied` where there was no call, for want of credentials.
    """

    status: int | None = None
    code: str = ""
    cause: str = "connection lost"
    is_denied: bool = False

    @classmethod
    def from_obstore(cls, text: str) -> "Refusal":
        """Read what obstore's exception says."""
        if NO_CREDENTIALS in text:
            return cls.no_credentials()
        statuses = _STATUS.findall(text)
        if statuses:
            status, body = statuses[-1]
            code = _CODE.search(body)
            return cls(status=int(status), code=code[1] if code else "")
        return cls.without_answer(text)

    @classmethod
    def no_credentials(cls) -> "Refusal":
        """Say that nobody knows whose the call would be."""
        return cls(cause=NO_CREDENTIALS, is_denied=True)

    @classmethod
    def without_answer(cls, text: str) -> "Refusal":
        """Name the cause that an exception's text speaks of."""
        for pattern, cause in _CAUSES:
            if re.search(pattern, text):
                return cls(cause=cause)
        return cls()

    def __str__(self) -> str:
        return f"HTTP {self.status} {self.code}".rstrip() if self.status else self.cause


class S3Failures:
    """Makes the errors of one bucket. `where` names the store's endpoint, without credentials."""

    def __init__(self, url: str, bucket: str, where: str) -> None:
        self._url = url
        self._bucket = bucket
        self._where = where

    def error(self, key: str, refusal: Refusal) -> AssetError | StoreSignalError:
        """Return what the refusal of a call at `key` means.

        Only a 404 that says NoSuchKey is the key's absence: proxies say 404 too, for one.
        A conflict (409) is no word on the key, but a race that the store wants repeated.
        """
        status, code = refusal.status, refusal.code
        if code in _FULL_CODES or status == HTTPStatus.INSUFFICIENT_STORAGE:
            return self._full(key, refusal)
        if refusal.is_denied or status in _DENIED_STATUSES or code in _DENIED_CODES:
            return self._denied(key, refusal)
        if code in _NO_UPLOAD_CODES:
            return UploadNotFoundError(key)
        if code in _FOLDER_CODES:
            return KeyExistsError(key)
        if status == HTTPStatus.PRECONDITION_FAILED:
            return EtagMismatchError(key)
        if code == "NotImplemented":
            return self._lacking(key, refusal)
        if status == HTTPStatus.NOT_FOUND:
            return self._not_found(key, code)
        return self.unavailable(key, str(refusal))

    def of_copy(
        self, key: str, source_bucket: str, source_key: str, refusal: Refusal
    ) -> AssetError | StoreSignalError:
        """Return what the refusal to copy an object into an upload of `key` means.

        What a store does not know, or not from that bucket, it refuses in many ways: whatever is
        neither a word on the objects nor a failure that may pass. Reading the source will tell.
        """
        error = self.error(source_key, refusal)
        if isinstance(error, UploadNotFoundError):
            return UploadNotFoundError(key)
        is_ours = refusal.code == "NoSuchBucket" and source_bucket == self._bucket
        is_no_word = isinstance(error, StoreUnavailableError | UnsafeStoreError)
        if is_no_word and _is_final(refusal.status) and not is_ours:
            return CannotCopyError(source_key)
        return error

    def _not_found(self, key: str, code: str) -> AssetError | StoreSignalError:
        if code == "NoSuchKey":
            return KeyNotFoundError(key)
        if code == "NoSuchBucket":
            return self._no_bucket(key)
        return self.unavailable(key, f"HTTP 404 {code}, which says nothing of the key")

    def _no_bucket(self, key: str) -> StoreUnavailableError:
        return StoreUnavailableError(
            "there is no bucket {bucket!r} at {where}; create it, or correct the address of the"
            " store {store}",
            store=self._url,
            where=self._where,
            bucket=self._bucket,
            key=key,
        )

    def unusable(self) -> StoreUnavailableError:
        """Return the failure of settings with which no request can be made."""
        return StoreUnavailableError(
            "the store {store} at {where} cannot be opened; check the address of the endpoint, the"
            " region, and AWS_CA_BUNDLE",
            store=self._url,
            where=self._where,
        )

    def _full(self, key: str, refusal: Refusal) -> DiskFullError:
        return DiskFullError(
            "the store {store} at {where} has no room for {key!r}: {cause}; make room there",
            store=self._url,
            where=self._where,
            key=key,
            cause=refusal,
        )

    def _lacking(self, key: str, refusal: Refusal) -> UnsafeStoreError:
        return UnsafeStoreError(
            "the store {store} at {where} does not know a condition or a call that pushes need:"
            " {cause}, for {key!r}; use another store, or a newer release of it",
            store=self._url,
            where=self._where,
            key=key,
            cause=refusal,
        )

    def _denied(self, key: str, refusal: Refusal) -> StoreAccessDeniedError:
        return StoreAccessDeniedError(
            "the store {store} at {where} refused the daemon's credentials for {key!r}: {cause};"
            " check the daemon's AWS_ variables or role, and what the bucket allows it",
            store=self._url,
            where=self._where,
            key=key,
            cause=refusal,
        )

    def unavailable(self, key: str, cause: str) -> StoreUnavailableError:
        """Return the failure of a store that did not answer, or not as it should."""
        return StoreUnavailableError(
            "the store {store} at {where} did not answer for {key!r}: {cause}; try again, and see"
            " whether it runs and S3_ENDPOINT leads to it",
            store=self._url,
            where=self._where,
            key=key,
            cause=cause,
        )


def _is_final(status: int | None) -> bool:
    """Tell whether the same request would be refused again."""
    if status is None or status in _PASSING_STATUSES:
        return False
    return status < HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.NOT_IMPLEMENTED
