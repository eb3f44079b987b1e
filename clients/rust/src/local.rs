//! Hits without a call: a pinned version that stands below ASSETS_DIR is found by this process.
//!
//! Nothing is remembered from one hit to the next: each looks at the file system anew. Whatever is
//! odd is no hit, and the daemon decides. What a hit trusts is the marker: there = complete, whoever
//! wrote it, as modelkit itself reads it.
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, CWD, FileType, Stat, Timespec, Timestamps, UTIME_NOW, lstat, utimensat};
use rustix::io::Errno;

use crate::asset::Asset;
use crate::lease::Lease;
use crate::pin::{MARKER, Pin};
use crate::v1::{AssetKind, Resolution, Source};

// A marker is touched by its mtime's age, so that a thousand readers write once a minute, not a
// thousand times. The daemon looks at changes of the mtime, never at its value: clocks jump.
const TOUCH_INTERVAL: Duration = Duration::from_secs(60);

/// Looks for versions below one ASSETS_DIR. Nothing in it waits.
pub(crate) struct FastPath {
    /// With a `/` at its end.
    prefix: String,
    /// When this process was last refused to touch a marker, in seconds since 1970; 0: never.
    denied_at: AtomicU64,
    now: fn() -> SystemTime,
}

impl FastPath {
    /// None where the folder's name is not UTF-8: there every fetch is a call.
    pub(crate) fn new(assets_dir: &Path) -> Option<Self> {
        let prefix = format!("{}/", assets_dir.to_str()?.trim_end_matches('/'));
        Some(Self { prefix, denied_at: AtomicU64::new(0), now: SystemTime::now })
    }

    /// Returns the asset if the spec pins a version that stands here, complete.
    pub(crate) fn hit(&self, spec: &str) -> Option<Asset> {
        let pin = Pin::parse(spec)?;
        self.standing(&pin, &self.path(&pin))
    }

    /// The same, leased: neither evicted nor replaced until the lease ends.
    pub(crate) fn held(&self, spec: &str) -> Option<(Asset, Lease)> {
        let pin = Pin::parse(spec)?;
        let path = self.path(&pin);
        let lease = Lease::open(&path)?;
        let asset = self.standing(&pin, &path)?;
        // Asked last: what stands there now can neither be evicted nor replaced any more.
        lease.is_of(&path).then_some((asset, lease))
    }

    fn path(&self, pin: &Pin<'_>) -> String {
        [&self.prefix, pin.name, "/", pin.version].concat()
    }

    /// Returns what the spec names; none where it is no hit. The marker is looked at after the
    /// version: an eviction takes it away first, or both at once. Folders on the way to the version
    /// may be links, as the operator likes; the version and what is in it may not.
    fn standing(&self, pin: &Pin<'_>, path: &str) -> Option<Asset> {
        let (found, kind) = walk(path, pin.part)?;
        let marker = match kind {
            AssetKind::File => [&self.prefix, pin.name, "/.", pin.version, MARKER].concat(),
            _ => [path, "/", MARKER].concat(),
        };
        let marked = lstat(&*marker).ok()?;
        if file_type(&marked) != FileType::RegularFile {
            return None;
        }
        self.leave_trace(&marker, &marked);
        Some(Asset {
            relative_path: found[self.prefix.len()..].to_owned(),
            path: found.into(),
            name: pin.name.to_owned(),
            version: pin.version.to_owned(),
            kind,
            resolution: Resolution::Exact,
            source: Source::Cache,
            transferred_bytes: 0,
            joined: false,
            elapsed: Duration::ZERO,
            marker: Some(marker.into()),
            facts: OnceLock::new(),
        })
    }

    /// Touches the marker for the evictor, where this process may.
    fn leave_trace(&self, marker: &str, marked: &Stat) {
        let now = (self.now)().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let is_recent = |time: u64| (0..TOUCH_INTERVAL.as_secs()).contains(&now.wrapping_sub(time));
        // Before 1970 is not recent either.
        let modified = u64::try_from(marked.st_mtime).unwrap_or_default();
        if is_recent(modified) || is_recent(self.denied_at.load(Ordering::Relaxed)) {
            return;
        }
        let touch = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        let times = Timestamps { last_access: touch, last_modification: touch };
        let touched = utimensat(CWD, marker, &times, AtFlags::SYMLINK_NOFOLLOW);
        if let Err(Errno::ACCESS | Errno::PERM | Errno::ROFS) = touched {
            self.denied_at.store(now, Ordering::Relaxed);
        }
    }
}

/// Goes from the version down to the part, through folders and no links, and returns where that is
/// and of which kind the version is.
fn walk(path: &str, part: &str) -> Option<(String, AssetKind)> {
    // Absent, half gone, not ours to look at: the daemon knows more.
    let mut standing = file_type(&lstat(path).ok()?);
    let kind = match standing {
        FileType::Directory => AssetKind::Directory,
        _ => AssetKind::File,
    };
    let mut path = path.to_owned();
    for segment in part.split('/').filter(|segment| !segment.is_empty()) {
        if standing != FileType::Directory {
            return None;
        }
        path.push('/');
        path.push_str(segment);
        standing = file_type(&lstat(&*path).ok()?);
    }
    let is_plain = matches!(standing, FileType::Directory | FileType::RegularFile);
    is_plain.then_some((path, kind))
}

fn file_type(status: &Stat) -> FileType {
    FileType::from_raw_mode(status.st_mode)
}
