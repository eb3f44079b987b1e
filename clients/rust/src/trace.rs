//! The W3C trace context of the program, where it has one.
use tonic::metadata::MetadataMap;

/// Adds the headers that carry the program's current span: of its propagator, if it has set one.
#[cfg(feature = "opentelemetry")]
pub(crate) fn inject(metadata: &mut MetadataMap) {
    use opentelemetry::{Context, global};

    global::get_text_map_propagator(|propagator| {
        propagator.inject_context(&Context::current(), &mut Carrier(metadata));
    });
}

/// Adds nothing: the feature `opentelemetry` is off.
#[cfg(not(feature = "opentelemetry"))]
pub(crate) fn inject(_: &mut MetadataMap) {}

#[cfg(feature = "opentelemetry")]
struct Carrier<'a>(&'a mut MetadataMap);

#[cfg(feature = "opentelemetry")]
impl opentelemetry::propagation::Injector for Carrier<'_> {
    fn set(&mut self, key: &str, value: String) {
        use tonic::metadata::{AsciiMetadataKey, AsciiMetadataValue};

        // What is no header cannot be sent, and is no reason for a call to fail.
        let key = AsciiMetadataKey::from_bytes(key.as_bytes());
        if let (Ok(key), Ok(value)) = (key, AsciiMetadataValue::try_from(value)) {
            self.0.insert(key, value);
        }
    }
}
