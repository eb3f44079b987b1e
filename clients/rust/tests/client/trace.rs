use assetd_testing::{ScriptedDaemon, Scripts, Step, completed, started};
use opentelemetry::baggage::BaggageExt;
use opentelemetry::propagation::text_map_propagator::FieldIter;
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::{
    FutureExt, SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{Context, KeyValue, global};
use tonic::Status;

use crate::client_of;

/// Nobody here reads what it writes: the headers are the W3C's, whatever the program has set.
#[derive(Debug)]
struct Foreign;

impl TextMapPropagator for Foreign {
    fn inject_context(&self, _: &Context, injector: &mut dyn Injector) {
        injector.set("b3", "1-2-3".to_owned());
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
    global::set_text_map_propagator(Foreign);
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
        TraceState::from_key_value([("vendor", "one"), ("other", "two")]).unwrap(),
    );
    let context = Context::new().with_remote_span_context(span);
    let context = context.with_baggage([KeyValue::new("team", "nlp, ü")]);
    let hold = client.hold("nlp/ranker").into_future();
    let held = hold.with_context(context).await.unwrap();
    while daemon.fetches().len() < 2 {
        tokio::task::yield_now().await;
    }
    client.fetch("nlp/ranker").await.unwrap();
    drop(held);
    let names = ["traceparent", "tracestate", "baggage", "b3"];
    let carried: Vec<_> = daemon
        .metadata()
        .iter()
        .map(|metadata| {
            names.map(|name| metadata.get(name).map(|value| value.to_str().unwrap().to_owned()))
        })
        .collect();
    let trace = [
        Some("00-0000000000000000000000000000abcd-0000000000000012-01"),
        Some("vendor=one,other=two"),
        Some("team=nlp%2C%20%C3%BC"),
        None,
    ];
    let trace = trace.map(|value| value.map(str::to_owned));
    assert_eq!(carried, [trace.clone(), trace, [None, None, None, None]]);
}
