//! Turns hashing and the daemon's events into the progress of one push.
use crate::v1::push_progress::Phase as WirePhase;
use crate::v1::push_response::Event;

/// What a push is doing, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PushPhase {
    /// The source is read and hashed; of what this process pushes nothing has been sent yet.
    Hashing,
    /// Bytes that the store lacks go to the daemon; those that it has count as done.
    Sending,
    /// The daemon writes them to the store. Sending and storing may go on at once.
    Storing,
    /// The stored bytes are checked, and the version is made visible.
    Committing,
}

/// How far a push is. No figure falls during one push.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PushProgress {
    /// What is being told of.
    pub phase: PushPhase,
    /// How far this phase is, of `total_bytes`.
    pub done_bytes: u64,
    /// How far sending is, whichever phase this is of.
    pub sent_bytes: u64,
    /// How far storing is, whichever phase this is of.
    pub stored_bytes: u64,
    /// The size of the version. None until the daemon has looked at what it is to find by itself.
    pub total_bytes: Option<u64>,
}

pub(crate) type PushReport<'a> = Box<dyn FnMut(&PushProgress) + Send + 'a>;

#[derive(Default)]
pub(crate) struct Meter<'a> {
    report: Option<PushReport<'a>>,
    pub(crate) total_bytes: Option<u64>,
    kept_bytes: u64,
    hashed_here_bytes: u64,
    done_bytes: [u64; 4],
}

impl<'a> Meter<'a> {
    /// Has told nothing yet.
    pub(crate) fn new(report: Option<PushReport<'a>>) -> Self {
        Self { report, ..Self::default() }
    }

    /// A figure that rises whenever the daemon comes further in a phase than ever before. Each phase
    /// by itself: what arrives again has not come further, but what is stored then has, long before
    /// it makes up for all that had arrived in vain.
    pub(crate) fn furthest(&self) -> i64 {
        // A daemon may say any figure.
        let sum = self.done_bytes.iter().fold(0_u64, |sum, &bytes| sum.saturating_add(bytes));
        i64::try_from(sum.saturating_sub(self.hashed_here_bytes)).unwrap_or(i64::MAX)
    }

    /// Notes that so many bytes of the source are hashed.
    pub(crate) fn hashed(&mut self, bytes: u64) {
        self.hashed_here_bytes = bytes;
        self.note(PushPhase::Hashing, bytes);
    }

    /// Notes how much is about to be sent: the rest is done.
    pub(crate) fn lacks(&mut self, bytes: u64) {
        self.kept_bytes = self.total_bytes.unwrap_or_default().saturating_sub(bytes);
        self.note(PushPhase::Sending, self.kept_bytes);
        self.note(PushPhase::Storing, self.kept_bytes);
    }

    /// Notes what the daemon said.
    pub(crate) fn observe(&mut self, event: &Event) {
        if let Event::Accepted(_) = event {
            // A new stream: what it keeps of the files is yet to be said.
            self.kept_bytes = 0;
        }
        let Event::Progress(progress) = event else { return };
        let bytes = |size: i64| u64::try_from(size).unwrap_or_default();
        if self.total_bytes.is_none() {
            self.total_bytes = progress.total_bytes.map(bytes);
        }
        let (received, stored) = (bytes(progress.received_bytes), bytes(progress.stored_bytes));
        match progress.phase() {
            WirePhase::Receiving => {
                self.note(PushPhase::Sending, self.kept_bytes.saturating_add(received));
                // Both go on at once, and the phase names but one.
                self.note(PushPhase::Storing, stored);
            }
            WirePhase::Hashing => self.note(PushPhase::Hashing, received),
            WirePhase::Committing => {
                let all = self.total_bytes.unwrap_or_default().max(stored);
                self.note(PushPhase::Committing, all);
            }
            WirePhase::Unspecified | WirePhase::Storing => self.note(PushPhase::Storing, stored),
        }
    }

    fn note(&mut self, phase: PushPhase, bytes: u64) {
        // After a cut the daemon counts from what it finds, which may be less.
        let done = &mut self.done_bytes[phase as usize];
        *done = bytes.max(*done);
        let progress = PushProgress {
            phase,
            done_bytes: *done,
            sent_bytes: self.done_bytes[PushPhase::Sending as usize],
            stored_bytes: self.done_bytes[PushPhase::Storing as usize],
            total_bytes: self.total_bytes,
        };
        if let Some(report) = &mut self.report {
            report(&progress);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1;

    fn told(phase: WirePhase, received_bytes: i64, stored_bytes: i64) -> Event {
        let phase = phase.into();
        Event::Progress(v1::PushProgress { phase, received_bytes, stored_bytes, total_bytes: None })
    }

    #[test]
    fn no_figure_is_too_large() {
        let mut meter = Meter { total_bytes: Some(1), ..Meter::default() };
        meter.hashed(1);
        for phase in [WirePhase::Receiving, WirePhase::Hashing, WirePhase::Committing] {
            meter.observe(&told(phase, i64::MAX, i64::MAX));
        }
        assert_eq!(meter.furthest(), i64::MAX);
    }

    #[test]
    fn a_push_that_is_begun_again_shows_no_figure_that_falls() {
        let mut shown = Vec::new();
        let mut meter = Meter {
            total_bytes: Some(100),
            report: Some(Box::new(|progress: &PushProgress| {
                shown.push((progress.sent_bytes, progress.stored_bytes));
            })),
            ..Meter::default()
        };
        meter.hashed(100);
        assert_eq!(meter.furthest(), 0, "hashing here is no word of the daemon");
        meter.lacks(60);
        meter.observe(&told(WirePhase::Receiving, 50, 40));
        assert_eq!(meter.furthest(), 90 + 40);
        meter.observe(&Event::Accepted(v1::PushAccepted::default()));
        meter.lacks(100);
        meter.observe(&told(WirePhase::Receiving, 30, 20));
        assert_eq!(meter.furthest(), 90 + 40, "what arrives again has not come further");
        meter.observe(&told(WirePhase::Storing, 100, 70));
        meter.observe(&told(WirePhase::Committing, 100, 100));
        assert_eq!(meter.furthest(), 90 + 70 + 100);
        drop(meter);
        assert!(shown.is_sorted_by(|one, next| one.0 <= next.0 && one.1 <= next.1), "{shown:?}");
        assert_eq!(shown.last(), Some(&(90, 70)));
    }
}
