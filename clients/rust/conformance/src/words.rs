//! What the suite may say, and how it is answered.
use std::collections::HashMap;
use std::time::Duration;

use assetd::v1::list_request::Scope;
use assetd::v1::push_header::{Bump, Mode};
use assetd::{
    Asset, Code, Error, Fetch, Freshness, List, ListFiles, Progress, Push, PushPhase, PushProgress,
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::write;

/// What the suite may say; each action reads its own fields.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Request {
    pub id: String,
    #[serde(rename = "do")]
    pub action: String,
    pub of: String,
    pub spec: String,
    pub source: String,
    pub staged: String,
    pub uri: String,
    pub prefix: String,
    pub limit: Option<i64>,
    freshness: String,
    store_timeout: Option<f64>,
    timeout: Option<f64>,
    include: Vec<String>,
    exclude: Vec<String>,
    part_only: bool,
    verify: bool,
    force_download: bool,
    expected_digest: String,
    progress_interval: Option<f64>,
    bump: String,
    mode: String,
    labels: HashMap<String, String>,
    push_id: String,
    validate_only: bool,
    scope: String,
    latest_only: bool,
    full: bool,
    page_size: i32,
}

/// Returns a time that the suite gives; none is negative here.
fn seconds(number: f64) -> Duration {
    Duration::try_from_secs_f64(number).unwrap_or_default()
}

impl Request {
    pub fn store_timeout(&self) -> Option<Duration> {
        self.store_timeout.map(seconds)
    }

    pub fn timeout(&self) -> Option<Duration> {
        self.timeout.map(seconds)
    }

    pub fn freshness(&self) -> Freshness {
        Freshness::from_str_name(&format!("FRESHNESS_{}", self.freshness)).unwrap_or_default()
    }

    pub fn fetch<'a, Fetched>(&'a self, mut fetch: Fetch<'a, Fetched>) -> Fetch<'a, Fetched> {
        fetch = fetch
            .freshness(self.freshness())
            .include(&self.include)
            .exclude(&self.exclude)
            .expected_digest(&self.expected_digest)
            .progress(|progress| write(json!({"id": self.id, "progress": shown(progress)})));
        if let Some(timeout) = self.store_timeout() {
            fetch = fetch.store_timeout(timeout);
        }
        if let Some(timeout) = self.timeout() {
            fetch = fetch.timeout(timeout);
        }
        if let Some(interval) = self.progress_interval {
            fetch = fetch.progress_interval(seconds(interval));
        }
        if self.part_only {
            fetch = fetch.part_only();
        }
        if self.verify {
            fetch = fetch.verify();
        }
        if self.force_download {
            fetch = fetch.force_download();
        }
        fetch
    }

    pub fn push<'a>(&'a self, push: Push<'a>) -> Result<Push<'a>, Value> {
        let mut push = push
            .bump(value(&self.bump, "BUMP_", Bump::from_str_name)?)
            .mode(value(&self.mode, "MODE_", Mode::from_str_name)?)
            .labels(self.labels.clone())
            .push_id(&self.push_id)
            .exclude(&self.exclude)
            .progress(|progress| write(json!({"id": self.id, "progress": shown_push(progress)})));
        if let Some(timeout) = self.timeout() {
            push = push.timeout(timeout);
        }
        Ok(if self.validate_only { push.validate_only() } else { push })
    }

    pub fn list(&self, list: List) -> Result<List, Value> {
        let scope = value(&self.scope, "SCOPE_", Scope::from_str_name)?;
        let mut list = list.scope(scope).page_size(self.page_size);
        if let Some(timeout) = self.timeout() {
            list = list.timeout(timeout);
        }
        if self.latest_only {
            list = list.latest_only();
        }
        Ok(if self.full { list.full() } else { list })
    }

    pub fn list_files(&self, list: ListFiles) -> ListFiles {
        let list = list
            .freshness(self.freshness())
            .include(&self.include)
            .exclude(&self.exclude)
            .page_size(self.page_size);
        match self.timeout() {
            Some(timeout) => list.timeout(timeout),
            None => list,
        }
    }
}

/// Returns what a name stands for on the wire, where it has a prefix; the default for none.
fn value<T: Default>(
    name: &str,
    prefix: &str,
    from_name: impl Fn(&str) -> Option<T>,
) -> Result<T, Value> {
    if name.is_empty() {
        return Ok(T::default());
    }
    let name = format!("{prefix}{name}");
    from_name(&name).ok_or_else(|| unknown(format!("there is no {name}")))
}

pub fn word<'a>(name: &'a str, prefix: &str) -> &'a str {
    name.strip_prefix(prefix).unwrap_or(name)
}

fn shown(progress: &Progress) -> Value {
    json!({
        "phase": word(progress.phase.as_str_name(), "FETCH_PHASE_"),
        "present_bytes": progress.present_bytes,
        "total_bytes": progress.total_bytes,
        "attempt": progress.attempt,
    })
}

fn shown_push(progress: &PushProgress) -> Value {
    // The names on the wire: what the helper sends, the daemon receives.
    let phase = match progress.phase {
        PushPhase::Hashing => "HASHING",
        PushPhase::Sending => "RECEIVING",
        PushPhase::Storing => "STORING",
        PushPhase::Committing => "COMMITTING",
    };
    json!({
        "phase": phase,
        "received_bytes": progress.sent_bytes,
        "stored_bytes": progress.stored_bytes,
        "total_bytes": progress.total_bytes,
    })
}

pub fn shown_asset(asset: &Asset) -> Value {
    json!({
        "name": asset.name(),
        "version": asset.version(),
        "kind": word(asset.kind().as_str_name(), "ASSET_KIND_"),
        "path": asset.path(),
        "relative_path": asset.relative_path(),
        "source": word(asset.source().as_str_name(), "SOURCE_"),
        "resolution": word(asset.resolution().as_str_name(), "RESOLUTION_"),
        "verification": word(asset.verification().as_str_name(), "VERIFICATION_"),
        "size_bytes": asset.size_bytes(),
        "file_count": asset.file_count(),
        "transferred_bytes": asset.transferred_bytes(),
        "joined": asset.joined(),
        "reused_bytes": asset.reused_bytes(),
        "digest": asset.digest().unwrap_or_default(),
    })
}

pub fn shown_error(failure: &Error) -> Value {
    let reason = match failure.code() {
        Code::Cancelled => "CANCELLED",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        _ => failure.reason_name(),
    };
    json!({
        "reason": reason,
        "code": code_name(failure.code()),
        "message": failure.message(),
        "metadata": failure.metadata(),
    })
}

pub fn unknown(message: String) -> Value {
    json!({"reason": "", "code": "UNKNOWN", "message": message, "metadata": {}})
}

pub fn cancelled() -> Value {
    let message = "the suite cancelled it";
    json!({"reason": "CANCELLED", "code": "CANCELLED", "message": message, "metadata": {}})
}

fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
