//! The fetches and holds that a program asks for.
use std::marker::PhantomData;
use std::pin::Pin;
use std::time::Duration;

use crate::asset::Asset;
use crate::client::Client;
use crate::course::{Course, Report, drain};
use crate::error::Result;
use crate::hold::Held;
use crate::progress::Progress;
use crate::retry::Retry;
use crate::v1;

/// A fetch that is begun by `.await`, and ended by dropping what awaits it; the bytes that arrived
/// are kept for a while. See [`Client::fetch`] and [`Client::hold`].
#[must_use = "nothing is fetched before it is awaited"]
pub struct Fetch<'a, Fetched = Asset> {
    client: Client,
    request: v1::FetchRequest,
    report: Option<Report<'a>>,
    timeout: Option<Duration>,
    fetched: PhantomData<fn() -> Fetched>,
}

impl Client {
    /// Makes the version that the spec stands for present on this node, and returns where it is.
    /// All callers for one version share one download; a version that is present is a hit.
    ///
    /// The spec is `name[:version][[sub/part]]`: `nlp/ranker`, `nlp/ranker:1`, `nlp/ranker:1.2`,
    /// `nlp/tokens:0.1[vocab/en.txt]`. With a part the path points at it; all of the version is
    /// fetched.
    ///
    /// A spec with a full version that stands in ASSETS_DIR (see
    /// [`ClientBuilder::assets_dir`](crate::ClientBuilder::assets_dir)) is found there, without a
    /// call and whether or not a daemon runs, if nothing is asked for beside a hold,
    /// [`timeout`](Fetch::timeout), [`store_timeout`](Fetch::store_timeout),
    /// [`progress_interval`](Fetch::progress_interval) and [`progress`](Fetch::progress): all else
    /// makes a call of it. Every fetch looks anew: what has been evicted is not found again.
    ///
    /// A stream that is cut is joined again: for the version that the first stream named, even when
    /// a newer one was pushed meanwhile.
    ///
    /// # Errors
    ///
    /// `AssetNotFound`, `VersionNotFound`, `PartNotFound`: there is no such thing.
    /// `CacheFull`, `DiskFull`: wait [`retry_after`](crate::Error::retry_after), then try again.
    /// `DigestMismatch`, `BadManifest`, `BadIndex`: stop and raise an alarm. The code `Unavailable`:
    /// patience has ended. [`Reason`](crate::Reason) tells the rest.
    pub fn fetch<'a>(&self, spec: impl Into<String>) -> Fetch<'a> {
        Fetch::new(self, spec.into(), false)
    }

    /// Fetches, and keeps the version from being evicted until what is returned is dropped, or this
    /// process ends. A found version is leased from the kernel, without a call, as
    /// [`fetch`](Client::fetch) finds it; all else is an open call.
    ///
    /// When the daemon restarts, the hold is taken again without the caller's doing, however long
    /// that takes. Should the daemon refuse it, [`Held::ended`] tells.
    pub fn hold<'a>(&self, spec: impl Into<String>) -> Fetch<'a, Held> {
        Fetch::new(self, spec.into(), true)
    }
}

impl<'a, Fetched> Fetch<'a, Fetched> {
    fn new(client: &Client, spec: String, hold: bool) -> Self {
        let caller = client.0.caller.clone();
        let request = v1::FetchRequest { spec, hold, caller, ..Default::default() };
        let client = client.clone();
        Self { client, request, report: None, timeout: None, fetched: PhantomData }
    }

    /// Has the function called whenever the daemon tells how far the download is: while the fetch is
    /// awaited, one call at a time, and none after it. A slow function delays nobody else: the
    /// daemon leaves out what was not read in time. A hit has no progress. A daemon whose figures
    /// fall within one attempt ends the fetch with `Internal`.
    pub fn progress(mut self, report: impl FnMut(&Progress) + Send + 'a) -> Self {
        self.report = Some(Box::new(report));
        self
    }

    /// How often progress is told: the daemon moves it into 50 ms to 5 s. Without it, every 500 ms.
    pub fn progress_interval(mut self, interval: Duration) -> Self {
        self.request.progress_interval = wire_duration(interval);
        self
    }

