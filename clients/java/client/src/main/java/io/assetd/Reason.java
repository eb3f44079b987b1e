package io.assetd;

/**
 * The reasons why a call may fail, as the contract names them. Each has one gRPC code for ever.
 * Daemons of later releases may send others: react to those by the code.
 */
public final class Reason {
  /** {@code INVALID_ARGUMENT}: the spec does not follow name[:version][[sub/part]]. */
  public static final String INVALID_SPEC = "INVALID_SPEC";

  /**
   * {@code INVALID_ARGUMENT}: the name is too long, reserved, or has characters that none may
   * have.
   */
  public static final String INVALID_NAME = "INVALID_NAME";

  /**
   * {@code INVALID_ARGUMENT}: the version is neither 1, 1.2 nor a date, or is of the wrong kind.
   */
  public static final String INVALID_VERSION = "INVALID_VERSION";

  /**
   * {@code INVALID_ARGUMENT}: the path of a part climbs, or has characters that none may have.
   */
  public static final String INVALID_PART = "INVALID_PART";

  /** {@code INVALID_ARGUMENT}: a field is missing, out of its range, or contradicts another. */
  public static final String INVALID_FIELD = "INVALID_FIELD";

  /** {@code INVALID_ARGUMENT}: the page token does not belong to this call. */
  public static final String INVALID_PAGE_TOKEN = "INVALID_PAGE_TOKEN";

  /** {@code INVALID_ARGUMENT}: the messages of a push came in a wrong order. */
  public static final String INVALID_PUSH_STREAM = "INVALID_PUSH_STREAM";

  /** {@code INVALID_ARGUMENT}: the bytes of a push are not those that it announced. */
  public static final String PUSH_MISMATCH = "PUSH_MISMATCH";

  /** {@code NOT_FOUND}: no asset has this name. */
  public static final String ASSET_NOT_FOUND = "ASSET_NOT_FOUND";

  /** {@code NOT_FOUND}: the asset exists, but no version of it fits the spec. */
  public static final String VERSION_NOT_FOUND = "VERSION_NOT_FOUND";

  /** {@code NOT_FOUND}: the version exists, but nothing in it has the path of the part. */
  public static final String PART_NOT_FOUND = "PART_NOT_FOUND";

  /** {@code NOT_FOUND}: the version is not in the cache, and the store was not to be asked. */
  public static final String NOT_CACHED = "NOT_CACHED";

  /** {@code ALREADY_EXISTS}: the version exists with other content. */
  public static final String VERSION_EXISTS = "VERSION_EXISTS";

  /** {@code ALREADY_EXISTS}: the push was for a new asset, and the asset exists. */
  public static final String ASSET_EXISTS = "ASSET_EXISTS";

  /** {@code ABORTED}: somebody else's push of this version is under way. */
  public static final String PUSH_IN_PROGRESS = "PUSH_IN_PROGRESS";

  /** {@code ABORTED}: the push ended before its commit. */
  public static final String PUSH_NOT_COMMITTED = "PUSH_NOT_COMMITTED";

  /** {@code ABORTED}: what was being pushed changed while it was read. */
  public static final String SOURCE_CHANGED = "SOURCE_CHANGED";

  /** {@code FAILED_PRECONDITION}: the version has to be replaced, but somebody uses it. */
  public static final String ASSET_IN_USE = "ASSET_IN_USE";

  /** {@code FAILED_PRECONDITION}: the version is larger than the whole cache may be. */
  public static final String ASSET_EXCEEDS_CACHE = "ASSET_EXCEEDS_CACHE";

  /**
   * {@code FAILED_PRECONDITION}: the store does not keep its promise about conditional writes.
   */
  public static final String UNSAFE_STORE = "UNSAFE_STORE";

  /** {@code FAILED_PRECONDITION}: the call needs a store, and none is configured. */
  public static final String NO_STORE = "NO_STORE";

  /**
   * {@code FAILED_PRECONDITION}: aSSETS_DIR cannot be written; what is cached is still served.
   */
  public static final String READ_ONLY = "READ_ONLY";

  /** {@code FAILED_PRECONDITION}: something in ASSETS_DIR would lead outside of it. */
  public static final String UNSAFE_PATH = "UNSAFE_PATH";

  /** {@code FAILED_PRECONDITION}: the source of a push holds something else than plain files. */
  public static final String UNSUPPORTED_FILE = "UNSUPPORTED_FILE";

  /**
   * {@code FAILED_PRECONDITION}: the asset has numbered and dated versions, so none is the
   * newest.
   */
  public static final String MIXED_VERSIONING = "MIXED_VERSIONING";

  /** {@code RESOURCE_EXHAUSTED}: all that could be evicted is leased or pinned. */
  public static final String CACHE_FULL = "CACHE_FULL";

  /** {@code RESOURCE_EXHAUSTED}: the disk of ASSETS_DIR or of the store is full. */
  public static final String DISK_FULL = "DISK_FULL";

  /** {@code RESOURCE_EXHAUSTED}: the daemon has as many calls as it may have. */
  public static final String TOO_MANY_REQUESTS = "TOO_MANY_REQUESTS";

  /** {@code UNAVAILABLE}: the store does not answer. */
  public static final String STORE_UNAVAILABLE = "STORE_UNAVAILABLE";

  /** {@code UNAVAILABLE}: a modelkit process held its lock on the asset for too long. */
  public static final String LOCK_BUSY = "LOCK_BUSY";

  /** {@code UNAVAILABLE}: the daemon is stopping. */
  public static final String SHUTTING_DOWN = "SHUTTING_DOWN";

  /** {@code PERMISSION_DENIED}: the store refused the daemon's credentials. */
  public static final String STORE_ACCESS_DENIED = "STORE_ACCESS_DENIED";

  /** {@code PERMISSION_DENIED}: the push names a source that the operator does not allow. */
  public static final String SOURCE_NOT_ALLOWED = "SOURCE_NOT_ALLOWED";

  /** {@code PERMISSION_DENIED}: the caller may not call this method. */
  public static final String ACCESS_DENIED = "ACCESS_DENIED";

  /** {@code UNAUTHENTICATED}: the caller did not prove who it is. */
  public static final String UNAUTHENTICATED = "UNAUTHENTICATED";

  /**
   * {@code DATA_LOSS}: bytes are not what their manifest says, or not the digest that was
   * expected.
   */
  public static final String DIGEST_MISMATCH = "DIGEST_MISMATCH";

  /** {@code DATA_LOSS}: the manifest of a version is missing or cannot be believed. */
  public static final String BAD_MANIFEST = "BAD_MANIFEST";

  /** {@code DATA_LOSS}: the index of an asset cannot be believed. */
  public static final String BAD_INDEX = "BAD_INDEX";

  /**
   * {@code UNIMPLEMENTED}: a method, or the field that the metadata name, is of a later release.
   */
  public static final String NOT_BUILT = "NOT_BUILT";

  /** {@code INTERNAL}: the file system of ASSETS_DIR failed. */
  public static final String IO_ERROR = "IO_ERROR";

  /** {@code INTERNAL}: a defect of assetd; the metadata hold its request_id. */
  public static final String INTERNAL = "INTERNAL";

  private Reason() {}
}
