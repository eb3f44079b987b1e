"""What can go wrong with an asset, in the words of the domain.

Nothing here knows gRPC: `assetd_server.rpc.status` gives each class its code. The tree is flat:
each class below is one failure that a caller may see, and one value of `ErrorReason`.
"""

from typing import ClassVar


class AssetError(Exception):
    """A failure that a caller may see.

    `reason` is API: clients switch on it, so it never changes. The message is a template that is
    filled from `values` alone, so every value that the message shows stands in `metadata` too.
    """

    reason: ClassVar[str]

    def __init__(self, template: str, /, **values: object) -> None:
        self.metadata: dict[str, str] = {key: str(value) for key, value in values.items()}
        super().__init__(template.format_map(self.metadata))


class InvalidSpecError(AssetError):
    """The spec string does not follow the grammar; `field` names the request's field."""

    reason = "INVALID_SPEC"


class InvalidNameError(AssetError):
    """The asset's name is outside the grammar, too long, or reserved."""

    reason = "INVALID_NAME"


class InvalidVersionError(AssetError):
    """The version is neither `major.minor` nor a date in canonical form."""

    reason = "INVALID_VERSION"


class InvalidPartError(AssetError):
    """The path of a part is absolute, climbs, or holds what no part may hold."""

    reason = "INVALID_PART"


class InvalidFieldError(AssetError):
    """A field of the request is out of its range or contradicts another."""

    reason = "INVALID_FIELD"


class InvalidPageTokenError(AssetError):
    """The page token was not made by this method for these arguments."""

    reason = "INVALID_PAGE_TOKEN"


class InvalidPushStreamError(AssetError):
    """The messages of a push came in an order that the protocol does not know."""

    reason = "INVALID_PUSH_STREAM"


class PushMismatchError(AssetError):
    """The bytes of a push are not the bytes that it announced."""

    reason = "PUSH_MISMATCH"


class AssetNotFoundError(AssetError):
    """The store, or the cache where no store is configured, knows no such asset."""

    reason = "ASSET_NOT_FOUND"


class VersionNotFoundError(AssetError):
    """The asset exists, the version does not."""

    reason = "VERSION_NOT_FOUND"


class PartNotFoundError(AssetError):
    """The version exists, the part inside it does not."""

    reason = "PART_NOT_FOUND"


class NotCachedError(AssetError):
    """The version is not in the cache, and the caller asked for the cache alone."""

    reason = "NOT_CACHED"


class VersionExistsError(AssetError):
    """The version exists with other content, or with content that cannot be compared."""

    reason = "VERSION_EXISTS"


class AssetExistsError(AssetError):
    """The push was for a new asset, and the asset exists."""

    reason = "ASSET_EXISTS"


class PushInProgressError(AssetError):
    """Somebody else's push of this version is under way; `owner` and `age_seconds` name it."""

    reason = "PUSH_IN_PROGRESS"


class PushNotCommittedError(AssetError):
    """The push ended before its commit: nothing was created."""

    reason = "PUSH_NOT_COMMITTED"


class SourceChangedError(AssetError):
    """What is being pushed changed while it was read: nothing was created."""

    reason = "SOURCE_CHANGED"


class AssetInUseError(AssetError):
    """Somebody holds a lease on the version that would have to be replaced."""

    reason = "ASSET_IN_USE"


class AssetExceedsCacheError(AssetError):
    """The version can never fit in the configured cache."""

    reason = "ASSET_EXCEEDS_CACHE"


class UnsafeStoreError(AssetError):
    """The store does not honour conditional writes, so a push could be lost."""

    reason = "UNSAFE_STORE"


class NoStoreError(AssetError):
    """No store is configured, and the call needs one."""

    reason = "NO_STORE"


class ReadOnlyError(AssetError):
    """ASSETS_DIR cannot be written: hits work, misses do not."""

    reason = "READ_ONLY"


class UnsafePathError(AssetError):
    """Something in ASSETS_DIR would lead outside of it, or is not what should stand there."""

    reason = "UNSAFE_PATH"


class UnsupportedFileError(AssetError):
    """A symlink, device, FIFO, socket or hard link where a plain file or folder is due."""

    reason = "UNSUPPORTED_FILE"


class MixedVersioningError(AssetError):
    """One asset holds versions of two versioning systems."""

    reason = "MIXED_VERSIONING"


class CacheFullError(AssetError):
    """All that could be evicted is leased or pinned."""

    reason = "CACHE_FULL"


class DiskFullError(AssetError):
    """The disk of ASSETS_DIR, or of the store, has no room or no inodes left."""

    reason = "DISK_FULL"


class TooManyRequestsError(AssetError):
    """A bound of the daemon (calls, pushes, descriptors) is reached."""

    reason = "TOO_MANY_REQUESTS"


class StoreUnavailableError(AssetError):
    """The store did not answer, or answered that it cannot, after our own retries."""

    reason = "STORE_UNAVAILABLE"


class LockBusyError(AssetError):
    """modelkit's lock was not released in time."""

    reason = "LOCK_BUSY"


class ShuttingDownError(AssetError):
    """The daemon drains: ask its successor."""

    reason = "SHUTTING_DOWN"


class StoreAccessDeniedError(AssetError):
    """The store refused the daemon's credentials."""

    reason = "STORE_ACCESS_DENIED"


class SourceNotAllowedError(AssetError):
    """The push names a source that the operator does not allow, or the daemon may not read."""

    reason = "SOURCE_NOT_ALLOWED"


class AccessDeniedError(AssetError):
    """The caller may not call this method."""

    reason = "ACCESS_DENIED"


class UnauthenticatedError(AssetError):
    """The caller did not prove who it is."""

    reason = "UNAUTHENTICATED"


class DigestMismatchError(AssetError):
    """The bytes, or the version, are not what their manifest or the caller says."""

    reason = "DIGEST_MISMATCH"


class BadManifestError(AssetError):
    """The `.meta` of a version cannot be believed."""

    reason = "BAD_MANIFEST"


class BadIndexError(AssetError):
    """The `.versions` of an asset cannot be believed."""

    reason = "BAD_INDEX"


class NotBuiltError(AssetError):
    """A field or method of a later release, named in `field`."""

    reason = "NOT_BUILT"


class IoError(AssetError):
    """The file system failed; what was being written is dropped."""

    reason = "IO_ERROR"


class InternalError(AssetError):
    """Anything else: a defect of ours. The traceback is in the log, under the request's id."""

    reason = "INTERNAL"
