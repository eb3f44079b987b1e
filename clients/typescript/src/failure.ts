/**
 * The transport's failures, read into `AssetdError`. The only module that looks at status codes
 * and trailers.
 */
import { durationMs } from "@bufbuild/protobuf/wkt";
import { ConnectError } from "@connectrpc/connect";

import type { Address } from "./address.js";
import { AssetdError, CallTimeoutError, CODES, DaemonUnavailableError } from "./errors.js";
import type { Code } from "./errors.js";
import { ErrorInfoSchema, RetryInfoSchema } from "./gen/google/rpc/error_details_pb.js";

const DOMAIN = "assetd.v1";
// For languages without the details, and for us should something strip them on the way.
const REASON_TRAILER = "assetd-reason";
const STATUS_TRAILER = "grpc-status";
// With these the transport tells of a connection that could not be made, or ended.
const CUT_CODES: readonly Code[] = ["UNAVAILABLE", "CANCELLED", "ABORTED"];

/**
 * Returns what ended a call, in the words of the contract.
 *
 * A status without a reason comes from something between: the daemon could not be reached, or its
 * process ended. The caller's own cancelling is not told as a failure, and does not come here.
 */
export function errorFrom(thrown: unknown, address: Address): AssetdError {
  const failed = ConnectError.from(thrown);
  const code = CODES[failed.code] ?? "UNKNOWN";
  // Somebody else's reason, such as a proxy's on the way, is none of our words.
  const info = failed.findDetails(ErrorInfoSchema).find((detail) => detail.domain === DOMAIN);
  const reason = info?.reason || failed.metadata.get(REASON_TRAILER) || "";
  const message = failed.rawMessage || "the daemon gave no message";
  if (reason === "") {
    if (isCut(failed, code)) return unreachable(message, address, failed);
    if (code === "DEADLINE_EXCEEDED") return new CallTimeoutError(message, { cause: failed });
  }
  const metadata = info?.metadata ?? {};
  const retryAfterMs = retryAfter(failed);
  return new AssetdError(message, { reason, code, metadata, retryAfterMs, cause: failed });
}

/** Returns the failure of a stream that fell silent. */
export function stalled(address: Address, silentMs: number): DaemonUnavailableError {
  const seconds = String(silentMs / 1000);
  return new DaemonUnavailableError(
    `the assetd daemon at ${address.target} said nothing for ${seconds} seconds, though it tells ` +
      "of every fetch how far it is: look whether its process is stopped or its node hangs",
    { metadata: { address: address.target, silent_seconds: seconds } },
  );
}

function isCut(failed: ConnectError, code: Code): boolean {
  // A status that came over the wire is believed as gRPC has it.
  if (failed.metadata.has(STATUS_TRAILER)) return code === "UNAVAILABLE" || code === "CANCELLED";
  // Of the system's errors the transport knows a few; a socket that is missing is not among them.
  const isOfSystem = failed.cause instanceof Error && "syscall" in failed.cause;
  return isOfSystem || CUT_CODES.includes(code);
}

function retryAfter(failed: ConnectError): number | undefined {
  const delay = failed.findDetails(RetryInfoSchema).find((detail) => detail.retryDelay)?.retryDelay;
  return delay === undefined ? undefined : durationMs(delay);
}

function unreachable(cause: string, address: Address, failed: ConnectError): AssetdError {
  return new DaemonUnavailableError(
    `no assetd daemon answers at ${address.target} (${cause}): start one with \`assetd serve\`, ` +
      "or name another address by ASSETD_ADDRESS",
    { metadata: { address: address.target, cause }, cause: failed },
  );
}
