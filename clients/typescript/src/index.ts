/**
 * The TypeScript client of assetd: fetch and push model assets by name and version.
 *
 *     using client = new Client();
 *     await using model = await client.hold("nlp/ranker:1");
 *     load(model.path);
 *
 * The generated stubs are in `assetd/v1`, for use over `client.transport`.
 */
export type {
  Asset,
  AssetFile,
  AssetKind,
  AssetVersion,
  CacheState,
  FetchPhase,
  FetchProgress,
  Freshness,
  ListEntry,
  Presence,
  PushedVersion,
  PushPhase,
  PushProgress,
  Resolution,
  ResolvedVersion,
  Scope,
  Source,
  Verification,
} from "./asset.js";
export { Client } from "./client.js";
export type { CallOptions } from "./connection.js";
export type { OnFetchProgress } from "./course.js";
export { AssetdError, CallTimeoutError, DaemonUnavailableError } from "./errors.js";
export type { AnyReason, Code, ErrorFacts, Reason } from "./errors.js";
export { errorFrom } from "./failure.js";
export { HeldAsset } from "./hold.js";
export { Listing } from "./list.js";
export type { OnPushProgress } from "./meter.js";
export type {
  ClientOptions,
  FetchOptions,
  FoundPushOptions,
  ListFilesOptions,
  ListOptions,
  LookupOptions,
  PageOptions,
  PushOptions,
} from "./options.js";
export type { RetryPolicy } from "./retry.js";
