/** The client: one object for one daemon, with a method for each thing it does. */
import { basename, isAbsolute, join, relative } from "node:path";

import type { Transport } from "@connectrpc/connect";

import { findAddress, findAssetsDir } from "./address.js";
import type {
  Asset,
  AssetFile,
  ListEntry,
  PushedVersion,
  ResolvedVersion,
} from "./asset.js";
import { Connection } from "./connection.js";
import type { Call } from "./connection.js";
import { Content, FOUND_BY_THE_DAEMON, hashSource } from "./content.js";
import * as convert from "./convert.js";
import { invalidField } from "./errors.js";
import { runFetch } from "./fetch.js";
import { Globs } from "./globs.js";
import { HeldAsset } from "./hold.js";
import { Listing } from "./list.js";
import { PushMeter } from "./meter.js";
import type {
  ClientOptions,
  FetchOptions,
  FoundPushOptions,
  ListFilesOptions,
  ListOptions,
  LookupOptions,
  PushOptions,
} from "./options.js";
import { Push } from "./push.js";
import type { Header } from "./push.js";
import * as request from "./request.js";
import { DEFAULT_RETRY, REAL_SEAMS } from "./retry.js";
import type { Seams } from "./retry.js";
import { listSource } from "./source.js";

// Below ASSETS_DIR.
const STAGED_FOLDER = ".assetd/push";

/**
 * Talks to the assetd daemon of this node. One is enough for a program.
 *
 * A call whose failure may pass is repeated with growing pauses: `RetryPolicy` says which failures
 * do; every other one rejects at once, with an `AssetdError`. Every method takes a `signal`, which ends
 * the call and rejects with its reason, and `timeoutMs` for the whole call with its repeats; of a
 * listing, for each page.
 *
 * Nothing is dialled before the first call. A connection without calls and holds does not keep the
 * process alive.
 */
export class Client implements Disposable {
  readonly #connection: Connection;
  readonly #caller: string;
  readonly #assetsDir: string | undefined;

  /**
   * Remembers where the daemon is. `seams` are for tests.
   *
   * @throws TypeError if the address is none, or there is no default.
   */
  constructor(options: ClientOptions = {}, seams: Seams = REAL_SEAMS) {
    const address = findAddress(options.address, options.tls !== undefined);
    const retry = { ...DEFAULT_RETRY, ...options.retry };
    this.#connection = new Connection(address, retry, seams, options.tls);
    this.#caller = options.caller ?? `${basename(process.argv[1] ?? "node")}[${process.pid}]`;
    this.#assetsDir = findAssetsDir(options.assetsDir);
  }

  /** Where the daemon is looked for. */
  get address(): string {
    return this.#connection.address.target;
  }

  /**
   * The connection itself, for the stubs of `assetd/v1`: `createClient(CacheService,
   * client.transport)`. Their calls are not repeated, carry no trace headers, and fail with what
   * `errorFrom` reads. They end with the client.
   */
  get transport(): Transport {
    return this.#connection.transport;
  }

  /**
   * Makes a version present on this node, and resolves to where it is.
   *
   * Idempotent. All who fetch one version at a time share one download. If the stream is cut, it is
   * joined again, for the version that it had begun with. If this rejects, the call is over; the
   * download goes on only while somebody else waits for it. Without a hold the cache may evict the
   * version when it needs the room, though not right after.
   *
   * @param spec `name[:version][[sub/part]]`; without a version the newest one, with `:1` the newest
   *   1.x. With a part the path points at it; all of the version is fetched.
   * @throws AssetdError `ASSET_NOT_FOUND`, `VERSION_NOT_FOUND`, `PART_NOT_FOUND`: there is no such
   *   thing. `STORE_UNAVAILABLE`: the store does not answer the daemon. `CACHE_FULL`, `DISK_FULL`:
   *   there is no room. `DIGEST_MISMATCH`: what arrived is not what it should be, and nothing was
   *   published. `DaemonUnavailableError`: no daemon answers. `CallTimeoutError`: `timeoutMs` has
   *   passed. Or any other reason of the contract.
   */
  async fetch(spec: string, options: FetchOptions = {}): Promise<Asset> {
    const wanted = request.fetchRequest(spec, options, this.#caller, false);
    return this.#connection.during(options, async (call) => {
      const { started, completed } = await this.#run(wanted, call, options);
      return convert.asset(started, completed, this.#assetsDir);
    });
  }

