//! The client against scripted daemons, the real one, and none at all.
mod fetch;
mod hold;
mod list;
mod local;
mod package;
mod push;
mod real;
mod sources;
#[cfg(feature = "opentelemetry")]
mod trace;

use std::time::Duration;

use assetd::{Client, RetryPolicy};

/// Repeats at once, and is as patient as any.
fn quick() -> RetryPolicy {
    let (first_delay, max_delay) = (Duration::from_millis(1), Duration::from_millis(2));
    RetryPolicy { first_delay, max_delay, ..RetryPolicy::default() }
}

/// A client that makes a call of every fetch.
fn client_of(address: &str) -> Client {
    let builder = Client::builder().address(address).caller("tests").assets_dir("");
    builder.retry(quick()).build().unwrap()
}

/// A client of nobody, who repeats nothing.
fn client_of_nobody() -> Client {
    let builder = Client::builder().address("unix:///nowhere/assetd.sock").assets_dir("");
    let retry = RetryPolicy { connect_patience: Duration::ZERO, ..quick() };
    builder.retry(retry).build().unwrap()
}
