/** A hold: the open stream that keeps a version from being evicted, and the scope around it. */
import type { Asset } from "./asset.js";
import { Cancellation, CutError } from "./connection.js";
import type { Connection, Stream } from "./connection.js";
import { holdingAgain } from "./course.js";
import { AssetdError, DaemonUnavailableError, internalError } from "./errors.js";
import { stalled } from "./failure.js";
import { openFetch, silenceMs } from "./fetch.js";
import type { FetchedStream } from "./fetch.js";
import type { FetchRequest, FetchResponse } from "./gen/assetd/v1/asset_service_pb.js";
import { Deadline, endless, passing, Retry } from "./retry.js";
import { Watch } from "./watchdog.js";

/**
 * A version that the cache keeps for this process, until `release`, the client's `close`, or the
 * end of the process. A scope: `await using held = await client.hold(spec)`, or `try`/`finally`.
 *
 * When the daemon stops, restarts or is out of reach, the version is held again without the
 * caller's doing, however long that takes; a successor evicts nothing before the holders had time
 * to come back. Only an answer that no later call could change ends it: then `ended` tells.
 */
export class HeldAsset implements AsyncDisposable {
  /**
   * Resolves when the hold has ended: with undefined after `release` or the client's `close`, with
   * why when the daemon will not hold the version any more. Never rejects.
   */
  readonly ended: Promise<AssetdError | undefined>;
  readonly #scope: Cancellation;
  readonly #request: FetchRequest;
  #hasEnded = false;

  /** Takes over the stream of a fetch, which has completed. */
  constructor(
    private readonly connection: Connection,
    fetched: FetchedStream,
    /** What is held. */
    readonly asset: Asset,
  ) {
    this.#scope = new Cancellation(connection.closing);
    this.#request = holdingAgain(fetched.request);
    this.ended = this.#keep(fetched.stream).finally(() => {
      this.#hasEnded = true;
      this.#scope.detach();
    });
  }

  /** The path of the version, or of the part that the spec names, as in `asset`. */
  get path(): string {
    return this.asset.path;
  }

  /**
   * Whether the version is kept. Also true while a daemon that went away is waited for. False after
   * `release`, and once the daemon will not hold it any more.
   */
  get isHeld(): boolean {
    return !this.#hasEnded && !this.#scope.signal.aborted;
  }

  /** Ends the hold and resolves when its call is over; idempotent, never rejects. */
  async release(): Promise<void> {
    this.#scope.abort();
    await this.ended;
  }

  /** As `release`, at the end of an `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.release();
  }

  async #keep(first: Stream<FetchResponse>): Promise<AssetdError | undefined> {
    const { signal } = this.#scope;
    const cancelFirst = () => first.cancel();
    signal.addEventListener("abort", cancelFirst, { once: true });
    if (signal.aborted) first.cancel();
    let stream = first;
    try {
      for (;;) {
        const failed = await untilItEnds(stream);
        stream.cancel();
        if (signal.aborted) return undefined;
        stream = await this.#holdAgain(failed);
      }
    } catch (thrown) {
      if (signal.aborted) return undefined;
      return thrown instanceof AssetdError ? thrown : internalError(String(thrown));
    } finally {
      signal.removeEventListener("abort", cancelFirst);
      stream.cancel();
    }
  }

  /**
   * Repeats the fetch until it completes, for as long as it takes.
   *
   * @throws AssetdError if the daemon will not hold the version any more.
   */
  async #holdAgain(cause: AssetdError): Promise<Stream<FetchResponse>> {
    const { policy, seams } = this.connection;
    const retry = new Retry(endless(policy), new Deadline(undefined, seams.now), seams);
    for (let failed = cause; ; ) {
      await retry.waitOrThrow(passing(failed), this.#scope.signal);
      const stream = await openFetch(this.connection, this.#request, this.#scope.signal);
      const failure = await this.#untilCompleted(stream);
      if (failure === undefined) return stream;
      stream.cancel();
      this.#scope.signal.throwIfAborted();
      failed = failure;
    }
  }

  /** Returns why the new stream ended; undefined once the version is present and held. */
  async #untilCompleted(stream: Stream<FetchResponse>): Promise<AssetdError | undefined> {
    const silence = silenceMs(this.connection.policy.stallTimeoutMs, this.#request);
    const watch = new Watch(silence, () => stream.cancel());
    try {
      for (;;) {
        const response = await stream.next();
        if (response === undefined) return ended();
        watch.heard();
        if (response.event.case === "completed") return undefined;
      }
    } catch (thrown) {
      if (!(thrown instanceof CutError)) throw thrown;
      return watch.hasStalled ? stalled(this.connection.address, silence) : thrown.error;
    } finally {
      watch.stop();
    }
  }
}

/** Returns why a stream ended that says nothing while the version is held. */
async function untilItEnds(stream: Stream<FetchResponse>): Promise<AssetdError> {
  try {
    while ((await stream.next()) !== undefined);
    return ended();
  } catch (thrown) {
    if (thrown instanceof CutError) return thrown.error;
    throw thrown;
  }
}

function ended(): DaemonUnavailableError {
  return new DaemonUnavailableError("the daemon ended the hold");
}