  /**
   * As `fetch`, and keeps the version from being evicted until the scope ends:
   * `await using held = await client.hold(spec)`, or `held.release()` in a `finally`.
   *
   * `signal` and `timeoutMs` limit the fetch, not the hold. A hold keeps the process alive.
   *
   * @throws AssetdError as `fetch`.
   */
  async hold(spec: string, options: FetchOptions = {}): Promise<HeldAsset> {
    const wanted = request.fetchRequest(spec, options, this.#caller, true);
    return this.#connection.during(options, async (call) => {
      const fetched = await this.#run(wanted, call, options);
      const asset = convert.asset(fetched.started, fetched.completed, this.#assetsDir);
      return new HeldAsset(this.#connection, fetched, asset);
    });
  }

  /**
   * Tells which version a spec stands for now, how that was found, and what the cache holds of it.
   * Changes nothing: without a hold the version may be evicted right after.
   *
   * @throws AssetdError `ASSET_NOT_FOUND`, `VERSION_NOT_FOUND`, `NOT_CACHED`: there is no such
   *   version. `STORE_UNAVAILABLE`, `DaemonUnavailableError`, `CallTimeoutError` as `fetch`. Or any
   *   other reason of the contract.
   */
  async resolve(spec: string, options: LookupOptions = {}): Promise<ResolvedVersion> {
    const wanted = request.resolveRequest(spec, options);
    const { assets } = this.#connection;
    const answer = await this.#connection.ask(options, (sent) =>
      assets.resolveVersion(wanted, sent),
    );
    return convert.resolvedVersion(answer);
  }

