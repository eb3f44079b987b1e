//! When a call is made again, and when its failure is believed.
//!
//! This is the only layer that repeats calls: the transport does not, and the daemon's repeats
//! towards the store are its own affair.
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tonic::Code;
use tonic::metadata::MetadataMap;

use crate::error::{Error, Result};

/// How patient a client is with failures that may pass. What is dropped waits no longer.
///
/// Those are: `UNAVAILABLE` (no daemon there, one that is stopping, a stream that was cut or fell
/// silent, a store that does not answer), and a status without a reason that gRPC or something on the
/// way made, `CANCELLED` or `INTERNAL`. For a push also the `PUSH_IN_PROGRESS` of its own earlier try;
/// for a hold that lost its daemon also `RESOURCE_EXHAUSTED`, and whatever has no reason. Other
/// failures are never repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// How long failures are met by a repeat; by default 15 s. It starts anew whenever the call has
    /// come further than ever, so that a fetch may be cut as often as it likes.
    ///
    /// Holds know no end of patience: they are taken again for as long as they are wanted.
    pub patience: Duration,
    /// The same while no daemon has answered the call at all; by default 1.5 s. Short, so that
    /// somebody who forgot to start one is told so, and long enough for a restart.
    pub connect_patience: Duration,
    /// The pause before the first repeat, by default 100 ms; it doubles from one to the next. Up
    /// to half of every pause is left out at random, and what the daemon asks for is added.
    pub first_delay: Duration,
    /// What the pauses grow to; by default 2 s.
    pub max_delay: Duration,
    /// How long the stream of a fetch may say nothing, beyond three of its progress intervals,
    /// before it is cut and joined again; by default 30 s. A daemon that lives tells how far it is
    /// even if nothing moves; one that is frozen, or out of reach, would be waited for for ever.
    /// [`Duration::MAX`] waits.
    pub stall_timeout: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            patience: Duration::from_secs(15),
            connect_patience: Duration::from_millis(1500),
            first_delay: Duration::from_millis(100),
            max_delay: Duration::from_secs(2),
            stall_timeout: Duration::from_secs(30),
        }
    }
}

impl RetryPolicy {
    /// Returns the same pauses without an end, for a hold.
    pub(crate) fn endless(self) -> Self {
        let (patience, connect_patience) = (Duration::MAX, Duration::MAX);
        Self { patience, connect_patience, ..self }
    }

    /// Returns the longest pause after so many failures in a row, what the daemon asks for aside.
    fn delay(&self, failures: u32) -> Duration {
        // The exponent is bounded, since a hold repeats for days.
        let doubled = 1_u32 << (failures.max(1) - 1).min(31);
        self.first_delay.saturating_mul(doubled).min(self.max_delay)
    }
}

/// Callers who were cut off together must not come back together.
fn jittered(length: Duration) -> Duration {
    length - (length / 2).mul_f64(fastrand::f64())
}

/// What every stream of one call has in common: what may end it early, and what it carries.
#[derive(Clone)]
pub(crate) struct Call {
    timeout: Option<Duration>,
    end: Option<Instant>,
    closing: watch::Receiver<bool>,
    /// Such as the trace of the program.
    pub(crate) metadata: MetadataMap,
}

impl Call {
    /// Begins now; `closing` becomes true with the end of the client.
    pub(crate) fn new(
        timeout: Option<Duration>,
        closing: watch::Receiver<bool>,
        metadata: MetadataMap,
    ) -> Self {
        // What no clock can tell any more is as good as never.
        let end = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        Self { timeout, end, closing, metadata }
    }

    /// Returns the same with all of its time left.
    pub(crate) fn begun_again(&self) -> Self {
        Self::new(self.timeout, self.closing.clone(), self.metadata.clone())
    }

    /// Returns the same without a limit of time.
    pub(crate) fn unlimited(&self) -> Self {
        Self { timeout: None, end: None, ..self.clone() }
    }

    fn ends_within(&self, pause: Duration) -> bool {
        self.end.is_some_and(|end| end.saturating_duration_since(Instant::now()) <= pause)
    }

