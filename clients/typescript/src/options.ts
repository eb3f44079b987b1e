/** What a client and its calls are told. */
import type { SecureClientSessionOptions } from "node:http2";

import type { Freshness, Scope } from "./asset.js";
import type { CallOptions } from "./connection.js";
import type { OnFetchProgress } from "./course.js";
import type { OnPushProgress } from "./meter.js";
import type { RetryPolicy } from "./retry.js";

/** What a client is told. */
export interface ClientOptions {
  /**
   * `unix:///path` or `host:port`; beyond loopback with `tls` only. By default that of the
   * environment variable ASSETD_ADDRESS, else `unix:///run/assetd/assetd.sock` for root, and
   * `assetd/assetd.sock` below XDG_RUNTIME_DIR for everybody else.
   */
  readonly address?: string | undefined;
  /**
   * Who is asking, such as `ranker-server`, for the daemon's logs and status. By default the
   * program's name and process id.
   */
  readonly caller?: string | undefined;
  /** How patient to be with failures that may pass; what is left out keeps its default. */
  readonly retry?: Partial<RetryPolicy> | undefined;
  /**
   * Where this process sees the daemon's ASSETS_DIR, for paths of a daemon that has it elsewhere. By
   * default what the environment variable ASSETS_DIR says, else MODELKIT_ASSETS_DIR. A relative one is
   * below the directory that the program is in when it makes the client.
   */
  readonly assetsDir?: string | undefined;
  /** Talks TLS to a `host:port`: `ca`, `cert`, `key` and the rest of Node's `tls.connect`. */
  readonly tls?: SecureClientSessionOptions | undefined;
}

/** How a spec is looked up. */
export interface LookupOptions extends CallOptions {
  /** Who decides what an unpinned spec stands for; by default the daemon's operator did. */
  readonly freshness?: Freshness | undefined;
  /** Milliseconds that the store may take to say what the spec stands for. */
  readonly storeTimeoutMs?: number | undefined;
}

/** How a version is fetched. */
export interface FetchOptions extends LookupOptions {
  /**
   * Globs of the files that are wanted: `*` stops at `/`, `**` does not. The path is then that of a
   * partial version, apart from the whole one.
   */
  readonly include?: readonly string[] | undefined;
  /** Globs of files that are not wanted; they win over `include`. */
  readonly exclude?: readonly string[] | undefined;
  /** Fetch nothing but the part that the spec names. */
  readonly partOnly?: boolean | undefined;
  /** Hash every file, also on a hit. */
  readonly verify?: boolean | undefined;
  /** Download the version even if it is present. */
  readonly forceDownload?: boolean | undefined;
  /** The `sha256:...` that the version must have. */
  readonly expectedDigest?: string | undefined;
  /** Milliseconds between two reports, 50 to 5,000; by default 500. */
  readonly progressIntervalMs?: number | undefined;
  /**
   * Gets how far the download is; a hit has no progress. Called one at a time, never after the fetch
   * has settled. What it throws ends the fetch.
   */
  readonly onProgress?: OnFetchProgress | undefined;
}

/** How a version is pushed. */
export interface PushOptions extends CallOptions {
  /** Which number to raise, for a spec without a version; by default the minor one. */
  readonly bump?: "MINOR" | "MAJOR" | undefined;
  /** `NEW`: the asset must not exist yet; `UPDATE`: it must. */
  readonly mode?: "NEW" | "UPDATE" | undefined;
  /** Free keys and values, kept with the version for ever. */
  readonly labels?: Readonly<Record<string, string>> | undefined;
  /**
   * Globs of files in the folder that are not pushed. What they match is not looked at, whatever it
   * is; nor is a folder of which `folder/**` leaves nothing.
   */
  readonly exclude?: readonly string[] | undefined;
  /** Check all that can be checked, and create nothing. */
  readonly validateOnly?: boolean | undefined;
  /**
   * The UUID4 of this push, in its canonical form; by default a new one. Another call with the same
   * one, after whatever failure, continues this push or returns its answer.
   */
  readonly pushId?: string | undefined;
  /** Gets how far the push is, hashing included. What it throws ends the push. */
  readonly onProgress?: OnPushProgress | undefined;
}

/** How a version is pushed of what the daemon finds by itself: all that lies there. */
export type FoundPushOptions = Omit<PushOptions, "exclude">;

/** How pages are asked for: `signal` for the whole listing, `timeoutMs` for each page. */
export interface PageOptions extends CallOptions {
  /** Entries of a page, at most 1,000; 0, the default, means 100. */
  readonly pageSize?: number | undefined;
}

/** How versions are listed. */
export interface ListOptions extends PageOptions {
  /**
   * `ALL`, the default, asks store and cache, and names what could not be asked in `unreachable`;
   * `STORE` fails instead; `CACHE` asks the cache alone.
   */
  readonly scope?: Scope | undefined;
  /** Only the newest version of each asset. */
  readonly latestOnly?: boolean | undefined;
  /** Size, digest and date of each version too, which reads one manifest a version. */
  readonly full?: boolean | undefined;
}

/** How the files of a version are listed. */
export interface ListFilesOptions extends PageOptions {
  /** As for a fetch. */
  readonly freshness?: Freshness | undefined;
  /** As for a fetch. */
  readonly include?: readonly string[] | undefined;
  /** As for a fetch. */
  readonly exclude?: readonly string[] | undefined;
}
