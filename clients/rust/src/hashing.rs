//! Hashing a source before it is pushed, on all processors.
use std::cmp::Reverse;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::available_parallelism;
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::task::JoinSet;
use tokio::time::interval;
use tonic::Code;

use crate::error::{Error, Result};
use crate::source::{Halt, Source};

pub(crate) const DIGEST_PREFIX: &str = "sha256:";
const TELL_INTERVAL: Duration = Duration::from_millis(100);

/// What a source hashes to: the whole, and each file by its path.
#[derive(Debug, Default)]
pub(crate) struct Digests {
    pub(crate) digest: String,
    pub(crate) files: HashMap<String, String>,
}

/// The work that several threads share: each file is handed out once.
struct Work {
    source: Arc<Source>,
    /// The largest first: were it the last one, all others would be done long before.
    order: Vec<usize>,
    next: AtomicUsize,
    hashed_bytes: AtomicU64,
    is_stopped: AtomicBool,
    hexes: Mutex<Vec<String>>,
}

/// Stops the threads when nobody waits for them any more.
struct Stop(Arc<Work>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.is_stopped.store(true, Ordering::Relaxed);
    }
}

/// Reads everything once; `report` gets the bytes hashed so far, now and then and at the end.
///
/// Fails with `SOURCE_CHANGED` if a file is not, or did not stay, what was listed. Dropped, it reads
/// at most a MiB more.
pub(crate) async fn hash(source: Arc<Source>, mut report: impl FnMut(u64)) -> Result<Digests> {
    let mut order: Vec<usize> = (0..source.files.len()).collect();
    order.sort_by_key(|&index| Reverse(source.files[index].size_bytes));
    let work = Arc::new(Work {
        order,
        next: AtomicUsize::new(0),
        hashed_bytes: AtomicU64::new(0),
        is_stopped: AtomicBool::new(false),
        hexes: Mutex::new(vec![String::new(); source.files.len()]),
        source,
    });
    let _stop = Stop(work.clone());
    let mut threads = JoinSet::new();
    let processors = available_parallelism().map_or(1, usize::from);
    for _ in 0..processors.min(work.order.len()) {
        let work = work.clone();
        threads.spawn_blocking(move || work.run());
    }
    let mut ticks = interval(TELL_INTERVAL);
    // The first one is due at once.
    ticks.tick().await;
    loop {
        tokio::select! {
            _ = ticks.tick() => report(work.hashed_bytes.load(Ordering::Relaxed)),
            done = threads.join_next() => match done {
                Some(done) => done.map_err(|cause| Error::new(Code::Internal, cause.to_string()))??,
                None => break,
            },
        }
    }
    report(work.hashed_bytes.load(Ordering::Relaxed));
    Ok(work.digests())
}

impl Work {
    fn run(&self) -> Result<()> {
        loop {
            let position = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(&index) = self.order.get(position) else { return Ok(()) };
            let mut sum = Sha256::new();
            let read = self.source.read(&self.source.files[index], 0, |data| {
                sum.update(data);
                self.hashed_bytes.fetch_add(data.len() as u64, Ordering::Relaxed);
                match self.is_stopped.load(Ordering::Relaxed) {
                    true => Err(Halt::Stopped),
                    false => Ok(()),
                }
            });
            match read {
                Ok(()) => {
                    self.hexes.lock().unwrap_or_else(PoisonError::into_inner)[index] = hex(sum)
                }
                Err(Halt::Stopped) => return Ok(()),
                Err(Halt::Failed(failure)) => return Err(failure),
            }
        }
    }

    fn digests(&self) -> Digests {
        let hexes = self.hexes.lock().unwrap_or_else(PoisonError::into_inner);
        let named = || self.source.files.iter().map(|file| file.path.as_str()).zip(hexes.iter());
        let files = named().map(|(path, hex)| (path.to_owned(), format!("{DIGEST_PREFIX}{hex}")));
        let files: HashMap<String, String> = files.collect();
        let digest = match self.source.is_folder {
            true => digest_of_folder(named()),
            false => files.get("").cloned().unwrap_or_default(),
        };
        Digests { digest, files }
    }
}

/// Returns the digest of what `sha256sum` prints for these files, which are in order.
pub(crate) fn digest_of_folder<'a>(
    files: impl Iterator<Item = (impl AsRef<[u8]>, &'a String)>,
) -> String {
    let mut listing = Sha256::new();
    for (path, hex) in files {
        listing.update(hex);
        listing.update("  ");
        listing.update(path);
        listing.update("\n");
    }
    format!("{DIGEST_PREFIX}{}", hex(listing))
}

/// Returns the sum in lower-case hex digits.
pub(crate) fn hex(sum: Sha256) -> String {
    sum.finalize().iter().fold(String::new(), |mut hex, byte| {
        // Writing to a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}
