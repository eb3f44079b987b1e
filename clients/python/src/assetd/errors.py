"""What a call may fail with: one class for each `ErrorReason` of the contract.

Nothing here knows gRPC, so that `except assetd.VersionNotFoundError` costs no import of it:
`assetd._failure` reads the classes off the wire.
"""

from collections.abc import Mapping


class AssetdError(Exception):
    """A call that did not do what it was asked to.

    The tree is flat: catch one class below for one reason, or this one for all. A reason that
    this release does not know arrives as `AssetdError` itself; then go by `code`.

    Attributes:
        reason: the name in `ErrorReason` without its prefix, such as `VERSION_NOT_FOUND`. It never
            changes. Empty when the failure does not come from the daemon.
        code: the gRPC code's name, such as `NOT_FOUND`.
        message: one sentence for people.
        metadata: every changing value of the message by name.
        retry_after_seconds: how long the daemon asks to wait before a repeat, if it does.
    """

    reason: str = ""
    code: str = "UNKNOWN"

    def __init__(
        self,
        message: str,
        *,
        metadata: Mapping[str, str] | None = None,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.metadata = dict(metadata or {})
        self.retry_after_seconds = retry_after_seconds


class DaemonUnavailableError(AssetdError):
    """No daemon answers at the address, or it went away and did not come back."""

    code = "UNAVAILABLE"


class CallTimeoutError(AssetdError, TimeoutError):
    """The call's own `timeout` passed. What had arrived is kept for a while."""

    code = "DEADLINE_EXCEEDED"


class InvalidSpecError(AssetdError):
    """The spec does not follow the grammar `name[:version][[sub/part]]`."""

    reason = "INVALID_SPEC"
    code = "INVALID_ARGUMENT"


class InvalidNameError(AssetdError):
    """The asset's name is too long, reserved, or has characters that no name may have."""

    reason = "INVALID_NAME"
    code = "INVALID_ARGUMENT"


class InvalidVersionError(AssetdError):
    """The version is no version, or not of the kind that the asset uses."""

    reason = "INVALID_VERSION"
    code = "INVALID_ARGUMENT"


class InvalidPartError(AssetdError):
    """The path of a file inside the asset cannot be one. Also raised before anything is sent."""

    reason = "INVALID_PART"
    code = "INVALID_ARGUMENT"


class InvalidFieldError(AssetdError):
    """An argument is out of its range or contradicts another; `metadata["field"]` names it."""

    reason = "INVALID_FIELD"
    code = "INVALID_ARGUMENT"


class InvalidPageTokenError(AssetdError):
    """The page token belongs to another listing: list again from the first page."""

    reason = "INVALID_PAGE_TOKEN"
    code = "INVALID_ARGUMENT"


class InvalidPushStreamError(AssetdError):
    """The daemon does not understand this helper's push: their releases do not fit."""

    reason = "INVALID_PUSH_STREAM"
    code = "INVALID_ARGUMENT"


class PushMismatchError(AssetdError):
    """The bytes that arrived are not those that were announced. Nothing was created."""

    reason = "PUSH_MISMATCH"
    code = "INVALID_ARGUMENT"


class AssetNotFoundError(AssetdError):
    """There is no asset of that name."""

    reason = "ASSET_NOT_FOUND"
    code = "NOT_FOUND"


class VersionNotFoundError(AssetdError):
    """The asset exists, but no version of it fits the spec."""

    reason = "VERSION_NOT_FOUND"
    code = "NOT_FOUND"


class PartNotFoundError(AssetdError):
    """The version exists, but nothing in it has the path of the part."""

    reason = "PART_NOT_FOUND"
    code = "NOT_FOUND"


class NotCachedError(AssetdError):
    """The cache holds no version that fits, and the call was about the cache alone."""

    reason = "NOT_CACHED"
    code = "NOT_FOUND"


class VersionExistsError(AssetdError):
    """The version exists with other content, and versions never change: take another one."""

    reason = "VERSION_EXISTS"
    code = "ALREADY_EXISTS"


class AssetExistsError(AssetdError):
    """The push was for a new asset, and the asset exists."""

    reason = "ASSET_EXISTS"
    code = "ALREADY_EXISTS"


class PushInProgressError(AssetdError):
    """Somebody else is pushing this very version; `metadata` names the owner. Push again later."""

    reason = "PUSH_IN_PROGRESS"
    code = "ABORTED"


class PushNotCommittedError(AssetdError):
    """The push was cut before it was committed. Nothing was created: push again."""

    reason = "PUSH_NOT_COMMITTED"
    code = "ABORTED"


class SourceChangedError(AssetdError):
    """What is being pushed changed meanwhile. Nothing was created: push again once it rests."""

    reason = "SOURCE_CHANGED"
    code = "ABORTED"


class AssetInUseError(AssetdError):
    """The version has to be replaced, but somebody holds it. Nothing was touched."""

    reason = "ASSET_IN_USE"
    code = "FAILED_PRECONDITION"


class AssetExceedsCacheError(AssetdError):
    """The version is larger than the whole cache may be. Nothing was evicted."""

    reason = "ASSET_EXCEEDS_CACHE"
    code = "FAILED_PRECONDITION"


class UnsafeStoreError(AssetdError):
    """The store does not keep pushes apart, so the daemon refuses them."""

    reason = "UNSAFE_STORE"
    code = "FAILED_PRECONDITION"


class NoStoreError(AssetdError):
    """The call needs a store, and the daemon has none."""

    reason = "NO_STORE"
    code = "FAILED_PRECONDITION"


class ReadOnlyError(AssetdError):
    """The daemon cannot write to its ASSETS_DIR. What is cached is still served."""

    reason = "READ_ONLY"
    code = "FAILED_PRECONDITION"


class UnsafePathError(AssetdError):
    """Something in ASSETS_DIR, such as a symlink, would lead outside of it."""

    reason = "UNSAFE_PATH"
    code = "FAILED_PRECONDITION"


class UnsupportedFileError(AssetdError):
    """A symlink, hard link, device, FIFO or socket where a push takes plain files and folders.

    Also raised before anything is sent. Such a file is never opened.
    """

    reason = "UNSUPPORTED_FILE"
    code = "FAILED_PRECONDITION"


class MixedVersioningError(AssetdError):
    """The asset has numbered and dated versions, so none is the newest: name one in full."""

    reason = "MIXED_VERSIONING"
    code = "FAILED_PRECONDITION"


class CacheFullError(AssetdError):
    """There is no room, and all that could be evicted is leased or pinned."""

    reason = "CACHE_FULL"
    code = "RESOURCE_EXHAUSTED"


class DiskFullError(AssetdError):
    """The disk of ASSETS_DIR, or that of the store, has no room left."""

    reason = "DISK_FULL"
    code = "RESOURCE_EXHAUSTED"


class TooManyRequestsError(AssetdError):
    """The daemon has as many calls as it may have."""

    reason = "TOO_MANY_REQUESTS"
    code = "RESOURCE_EXHAUSTED"


class StoreUnavailableError(AssetdError):
    """The store does not answer the daemon, also after repeats."""

    reason = "STORE_UNAVAILABLE"
    code = "UNAVAILABLE"


class LockBusyError(AssetdError):
    """A modelkit process held its lock on the asset for too long. What had arrived is kept."""

    reason = "LOCK_BUSY"
    code = "UNAVAILABLE"


class ShuttingDownError(AssetdError):
    """The daemon is stopping, and no successor took over in time."""

    reason = "SHUTTING_DOWN"
    code = "UNAVAILABLE"


class StoreAccessDeniedError(AssetdError):
    """The store refused the daemon's credentials; it does not say whether the asset exists."""

    reason = "STORE_ACCESS_DENIED"
    code = "PERMISSION_DENIED"


class SourceNotAllowedError(AssetdError):
    """The push names a source that the operator does not allow."""

    reason = "SOURCE_NOT_ALLOWED"
    code = "PERMISSION_DENIED"


class AccessDeniedError(AssetdError):
    """The daemon knows the caller and does not allow it this call."""

    reason = "ACCESS_DENIED"
    code = "PERMISSION_DENIED"


class UnauthenticatedError(AssetdError):
    """The daemon wants to know who is calling."""

    reason = "UNAUTHENTICATED"
    code = "UNAUTHENTICATED"


class DigestMismatchError(AssetdError):
    """The bytes are not what their manifest, or `expected_digest`, says. Raise an alarm."""

    reason = "DIGEST_MISMATCH"
    code = "DATA_LOSS"


class BadManifestError(AssetdError):
    """The store's manifest of the version is missing or cannot be believed. Raise an alarm."""

    reason = "BAD_MANIFEST"
    code = "DATA_LOSS"


class BadIndexError(AssetdError):
    """The store's index of the asset cannot be believed. A version named in full still works."""

    reason = "BAD_INDEX"
    code = "DATA_LOSS"


class NotBuiltError(AssetdError):
    """The daemon's release does not have this yet; `metadata["field"]` names what."""

    reason = "NOT_BUILT"
    code = "UNIMPLEMENTED"


class IoError(AssetdError):
    """The file system of ASSETS_DIR failed. What was being written was dropped."""

    reason = "IO_ERROR"
    code = "INTERNAL"


class InternalError(AssetdError):
    """A defect of assetd: report it with `metadata["request_id"]`."""

    reason = "INTERNAL"
    code = "INTERNAL"


BY_REASON: dict[str, type[AssetdError]] = {
    error.reason: error for error in AssetdError.__subclasses__() if error.reason
}
