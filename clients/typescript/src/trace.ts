/** The W3C trace context of the program, where it has one. */
import type * as OpenTelemetry from "@opentelemetry/api";

let loading: Promise<typeof OpenTelemetry | undefined> | undefined;

/**
 * Returns the headers that carry the program's current span.
 *
 * `@opentelemetry/api` is an optional peer: where it is not installed, or nothing is registered
 * with it, there are none.
 */
export async function traceHeaders(): Promise<Record<string, string>> {
  loading ??= import("@opentelemetry/api").catch(() => undefined);
  const api = await loading;
  const headers: Record<string, string> = {};
  api?.propagation.inject(api.context.active(), headers);
  return headers;
}