    /// How long the fetch may take, repeats included; no limit for the hold. After that it fails
    /// with the code `DeadlineExceeded`.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Who decides what an unpinned spec stands for. Without it, the daemon's operator does.
    pub fn freshness(mut self, freshness: v1::Freshness) -> Self {
        self.request.set_freshness(freshness);
        self
    }

    /// How long the store may take to say what the spec stands for; no limit for the download. It
    /// must be positive. Without it, the daemon's operator decides.
    pub fn store_timeout(mut self, timeout: Duration) -> Self {
        self.request.store_timeout = wire_duration(timeout);
        self
    }

    /// Demands that the whole version has this digest, as [`digest`](crate::digest) computes it:
    /// another one fails with `DigestMismatch`, and nothing is published. Empty: any.
    pub fn expected_digest(mut self, digest: impl Into<String>) -> Self {
        self.request.expected_digest = digest.into();
        self
    }

    /// Wants only the files that one of the globs matches: `*` stops at `/`, `**` does not. The path
    /// is then that of a partial version, apart from the whole one. Given twice, the globs add up.
    pub fn include<Glob: Into<String>>(mut self, globs: impl IntoIterator<Item = Glob>) -> Self {
        self.request.include.extend(globs.into_iter().map(Into::into));
        self
    }

    /// Leaves out the files that one of the globs matches, also those that
    /// [`include`](Fetch::include) wants. Given twice, the globs add up.
    pub fn exclude<Glob: Into<String>>(mut self, globs: impl IntoIterator<Item = Glob>) -> Self {
        self.request.exclude.extend(globs.into_iter().map(Into::into));
        self
    }

    /// Fetches nothing but the part that the spec names. The path is then that of a partial version,
    /// apart from the whole one. It goes with neither include nor exclude.
    pub fn part_only(mut self) -> Self {
        self.request.part_only = true;
        self
    }

    /// Hashes every file and compares it with its manifest, also on a hit.
    pub fn verify(mut self) -> Self {
        self.request.verify = true;
        self
    }

    /// Downloads the version even if it is present. What stands there stays until the new copy is
    /// verified.
    pub fn force_download(mut self) -> Self {
        self.request.force_download = true;
        self
    }

    /// Whether it can be had without a call: not if there is a wish that only the daemon can grant.
    fn may_hit(&self) -> bool {
        let request = &self.request;
        !self.client.0.is_closed()
            && self.timeout != Some(Duration::ZERO)
            && request.freshness() == v1::Freshness::Unspecified
            && request.expected_digest.is_empty()
            && request.include.is_empty()
            && request.exclude.is_empty()
            && !(request.part_only || request.verify || request.force_download)
    }

    fn course(self) -> (Course<'a>, Retry) {
        let call = self.client.0.call(self.timeout);
        let retry = Retry::new(self.client.0.retry, call.clone());
        let course = Course::new(self.client, call, self.request, self.report);
        (course, retry)
    }
}

impl<'a> IntoFuture for Fetch<'a, Asset> {
    type Output = Result<Asset>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            if self.may_hit()
                && let Some(fast) = &self.client.0.fast
                && let Some(asset) = fast.hit(&self.request.spec)
            {
                return Ok(asset);
            }
            let (mut course, mut retry) = self.course();
            let (stream, asset) = course.run(&mut retry).await?;
            let _ = retry.ends.guard(drain(stream, course.silence())).await;
            Ok(asset)
        })
    }
}

impl<'a> IntoFuture for Fetch<'a, Held> {
    type Output = Result<Held>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            if self.may_hit()
                && let Some(fast) = &self.client.0.fast
                && let Some((asset, lease)) = fast.held(&self.request.spec)
                && let Some(held) = Held::leased(&self.client, asset, lease)
            {
                return Ok(held);
            }
            let (mut course, mut retry) = self.course();
            let (stream, asset) = course.run(&mut retry).await?;
            Ok(Held::streamed(asset, course.holding(), stream))
        })
    }
}

/// Returns the duration as it travels; the longest that can, if it is longer.
pub(crate) fn wire_duration(duration: Duration) -> Option<prost_types::Duration> {
    const LONGEST_SECONDS: u64 = 315_576_000_000;
    let bounded = duration.min(Duration::from_secs(LONGEST_SECONDS));
    prost_types::Duration::try_from(bounded).ok()
}
