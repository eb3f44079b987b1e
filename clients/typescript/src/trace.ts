/** The W3C trace context and baggage of the program, where it has them. */
import type * as OpenTelemetry from "@opentelemetry/api";
import type { Baggage, SpanContext } from "@opentelemetry/api";

// The limits of https://www.w3.org/TR/baggage, as the propagator of OpenTelemetry keeps them.
const MAX_BAGGAGE_ENTRIES = 180;
const MAX_BAGGAGE_ENTRY_LENGTH = 4096;
const MAX_BAGGAGE_LENGTH = 8192;

let loading: Promise<typeof OpenTelemetry | undefined> | undefined;

/**
 * Returns the headers that carry the program's current span and baggage.
 *
 * `@opentelemetry/api` is an optional peer: where it is not installed, or nothing is current, there
 * are none. They are written here, since the daemon reads these and no others, whatever propagator
 * the program has set for the rest of its calls.
 */
export async function traceHeaders(): Promise<Record<string, string>> {
  loading ??= import("@opentelemetry/api").catch(() => undefined);
  const api = await loading;
  if (api === undefined) return {};
  const context = api.context.active();
  const span = api.trace.getSpanContext(context);
  const baggage = api.propagation.getBaggage(context);
  return {
    ...(span !== undefined && api.isSpanContextValid(span) && spanHeaders(span)),
    ...(baggage !== undefined && baggageHeader(baggage)),
  };
}

function spanHeaders(span: SpanContext): Record<string, string> {
  const flags = span.traceFlags.toString(16).padStart(2, "0");
  const tracestate = span.traceState?.serialize();
  return {
    traceparent: `00-${span.traceId}-${span.spanId}-${flags}`,
    ...(tracestate && { tracestate }),
  };
}

function baggageHeader(baggage: Baggage): Record<string, string> {
  let header = "";
  const entries = baggage.getAllEntries().map(([key, { value, metadata }]) => {
    const entry = `${encodeURIComponent(key)}=${encodeURIComponent(value)}`;
    return metadata === undefined ? entry : `${entry};${metadata.toString()}`;
  });
  const plain = entries.filter((entry) => entry.length <= MAX_BAGGAGE_ENTRY_LENGTH);
  for (const entry of plain.slice(0, MAX_BAGGAGE_ENTRIES)) {
    const longer = header === "" ? entry : `${header},${entry}`;
    if (longer.length <= MAX_BAGGAGE_LENGTH) header = longer;
  }
  return header === "" ? {} : { baggage: header };
}
