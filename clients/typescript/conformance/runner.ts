/**
 * Does what the conformance suite asks, on the public helper alone: one JSON object a line on
 * standard input and output. It knows nothing of what is expected.
 */
import { createInterface } from "node:readline";

import { AssetdError, Client } from "../src/index.js";
import type {
  Asset,
  AssetVersion,
  FetchOptions,
  HeldAsset,
  ListFilesOptions,
  ListOptions,
  LookupOptions,
  PushedVersion,
  PushOptions,
} from "../src/index.js";

/** A request of the suite; what is in it beside these depends on `do`. */
interface Request extends Readonly<Record<string, unknown>> {
  readonly id: string;
  readonly do: string;
  readonly of?: string;
}

interface Action {
  readonly controller: AbortController;
  held?: HeldAsset;
  done: Promise<void>;
}

type Fields = Readonly<Record<string, unknown>>;

class CancelledAction extends Error {}

const client = new Client();
const actions = new Map<string, Action>();

const DO: Readonly<Record<string, (request: Request, action: Action) => Promise<Fields>>> = {
  async resolve(request, { controller }) {
    const found = await client.resolve(text(request, "spec"), lookup(request, controller.signal));
    const { cacheState, resolution } = found;
    const { presence, path, relativePath } = cacheState;
    return { ...version(found), resolution, presence, path, relative_path: relativePath };
  },
  async fetch(request, { controller }) {
    const asset = await client.fetch(text(request, "spec"), fetchOptions(request, controller.signal));
    return fetched(asset);
  },
  async hold(request, action) {
    const options = fetchOptions(request, action.controller.signal);
    action.held = await client.hold(text(request, "spec"), options);
    return fetched(action.held.asset);
  },
  async push(request, { controller }) {
    const pushed = await push(request, pushOptions(request, controller.signal));
    const { alreadyExisted, pushId, labels } = pushed;
    return { ...version(pushed), already_existed: alreadyExisted, push_id: pushId, labels };
  },
  async list(request, { controller }) {
    const options = given<ListOptions>({
      scope: request["scope"],
      latestOnly: request["latest_only"],
      full: request["full"],
      pageSize: request["page_size"],
      timeoutMs: milliseconds(request["timeout"]),
      signal: controller.signal,
    });
    const listing = client.list((request["prefix"] as string | undefined) ?? "", options);
    return each(request, listing, (entry) => ({
      spec: `${entry.name}:${entry.version}`,
      presence: entry.cacheState.presence,
      size_bytes: known(entry.sizeBytes),
      digest: entry.digest,
      in_store: known(entry.inStore),
    }));
  },
  async list_files(request, { controller }) {
    const options = given<ListFilesOptions>({
      freshness: request["freshness"],
      include: request["include"],
      exclude: request["exclude"],
      pageSize: request["page_size"],
      timeoutMs: milliseconds(request["timeout"]),
      signal: controller.signal,
    });
    const listing = client.listFiles(text(request, "spec"), options);
    return each(request, listing, ({ path, sizeBytes, digest, cached }) => ({
      path,
      size_bytes: known(sizeBytes),
      digest,
      cached,
    }));
  },
};

function push(request: Request, options: PushOptions): Promise<PushedVersion> {
  const spec = text(request, "spec");
  const { staged, uri } = request;
  if (typeof staged === "string") return client.pushStaged(staged, spec, options);
  if (typeof uri === "string") return client.pushFrom(uri, spec, options);
  return client.push(text(request, "source"), spec, options);
}

async function each<Entry>(
  request: Request,
  listing: AsyncIterable<Entry>,
  shown: (entry: Entry) => Fields,
): Promise<Fields> {
  const limit = (request["limit"] as number | undefined) ?? Infinity;
  let count = 0;
  if (limit > 0) {
    for await (const entry of listing) {
      write({ id: request.id, entry: shown(entry) });
      count += 1;
      if (count >= limit) break;
    }
  }
  return { count };
}

function text(request: Request, name: string): string {
  const value = request[name];
  if (typeof value !== "string") throw new TypeError(`${request.do} needs the text ${name}`);
  return value;
}

/** Leaves out what is not given. The suite is trusted to give values of the right types. */
function given<Options>(values: Readonly<Record<string, unknown>>): Options {
  return Object.fromEntries(
    Object.entries(values).filter(([, value]) => value !== undefined && value !== null),
  ) as Options;
}

function milliseconds(seconds: unknown): number | undefined {
  return typeof seconds === "number" ? seconds * 1000 : undefined;
}

