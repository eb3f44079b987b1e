/** The connection to one daemon, and what every call on it carries. */
import { setMaxListeners } from "node:events";
import { createConnection } from "node:net";
import type { SecureClientSessionOptions } from "node:http2";

import { createClient } from "@connectrpc/connect";
import type {
  CallOptions as ConnectOptions,
  Client as ConnectClient,
  Transport,
} from "@connectrpc/connect";
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";

import type { Address } from "./address.js";
import { AssetdError } from "./errors.js";
import { errorFrom } from "./failure.js";
import { AssetService } from "./gen/assetd/v1/asset_service_pb.js";
import { CacheService } from "./gen/assetd/v1/cache_service_pb.js";
import { Deadline, Retry } from "./retry.js";
import type { RetryPolicy, Seams } from "./retry.js";
import { traceHeaders } from "./trace.js";
import { LONGEST_TIMER_MS } from "./watchdog.js";

// A hold is silent by design. These notice a daemon that is frozen, or out of reach, and the hold
// is then taken again. The daemon allows a ping every 5 s.
const KEEPALIVE = { pingIntervalMs: 30_000, pingTimeoutMs: 20_000 };

/** What may end a call early. */
export interface CallOptions {
  /** Ends the call, which then rejects with the signal's reason, and leaves nothing behind. */
  readonly signal?: AbortSignal | undefined;
  /** Milliseconds for the whole call with its repeats; by default as long as it takes. */
  readonly timeoutMs?: number | undefined;
}

