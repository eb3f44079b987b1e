//! What can go wrong with a call, in the words of the contract.
//!
//! The only module that looks at codes, details and trailers of gRPC.
use std::collections::HashMap;
use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use tonic::{Code, Status};

use crate::address::ADDRESS_VARIABLE;
use crate::rpc;
use crate::v1::ErrorReason as Reason;

/// Marks the `ErrorInfo` that assetd wrote: a proxy may add one of its own.
const DOMAIN: &str = "assetd.v1";
/// Has the reason once more, should something strip the details on the way.
const REASON_TRAILER: &str = "assetd-reason";
/// How prost begins what it says of bytes that are no message, which then looks like a status.
const NO_MESSAGE: &str = "failed to decode Protobuf message";
const REASON_PREFIX: &str = "ERROR_REASON_";

/// What calls return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The failure of a call: switch on [`reason`](Error::reason), or for whole classes of failures on
/// [`code`](Error::code).
#[derive(Clone, Debug)]
pub struct Error(Box<Failure>);

#[derive(Clone, Debug)]
struct Failure {
    code: Code,
    reason: String,
    message: String,
    metadata: HashMap<String, String>,
    retry_after: Option<Duration>,
    /// The transport ended the call: nothing that the daemon decided.
    is_cut: bool,
    /// It came as a status, and not of what is no message.
    is_status: bool,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl Error {
    /// The gRPC code. `Unknown` for a failure of this machine, such as a source that cannot be
    /// read, whose [`source`](StdError::source) is the [`io::Error`].
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// Why, for programs. None when the daemon gave no reason (it was not there, the stream was
    /// cut, time was up) or one that only a later release knows: then
    /// [`reason_name`](Error::reason_name) has it, and the code tells how to react.
    pub fn reason(&self) -> Option<Reason> {
        Reason::from_str_name(&format!("{REASON_PREFIX}{}", self.0.reason))
    }

    /// The name of the reason, such as `VERSION_NOT_FOUND`; empty when there is none.
    pub fn reason_name(&self) -> &str {
        &self.0.reason
    }

    /// What happened, for people. It may change with any release.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Every value that the message shows, by name.
    pub fn metadata(&self) -> &HashMap<String, String> {
        &self.0.metadata
    }

    /// How long the daemon asks to wait before the call is repeated, if it said so.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// Whether nobody answered: no daemon at the address, or one that went away, or fell silent,
    /// and did not come back.
    pub fn is_daemon_unavailable(&self) -> bool {
        self.0.code == Code::Unavailable && self.0.reason.is_empty()
    }

    /// Whether the time that the caller gave ended the call.
    pub fn is_timeout(&self) -> bool {
        self.0.code == Code::DeadlineExceeded && self.0.reason.is_empty()
    }

    /// Whether something on the way ended the stream with a status of its own, whose code is then
    /// `INTERNAL`: where the daemon itself ends one, it says why.
    pub(crate) fn is_reset(&self) -> bool {
        let Failure { code, reason, is_status, .. } = &*self.0;
        *is_status && *code == Code::Internal && reason.is_empty()
    }

    /// Returns a failure that this crate found by itself, before anything was sent or in what the
    /// daemon answered.
    pub(crate) fn own<const N: usize>(
        reason: Reason,
        message: impl Into<String>,
        metadata: [(&str, String); N],
    ) -> Self {
        let name = reason.as_str_name();
        let mut error = Self::new(code_of_own(reason), message);
        error.0.reason = name.strip_prefix(REASON_PREFIX).unwrap_or(name).to_owned();
        error.0.metadata = metadata.map(|(name, value)| (name.to_owned(), value)).into();
        error
    }

    /// Returns a failure without a reason.
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self(Box::new(Failure {
            code,
            reason: String::new(),
            message: message.into(),
            metadata: HashMap::new(),
            retry_after: None,
            is_cut: false,
            is_status: false,
            source: None,
        }))
    }

    /// Returns a failure of this machine.
    pub(crate) fn io(what: impl fmt::Display, cause: io::Error) -> Self {
        Self::new(Code::Unknown, format!("{what}: {cause}")).caused_by(cause)
    }

    /// Returns the failure of a stream that ended although more was owed, which the contract rules
    /// out: to repeat the call would hide a defect of the daemon.
    pub(crate) fn cut_short(what: &str) -> Self {
        let message = format!("the daemon ended the {what} without an answer");
        Self::own(Reason::Internal, message, [])
    }

    /// Returns the failure of a stream that fell silent.
    pub(crate) fn stalled(address: &str, silence: Duration) -> Self {
        let seconds = silence.as_secs_f64().to_string();
        let message = format!(
            "the assetd daemon at {address} said nothing for {seconds} seconds, though it tells of \
             every fetch how far it is: look whether its process is stopped or its node hangs"
        );
        let mut error = Self::new(Code::Unavailable, message);
        error.0.metadata = HashMap::from([
            ("address".to_owned(), address.to_owned()),
            ("silent_seconds".to_owned(), seconds),
        ]);
        error
    }

