//! The kernel's word that this process uses a version.
use std::os::fd::OwnedFd;

use rustix::fs::{CWD, FlockOperation, Mode, OFlags, flock, fstat, lstat, openat};
use rustix::io::retry_on_intr;

/// A shared flock on the version itself, which every evictor asks for in vain until the last process
/// that has the descriptor is gone. It needs no daemon, works across containers and on read-only
/// mounts, and ends when it is dropped.
///
/// It has begun only once [`is_of`](Lease::is_of) says so: until then the version may just be on
/// its way out.
pub(crate) struct Lease(OwnedFd);

impl Lease {
    /// Opens the version at the path and locks it, without waiting. None where nothing stands that
    /// this process may open, or where it is just being replaced or evicted.
    pub(crate) fn open(path: &str) -> Option<Self> {
        // Should a FIFO stand there, NONBLOCK keeps the open from hanging. NOFOLLOW: the daemon
        // publishes no links, so that one is somebody else's doing.
        let flags =
            OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        let version = retry_on_intr(|| openat(CWD, path, flags, Mode::empty())).ok()?;
        flock(&version, FlockOperation::NonBlockingLockShared).ok()?;
        Some(Self(version))
    }

    /// Whether what is locked is what stands at the path: with that the lease has begun.
    pub(crate) fn is_of(&self, path: &str) -> bool {
        match (fstat(&self.0), lstat(path)) {
            (Ok(ours), Ok(standing)) => {
                (ours.st_ino, ours.st_dev) == (standing.st_ino, standing.st_dev)
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_lease_is_of_what_stands_at_the_path_and_of_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("1.2");
        fs::write(&path, "old").unwrap();
        let shown = path.to_str().unwrap();
        let lease = Lease::open(shown).unwrap();
        assert!(lease.is_of(shown));
        assert!(Lease::open(shown).unwrap().is_of(shown), "it is shared");
        assert!(File::open(&path).unwrap().try_lock().is_err());
        // An evictor that came between open and lock.
        fs::rename(&path, folder.path().join("trash")).unwrap();
        assert!(!lease.is_of(shown));
        fs::write(&path, "new").unwrap();
        assert!(!lease.is_of(shown));
    }

    #[test]
    fn what_is_absent_or_a_link_cannot_be_leased() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        assert!(Lease::open(&path("1.2")).is_none());
        fs::write(path("real"), "").unwrap();
        symlink("real", path("1.2")).unwrap();
        assert!(Lease::open(&path("1.2")).is_none());
    }
}