/** An AbortController that aborts with its parents, and at the end lets go of them. */
export class Cancellation {
  readonly #controller = new AbortController();
  readonly #parents: readonly AbortSignal[];
  readonly #onAbort = (event: Event): void => {
    this.abort((event.target as AbortSignal).reason);
  };

  /** Not `AbortSignal.any`: on a parent that lives long, what that makes piles up. */
  constructor(...parents: (AbortSignal | undefined)[]) {
    this.#parents = parents.filter((parent) => parent !== undefined);
    for (const parent of this.#parents) {
      // One signal may be that of many calls; none of these listeners outlives its call.
      setMaxListeners(0, parent);
      if (parent.aborted) this.abort(parent.reason);
      else parent.addEventListener("abort", this.#onAbort);
    }
  }

  /** Aborts with this, or with the first of the parents. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Aborts, unless that has happened. */
  abort(reason?: unknown): void {
    this.#controller.abort(reason);
    this.detach();
  }

  /** No longer aborts with the parents. */
  detach(): void {
    for (const parent of this.#parents) parent.removeEventListener("abort", this.#onAbort);
  }
}

/** A stream that was cut, for the reason in `error`. Told apart from what callbacks throw. */
export class CutError extends Error {
  /** Wraps the failure. */
  constructor(readonly error: AssetdError) {
    super(error.message);
  }
}

/** One streamed answer. It is over when `next` gave undefined or threw, or after `cancel`. */
export class Stream<Message> {
  readonly #iterator: AsyncIterator<Message>;

  /** Owns the cancellation, which leaving the loop would not do: connect's `break` cancels nothing. */
  constructor(
    messages: AsyncIterable<Message>,
    private readonly cancellation: Cancellation,
    private readonly address: Address,
  ) {
    this.#iterator = messages[Symbol.asyncIterator]();
  }

  /**
   * Returns the next message; undefined at the end of a call that succeeded.
   *
   * @throws CutError if the call failed, or was cancelled.
   */
  async next(): Promise<Message | undefined> {
    try {
      const result = await this.#iterator.next();
      return result.done === true ? undefined : result.value;
    } catch (thrown) {
      throw new CutError(errorFrom(thrown, this.address.target));
    }
  }

  /** Reads to the end, whatever that is. */
  async drain(): Promise<void> {
    try {
      while ((await this.next()) !== undefined);
    } catch (cut) {
      if (!(cut instanceof CutError)) throw cut;
    }
  }

  /** Ends the call, if it has not ended. */
  cancel(): void {
    this.cancellation.abort();
  }
}

/** One call of the helper, over all its repeats. */
export interface Call {
  readonly deadline: Deadline;
  readonly retry: Retry;
  /** Aborts with the caller's signal, at the deadline, and with the client. */
  readonly signal: AbortSignal;
}

/** Sessions over a socket, which has no port to name: Node's own `:authority` ends with one. */
class SocketSessions extends Http2SessionManager {
  override request(
    ...[method, path, headers, options]: Parameters<Http2SessionManager["request"]>
  ): ReturnType<Http2SessionManager["request"]> {
    return super.request(method, path, { ...headers, ":authority": "localhost" }, options);
  }
}

/** The connection of one client; it is dialled by its first call, and again when it was lost. */
export class Connection {
  /** The stubs. */
  readonly assets: ConnectClient<typeof AssetService>;
  readonly cache: ConnectClient<typeof CacheService>;
  /** What stubs are made with. */
  readonly transport: Transport;
  readonly #sessions: Http2SessionManager;
  readonly #closing = new AbortController();

  /** Dials nothing yet. */
  constructor(
    readonly address: Address,
    readonly policy: RetryPolicy,
    readonly seams: Seams,
    tls: SecureClientSessionOptions | undefined,
  ) {
    const { baseUrl, socketPath: path } = address;
    this.#sessions =
      path === undefined
        ? new Http2SessionManager(baseUrl, KEEPALIVE, tls)
        : new SocketSessions(baseUrl, KEEPALIVE, { createConnection: () => createConnection({ path }) });
    this.transport = createGrpcTransport({
      baseUrl,
      sessionManager: this.#sessions,
      // On one node there is nothing to gain, and a listing costs the daemon time.
      acceptCompression: [],
      // Else a stub that outlives the client would have it dial again.
      interceptors: [
        (next) => (request) => {
          this.#refuseIfClosed();
          return next(request);
        },
      ],
    });
    this.assets = createClient(AssetService, this.transport);
    this.cache = createClient(CacheService, this.transport);
  }

  /** Aborts when the client is closed. */
  get closing(): AbortSignal {
    return this.#closing.signal;
  }

  /** Ends all calls and holds; idempotent. */
  close(): void {
    this.#closing.abort(new Error("this client was closed while it called"));
    this.#sessions.abort();
  }

  /**
   * Runs one call.
   *
   * @throws what `run` throws; once the call was aborted, why.
   */
  async during<T>(options: CallOptions, run: (call: Call) => Promise<T>): Promise<T> {
    this.#refuseIfClosed();
    const deadline = new Deadline(checkedTimeout(options.timeoutMs), this.seams.now);
    const cancellation = new Cancellation(options.signal, this.closing);
    const { signal } = cancellation;
    const { timeoutMs } = deadline;
    const timer =
      timeoutMs !== undefined
        ? setTimeout(() => cancellation.abort(deadline.error()), Math.ceil(timeoutMs))
        : undefined;
    try {
      signal.throwIfAborted();
      return await run({ deadline, retry: new Retry(this.policy, deadline, this.seams), signal });
    } catch (thrown) {
      // Whatever the transport made of it: the cause is known here.
      throw signal.aborted ? signal.reason : thrown;
    } finally {
      clearTimeout(timer);
      cancellation.detach();
    }
  }

  /** Makes a call that may be made twice, repeating it while its failures may pass. */
  async ask<T>(options: CallOptions, send: (options: ConnectOptions) => Promise<T>): Promise<T> {
    return this.during(options, async ({ retry, signal }) => {
      for (;;) {
        const headers = await traceHeaders();
        try {
          return await send({ signal, headers });
        } catch (thrown) {
          signal.throwIfAborted();
          await retry.waitOrThrow(errorFrom(thrown, this.address.target), signal);
        }
      }
    });
  }

  #refuseIfClosed(): void {
    if (this.closing.aborted) throw new Error("this client is closed: make another one");
  }

  /** Begins a streamed call, which also ends when `parent` aborts. */
  async open<T>(
    start: (options: ConnectOptions) => AsyncIterable<T>,
    parent: AbortSignal,
  ): Promise<Stream<T>> {
    const headers = await traceHeaders();
    const cancellation = new Cancellation(parent);
    const messages = start({ signal: cancellation.signal, headers });
    return new Stream(messages, cancellation, this.address);
  }
}

function checkedTimeout(timeoutMs: number | undefined): number | undefined {
  if (timeoutMs !== undefined && !(timeoutMs >= 0)) {
    throw new RangeError(`timeoutMs is ${timeoutMs}, and has to be 0 or more`);
  }
  // 24 days, which is all that a timer can wait for, are as good as never.
  return timeoutMs !== undefined && timeoutMs < LONGEST_TIMER_MS ? timeoutMs : undefined;
}
