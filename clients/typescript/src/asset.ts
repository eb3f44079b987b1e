/**
 * What the helper itself hands out and takes: plain objects, sizes as numbers, times in
 * milliseconds, enum values by their names on the wire without the prefix. A value of a newer
 * daemon is `UNSPECIFIED`. Knows neither gRPC nor the messages: `convert.ts` fills these.
 */
import type * as wire from "./gen/assetd/v1/asset_pb.js";

/** Whether a version is one file or a directory of them. */
export type AssetKind = keyof typeof wire.AssetKind;

/** How the version that a spec stands for was found. */
export type Resolution = keyof typeof wire.Resolution;

/** Where the bytes came from that were missing here; `CACHE`: none were. */
export type Source = keyof typeof wire.Source;

/** What the files were compared with before they were shown. */
export type Verification = keyof typeof wire.Verification;

/** What a fetch is doing. */
export type FetchPhase = keyof typeof wire.FetchPhase;

/** What this node holds of a version. */
export type Presence = keyof typeof wire.CacheState_Presence;

/**
 * Who decides which version an unpinned spec (`name`, `name:1`) stands for: the store, and the call
 * fails when it does not answer; the store or else the cache; the cache alone.
 */
export type Freshness = Exclude<keyof typeof wire.Freshness, "UNSPECIFIED">;

/** Where a listing looks: in the store and in the cache, as far as they can be asked, or in one. */
export type Scope = "ALL" | "STORE" | "CACHE";

/** What a push is doing, in this order; sending and storing may go on at once. */
export type PushPhase = "HASHING" | "SENDING" | "STORING" | "COMMITTING";

/** One version of an asset; it never changes. */
export interface AssetVersion {
  /** The asset's name. */
  readonly name: string;
  /** The version in full, such as `1.2`. */
  readonly version: string;
  /** Whether it is one file or a directory; `UNSPECIFIED` when not known. */
  readonly kind: AssetKind;
  /** The sizes of all its files added up; undefined when not known. */
  readonly sizeBytes: number | undefined;
  /** How many files it holds; undefined when not known. */
  readonly fileCount: number | undefined;
  /** `sha256:...`, the version's identity; empty when not known, as when modelkit pushed it. */
  readonly digest: string;
  /** When it was pushed, by the store's clock; undefined when not known. */
  readonly pushTime: Date | undefined;
  /** What its push kept with it. */
  readonly labels: Readonly<Record<string, string>>;
  /** Who the store says created it. */
  readonly pushedBy: string;
}

/** What this node's cache holds of a version. */
export interface CacheState {
  /** None of it, some, or all. */
  readonly presence: Presence;
  /** Where it is or would be, below ASSETS_DIR. */
  readonly relativePath: string;
  /** The same as the daemon sees it; empty unless it is present. */
  readonly path: string;
  /** What it takes on the disk. */
  readonly diskBytes: number;
  /** When it was last used; undefined when not known. */
  readonly lastUsedTime: Date | undefined;
  /** Whether it is kept until somebody undoes that. */
  readonly pinned: boolean;
  /** Whether somebody holds it. */
  readonly leased: boolean;
  /** How many hold it over the API. */
  readonly holdCount: number;
}

/** What a spec stands for now. */
export interface ResolvedVersion extends AssetVersion {
  /** How the version was found. */
  readonly resolution: Resolution;
  /** What this node holds of it. */
  readonly cacheState: CacheState;
}

/** A version that is present on this node: whole, verified, durable. Read it, never write to it. */
export interface Asset extends AssetVersion {
  /**
   * The absolute path of the version, or of the part that the spec names. As the daemon sees it, or
   * where that is not visible here, below the client's `assetsDir`.
   */
  readonly path: string;
  /** The same below ASSETS_DIR, for programs that mount ASSETS_DIR elsewhere. */
  readonly relativePath: string;
  /** How the version was found. */
  readonly resolution: Resolution;
  /** Where the missing bytes came from. */
  readonly source: Source;
  /** What the files were compared with. */
  readonly verification: Verification;
  /** Bytes that this fetch took from the source; 0 on a hit. */
  readonly transferredBytes: number;
  /** It shared the download of a caller who had come before. */
  readonly joined: boolean;
  /** Bytes that were here already. */
  readonly reusedBytes: number;
  /** How long the daemon took. */
  readonly elapsedMs: number;
}

/** How far a fetch is. Within one `attempt` no figure falls. */
export interface FetchProgress {
  /** What is being done. */
  readonly phase: FetchPhase;
  /** Bytes that are here. */
  readonly presentBytes: number;
  /** Bytes that are wanted; undefined until that is known. */
  readonly totalBytes: number | undefined;
  /** Files that are here. */
  readonly presentFiles: number;
  /** Files that are wanted; undefined until that is known. */
  readonly totalFiles: number | undefined;
  /** How fast bytes come. */
  readonly bytesPerSecond: number;
  /** How long it may still take; undefined when nothing can be said. */
  readonly etaMs: number | undefined;
  /** How long nothing has come; undefined when nothing is awaited. */
  readonly sinceLastByteMs: number | undefined;
  /** Rises whenever the fetch begins anew, also with another daemon after a cut. */
  readonly attempt: number;
}

/** How far a push is. No figure ever falls. */
export interface PushProgress {
  /** What is being done. */
  readonly phase: PushPhase;
  /** Bytes that are done in this phase. */
  readonly doneBytes: number;
  /** Bytes that have been sent, or need not be, since the store has them. */
  readonly receivedBytes: number;
  /** Bytes that are in the store. */
  readonly storedBytes: number;
  /** The sizes of all files added up; undefined until it is known what the daemon is to find. */
  readonly totalBytes: number | undefined;
}

/** The version that a push created. */
export interface PushedVersion extends AssetVersion {
  /**
   * It was there before this push: somebody else had pushed the same. Nothing was changed. A
   * repeat under one `pushId` gets the answer of the first try.
   */
  readonly alreadyExisted: boolean;
  /** Under what name the push can be repeated. */
  readonly pushId: string;
}

/** A version in a listing. */
export interface ListEntry extends AssetVersion {
  /** What this node holds of it. */
  readonly cacheState: CacheState;
  /** Whether the store has it; undefined where the store was not asked. */
  readonly inStore: boolean | undefined;
}

/** A file of a version. */
export interface AssetFile {
  /** Its path inside the version; empty for a file asset. */
  readonly path: string;
  /** Its size; undefined when not known. */
  readonly sizeBytes: number | undefined;
  /** `sha256:...`; empty when not known. */
  readonly digest: string;
  /** Whether it is on this node. */
  readonly cached: boolean;
}
