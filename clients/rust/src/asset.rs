//! A version that is present on this node.
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use crate::client::Inner;
use crate::progress::{bytes, duration, files};
use crate::receipt;
use crate::v1;

/// A version that is present on this node: whole, verified, durable. Its files are for reading
/// only, and other processes read them too.
#[derive(Clone)]
pub struct Asset {
    pub(crate) path: PathBuf,
    pub(crate) relative_path: String,
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) kind: v1::AssetKind,
    pub(crate) resolution: v1::Resolution,
    pub(crate) source: v1::Source,
    pub(crate) transferred_bytes: u64,
    pub(crate) joined: bool,
    pub(crate) elapsed: Duration,
    /// What a hit without a call did not need is read from here when it is asked for.
    pub(crate) marker: Option<PathBuf>,
    pub(crate) facts: OnceLock<Facts>,
}

/// What a daemon answers, or its receipt says.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Facts {
    pub(crate) digest: String,
    pub(crate) size_bytes: Option<u64>,
    pub(crate) file_count: Option<u32>,
    pub(crate) verification: v1::Verification,
    pub(crate) reused_bytes: u64,
}

impl Asset {
    /// Where the version is, or the part that the spec names: as the daemon sees it, or where that
    /// is not visible here, below the client's own ASSETS_DIR.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The same relative to ASSETS_DIR, for programs that mount it elsewhere.
    pub fn relative_path(&self) -> &str {
        &self.relative_path
    }

    /// The asset's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The version in full, such as `1.2`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Whether the version is a file or a directory.
    pub fn kind(&self) -> v1::AssetKind {
        self.kind
    }

    /// How the version was found.
    pub fn resolution(&self) -> v1::Resolution {
        self.resolution
    }

    /// Where the bytes that were missing came from; `Cache` on a hit.
    pub fn source(&self) -> v1::Source {
        self.source
    }

    /// How many bytes the fetch took from the source; 0 on a hit.
    pub fn transferred_bytes(&self) -> u64 {
        self.transferred_bytes
    }

    /// Whether the fetch shared the download of a caller who had come before.
    pub fn joined(&self) -> bool {
        self.joined
    }

    /// How long the daemon took; 0 without a call.
    pub fn elapsed(&self) -> Duration {
        self.elapsed
    }

    /// The version's identity, `sha256:` and 64 hex digits. None when it is not known, as when
    /// modelkit pushed the version.
    ///
    /// Like [`size_bytes`](Asset::size_bytes), [`file_count`](Asset::file_count),
    /// [`verification`](Asset::verification) and [`reused_bytes`](Asset::reused_bytes) it reads the
    /// daemon's receipt below ASSETS_DIR if the version was found without a call, the first time
    /// one of them is asked; should the version have been evicted by then, nothing is known.
    pub fn digest(&self) -> Option<&str> {
        Some(self.facts().digest.as_str()).filter(|digest| !digest.is_empty())
    }

    /// The sizes of all files of the version added up, if known.
    pub fn size_bytes(&self) -> Option<u64> {
        self.facts().size_bytes
    }

    /// How many files the version holds, if known.
    pub fn file_count(&self) -> Option<u32> {
        self.facts().file_count
    }

    /// What the files were compared with before they were shown.
    pub fn verification(&self) -> v1::Verification {
        self.facts().verification
    }

    /// How many of the version's bytes were here already.
    pub fn reused_bytes(&self) -> u64 {
        self.facts().reused_bytes
    }

    fn facts(&self) -> &Facts {
        self.facts.get_or_init(|| self.marker.as_deref().map(receipt::read).unwrap_or_default())
    }

    /// Returns what a daemon answered.
    pub(crate) fn fetched(
        client: &Inner,
        started: &v1::FetchStarted,
        completed: v1::FetchCompleted,
    ) -> Self {
        let (source, verification) = (completed.source(), completed.verification());
        let version = completed.asset_version.unwrap_or_default();
        let (size_bytes, file_count) = extent(&version);
        let facts = Facts {
            size_bytes,
            file_count,
            verification,
            reused_bytes: bytes(completed.reused_bytes),
            digest: version.digest.clone(),
        };
        Self {
            path: visible(client, completed.path.into(), &completed.relative_path),
            relative_path: completed.relative_path,
            kind: version.kind(),
            name: version.name,
            version: version.version,
            resolution: started.resolution(),
            source,
            transferred_bytes: bytes(completed.transferred_bytes),
            joined: started.joined,
            elapsed: completed.elapsed.and_then(duration).unwrap_or_default(),
            marker: None,
            facts: facts.into(),
        }
    }
}

impl fmt::Debug for Asset {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, name, version, .. } = self;
        let spec = format!("{name}:{version}");
        let mut shown = formatter.debug_struct("Asset");
        shown.field("spec", &spec).field("path", path).finish_non_exhaustive()
    }
}

/// Returns the size of a version and how many files it holds, where the daemon says it.
pub(crate) fn extent(version: &v1::AssetVersion) -> (Option<u64>, Option<u32>) {
    (version.size_bytes.map(bytes), version.file_count.map(files))
}

/// Returns the daemon's path, or that below our own ASSETS_DIR, where only that exists.
fn visible(client: &Inner, path: PathBuf, relative_path: &str) -> PathBuf {
    let Some(assets_dir) = &client.assets_dir else { return path };
    if path.exists() {
        return path;
    }
    let here = assets_dir.join(relative_path);
    if here.exists() { here } else { path }
}
