//! The course of one fetch: its stream, followed to `completed` and joined again after a cut.
use std::pin::pin;
use std::time::Duration;

use tokio::time::timeout;
use tonic::{Code, Status, Streaming};

use crate::asset::Asset;
use crate::client::{Client, carrying};
use crate::error::{Error, Result};
use crate::progress::{Figures, Progress};
use crate::retry::{Call, Retry, RetryPolicy, Tries};
use crate::v1;
use crate::v1::fetch_response::Event;

// The daemon's own, where a fetch asks for none, and its limit.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(500);
const MAX_PROGRESS_INTERVAL: Duration = Duration::from_secs(5);
// A stream may miss so many reports before it counts as silent.
const MISSED_REPORTS: u32 = 3;
// A program whose tasks computed for longer than the limit finds it passed before it has read what
// arrived meanwhile: so much is given for that.
const GRACE: Duration = Duration::from_millis(250);

/// What gets the progress of a fetch.
pub(crate) type Report<'a> = Box<dyn FnMut(&Progress) + Send + 'a>;
/// What a fetch hears.
pub(crate) type Events = Streaming<v1::FetchResponse>;

/// A fetch as its caller sees it, over all its streams, and then its hold.
pub(crate) struct Course<'a> {
    pub(crate) client: Client,
    pub(crate) call: Call,
    request: v1::FetchRequest,
    report: Option<Report<'a>>,
    figures: Figures,
    /// The first event of the first stream that brought one.
    started: Option<v1::FetchStarted>,
    /// The version is here and only held again: its progress is of no interest.
    is_held: bool,
}

impl<'a> Course<'a> {
    /// Asks for nothing yet.
    pub(crate) fn new(
        client: Client,
        call: Call,
        request: v1::FetchRequest,
        report: Option<Report<'a>>,
    ) -> Self {
        Self {
            client,
            call,
            request,
            report,
            figures: Figures::default(),
            started: None,
            is_held: false,
        }
    }

    /// Fetches by as many streams as it takes, and returns the last one, at its last event.
    pub(crate) async fn run(&mut self, retry: &mut Retry) -> Result<(Events, Asset)> {
        loop {
            match retry.ends.guard(self.complete(&mut retry.tries)).await {
                Ok((stream, completed)) => {
                    let started = self.started.clone().unwrap_or_default();
                    return Ok((stream, Asset::fetched(&self.client.0, &started, completed)));
                }
                Err(failure) => retry.pause_after(failure, false).await?,
            }
        }
    }

    /// How long a stream may say nothing.
    pub(crate) fn silence(&self) -> Duration {
        silence_of(&self.client.0.retry, &self.request)
    }

    /// Opens a stream and follows it to its last event.
    pub(crate) async fn complete(
        &mut self,
        tries: &mut Tries,
    ) -> Result<(Events, v1::FetchCompleted)> {
        // A clone, so that what is awaited shares nothing with the caller's report.
        let client = self.client.clone();
        let silence = self.silence();
        let mut stub = client.0.stub();
        let request = carrying(&self.call, self.request.clone());
        let mut stream = hear(&client, silence, stub.fetch(request)).await?.into_inner();
        self.figures.new_stream();
        loop {
            // What the caller's own report takes does not count.
            let Some(response) = hear(&client, silence, stream.message()).await? else {
                return Err(Error::cut_short("fetch"));
            };
            let done = match &response.event {
                Some(Event::Progress(progress)) => progress.present_bytes,
                _ => 0,
            };
            tries.answered(done);
            match response.event {
                Some(Event::Started(started)) => self.note_started(started),
                Some(Event::Progress(progress)) => self.note_progress(progress)?,
                Some(Event::Completed(_)) if self.started.is_none() => {
                    return Err(Error::cut_short("fetch"));
                }
                Some(Event::Completed(completed)) => return Ok((stream, completed)),
                // An event of a newer daemon.
                None => (),
            }
        }
    }

    /// Pins the spec, so that another stream joins the same download.
    fn note_started(&mut self, started: v1::FetchStarted) {
        if self.started.is_none() {
            let version = started.asset_version.clone().unwrap_or_default();
            self.request.spec = pinned(&self.request.spec, &version);
            self.started = Some(started);
        }
    }

