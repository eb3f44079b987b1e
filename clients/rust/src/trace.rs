//! The W3C trace context and baggage of the program, where it has them.
use tonic::metadata::MetadataMap;

/// Adds the headers that carry the program's current span and baggage.
///
/// They are written here, since the daemon reads these and no others, whatever propagator the program
/// has set for the rest of its calls.
#[cfg(feature = "opentelemetry")]
pub(crate) fn inject(metadata: &mut MetadataMap) {
    use opentelemetry::Context;
    use opentelemetry::baggage::BaggageExt;
    use opentelemetry::trace::TraceContextExt;

    let context = Context::current();
    let span = context.span();
    let span = span.span_context();
    if span.is_valid() {
        let (trace, id, flags) = (span.trace_id(), span.span_id(), span.trace_flags().to_u8());
        set(metadata, "traceparent", format!("00-{trace}-{id}-{flags:02x}"));
        set(metadata, "tracestate", span.trace_state().header());
    }
    set(metadata, "baggage", context.baggage().to_string());
}

/// Adds nothing: the feature `opentelemetry` is off.
#[cfg(not(feature = "opentelemetry"))]
pub(crate) fn inject(_: &mut MetadataMap) {}

#[cfg(feature = "opentelemetry")]
fn set(metadata: &mut MetadataMap, name: &'static str, value: String) {
    use tonic::metadata::AsciiMetadataValue;

    // What is no header cannot be sent, and is no reason for a call to fail.
    if !value.is_empty()
        && let Ok(value) = AsciiMetadataValue::try_from(value)
    {
        metadata.insert(name, value);
    }
}
