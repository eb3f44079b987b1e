//! Asking what a spec stands for.
use std::pin::Pin;
use std::time::Duration;

use crate::client::Client;
use crate::error::Result;
use crate::fetch::wire_duration;
use crate::v1;
use crate::v1::asset_service_client::AssetServiceClient;

/// What a spec stands for now.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved {
    /// The version; of the rest, what the daemon had to read anyway.
    pub version: v1::AssetVersion,
    /// How the version was found.
    pub resolution: v1::Resolution,
    /// What the cache of this node holds of it.
    pub cache_state: v1::CacheState,
}

/// A question that is asked by `.await`. See [`Client::resolve`].
#[must_use = "nothing is asked before it is awaited"]
pub struct Resolve {
    client: Client,
    request: v1::ResolveVersionRequest,
    timeout: Option<Duration>,
}

impl Client {
    /// Tells which version a spec stands for now, how that was found, and what the cache of this
    /// node holds of it. It changes nothing: without a hold the version may be evicted right after.
    ///
    /// # Errors
    ///
    /// `AssetNotFound`, `VersionNotFound`; `NotCached` with `Freshness::Cache`;
    /// `StoreUnavailable` once patience has ended.
    pub fn resolve(&self, spec: impl Into<String>) -> Resolve {
        let request = v1::ResolveVersionRequest { spec: spec.into(), ..Default::default() };
        Resolve { client: self.clone(), request, timeout: None }
    }
}

impl Resolve {
    /// Who decides what an unpinned spec stands for. Without it, the daemon's operator does.
    pub fn freshness(mut self, freshness: v1::Freshness) -> Self {
        self.request.set_freshness(freshness);
        self
    }

    /// How long the store may take to answer. It must be positive. Without it, the daemon's
    /// operator decides.
    pub fn store_timeout(mut self, timeout: Duration) -> Self {
        self.request.store_timeout = wire_duration(timeout);
        self
    }

    /// How long the call may take, repeats included. After that it fails with the code
    /// `DeadlineExceeded`.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }
}

impl IntoFuture for Resolve {
    type Output = Result<Resolved>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let client = &self.client.0;
            let call = client.call(self.timeout);
            let send = |wire, request| async move {
                AssetServiceClient::new(wire).resolve_version(request).await
            };
            let answer = client.ask(&call, self.request, send).await?;
            Ok(Resolved {
                resolution: answer.resolution(),
                version: answer.asset_version.unwrap_or_default(),
                cache_state: answer.cache_state.unwrap_or_default(),
            })
        })
    }
}
