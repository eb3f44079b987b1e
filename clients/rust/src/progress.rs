//! How far a fetch is, whatever streams bring its events: the rules without the I/O.
use std::time::Duration;

use crate::error::{Error, Result};
use crate::v1;
use crate::v1::ErrorReason as Reason;

/// How far a download is. The figures are those of the download, which other callers may share, and
/// count what was here before it began. Within one attempt none falls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// What the daemon does right now.
    pub phase: v1::FetchPhase,
    /// Bytes that are here. When bytes proved useless, or the daemon came back without them, it is
    /// lower, and `attempt` higher.
    pub present_bytes: u64,
    /// What `present_bytes` will reach. None until the version is resolved, known from then on.
    pub total_bytes: Option<u64>,
    /// Files that are here in full.
    pub present_files: u32,
    /// What `present_files` will reach. None until the version is resolved, known from then on.
    pub total_files: Option<u32>,
    /// Averaged over the last seconds.
    pub bytes_per_second: u64,
    /// How long the rest takes at that speed. None when nothing can be said.
    pub remaining: Option<Duration>,
    /// How long ago the last byte arrived from the source; it grows while the source is silent.
    /// None until the first byte.
    pub since_last_byte: Option<Duration>,
    /// From 1; rises whenever what had arrived is lost and fetched again.
    pub attempt: u32,
}

/// Puts the progress of one stream after another into one. A daemon promises figures that never
/// fall within one attempt; after a cut there may be another daemon, which counts from what it
/// finds.
#[derive(Default)]
pub(crate) struct Figures {
    shown: Progress,
    /// The last one of this stream; none when it has told nothing yet.
    last: Option<v1::FetchProgress>,
    /// The last one of all streams.
    before: v1::FetchProgress,
    earlier_attempts: i64,
}

impl Figures {
    /// Notes that what comes next is of another stream.
    pub(crate) fn new_stream(&mut self) {
        self.last = None;
    }

    /// Takes the daemon's next figures, and returns what to show.
    ///
    /// Fails with `INTERNAL` if they fell although the attempt is the same.
    pub(crate) fn note(&mut self, message: v1::FetchProgress) -> Result<&Progress> {
        if let Some(last) = &self.last
            && message.attempt <= last.attempt
            && has_fallen(last, &message)
        {
            return Err(fallen(last, &message));
        }
        let shown_attempt = i64::from(self.shown.attempt);
        let mut attempt = i64::from(message.attempt) + self.earlier_attempts;
        if attempt <= shown_attempt {
            attempt = shown_attempt + i64::from(has_fallen(&self.before, &message));
            self.earlier_attempts = attempt - i64::from(message.attempt);
        }
        self.shown.follow(&message);
        self.shown.attempt = attempt.try_into().unwrap_or_default();
        self.last = Some(message);
        self.before = message;
        Ok(&self.shown)
    }
}

fn has_fallen(before: &v1::FetchProgress, now: &v1::FetchProgress) -> bool {
    now.present_bytes < before.present_bytes || now.present_files < before.present_files
}

fn fallen(before: &v1::FetchProgress, now: &v1::FetchProgress) -> Error {
    let message = format!(
        "the daemon's progress fell from {} to {} bytes, and from {} to {} files, within one attempt",
        before.present_bytes, now.present_bytes, before.present_files, now.present_files
    );
    let metadata = [
        ("present_bytes", now.present_bytes.to_string()),
        ("earlier_present_bytes", before.present_bytes.to_string()),
        ("present_files", now.present_files.to_string()),
        ("earlier_present_files", before.present_files.to_string()),
    ];
    Error::own(Reason::Internal, message, metadata)
}

impl Progress {
    /// Takes what the message tells, and no total that was known back.
    fn follow(&mut self, message: &v1::FetchProgress) {
        self.phase = message.phase();
        self.present_bytes = bytes(message.present_bytes);
        self.present_files = files(message.present_files);
        self.total_bytes = message.total_bytes.map(bytes).or(self.total_bytes);
        self.total_files = message.total_files.map(files).or(self.total_files);
        self.bytes_per_second = bytes(message.bytes_per_second);
        self.remaining = message.eta.and_then(duration);
        self.since_last_byte = message.since_last_byte.and_then(duration);
    }
}

/// Returns a size; one below zero, which nothing has, as 0.
pub(crate) fn bytes(size: i64) -> u64 {
    size.try_into().unwrap_or_default()
}

/// Returns how many files; below zero as 0.
pub(crate) fn files(count: i32) -> u32 {
    count.try_into().unwrap_or_default()
}

/// Returns a duration; none if it is below zero.
pub(crate) fn duration(wire: prost_types::Duration) -> Option<Duration> {
    wire.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(attempt: i32, present_bytes: i64, present_files: i32) -> v1::FetchProgress {
        v1::FetchProgress { attempt, present_bytes, present_files, ..Default::default() }
    }

    /// Returns what was shown of each: attempt, bytes, files.
    fn shown(figures: &mut Figures, messages: &[v1::FetchProgress]) -> Vec<(u32, u64, u32)> {
        let mut show = |message: &v1::FetchProgress| {
            let shown = figures.note(*message).unwrap();
            (shown.attempt, shown.present_bytes, shown.present_files)
        };
        messages.iter().map(&mut show).collect()
    }

    #[test]
    fn a_figure_that_is_lower_is_told_with_a_higher_attempt() {
        let mut course = Figures::default();
        let told = [figures(1, 10, 0), figures(1, 50, 2), figures(2, 5, 0), figures(2, 60, 3)];
        let expected = vec![(1, 10, 0), (1, 50, 2), (2, 5, 0), (2, 60, 3)];
        assert_eq!(shown(&mut course, &told), expected);
    }

    #[test]
    fn another_stream_may_count_anew_and_that_is_another_attempt() {
        let mut course = Figures::default();
        shown(&mut course, &[figures(1, 40, 1)]);
        course.new_stream();
        assert_eq!(shown(&mut course, &[figures(1, 40, 1)]), [(1, 40, 1)], "continued");
        course.new_stream();
        assert_eq!(shown(&mut course, &[figures(1, 7, 0)]), [(2, 7, 0)], "begun anew");
        assert_eq!(shown(&mut course, &[figures(1, 9, 0)]), [(2, 9, 0)]);
        assert_eq!(shown(&mut course, &[figures(2, 3, 0)]), [(3, 3, 0)]);
    }

    #[test]
    fn figures_that_fall_within_one_attempt_are_a_defect() {
        for falls in [figures(1, 49, 3), figures(1, 60, 1), figures(0, 49, 2)] {
            let mut course = Figures::default();
            shown(&mut course, &[figures(1, 50, 2)]);
            let refused = course.note(falls).unwrap_err();
            assert_eq!(refused.reason(), Some(Reason::Internal));
            assert_eq!(refused.metadata()["earlier_present_bytes"], "50");
            assert_eq!(refused.metadata()["present_files"], falls.present_files.to_string());
        }
    }

    #[test]
    fn what_is_known_once_stays_known() {
        let mut course = Figures::default();
        let first = v1::FetchProgress {
            total_bytes: Some(9),
            total_files: Some(2),
            eta: Some(prost_types::Duration { seconds: 3, nanos: 0 }),
            ..figures(1, 1, 0)
        };
        assert_eq!(course.note(first).unwrap().remaining, Some(Duration::from_secs(3)));
        let next = course.note(figures(1, 2, 0)).unwrap();
        assert_eq!((next.total_bytes, next.total_files), (Some(9), Some(2)));
        assert_eq!((next.remaining, next.since_last_byte), (None, None));
    }
}
