/**
 * When a call is made again, and when its failure is believed.
 *
 * Knows nothing of gRPC. This is the only layer that repeats calls: the transport does not, and
 * the daemon's repeats towards the store are its own affair.
 */
import { setTimeout as sleep } from "node:timers/promises";

import { AssetdError, CallTimeoutError, DaemonUnavailableError, ResetError } from "./errors.js";

/**
 * How patient a client is with failures that may pass. All figures are milliseconds.
 *
 * Those are: `UNAVAILABLE`, as of a daemon that is away or stopping, and of a stream that was cut or
 * fell silent; and a status without a reason that gRPC or something on the way made, `CANCELLED` or
 * `INTERNAL`. For a push also the `PUSH_IN_PROGRESS` of its own earlier try; for a hold that lost its
 * daemon also `RESOURCE_EXHAUSTED`, and whatever has no reason.
 */
export interface RetryPolicy {
  /**
   * How long failures are met by a repeat; by default 15,000. It starts anew whenever the call has
   * come further than ever, so that a fetch may be cut as often as it likes.
   */
  readonly patienceMs: number;
  /**
   * The same while no daemon has answered the call at all; by default 1,500. Short, so that
   * somebody who forgot to start one is told so, and long enough for a restart.
   */
  readonly connectPatienceMs: number;
  /** The pause before the first repeat, by default 100; it doubles from one to the next. */
  readonly firstDelayMs: number;
  /** What the pause grows to; by default 2,000. */
  readonly maxDelayMs: number;
  /**
   * How long the stream of a fetch may say nothing, beyond a few of its intervals, before it is cut
   * and joined again; by default 30,000. A daemon that lives tells how far it is even if nothing
   * moves; one that is frozen would be waited for for ever. `Infinity` waits.
   */
  readonly stallTimeoutMs: number;
}

/** The policy of a client that is given none. */
export const DEFAULT_RETRY: RetryPolicy = {
  patienceMs: 15_000,
  connectPatienceMs: 1_500,
  firstDelayMs: 100,
  maxDelayMs: 2_000,
  stallTimeoutMs: 30_000,
};

/** What a test puts in the place of time and chance. */
export interface Seams {
  /** Milliseconds that never run backwards. */
  readonly now: () => number;
  /** Between 0 and 1. */
  readonly jitter: () => number;
  /** Waits; rejects when the signal aborts. */
  readonly pause: (ms: number, signal: AbortSignal) => Promise<void>;
}

/** The real ones. */
export const REAL_SEAMS: Seams = {
  now: () => performance.now(),
  jitter: Math.random,
  pause: (ms, signal) => sleep(ms, undefined, { signal }),
};

/** The moment at which a call has to be over, repeats included. */
export class Deadline {
  /** When it is, by the clock; Infinity for never. */
  readonly end: number;

  /** Begins now. */
  constructor(
    readonly timeoutMs: number | undefined,
    private readonly now: () => number,
  ) {
    this.end = timeoutMs === undefined ? Infinity : now() + timeoutMs;
  }

  /** Tells whether it will have passed so many milliseconds from now. */
  passesWithin(ms: number): boolean {
    return this.now() + ms >= this.end;
  }

  /** Returns the failure of a call that it ended. */
  error(): CallTimeoutError {
    const timeoutMs = String(this.timeoutMs);
    return new CallTimeoutError(`not done within ${timeoutMs} milliseconds`, {
      metadata: { timeout_ms: timeoutMs },
    });
  }
}

/** Returns the same pauses without an end, for a hold. */
export function endless(policy: RetryPolicy): RetryPolicy {
  return { ...policy, patienceMs: Infinity, connectPatienceMs: Infinity };
}

/** Returns the pause after so many failures: half to all of what the doubling gives. */
export function delayMs(policy: RetryPolicy, failures: number, jitter: number): number {
  // Callers who were cut off together must not come back together. The exponent is bounded, since
  // a hold repeats for days.
  const doubled = policy.firstDelayMs * 2 ** Math.min(failures - 1, 64);
  return (Math.min(doubled, policy.maxDelayMs) * (1 + jitter)) / 2;
}

/**
 * Returns why a hold ended, as UNAVAILABLE if a later call may get another answer.
 *
 * A status without a reason was not the daemon's decision: its process ended, or something on the
 * way did.
 */
export function passing(error: AssetdError): AssetdError {
  const isFinal = error.code !== "UNAVAILABLE" && error.code !== "RESOURCE_EXHAUSTED";
  if (error.reason !== "" && isFinal) return error;
  const { metadata, retryAfterMs } = error;
  return new DaemonUnavailableError(error.message, { metadata, retryAfterMs, cause: error });
}

/** One call's failures since it last came further. */
export class Retry {
  #failures = 0;
  #firstFailure = 0;
  #isAnswered = false;
  #furthest = 0;

  /** Begins without a failure. */
  constructor(
    private readonly policy: RetryPolicy,
    private readonly deadline: Deadline,
    private readonly seams: Seams,
  ) {}

  /**
   * Notes that the daemon sent something, and how far the call is.
   *
   * An answer alone is no reason for new patience: a daemon whose store is down may begin well each
   * time.
   */
  answered(done = 0): void {
    this.#isAnswered = true;
    if (done > this.#furthest) {
      this.#furthest = done;
      this.#failures = 0;
    }
  }

  /**
   * Pauses until the call may be made again.
   *
   * @throws as `delayOrThrow`, or what the signal aborts with.
   */
  async waitOrThrow(error: AssetdError, signal: AbortSignal, passes = false): Promise<void> {
    await this.seams.pause(this.delayOrThrow(error, passes), signal);
  }

  /**
   * Returns after how many milliseconds the call may be made again: at least what the daemon asked
   * for. `passes`: the caller knows that this error ends by itself, whatever its code.
   *
   * @throws AssetdError `error`, if a repeat is of no use: it is the daemon's word and not
   *   UNAVAILABLE, patience has ended, or the pause would outlast the call's deadline.
   */
  delayOrThrow(error: AssetdError, passes = false): number {
    const mayPass = error.code === "UNAVAILABLE" || error instanceof ResetError || passes;
    if (!mayPass) throw error;
    if (!(error instanceof DaemonUnavailableError)) this.#isAnswered = true;
    if (this.#failures === 0) this.#firstFailure = this.seams.now();
    this.#failures += 1;
    const delay =
      delayMs(this.policy, this.#failures, this.seams.jitter()) + (error.retryAfterMs ?? 0);
    const waited = this.seams.now() - this.#firstFailure;
    const { patienceMs, connectPatienceMs } = this.policy;
    const patience = this.#isAnswered ? patienceMs : connectPatienceMs;
    if (waited + delay > patience || this.deadline.passesWithin(delay)) throw error;
    return delay;
  }
}
