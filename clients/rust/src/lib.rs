#![doc = include_str!("../README.md")]
#[cfg(not(unix))]
compile_error!("assetd is for Linux and macOS: it needs unix sockets, flock and openat");

mod address;
mod asset;
mod client;
mod content;
mod course;
mod digest;
mod error;
mod fetch;
mod globs;
mod hashing;
mod hold;
mod lease;
mod list;
mod local;
mod meter;
mod pin;
mod progress;
mod push;
mod pushing;
mod receipt;
mod resolve;
mod retry;
mod source;
mod trace;
mod wire;

/// The messages and stubs of the wire contract, for what has no helper here; [`Client::channel`] is
/// what the stubs are made with. Made from the `.proto` files, whose comments are the promises.
#[allow(missing_docs, clippy::all)]
pub mod v1 {
    tonic::include_proto!("assetd.v1");
}

/// What Google's error model puts into the details of a status.
#[allow(dead_code, missing_docs, clippy::all)]
mod rpc {
    tonic::include_proto!("google.rpc");
}

pub use asset::Asset;
pub use client::{Client, ClientBuilder};
pub use digest::digest;
pub use error::{Error, Result};
pub use fetch::Fetch;
pub use hold::Held;
pub use list::{Entry, FileEntry, FilePage, List, ListFiles, Listing, Page};
pub use meter::{PushPhase, PushProgress};
pub use progress::Progress;
pub use push::{Push, Pushed};
pub use resolve::{Resolve, Resolved};
pub use retry::RetryPolicy;
pub use tonic::Code;
pub use v1::{
    AssetKind, ErrorReason as Reason, FetchPhase, Freshness, Resolution, Source, Verification,
    list_request::Scope,
    push_header::{Bump, Mode},
};
