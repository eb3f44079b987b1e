/** Arguments of the helper -> messages of the contract. Knows no call. */
import { randomUUID } from "node:crypto";

import { create } from "@bufbuild/protobuf";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import type { Duration } from "@bufbuild/protobuf/wkt";

import { invalidField } from "./errors.js";
import { AssetKind, Freshness } from "./gen/assetd/v1/asset_pb.js";
import {
  FetchRequestSchema,
  ListFilesRequestSchema,
  ListRequest_Scope,
  ListRequest_View,
  ListRequestSchema,
  PushHeader_Bump,
  PushHeader_Mode,
  ResolveVersionRequestSchema,
} from "./gen/assetd/v1/asset_service_pb.js";
import type {
  FetchRequest,
  ListFilesRequest,
  ListRequest,
  ResolveVersionRequest,
} from "./gen/assetd/v1/asset_service_pb.js";
import type {
  FetchOptions,
  FoundPushOptions,
  ListFilesOptions,
  ListOptions,
  LookupOptions,
  PushOptions,
} from "./options.js";
import type { Header } from "./push.js";

const UUID4 = /^[\da-f]{8}-[\da-f]{4}-4[\da-f]{3}-[89ab][\da-f]{3}-[\da-f]{12}$/;

/** Returns the request of a resolve. */
export function resolveRequest(spec: string, options: LookupOptions): ResolveVersionRequest {
  return create(ResolveVersionRequestSchema, { spec, ...lookup(options) });
}

/** Returns the request of a fetch. */
export function fetchRequest(
  spec: string,
  options: FetchOptions,
  caller: string,
  hold: boolean,
): FetchRequest {
  const interval = duration(options.progressIntervalMs);
  return create(FetchRequestSchema, {
    spec,
    ...lookup(options),
    expectedDigest: options.expectedDigest ?? "",
    include: [...(options.include ?? [])],
    exclude: [...(options.exclude ?? [])],
    partOnly: options.partOnly ?? false,
    verify: options.verify ?? false,
    forceDownload: options.forceDownload ?? false,
    hold,
    ...(interval && { progressInterval: interval }),
    caller,
  });
}

/**
 * Returns the header of a push, without what it is of. A push that is given no `pushId` is a new
 * one: it gets one like no other.
 *
 * @throws AssetdError `INVALID_FIELD` if the `pushId` is no UUID4 in its canonical form.
 */
export function pushHeader(spec: string, options: PushOptions): Header {
  const pushId = options.pushId ?? randomUUID();
  // As the daemon has it, who would see it only once everything is hashed.
  if (!UUID4.test(pushId)) {
    const why = "is no UUID4 in its canonical form, so that no push has it";
    throw invalidField(`${JSON.stringify(pushId)} ${why}`, "header.push_id", { push_id: pushId });
  }
  return {
    spec,
    bump: PushHeader_Bump[options.bump ?? "UNSPECIFIED"],
    mode: PushHeader_Mode[options.mode ?? "UNSPECIFIED"],
    labels: { ...options.labels },
    validateOnly: options.validateOnly ?? false,
    pushId,
  };
}

/**
 * Refuses globs for what the daemon finds by itself, of which it takes all. The types have none, but
 * an object that was made for another push may.
 *
 * @throws AssetdError `INVALID_FIELD` if there are any.
 */
export function refuseExclude(options: FoundPushOptions & Pick<PushOptions, "exclude">): void {
  if (options.exclude === undefined || options.exclude.length === 0) return;
  const why = "exclude is for what this process reads: the daemon takes all that it finds";
  throw invalidField(why, "exclude");
}

/** Returns the header with what is known once the source is hashed. */
export function withContent(header: Header, isDirectory: boolean, digest: string): Header {
  return { ...header, kind: isDirectory ? AssetKind.DIRECTORY : AssetKind.FILE, digest };
}

/** Returns the request for one page of a listing. */
export function listRequest(prefix: string, options: ListOptions, pageToken: string): ListRequest {
  return create(ListRequestSchema, {
    namePrefix: prefix,
    scope: ListRequest_Scope[options.scope ?? "ALL"],
    latestOnly: options.latestOnly ?? false,
    view: options.full === true ? ListRequest_View.FULL : ListRequest_View.BASIC,
    pageSize: options.pageSize ?? 0,
    pageToken,
  });
}

/** Returns the request for one page of the files of a version. */
export function listFilesRequest(
  spec: string,
  options: ListFilesOptions,
  pageToken: string,
): ListFilesRequest {
  return create(ListFilesRequestSchema, {
    spec,
    freshness: Freshness[options.freshness ?? "UNSPECIFIED"],
    include: [...(options.include ?? [])],
    exclude: [...(options.exclude ?? [])],
    pageSize: options.pageSize ?? 0,
    pageToken,
  });
}

function lookup(options: LookupOptions): { freshness: Freshness; storeTimeout?: Duration } {
  const storeTimeout = duration(options.storeTimeoutMs);
  return {
    freshness: Freshness[options.freshness ?? "UNSPECIFIED"],
    ...(storeTimeout && { storeTimeout }),
  };
}

function duration(ms: number | undefined): Duration | undefined {
  return ms === undefined ? undefined : durationFromMs(ms);
}
