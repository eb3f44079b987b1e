/** Messages of the contract -> what the helper hands out. Knows no call. */
import { existsSync } from "node:fs";
import { join } from "node:path";

import { durationMs, timestampDate } from "@bufbuild/protobuf/wkt";

import type * as plain from "./asset.js";
import * as wire from "./gen/assetd/v1/asset_pb.js";
import type {
  FetchCompleted,
  FetchStarted,
  PushCompleted,
  ListFilesResponse_Entry,
  ListResponse_Entry,
  ResolveVersionResponse,
} from "./gen/assetd/v1/asset_service_pb.js";

/** Returns a version; one that is missing in a message is all unknown. */
export function assetVersion(message: wire.AssetVersion | undefined): plain.AssetVersion {
  return {
    name: message?.name ?? "",
    version: message?.version ?? "",
    kind: nameOf(wire.AssetKind, message?.kind),
    sizeBytes: size(message?.sizeBytes),
    fileCount: message?.fileCount,
    digest: message?.digest ?? "",
    pushTime: message?.pushTime && timestampDate(message.pushTime),
    labels: { ...message?.labels },
    pushedBy: message?.pushedBy ?? "",
  };
}

/** Returns what the cache holds. */
export function cacheState(message: wire.CacheState | undefined): plain.CacheState {
  return {
    presence: nameOf(wire.CacheState_Presence, message?.presence),
    relativePath: message?.relativePath ?? "",
    path: message?.path ?? "",
    diskBytes: Number(message?.diskBytes ?? 0),
    lastUsedTime: message?.lastUsedTime && timestampDate(message.lastUsedTime),
    pinned: message?.pinned ?? false,
    leased: message?.leased ?? false,
    holdCount: message?.holdCount ?? 0,
  };
}

/** Returns what a spec stands for. */
export function resolvedVersion(message: ResolveVersionResponse): plain.ResolvedVersion {
  return {
    ...assetVersion(message.assetVersion),
    resolution: nameOf(wire.Resolution, message.resolution),
    cacheState: cacheState(message.cacheState),
  };
}

/** Returns what a push created. */
export function pushedVersion(completed: PushCompleted, pushId: string): plain.PushedVersion {
  const { alreadyExisted } = completed;
  return { ...assetVersion(completed.assetVersion), alreadyExisted, pushId };
}

/** Returns what a fetch brought; its path is as this process sees it. */
export function asset(
  started: FetchStarted,
  completed: FetchCompleted,
  assetsDir: string | undefined,
): plain.Asset {
  return {
    ...assetVersion(completed.assetVersion),
    path: visible(completed, assetsDir),
    relativePath: completed.relativePath,
    resolution: nameOf(wire.Resolution, started.resolution),
    source: nameOf(wire.Source, completed.source),
    verification: nameOf(wire.Verification, completed.verification),
    transferredBytes: Number(completed.transferredBytes),
    joined: started.joined,
    reusedBytes: Number(completed.reusedBytes),
    elapsedMs: completed.elapsed ? durationMs(completed.elapsed) : 0,
  };
}

/** Returns how far a fetch is. */
export function fetchProgress(message: wire.FetchProgress): plain.FetchProgress {
  return {
    phase: nameOf(wire.FetchPhase, message.phase),
    presentBytes: Number(message.presentBytes),
    totalBytes: size(message.totalBytes),
    presentFiles: message.presentFiles,
    totalFiles: message.totalFiles,
    bytesPerSecond: Number(message.bytesPerSecond),
    etaMs: message.eta && durationMs(message.eta),
    sinceLastByteMs: message.sinceLastByte && durationMs(message.sinceLastByte),
    attempt: message.attempt,
  };
}

/** Returns a version of a listing. */
export function listEntry(message: ListResponse_Entry): plain.ListEntry {
  return {
    ...assetVersion(message.assetVersion),
    cacheState: cacheState(message.cacheState),
    inStore: message.inStore,
  };
}

/** Returns a file of a version. */
export function assetFile(message: ListFilesResponse_Entry): plain.AssetFile {
  return {
    path: message.file?.path ?? "",
    sizeBytes: size(message.file?.sizeBytes),
    digest: message.file?.digest ?? "",
    cached: message.cached,
  };
}

/** Returns where the bytes came from. */
export function source(number: wire.Source): plain.Source {
  return nameOf(wire.Source, number);
}

/** Returns the name of an enum's value; a newer daemon may send a number that has none here. */
function nameOf<Name extends string>(
  names: Record<Name, number | string> & Record<number, string>,
  number: number | undefined,
): Name {
  return (names[number ?? 0] ?? names[0]) as Name;
}

// Exact up to 9 PB.
function size(bytes: bigint | undefined): number | undefined {
  return bytes === undefined ? undefined : Number(bytes);
}

/** Returns the daemon's path, or that below our own ASSETS_DIR, where only that one exists. */
function visible(completed: FetchCompleted, assetsDir: string | undefined): string {
  if (assetsDir === undefined || existsSync(completed.path)) return completed.path;
  const mountedElsewhere = join(assetsDir, completed.relativePath);
  return existsSync(mountedElsewhere) ? mountedElsewhere : completed.path;
}
