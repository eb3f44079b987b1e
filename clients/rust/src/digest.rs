//! The digest of anything, without a daemon.
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sha2::{Digest as _, Sha256};
use tonic::Code;

use crate::error::{Error, Result};
use crate::hashing::{DIGEST_PREFIX, digest_of_folder, hex};
use crate::pin::MARKER;
use crate::source::READ_BYTES;

/// Reads the file or folder at the path and returns its digest, `sha256:` and 64 hex digits, as
/// [`Asset::digest`](crate::Asset::digest) has it: of a file, the SHA-256 of its bytes; of a folder,
/// the SHA-256 of what `sha256sum` prints for its files in bytewise order of their paths. The marker
/// `.SUCCESS` of a fetched version does not count.
///
/// Fails when something cannot be read, and when the folder holds anything but files and folders.
/// Dropped, it reads at most a MiB more.
pub async fn digest(path: impl Into<PathBuf>) -> Result<String> {
    let path = path.into();
    let is_wanted = Wanted::default();
    let wanted = is_wanted.0.clone();
    let hashed = tokio::task::spawn_blocking(move || digest_of(&path, &wanted));
    hashed.await.map_err(|cause| Error::new(Code::Internal, cause.to_string()))?
}

/// Becomes false when nobody waits any more.
struct Wanted(Arc<AtomicBool>);

impl Default for Wanted {
    fn default() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }
}

impl Drop for Wanted {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

fn digest_of(path: &Path, wanted: &AtomicBool) -> Result<String> {
    let status = fs::metadata(path).map_err(|cause| Error::io(path.display(), cause))?;
    if !status.is_dir() {
        return Ok(format!("{DIGEST_PREFIX}{}", hex_of_file(path, wanted)?));
    }
    let mut hexes = BTreeMap::new();
    hash_folder(path, b"", &mut hexes, wanted)?;
    Ok(digest_of_folder(hexes.iter()))
}

/// Adds the hashes of all files below the folder, by their paths in it.
fn hash_folder(
    folder: &Path,
    prefix: &[u8],
    hexes: &mut BTreeMap<Vec<u8>, String>,
    wanted: &AtomicBool,
) -> Result<()> {
    let unreadable = |cause| Error::io(folder.display(), cause);
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let mut name = [prefix, entry.file_name().as_bytes()].concat();
        let (path, kind) = (entry.path(), entry.file_type().map_err(unreadable)?);
        if kind.is_dir() {
            name.push(b'/');
            hash_folder(&path, &name, hexes, wanted)?;
        } else if name == MARKER.as_bytes() {
            continue;
        } else if kind.is_file() {
            hexes.insert(name, hex_of_file(&path, wanted)?);
        } else {
            let cause = io::Error::other("neither a file nor a folder");
            return Err(Error::io(path.display(), cause));
        }
    }
    Ok(())
}

fn hex_of_file(path: &Path, wanted: &AtomicBool) -> Result<String> {
    let unreadable = |cause| Error::io(path.display(), cause);
    let mut file = File::open(path).map_err(unreadable)?;
    let mut buffer = vec![0; READ_BYTES as usize];
    let mut sum = Sha256::new();
    while wanted.load(Ordering::Relaxed) {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(hex(sum)),
            Ok(count) => sum.update(&buffer[..count]),
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => (),
            Err(cause) => return Err(unreadable(cause)),
        }
    }
    Err(unreadable(io::ErrorKind::Interrupted.into()))
}
