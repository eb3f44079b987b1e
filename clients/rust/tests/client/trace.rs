use assetd_testing::{ScriptedDaemon, Scripts, Step, completed, started};
use opentelemetry::propagation::text_map_propagator::FieldIter;
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use opentelemetry::{Context, global};
use tonic::Status;

use crate::client_of;

/// Writes what a span is by the W3C's rules, as the SDK's propagator does.
#[derive(Debug)]
struct TraceContext;

impl TextMapPropagator for TraceContext {
    fn inject_context(&self, context: &Context, injector: &mut dyn Injector) {
        let span = context.span().span_context().clone();
        if span.is_valid() {
            injector.set("traceparent", format!("00-{}-{}-01", span.trace_id(), span.span_id()));
            injector.set("not a header", "left out".to_owned());
        }
    }

    fn extract_with_context(&self, context: &Context, _: &dyn Extractor) -> Context {
        context.clone()
    }

    fn fields(&self) -> FieldIter<'_> {
        FieldIter::new(&[])
    }
}

#[tokio::test]
async fn every_stream_of_a_call_carries_the_trace_that_it_was_made_in() {
    global::set_text_map_propagator(TraceContext);
    let cut = vec![started(), completed(), Step::Fail(Status::unavailable("going"))];
    let again = vec![started(), completed(), Step::Silence];
    let alone = vec![started(), completed()];
    let daemon = ScriptedDaemon::start(Scripts::fetches([cut, again, alone]));
    let client = client_of(&daemon.address);
    let span = SpanContext::new(
        TraceId::from(0xabcd),
        SpanId::from(0x12),
        TraceFlags::SAMPLED,
        false,
        TraceState::NONE,
    );
    let hold = client.hold("nlp/ranker").into_future();
    let held = {
        use opentelemetry::trace::FutureExt;
        hold.with_context(Context::new().with_remote_span_context(span)).await.unwrap()
    };
    while daemon.fetches().len() < 2 {
        tokio::task::yield_now().await;
    }
    client.fetch("nlp/ranker").await.unwrap();
    drop(held);
    let carried: Vec<_> = daemon
        .metadata()
        .iter()
        .map(|metadata| metadata.get("traceparent").map(|value| value.to_str().unwrap().to_owned()))
        .collect();
    let trace = Some("00-0000000000000000000000000000abcd-0000000000000012-01".to_owned());
    assert_eq!(carried, [trace.clone(), trace, None]);
}