    /// Returns the failure of a call that had an end set; `before`, if any, is what it was being
    /// repeated for.
    pub(crate) fn interrupted(
        code: Code,
        message: impl Into<String>,
        before: Option<&Error>,
    ) -> Self {
        let error = Self::new(code, message);
        let Some(before) = before else { return error };
        let message = format!("{}, while retrying after: {}", error.0.message, before.0.message);
        Self::new(code, message).caused_by(before.clone())
    }

    fn caused_by(mut self, cause: impl StdError + Send + Sync + 'static) -> Self {
        self.0.source = Some(Arc::new(cause));
        self
    }

    /// Returns what ended a call to the daemon at this address.
    ///
    /// A call that the transport ended, or that was cancelled though whoever cancels a call here
    /// drops it and gets no answer, is a daemon that could not be reached: one that begins to stop
    /// has gRPC cancel the calls that are on their way to it.
    pub(crate) fn of_call(status: Status, address: &str) -> Self {
        let mut error = Self::from(status);
        let failure = &error.0;
        let is_cut = failure.is_cut || matches!(failure.code, Code::Unavailable | Code::Cancelled);
        if !is_cut || !failure.reason.is_empty() {
            return error;
        }
        let cause = deepest_cause(&error);
        error.0.code = Code::Unavailable;
        error.0.message = format!(
            "no assetd daemon answers at {address} ({cause}): start one with `assetd serve`, or \
             name another address by {ADDRESS_VARIABLE}"
        );
        error.0.metadata = HashMap::from([
            ("address".to_owned(), address.to_owned()),
            ("cause".to_owned(), cause),
        ]);
        error
    }

    fn read(&mut self, detail: &prost_types::Any) {
        // A detail that is none is of no use, and no reason to lose the others.
        match detail.type_url.rsplit('/').next() {
            Some("google.rpc.ErrorInfo") => {
                if let Ok(info) = rpc::ErrorInfo::decode(&*detail.value)
                    && info.domain == DOMAIN
                {
                    self.0.reason = info.reason;
                    self.0.metadata = info.metadata;
                }
            }
            Some("google.rpc.RetryInfo") => {
                if let Ok(info) = rpc::RetryInfo::decode(&*detail.value) {
                    let delay = info.retry_delay.and_then(|delay| delay.try_into().ok());
                    self.0.retry_after = delay;
                }
            }
            _ => (),
        }
    }
}

/// The system's own words come last.
fn deepest_cause(error: &Error) -> String {
    let mut cause = error.0.message.clone();
    let mut next = error.source();
    while let Some(source) = next {
        next = source.source();
        // A status among the causes says more than what it is.
        cause = match source.downcast_ref::<Status>() {
            Some(status) => status.message().to_owned(),
            None => source.to_string(),
        };
    }
    cause
}

/// The codes of the reasons that this crate finds by itself; they are the contract's.
fn code_of_own(reason: Reason) -> Code {
    match reason {
        Reason::InvalidPart | Reason::InvalidField => Code::InvalidArgument,
        Reason::UnsupportedFile => Code::FailedPrecondition,
        Reason::SourceChanged => Code::Aborted,
        _ => Code::Internal,
    }
}

impl fmt::Display for Error {
    /// Writes the reason, or the code where there is none, and the message.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Failure { code, reason, message, .. } = &*self.0;
        if reason.is_empty() {
            return write!(formatter, "assetd: {code:?}: {message}");
        }
        write!(formatter, "assetd: {reason}: {message}")
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        let source = self.0.source.as_deref()?;
        Some(source)
    }
}

impl From<Status> for Error {
    /// Reads the failure of a generated stub.
    fn from(status: Status) -> Self {
        let mut error = Self::new(status.code(), status.message());
        if let Ok(details) = rpc::Status::decode(status.details()) {
            for detail in &details.details {
                error.read(detail);
            }
        }
        let trailer = status.metadata().get(REASON_TRAILER);
        if let Some(reason) = trailer.and_then(|value| value.to_str().ok())
            && error.0.reason.is_empty()
        {
            error.0.reason = reason.to_owned();
        }
        // What came as a status has no cause: all else the transport found by itself, with many
        // codes where the contract has one.
        error.0.is_cut = status.source().is_some();
        if error.0.is_cut {
            error.0.code = Code::Unavailable;
        }
        error.0.is_status = !error.0.is_cut && !status.message().starts_with(NO_MESSAGE);
        error.caused_by(status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1;

    #[test]
    fn only_a_status_that_nobody_explains_is_a_reset() {
        assert!(Error::from(Status::internal("reset")).is_reset());
        assert!(!Error::from(Status::unknown("reset")).is_reset());
        // As the transport gives it what is no message, and as this crate finds defects.
        let unreadable = v1::FetchResponse::decode(&[0xff][..]).unwrap_err();
        assert!(!Error::from(Status::internal(unreadable.to_string())).is_reset());
        assert!(!Error::cut_short("fetch").is_reset());
        assert!(!Error::new(Code::Internal, "a thread panicked").is_reset());
    }
}