  /**
   * Creates one new version of an asset from a file or folder, and resolves to the version.
   *
   * All or nothing: when this resolves, the version is durable and listed; when it rejects, nothing
   * was created, unless the daemon was already committing. The source is read twice, once to hash it
   * and once for what the store lacks, and must not change meanwhile. A cut push is continued where
   * it was.
   *
   * @param source a plain file, or a folder of plain files and folders.
   * @param spec `name` for the next version, `name:1` for the next 1.x, `name:1.2` for exactly that.
   * @throws AssetdError `UNSUPPORTED_FILE`: the source holds a symlink, hard link, device, FIFO or
   *   socket. `INVALID_PART`: it holds an empty folder, a name that is not UTF-8, or nothing that is
   *   not excluded. `SOURCE_CHANGED`: it changed meanwhile. `VERSION_EXISTS`: the version exists
   *   with other content. `ASSET_EXISTS`, `ASSET_NOT_FOUND`: what `mode` demands is not so.
   *   `PUSH_IN_PROGRESS`: somebody else is pushing this version. Or any other reason of the contract.
   * @throws Error of Node if the source cannot be read.
   */
  async push(source: string, spec: string, options: PushOptions = {}): Promise<PushedVersion> {
    const header = request.pushHeader(spec, options);
    return this.#connection.during(options, async (call) => {
      const listed = await listSource(source, new Globs(options.exclude));
      const meter = new PushMeter(listed.totalBytes, options.onProgress);
      const digests = await hashSource(listed, (hashedBytes) => {
        call.signal.throwIfAborted();
        meter.hashed(hashedBytes);
      });
      const content = new Content(listed, digests, options.validateOnly !== true);
      const full = request.withContent(header, listed.isDirectory, digests.digest);
      const completed = await new Push(this.#connection, full, content, meter).run(call);
      return convert.pushedVersion(completed, header.pushId);
    });
  }

  /**
   * Creates one new version from what lies below `ASSETS_DIR/.assetd/push` on the node.
   *
   * No byte travels to the daemon: it reads the file or folder where it lies, which must not change
   * until the push has ended. All else is as for `push`, but that nothing can be excluded.
   *
   * @param path relative to that folder, or absolute and below it, as the daemon or this client's
   *   `assetsDir` has it.
   * @throws AssetdError `INVALID_FIELD`: the path is absolute and not below that folder, nothing lies
   *   there, or something is to be excluded. `SOURCE_NOT_ALLOWED`: it leads elsewhere. Or any other reason of `push`.
   */
  async pushStaged(
    path: string,
    spec: string,
    options: FoundPushOptions = {},
  ): Promise<PushedVersion> {
    request.refuseExclude(options);
    const header = request.pushHeader(spec, options);
    return this.#connection.during(options, async (call) => {
      const value = await this.#belowStaged(path, call.signal);
      return this.#pushFound({ ...header, content: { case: "stagedPath", value } }, options, call);
    });
  }

  /**
   * Creates one new version from where a URI points, which the daemon reads: no byte comes from
   * here. All else is as for `pushStaged`.
   *
   * @param uri `s3://...` or `file://...`, among those that the daemon's operator allows.
   * @throws AssetdError `SOURCE_NOT_ALLOWED`: the operator does not allow it. Or any other reason of
   *   `push`.
   */
  async pushFrom(uri: string, spec: string, options: FoundPushOptions = {}): Promise<PushedVersion> {
    request.refuseExclude(options);
    const header = request.pushHeader(spec, options);
    return this.#connection.during(options, (call) =>
      this.#pushFound({ ...header, content: { case: "sourceUri", value: uri } }, options, call),
    );
  }

  /**
   * Gives the versions of all assets whose names begin with `prefix`, ordered by name, then newest
   * first. `nlp/` lists that folder, `nlp/ra` also `nlp/ranker`.
   *
   * Iterating throws an `AssetdError` if a page could not be had: `STORE_UNAVAILABLE` for the scope
   * `STORE` only.
   */
  list(prefix = "", options: ListOptions = {}): Listing<ListEntry> {
    const { assets } = this.#connection;
    return new Listing(async (pageToken) => {
      const wanted = request.listRequest(prefix, options, pageToken);
      const page = await this.#connection.ask(options, (sent) => assets.list(wanted, sent));
      return {
        entries: page.entries.map(convert.listEntry),
        nextPageToken: page.nextPageToken,
        unreachable: page.unreachable.map(convert.source),
      };
    });
  }

  /**
   * Gives the files of one version in bytewise order of their paths. The version need not be in the
   * cache. All pages are about the version of the first. A part in the spec narrows the answer to
   * what is at or below it.
   *
   * Iterating throws an `AssetdError` if a page could not be had, as `resolve` does.
   */
  listFiles(spec: string, options: ListFilesOptions = {}): Listing<AssetFile> {
    const { assets } = this.#connection;
    return new Listing(async (pageToken) => {
      const wanted = request.listFilesRequest(spec, options, pageToken);
      const page = await this.#connection.ask(options, (sent) => assets.listFiles(wanted, sent));
      const { nextPageToken } = page;
      return { entries: page.files.map(convert.assetFile), nextPageToken, unreachable: [] };
    });
  }

  /** Ends all holds and calls, and the connection; idempotent. Later calls reject. */
  close(): void {
    this.#connection.close();
  }

  /** As `close`, at the end of a `using`. */
  [Symbol.dispose](): void {
    this.close();
  }

  async #pushFound(header: Header, options: FoundPushOptions, call: Call): Promise<PushedVersion> {
    const meter = new PushMeter(undefined, options.onProgress);
    const push = new Push(this.#connection, header, FOUND_BY_THE_DAEMON, meter);
    return convert.pushedVersion(await push.run(call), header.pushId);
  }

  /** Returns the path below the folder of what is staged. */
  async #belowStaged(path: string, signal: AbortSignal): Promise<string> {
    if (!isAbsolute(path)) return path;
    const ours = this.#assetsDir && below(join(this.#assetsDir, STAGED_FOLDER), path);
    if (ours !== undefined && ours !== "") return ours;
    const { cache } = this.#connection;
    const status = await this.#connection.ask({ signal }, (sent) => cache.getCacheStatus({}, sent));
    const folder = join(status.assetsDir, STAGED_FOLDER);
    const found = below(folder, path);
    if (found !== undefined) return found;
    const message = `${path} is not below ${folder}, where the daemon looks for it`;
    throw invalidField(message, "header.staged_path", { staged_path: path });
  }

  #run(wanted: Parameters<typeof runFetch>[1], call: Call, options: FetchOptions) {
    return runFetch(this.#connection, wanted, call, options.onProgress);
  }
}

/** Returns the path relative to a folder that it lies below; undefined elsewhere. */
function below(folder: string, path: string): string | undefined {
  const found = relative(folder, path);
  return found === "" || found === ".." || found.startsWith("../") ? undefined : found;
}
