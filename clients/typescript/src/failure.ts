/**
 * The transport's failures, read into `AssetdError`. The only module that looks at status codes
 * and trailers.
 */
import { durationMs } from "@bufbuild/protobuf/wkt";
import { ConnectError } from "@connectrpc/connect";

import type { Address } from "./address.js";
import {
  AssetdError,
  CallTimeoutError,
  CODES,
  DaemonUnavailableError,
  ResetError,
} from "./errors.js";
import type { Code } from "./errors.js";
import { ErrorInfoSchema, RetryInfoSchema } from "./gen/google/rpc/error_details_pb.js";

const DOMAIN = "assetd.v1";
// For languages without the details, and for us should something strip them on the way.
const REASON_TRAILER = "assetd-reason";
// How the transport begins what it says of bytes, or of arguments, that are no message.
const NO_MESSAGE = /^(parse|serialize) /;

/**
 * Returns what ended a call, in the words of the contract: for programs, of what a generated stub
 * threw. `address` is for the message, such as `client.address`.
 *
 * A status without a reason comes from something between: the daemon could not be reached, or its
 * process ended. The caller's own cancelling is no failure, and reads like that here: ask the signal
 * first.
 */
export function errorFrom(thrown: unknown, address: string): AssetdError {
  if (thrown instanceof AssetdError) return thrown;
  const failed = ConnectError.from(thrown);
  const code = CODES[failed.code] ?? "UNKNOWN";
  // Somebody else's reason, such as a proxy's on the way, is none of our words.
  const info = failed.findDetails(ErrorInfoSchema).find((detail) => detail.domain === DOMAIN);
  const reason = info?.reason || failed.metadata.get(REASON_TRAILER) || "";
  const message = failed.rawMessage || "the daemon gave no message";
  if (reason === "") {
    if (isCut(failed, code)) return unreachable(message, address, failed);
    if (code === "DEADLINE_EXCEEDED") return new CallTimeoutError(message, { cause: failed });
    // Where the daemon itself ends a stream, it says why. What is no message has no trailers.
    if (code === "INTERNAL" && isFromWire(failed)) return new ResetError(message, { cause: failed });
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
  if (isFromWire(failed)) return code === "UNAVAILABLE" || code === "CANCELLED";
  // All else the transport found by itself: no socket, a connection that was reset, a stream that
  // ended in the middle of a message or without a status. It has many codes for that, where gRPC
  // has one. Only a message that is none does not come from a cut.
  return !NO_MESSAGE.test(failed.rawMessage);
}

/** Whether headers or trailers came, and with them a status: it is believed as gRPC has it. */
function isFromWire(failed: ConnectError): boolean {
  return [...failed.metadata.keys()].length > 0;
}

function retryAfter(failed: ConnectError): number | undefined {
  const delay = failed.findDetails(RetryInfoSchema).find((detail) => detail.retryDelay)?.retryDelay;
  return delay === undefined ? undefined : durationMs(delay);
}

function unreachable(cause: string, address: string, failed: ConnectError): AssetdError {
  return new DaemonUnavailableError(
    `no assetd daemon answers at ${address} (${cause}): start one with \`assetd serve\`, ` +
      "or name another address by ASSETD_ADDRESS",
    { metadata: { address, cause }, cause: failed },
  );
}