function lookup(request: Request, signal: AbortSignal): LookupOptions {
  return given({
    freshness: request["freshness"],
    storeTimeoutMs: milliseconds(request["store_timeout"]),
    timeoutMs: milliseconds(request["timeout"]),
    signal,
  });
}

function fetchOptions(request: Request, signal: AbortSignal): FetchOptions {
  const { id } = request;
  return {
    ...lookup(request, signal),
    ...given<FetchOptions>({
      include: request["include"],
      exclude: request["exclude"],
      partOnly: request["part_only"],
      verify: request["verify"],
      forceDownload: request["force_download"],
      expectedDigest: request["expected_digest"],
      progressIntervalMs: milliseconds(request["progress_interval"]),
    }),
    onProgress: ({ phase, presentBytes, totalBytes, attempt }) => {
      const total = known(totalBytes);
      write({ id, progress: { phase, present_bytes: presentBytes, total_bytes: total, attempt } });
    },
  };
}

function pushOptions(request: Request, signal: AbortSignal): PushOptions {
  const { id } = request;
  return {
    ...given<PushOptions>({
      bump: request["bump"],
      mode: request["mode"],
      labels: request["labels"],
      pushId: request["push_id"],
      validateOnly: request["validate_only"],
      exclude: request["exclude"],
      timeoutMs: milliseconds(request["timeout"]),
      signal,
    }),
    onProgress: ({ phase, receivedBytes, storedBytes, totalBytes }) => {
      const bytes = { received_bytes: receivedBytes, stored_bytes: storedBytes };
      write({ id, progress: { phase, ...bytes, total_bytes: totalBytes } });
    },
  };
}

function version({ name, version, kind, sizeBytes, digest }: AssetVersion): Fields {
  return { name, version, kind, size_bytes: known(sizeBytes), digest };
}

function fetched(asset: Asset): Fields {
  const { path, source, resolution, verification } = asset;
  return {
    ...version(asset),
    path,
    relative_path: asset.relativePath,
    source,
    resolution,
    verification,
    file_count: known(asset.fileCount),
    transferred_bytes: asset.transferredBytes,
    joined: asset.joined,
    reused_bytes: asset.reusedBytes,
  };
}

/** Returns null for what is not known: JSON leaves out what is undefined. */
function known<Value>(value: Value | undefined): Value | null {
  return value ?? null;
}

function shownError(thrown: unknown): Fields {
  if (thrown instanceof AssetdError) {
    const { code, message, metadata } = thrown;
    const reason = code === "DEADLINE_EXCEEDED" ? code : thrown.reason;
    return { reason, code, message, metadata };
  }
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  if (thrown instanceof CancelledAction) {
    return { reason: "CANCELLED", code: "CANCELLED", message, metadata: {} };
  }
  process.stderr.write(`${thrown instanceof Error ? thrown.stack : message}\n`);
  return { reason: "", code: "UNKNOWN", message, metadata: {} };
}

function write(line: Fields): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

async function perform(request: Request, action: Action): Promise<void> {
  const { id } = request;
  try {
    const run = DO[request.do];
    if (run === undefined) throw new TypeError(`there is no action ${request.do}`);
    write({ id, answer: await run(request, action) });
    const lost = await action.held?.ended;
    if (lost !== undefined) write({ id, lost: shownError(lost) });
    // Cancelled while it was held: releasing would have been silent.
    if (action.held !== undefined) action.controller.signal.throwIfAborted();
  } catch (thrown) {
    write({ id, error: shownError(thrown) });
  }
}

async function cancel(action: Action | undefined): Promise<void> {
  action?.controller.abort(new CancelledAction("cancelled"));
  await action?.held?.release();
}

function take(request: Request): void {
  const of = request.of === undefined ? undefined : actions.get(request.of);
  if (request.do === "cancel") {
    void cancel(of);
  } else if (request.do === "release") {
    void of?.held?.release();
  } else {
    const action: Action = { controller: new AbortController(), done: Promise.resolve() };
    actions.set(request.id, action);
    action.done = perform(request, action).finally(() => actions.delete(request.id));
  }
}

write({ ready: { language: "typescript", fast_path: false } });
for await (const line of createInterface({ input: process.stdin })) {
  if (line.trim() === "") continue;
  const request = JSON.parse(line) as Request;
  if (request.do === "close") break;
  take(request);
}
const left = [...actions.values()];
await Promise.all(left.map(cancel));
await Promise.all(left.map(({ done }) => done));
client.close();
// Standard input may be open still.
process.exitCode = 0;
process.stdin.destroy();