    fn note_progress(&mut self, progress: v1::FetchProgress) -> Result<()> {
        if self.is_held {
            return Ok(());
        }
        let shown = self.figures.note(progress)?;
        if let Some(report) = &mut self.report {
            report(shown);
        }
        Ok(())
    }

    /// Returns what holds the version once more. What is here need neither be downloaded nor hashed
    /// again, and the caller's report may use what is gone by then.
    pub(crate) fn holding(self) -> Course<'static> {
        let mut request = self.request;
        request.force_download = false;
        request.verify = false;
        Course {
            client: self.client,
            call: self.call.unlimited(),
            request,
            report: None,
            figures: self.figures,
            started: self.started,
            is_held: true,
        }
    }
}

/// Waits for what the daemon says next, but not for longer than one that lives is silent.
async fn hear<T>(
    client: &Client,
    silence: Duration,
    said: impl Future<Output = Result<T, Status>>,
) -> Result<T> {
    let mut said = pin!(said);
    for limit in [silence, GRACE] {
        if let Ok(said) = timeout(limit, said.as_mut()).await {
            return said.map_err(|status| client.0.failure(status));
        }
    }
    Err(Error::stalled(&client.0.address, silence))
}

/// Reads an open stream to its end, and returns why it ended: by a status, or without one.
pub(crate) async fn end_of(client: &Client, mut stream: Events) -> Error {
    loop {
        match stream.message().await {
            Ok(Some(_)) => (),
            // Not the daemon's decision, it seems: its word would be a status.
            Ok(None) => {
                return Error::new(Code::Unavailable, "the daemon ended a hold without a word");
            }
            Err(status) => return client.0.failure(status),
        }
    }
}

/// Reads a stream that has answered to its end, so that the daemon does not count a caller that
/// left. Whatever the status says, a version that completed is here.
pub(crate) async fn drain(mut stream: Events, silence: Duration) -> Result<()> {
    let rest = async { while let Ok(Some(_)) = stream.message().await {} };
    let _ = timeout(silence, rest).await;
    Ok(())
}

/// Returns how long the stream of a fetch may say nothing.
fn silence_of(policy: &RetryPolicy, request: &v1::FetchRequest) -> Duration {
    let asked = request.progress_interval.map(|asked| asked.try_into().unwrap_or_default());
    let interval: Duration = asked.unwrap_or(PROGRESS_INTERVAL);
    policy.stall_timeout.saturating_add(MISSED_REPORTS * interval.min(MAX_PROGRESS_INTERVAL))
}

/// Returns the spec of exactly this version, with the part of the spec. A path that has no version,
/// as there may be without a store, cannot be pinned.
fn pinned(spec: &str, version: &v1::AssetVersion) -> String {
    if version.version.is_empty() {
        return spec.to_owned();
    }
    let part = spec.find('[').map_or("", |bracket| &spec[bracket..]);
    format!("{}:{}{part}", version.name, version.version)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fetch::wire_duration;

    #[test]
    fn a_silence_is_the_stall_timeout_and_three_intervals() {
        let policy = RetryPolicy::default();
        for (asked, seconds) in [(None, 31.5), (Some(100), 30.3), (Some(60_000), 45.0)] {
            let request = v1::FetchRequest {
                progress_interval: asked.map(Duration::from_millis).and_then(wire_duration),
                ..Default::default()
            };
            assert_eq!(silence_of(&policy, &request).as_secs_f64(), seconds);
        }
        let endless = RetryPolicy { stall_timeout: Duration::MAX, ..policy };
        assert_eq!(silence_of(&endless, &v1::FetchRequest::default()), Duration::MAX);
    }

    #[test]
    fn pinning_keeps_the_part() {
        let version = |version: &str| v1::AssetVersion {
            name: "a/b".to_owned(),
            version: version.to_owned(),
            ..Default::default()
        };
        assert_eq!(pinned("a/b:1[c]", &version("1.7")), "a/b:1.7[c]");
        assert_eq!(pinned("a/b", &version("1.7")), "a/b:1.7");
        assert_eq!(pinned("a/b", &version("")), "a/b");
    }
}