    /// Returns once the call has to end, with the reason.
    async fn ended(&self, before: Option<&Error>) -> Error {
        let mut closing = self.closing.clone();
        let in_time = async {
            match self.end {
                // A timer may let what is due wait for its next tick.
                Some(end) if end <= Instant::now() => (),
                Some(end) => sleep_until(end).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            _ = closing.wait_for(|closed| *closed) => {
                Error::interrupted(Code::Cancelled, "the client was closed", before)
            }
            () = in_time => {
                let seconds = self.timeout.unwrap_or_default().as_secs_f64();
                let message = format!("not done within {seconds} seconds");
                Error::interrupted(Code::DeadlineExceeded, message, before)
            }
        }
    }
}

/// What ends a call early.
pub(crate) struct Ends {
    call: Call,
    /// What the call is being repeated for.
    before: Option<Error>,
}

impl Ends {
    /// Does the work, but neither beyond the call's time nor beyond the client.
    pub(crate) async fn guard<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            biased;
            ended = self.call.ended(self.before.as_ref()) => Err(ended),
            done = work => done,
        }
    }
}

/// One call's failures since it last came further.
pub(crate) struct Tries {
    policy: RetryPolicy,
    failures: u32,
    first_failure: Option<Instant>,
    is_answered: bool,
    furthest: i64,
}

impl Tries {
    /// Notes that the daemon sent something, and how far the call is by some figure.
    ///
    /// An answer alone is no reason for new patience: a daemon whose store is down may begin well
    /// each time.
    pub(crate) fn answered(&mut self, done: i64) {
        self.is_answered = true;
        if done > self.furthest {
            self.furthest = done;
            self.failures = 0;
        }
    }

    /// Forgets the failures: the call has reached what it was made for.
    pub(crate) fn begin_anew(&mut self) {
        self.failures = 0;
    }

    /// Returns how long to pause before the call is made again, if patience has not ended.
    fn delay_after(&mut self, failure: &Error) -> Option<Duration> {
        if !failure.is_daemon_unavailable() {
            self.is_answered = true;
        }
        let now = Instant::now();
        if self.failures == 0 {
            self.first_failure = Some(now);
        }
        self.failures = self.failures.saturating_add(1);
        let asked = failure.retry_after().unwrap_or_default();
        let delay = jittered(self.policy.delay(self.failures)).saturating_add(asked);
        let waited = self.first_failure.map_or(Duration::ZERO, |first| now - first);
        let patience =
            if self.is_answered { self.policy.patience } else { self.policy.connect_patience };
        (delay <= patience.saturating_sub(waited)).then_some(delay)
    }
}

/// The repeats of one call.
pub(crate) struct Retry {
    pub(crate) ends: Ends,
    pub(crate) tries: Tries,
}

impl Retry {
    /// Begins without a failure.
    pub(crate) fn new(policy: RetryPolicy, call: Call) -> Self {
        let ends = Ends { call, before: None };
        let tries =
            Tries { policy, failures: 0, first_failure: None, is_answered: false, furthest: 0 };
        Self { ends, tries }
    }

    /// Pauses until the call may be made again. `passes`: it is known that this failure ends by
    /// itself, whatever its code.
    ///
    /// Fails with the failure if a repeat is of no use: it is the daemon's word and not
    /// `UNAVAILABLE`, patience has ended, or the pause would outlast the call's time. Once the call or the client has ended, it
    /// fails with that.
    pub(crate) async fn pause_after(&mut self, failure: Error, passes: bool) -> Result<()> {
        let may_pass = failure.code() == Code::Unavailable || failure.is_reset() || passes;
        if !may_pass {
            return Err(failure);
        }
        let Some(delay) = self.tries.delay_after(&failure) else { return Err(failure) };
        if self.ends.call.ends_within(delay) {
            return Err(failure);
        }
        self.ends.before = Some(failure);
        let pause = async {
            sleep(delay).await;
            Ok(())
        };
        self.ends.guard(pause).await
    }
}
