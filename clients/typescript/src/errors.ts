/**
 * What a call may fail with. Knows nothing of gRPC's own errors: `failure.ts` reads these off
 * the wire.
 */
import type { ErrorReason } from "./gen/assetd/v1/error_reason_pb.js";

/** Why a call failed, as the contract names it. A reason never changes its meaning. */
export type Reason = Exclude<keyof typeof ErrorReason, "UNSPECIFIED">;

/** The codes of gRPC by their names, each at its number. */
export const CODES = [
  "OK",
  "CANCELLED",
  "UNKNOWN",
  "INVALID_ARGUMENT",
  "DEADLINE_EXCEEDED",
  "NOT_FOUND",
  "ALREADY_EXISTS",
  "PERMISSION_DENIED",
  "RESOURCE_EXHAUSTED",
  "FAILED_PRECONDITION",
  "ABORTED",
  "OUT_OF_RANGE",
  "UNIMPLEMENTED",
  "INTERNAL",
  "UNAVAILABLE",
  "DATA_LOSS",
  "UNAUTHENTICATED",
] as const;

/** The name of a gRPC code. */
export type Code = (typeof CODES)[number];

/** A reason of this release, none, or one of a newer daemon: editors complete the known ones. */
export type AnyReason = Reason | "" | (string & Record<never, never>);

/** What an error knows beside its message. */
export interface ErrorFacts {
  /** As {@link AssetdError.reason}. */
  readonly reason?: AnyReason;
  /** As {@link AssetdError.code}. */
  readonly code: Code;
  /** As {@link AssetdError.metadata}. */
  readonly metadata?: Readonly<Record<string, string>>;
  /** As {@link AssetdError.retryAfterMs}. */
  readonly retryAfterMs?: number | undefined;
  /** What gRPC or the system said. */
  readonly cause?: unknown;
}

/**
 * A call that did not do what it was asked to.
 *
 * Switch on `reason`, or narrow by {@link AssetdError.is}. A reason that this release does not
 * know is passed through; then go by `code`. What the caller ended by its own `AbortSignal`
 * rejects with that signal's reason instead, and never with this.
 */
export class AssetdError extends Error {
  /**
   * The name in `ErrorReason` without its prefix, such as `VERSION_NOT_FOUND`. Empty when the
   * failure does not come from the daemon.
   */
  readonly reason: AnyReason;
  /** The gRPC code's name, such as `NOT_FOUND`. */
  readonly code: Code;
  /** Every changing value of the message by name. */
  readonly metadata: Readonly<Record<string, string>>;
  /** How many milliseconds the daemon asks to wait before a repeat, if it does. */
  readonly retryAfterMs: number | undefined;

  /** Makes one; users of the helper only catch them. */
  constructor(message: string, facts: ErrorFacts) {
    super(message, facts.cause === undefined ? undefined : { cause: facts.cause });
    this.reason = facts.reason ?? "";
    this.code = facts.code;
    this.metadata = { ...facts.metadata };
    this.retryAfterMs = facts.retryAfterMs;
  }

  /** Tells whether something that was caught is one of these, for one of these reasons. */
  static is<R extends Reason>(caught: unknown, ...reasons: R[]): caught is AssetdError & { reason: R } {
    return caught instanceof AssetdError && (reasons as string[]).includes(caught.reason);
  }
}
AssetdError.prototype.name = "AssetdError";

/** No daemon answers at the address, or it went away and did not come back. */
export class DaemonUnavailableError extends AssetdError {
  /** Makes one, of code `UNAVAILABLE`. */
  constructor(message: string, facts: Omit<ErrorFacts, "code" | "reason"> = {}) {
    super(message, { ...facts, code: "UNAVAILABLE" });
  }
}
DaemonUnavailableError.prototype.name = "DaemonUnavailableError";

/**
 * A status of the code `INTERNAL` that no daemon gave: something on the way ended the stream. A later
 * call may get another answer. Not exported: to callers it is an {@link AssetdError} without a reason.
 */
export class ResetError extends AssetdError {
  /** Makes one, of code `INTERNAL`. */
  constructor(message: string, facts: Omit<ErrorFacts, "code" | "reason"> = {}) {
    super(message, { ...facts, code: "INTERNAL" });
  }
}

/** The call's own `timeoutMs` passed. What had arrived is kept for a while. */
export class CallTimeoutError extends AssetdError {
  /** Makes one, of code `DEADLINE_EXCEEDED`. */
  constructor(message: string, facts: Omit<ErrorFacts, "code" | "reason"> = {}) {
    super(message, { ...facts, code: "DEADLINE_EXCEEDED" });
  }
}
CallTimeoutError.prototype.name = "CallTimeoutError";

/** Returns the error of a defect: the daemon said what no daemon may say. */
export function internalError(
  message: string,
  metadata: Readonly<Record<string, string>> = {},
): AssetdError {
  return new AssetdError(message, { reason: "INTERNAL", code: "INTERNAL", metadata });
}

/** Returns the error of an argument that cannot be; the daemon would refuse it alike. */
export function invalidField(
  message: string,
  field: string,
  values: Readonly<Record<string, string>> = {},
): AssetdError {
  const metadata = { field, ...values };
  return new AssetdError(message, { reason: "INVALID_FIELD", code: "INVALID_ARGUMENT", metadata });
}
