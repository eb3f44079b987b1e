package assetd

// Reason says why a call failed, for programs. It never changes its meaning or its code.
// Daemons of later releases may send others than those below: react to them by the code.
//
// A Reason is an error, so that errors.Is(err, assetd.ReasonNotCached) works.
type Reason string

// Error returns the reason's name.
func (r Reason) Error() string {
	return string(r)
}

// INVALID_ARGUMENT: the caller mends the request.
const (
	// ReasonInvalidSpec: the spec does not follow name[:version][[sub/part]].
	ReasonInvalidSpec Reason = "INVALID_SPEC"
	// ReasonInvalidName: the name is too long, reserved, or has characters that none may have.
	ReasonInvalidName Reason = "INVALID_NAME"
	// ReasonInvalidVersion: the version is neither 1, 1.2 nor a date, or is of the wrong kind.
	ReasonInvalidVersion Reason = "INVALID_VERSION"
	// ReasonInvalidPart: the path of a part climbs, or has characters that none may have.
	ReasonInvalidPart Reason = "INVALID_PART"
	// ReasonInvalidField: a field is missing, out of its range, or contradicts another.
	ReasonInvalidField Reason = "INVALID_FIELD"
	// ReasonInvalidPageToken: the page token does not belong to this call.
	ReasonInvalidPageToken Reason = "INVALID_PAGE_TOKEN"
	// ReasonInvalidPushStream: the messages of a push came in a wrong order.
	ReasonInvalidPushStream Reason = "INVALID_PUSH_STREAM"
	// ReasonPushMismatch: the bytes of a push are not those that it announced.
	ReasonPushMismatch Reason = "PUSH_MISMATCH"
)

// NOT_FOUND: the caller stops.
const (
	// ReasonAssetNotFound: no asset has this name.
	ReasonAssetNotFound Reason = "ASSET_NOT_FOUND"
	// ReasonVersionNotFound: the asset exists, but no version of it fits the spec.
	ReasonVersionNotFound Reason = "VERSION_NOT_FOUND"
	// ReasonPartNotFound: the version exists, but nothing in it has the path of the part.
	ReasonPartNotFound Reason = "PART_NOT_FOUND"
	// ReasonNotCached: the version is not in the cache, and the store was not to be asked.
	ReasonNotCached Reason = "NOT_CACHED"
)

// ALREADY_EXISTS: the caller takes another version or name.
const (
	// ReasonVersionExists: the version exists with other content.
	ReasonVersionExists Reason = "VERSION_EXISTS"
	// ReasonAssetExists: the push was for a new asset, and the asset exists.
	ReasonAssetExists Reason = "ASSET_EXISTS"
)

// ABORTED: the caller redoes the push.
const (
	// ReasonPushInProgress: somebody else's push of this version is under way.
	ReasonPushInProgress Reason = "PUSH_IN_PROGRESS"
	// ReasonPushNotCommitted: the push ended before its commit.
	ReasonPushNotCommitted Reason = "PUSH_NOT_COMMITTED"
	// ReasonSourceChanged: what was being pushed changed while it was read.
	ReasonSourceChanged Reason = "SOURCE_CHANGED"
)

// FAILED_PRECONDITION: mostly the operator's to mend.
const (
	// ReasonAssetInUse: the version has to be replaced, but somebody uses it.
	ReasonAssetInUse Reason = "ASSET_IN_USE"
	// ReasonAssetExceedsCache: the version is larger than the whole cache may be.
	ReasonAssetExceedsCache Reason = "ASSET_EXCEEDS_CACHE"
	// ReasonUnsafeStore: the store does not keep its promise about conditional writes.
	ReasonUnsafeStore Reason = "UNSAFE_STORE"
	// ReasonNoStore: the call needs a store, and none is configured.
	ReasonNoStore Reason = "NO_STORE"
	// ReasonReadOnly: ASSETS_DIR cannot be written; what is cached is still served.
	ReasonReadOnly Reason = "READ_ONLY"
	// ReasonUnsafePath: something in ASSETS_DIR would lead outside of it.
	ReasonUnsafePath Reason = "UNSAFE_PATH"
	// ReasonUnsupportedFile: the source of a push holds something else than plain files.
	ReasonUnsupportedFile Reason = "UNSUPPORTED_FILE"
	// ReasonMixedVersioning: the asset has numbered and dated versions, so none is the newest.
	ReasonMixedVersioning Reason = "MIXED_VERSIONING"
)

// RESOURCE_EXHAUSTED: the caller waits for Error.RetryAfter and tries again.
const (
	// ReasonCacheFull: all that could be evicted is leased or pinned.
	ReasonCacheFull Reason = "CACHE_FULL"
	// ReasonDiskFull: the disk of ASSETS_DIR or of the store is full.
	ReasonDiskFull Reason = "DISK_FULL"
	// ReasonTooManyRequests: the daemon has as many calls as it may have.
	ReasonTooManyRequests Reason = "TOO_MANY_REQUESTS"
)

// UNAVAILABLE: was retried already.
const (
	// ReasonStoreUnavailable: the store does not answer.
	ReasonStoreUnavailable Reason = "STORE_UNAVAILABLE"
	// ReasonLockBusy: a modelkit process held its lock on the asset for too long.
	ReasonLockBusy Reason = "LOCK_BUSY"
	// ReasonShuttingDown: the daemon is stopping.
	ReasonShuttingDown Reason = "SHUTTING_DOWN"
)

// PERMISSION_DENIED and UNAUTHENTICATED: the operator's to mend.
const (
	// ReasonStoreAccessDenied: the store refused the daemon's credentials.
	ReasonStoreAccessDenied Reason = "STORE_ACCESS_DENIED"
	// ReasonSourceNotAllowed: the push names a source that the operator does not allow.
	ReasonSourceNotAllowed Reason = "SOURCE_NOT_ALLOWED"
	// ReasonAccessDenied: the caller may not call this method.
	ReasonAccessDenied Reason = "ACCESS_DENIED"
	// ReasonUnauthenticated: the caller did not prove who it is.
	ReasonUnauthenticated Reason = "UNAUTHENTICATED"
)

// DATA_LOSS: the caller stops and raises an alarm.
const (
	// ReasonDigestMismatch: bytes are not what their manifest says, or not the digest that
	// was expected.
	ReasonDigestMismatch Reason = "DIGEST_MISMATCH"
	// ReasonBadManifest: the manifest of a version is missing or cannot be believed.
	ReasonBadManifest Reason = "BAD_MANIFEST"
	// ReasonBadIndex: the index of an asset cannot be believed.
	ReasonBadIndex Reason = "BAD_INDEX"
)

// UNIMPLEMENTED and INTERNAL.
const (
	// ReasonNotBuilt: a method, or the field that the metadata name, is of a later release.
	ReasonNotBuilt Reason = "NOT_BUILT"
	// ReasonIOError: the file system of ASSETS_DIR failed.
	ReasonIOError Reason = "IO_ERROR"
	// ReasonInternal: a defect of assetd; the metadata hold its request_id.
	ReasonInternal Reason = "INTERNAL"
)
