/** A real daemon, and a scripted one for what a real one cannot be made to do. */
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:http2";
import type { Http2Server, ServerHttp2Session } from "node:http2";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { after } from "node:test";
import { fileURLToPath } from "node:url";

import type { MessageInitShape } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import type { HandlerContext, ServiceImpl } from "@connectrpc/connect";
import { connectNodeAdapter } from "@connectrpc/connect-node";

import { AssetKind } from "../src/gen/assetd/v1/asset_pb.js";
import { AssetService } from "../src/gen/assetd/v1/asset_service_pb.js";
import type { FetchRequest, FetchResponseSchema } from "../src/gen/assetd/v1/asset_service_pb.js";
import { ErrorInfoSchema, RetryInfoSchema } from "../src/gen/google/rpc/error_details_pb.js";

/** The root of the repository, from `build/test`. */
export const ROOT = resolve(fileURLToPath(import.meta.url), "../../../../..");

/** The folder of this package. */
export const PACKAGE = join(ROOT, "clients/typescript");

// Registered once, here: within a hook or a test, `after` would be about that.
const cleanups: (() => unknown)[] = [];
after(async () => {
  for (const cleanup of cleanups.reverse()) await cleanup();
});

/** Returns a folder that goes when the tests of the file are over. Short: sockets are in it. */
export async function temporaryFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "assetd-ts-"));
  cleanups.push(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/** The real daemon over a directory store, which can be stopped and started again. */
export class Daemon {
  readonly assetsDir: string;
  readonly address: string;
  #process: ChildProcess | undefined;

  private constructor(readonly folder: string) {
    this.assetsDir = join(folder, "assets");
    this.address = `unix://${join(folder, "run", "assetd.sock")}`;
  }

  /** Where the daemon may read what a URI names. */
  get sources(): string {
    return join(this.folder, "sources");
  }

  /** Starts one, which ends with the tests of the file. */
  static async start(): Promise<Daemon> {
    const daemon = new Daemon(await temporaryFolder());
    for (const name of ["assets", "store", "sources"]) await mkdir(join(daemon.folder, name));
    await mkdir(join(daemon.folder, "run"), { mode: 0o750 });
    cleanups.push(() => daemon.stop("SIGKILL"));
    await daemon.start();
    return daemon;
  }

  /** Starts it again where it was. */
  async start(): Promise<void> {
    const daemon = spawn(join(ROOT, ".venv/bin/python"), ["-m", "assetd_server"], {
      env: {
        PATH: process.env["PATH"],
        ASSETS_DIR: this.assetsDir,
        ASSETD_STORE: `file://${join(this.folder, "store")}`,
        ASSETD_LISTEN: this.address,
        ASSETD_PUSH_SOURCES: `file://${this.sources}`,
      },
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.#process = daemon;
    let log = "";
    daemon.stderr.on("data", (data: Buffer) => (log += data.toString()));
    // Its one line says that it listens.
    const ready = once(createInterface({ input: daemon.stdout }), "line");
    const died = once(daemon, "exit").then(() => {
      throw new Error(`the daemon did not start: ${log}`);
    });
    died.catch(() => undefined);
    await Promise.race([ready, died]);
  }

  /** Stops it and waits until it is gone. */
  async stop(signal: NodeJS.Signals): Promise<void> {
    const daemon = this.#process;
    if (daemon === undefined || daemon.exitCode !== null || daemon.signalCode !== null) return;
    const gone = once(daemon, "exit");
    daemon.kill(signal);
    await gone;
  }
}

/** An event of a fetch, as a script writes it. */
export type Event = NonNullable<MessageInitShape<typeof FetchResponseSchema>["event"]>;

/** What a scripted daemon does with one call of Fetch. */
export type Script = (context: HandlerContext, request: FetchRequest) => AsyncIterable<Event>;

/** An AssetService on a unix socket that plays one script a fetch, in their order. */
export class ScriptedDaemon {
  readonly requests: FetchRequest[] = [];
  readonly headers: Headers[] = [];
  /** Calls of Fetch that have begun and not ended. */
  open = 0;
  readonly #sessions = new Set<ServerHttp2Session>();
  readonly #server: Http2Server;

  private constructor(
    readonly address: string,
    private readonly scripts: Script[],
    rest: Partial<ServiceImpl<typeof AssetService>>,
  ) {
    const handler = connectNodeAdapter({
      routes: (router) =>
        router.service(AssetService, { fetch: (request, context) => this.#fetch(request, context), ...rest }),
    });
    this.#server = createServer(handler);
    this.#server.on("session", (session) => {
      this.#sessions.add(session);
      session.on("close", () => this.#sessions.delete(session));
    });
  }

  /** Starts one, which ends with the tests of the file. */
  static async start(
    scripts: Script[],
    rest: Partial<ServiceImpl<typeof AssetService>> = {},
  ): Promise<ScriptedDaemon> {
    const path = join(await temporaryFolder(), "assetd.sock");
    const daemon = new ScriptedDaemon(`unix://${path}`, scripts, rest);
    daemon.#server.listen(path);
    await once(daemon.#server, "listening");
    cleanups.push(() => daemon.stop());
    return daemon;
  }

  /** Cuts every connection, as a process that dies does. */
  cut(): void {
    for (const session of this.#sessions) session.destroy();
  }

  /** Ends it. */
  stop(): void {
    this.cut();
    this.#server.close();
  }

  /** Resolves once no Fetch is open: a call that leaks makes it wait for ever. */
  async quiet(): Promise<void> {
    while (this.open > 0) await new Promise((wake) => setTimeout(wake, 5));
  }

  async *#fetch(request: FetchRequest, context: HandlerContext) {
    this.requests.push(request);
    this.headers.push(context.requestHeader);
    this.open += 1;
    try {
      const script = this.scripts.shift();
      if (script === undefined) throw new ConnectError("no script for this call", Code.DataLoss);
      for await (const event of script(context, request)) yield { event };
    } finally {
      this.open -= 1;
    }
  }
}

/** The one asset of these scripts. */
const RANKER = {
  name: "nlp/ranker",
  version: "1.2",
  kind: AssetKind.FILE,
  sizeBytes: 100n,
  fileCount: 1,
};

/** The version is known. */
export function started(): Event {
  return { case: "started", value: { assetVersion: RANKER, totalBytes: 100n, totalFiles: 1 } };
}

/** So much is here. */
export function progressed(presentBytes: number, attempt = 0): Event {
  return { case: "progress", value: { presentBytes: BigInt(presentBytes), totalBytes: 100n, attempt } };
}

/** It is all here. */
export function completed(): Event {
  const where = { path: "/assets/nlp/ranker/1.2", relativePath: "nlp/ranker/1.2" };
  return { case: "completed", value: { ...where, assetVersion: RANKER, transferredBytes: 100n } };
}

/** Returns a script of these events, and then the error, if there is one. */
export function play(events: Event[], error?: ConnectError): Script {
  return async function* () {
    yield* await Promise.resolve(events);
    if (error !== undefined) throw error;
  };
}

/** Returns a script of these events, and then silence until the caller leaves. */
export function playAndWait(...events: Event[]): Script {
  return async function* ({ signal }) {
    yield* events;
    if (!signal.aborted) await once(signal, "abort");
  };
}

/** Returns an error as a daemon raises it. */
export function daemonError(
  code: Code,
  reason: string,
  metadata: Record<string, string> = {},
  retryAfterMs?: number,
): ConnectError {
  const info = { desc: ErrorInfoSchema, value: { reason, domain: "assetd.v1", metadata } };
  const nanos = (retryAfterMs ?? 0) * 1e6;
  const retry = { desc: RetryInfoSchema, value: { retryDelay: { seconds: 0n, nanos } } };
  const details = retryAfterMs === undefined ? [info] : [retry, info];
  return new ConnectError(`said ${reason}`, code, undefined, details);
}
