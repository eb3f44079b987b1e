//! What a push is of: a file or a folder of this machine.
//!
//! Every folder and file is opened beneath the descriptor of the one above, and what is no plain
//! file is refused before it is opened: opening a FIFO or a device does things.
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, fstat, lstat, openat, statat};
use rustix::io::retry_on_intr;

use crate::error::{Error, Result};
use crate::globs::Globs;
use crate::v1::ErrorReason as Reason;

/// How much is read, and sent, at a time.
pub(crate) const READ_BYTES: u64 = 1 << 20;
/// The store's limit for a key: a path beyond it is refused anyway, and it bounds the recursion.
const MAX_PATH_BYTES: usize = 1024;

// Should a FIFO take the file's place between look and open, NONBLOCK keeps the open from hanging.
const OPEN_FILE: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::CLOEXEC)
    .union(OFlags::NOCTTY);
const OPEN_FOLDER: OFlags =
    OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// One file to push. Its path is inside the asset, and empty for a file asset.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SourceFile {
    pub(crate) path: String,
    pub(crate) size_bytes: u64,
    state: FileState,
}

/// By what a file is known to be the same and unchanged.
#[derive(Clone, Debug, PartialEq)]
struct FileState {
    device: u64,
    inode: u64,
    size_bytes: i64,
    modified: (i64, i64),
    /// Not even somebody who sets the file's times can set this one.
    changed: (i64, i64),
}

/// A file or a folder as it was when it was listed, in bytewise order of the paths.
#[derive(Debug)]
pub(crate) struct Source {
    root: PathBuf,
    pub(crate) is_folder: bool,
    pub(crate) files: Vec<SourceFile>,
    exclude: Globs,
}

/// Why reading ended before the end.
pub(crate) enum Halt {
    /// Nobody wants the rest.
    Stopped,
    Failed(Error),
}

impl From<Error> for Halt {
    fn from(failure: Error) -> Self {
        Self::Failed(failure)
    }
}

impl Source {
    /// Looks at every file of a file or folder, opening none, and at nothing that is excluded. A
    /// slash at the end of the path says nothing: `link/` is the link.
    ///
    /// Fails with `UNSUPPORTED_FILE` for links, hard links, devices, FIFOs and sockets; with
    /// `INVALID_PART` for empty folders and names that no asset can have, or if nothing is left;
    /// with `INVALID_FIELD` for globs and a file; and as the system does.
    pub(crate) fn list(path: &Path, exclude: Globs) -> Result<Self> {
        let root = without_last_slashes(path);
        let status = lstat(root).map_err(|cause| Error::io(root.display(), cause.into()))?;
        let mut source =
            Self { root: root.to_owned(), is_folder: false, files: Vec::new(), exclude };
        if file_type(&status) != FileType::Directory {
            source.take_file(String::new(), &status)?;
            return match source.exclude.is_empty() {
                true => Ok(source),
                false => Err(source.not_a_folder()),
            };
        }
        source.is_folder = true;
        let folder =
            open_at(CWD, root, OPEN_FOLDER).map_err(|cause| Error::io(root.display(), cause))?;
        source.walk(folder, "")?;
        if source.files.is_empty() {
            return Err(source.invalid(b"", "has no file that is not excluded"));
        }
        source.files.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(source)
    }

    pub(crate) fn total_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size_bytes).sum()
    }

    /// Lists again and compares names, inodes, sizes and times. Fails with `SOURCE_CHANGED`.
    pub(crate) fn check_unchanged(&self) -> Result<()> {
        let now = Self::list(&self.root, self.exclude.clone()).map_err(|_| self.changed(""))?;
        if self.is_folder != now.is_folder || self.files != now.files {
            return Err(self.changed(first_difference(&self.files, &now.files)));
        }
        Ok(())
    }

    /// Adds all files of the folder.
    fn walk(&mut self, folder: OwnedFd, prefix: &str) -> Result<()> {
        let unreadable = |source: &Self, cause: rustix::io::Errno| {
            Error::io(source.shown(prefix.as_bytes()), cause.into())
        };
        let entries = Dir::read_from(&folder).map_err(|cause| unreadable(self, cause))?;
        let mut is_empty = true;
        for entry in entries {
            let entry = entry.map_err(|cause| unreadable(self, cause))?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                is_empty = false;
                self.add(&folder, prefix, name)?;
            }
        }
        if is_empty {
            // The store keeps files only: the folder would silently be missing in the version.
            return Err(self.invalid(prefix.as_bytes(), "is an empty folder"));
        }
        Ok(())
    }

    fn add(&mut self, folder: &OwnedFd, prefix: &str, name: &[u8]) -> Result<()> {
        let bytes = [prefix.as_bytes(), name].concat();
        let status = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|cause| Error::io(self.shown(&bytes), cause.into()))?;
        let is_folder = file_type(&status) == FileType::Directory;
        let readable = String::from_utf8_lossy(&bytes);
        let is_excluded = match is_folder {
            true => self.exclude.match_all_below(&readable),
            false => self.exclude.matches(&readable),
        };
        if is_excluded {
            return Ok(());
        }
        let Ok(path) = String::from_utf8(bytes.clone()) else {
            return Err(self.invalid(&bytes, "has a name that is not UTF-8"));
        };
        if path.len() > MAX_PATH_BYTES {
            return Err(self.invalid(&bytes, "has a path of more than 1024 bytes"));
        }
        if !is_folder {
            return self.take_file(path, &status);
        }
        let below = open_at(folder, name, OPEN_FOLDER)
            .map_err(|cause| Error::io(self.shown(&bytes), cause))?;
        self.walk(below, &(path + "/"))
    }

    fn take_file(&mut self, path: String, status: &Stat) -> Result<()> {
        let kind = match file_type(status) {
            FileType::RegularFile if status.st_nlink > 1 => "a hard link",
            FileType::RegularFile => {
                let size_bytes = status.st_size.try_into().unwrap_or_default();
                self.files.push(SourceFile { path, size_bytes, state: state_of(status) });
                return Ok(());
            }
            FileType::Symlink => "a symlink",
            FileType::Fifo => "a FIFO",
            FileType::Socket => "a socket",
            FileType::BlockDevice | FileType::CharacterDevice => "a device",
            _ => "no plain file",
        };
        Err(self.unsupported(&path, kind))
    }

    /// Gives `take` the file's bytes from the offset on, at most a MiB at a time.
    ///
    /// Fails with `SOURCE_CHANGED` if what stands there is not, or while it was read did not stay,
    /// what was listed; and as `take` does.
    pub(crate) fn read(
        &self,
        file: &SourceFile,
        mut offset: u64,
        mut take: impl FnMut(&[u8]) -> Result<(), Halt>,
    ) -> Result<(), Halt> {
        let opened = self.open(&file.path).map_err(|_| self.changed(&file.path))?;
        self.compare(&opened, file)?;
        advise_sequential(&opened);
        let room = READ_BYTES.min(file.size_bytes.saturating_sub(offset));
        let mut buffer = vec![0; room as usize];
        while offset < file.size_bytes {
            let wanted = READ_BYTES.min(file.size_bytes - offset) as usize;
            let count = match opened.read_at(&mut buffer[..wanted], offset) {
                Ok(0) => return Err(self.changed(&file.path).into()),
                Ok(count) => count,
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => continue,
                Err(cause) => return Err(Error::io(self.shown(file.path.as_bytes()), cause).into()),
            };
            take(&buffer[..count])?;
            offset += count as u64;
        }
        Ok(self.compare(&opened, file)?)
    }

    fn compare(&self, opened: &File, file: &SourceFile) -> Result<()> {
        match fstat(opened) {
            Ok(status) if state_of(&status) == file.state => Ok(()),
            _ => Err(self.changed(&file.path)),
        }
    }

    /// Opens a file asset, or one file of a folder, each folder beneath the one above.
    fn open(&self, path: &str) -> io::Result<File> {
        if path.is_empty() {
            return Ok(open_at(CWD, &self.root, OPEN_FILE)?.into());
        }
        let mut folder = open_at(CWD, &self.root, OPEN_FOLDER)?;
        let mut rest = path;
        while let Some((name, below)) = rest.split_once('/') {
            folder = open_at(&folder, name, OPEN_FOLDER)?;
            rest = below;
        }
        Ok(open_at(&folder, rest, OPEN_FILE)?.into())
    }

    /// Returns the path for a message, which a name that is not UTF-8 must not break.
    fn shown(&self, path: &[u8]) -> String {
        let mut joined = self.root.clone();
        if !path.is_empty() {
            joined.push(OsStr::from_bytes(path.strip_suffix(b"/").unwrap_or(path)));
        }
        match joined.to_str() {
            Some(readable) => readable.to_owned(),
            None => format!("{joined:?}").trim_matches('"').to_owned(),
        }
    }

    fn changed(&self, path: &str) -> Error {
        let shown = self.shown(path.as_bytes());
        let message = format!(
            "{shown} changed while it was being pushed: push again once nobody writes to it"
        );
        Error::own(Reason::SourceChanged, message, [("path", shown)])
    }

    fn invalid(&self, path: &[u8], why: &str) -> Error {
        let shown = self.shown(path);
        let message = format!("{shown} {why}, which no asset can hold");
        Error::own(Reason::InvalidPart, message, [("path", shown)])
    }

    fn unsupported(&self, path: &str, kind: &str) -> Error {
        let shown = self.shown(path.as_bytes());
        let message = format!(
            "{shown} is {kind}: a push takes plain files and folders; put a copy in its place"
        );
        let metadata = [("path", shown), ("kind", kind.to_owned())];
        Error::own(Reason::UnsupportedFile, message, metadata)
    }

    fn not_a_folder(&self) -> Error {
        let message = format!("{} is a file: exclude is for folders", self.shown(b""));
        Error::own(Reason::InvalidField, message, [("field", "exclude".to_owned())])
    }
}

/// With a slash, the system would follow a link that a push has to refuse.
fn without_last_slashes(path: &Path) -> &Path {
    let mut bytes = path.as_os_str().as_bytes();
    while let Some(shorter) = bytes.strip_suffix(b"/").filter(|shorter| !shorter.is_empty()) {
        bytes = shorter;
    }
    Path::new(OsStr::from_bytes(bytes))
}

fn first_difference<'a>(before: &'a [SourceFile], now: &'a [SourceFile]) -> &'a str {
    let differ = before.iter().zip(now).find(|(before, now)| before != now);
    match differ {
        Some((before, now)) => before.path.as_str().min(&now.path),
        None => {
            let longer = if before.len() > now.len() { before } else { now };
            longer.get(before.len().min(now.len())).map_or("", |file| &file.path)
        }
    }
}

// The types of these fields are not the same on every system.
#[allow(clippy::useless_conversion, clippy::unnecessary_cast)]
fn state_of(status: &Stat) -> FileState {
    FileState {
        device: status.st_dev as u64,
        inode: status.st_ino as u64,
        size_bytes: status.st_size as i64,
        modified: (status.st_mtime as i64, status.st_mtime_nsec as i64),
        changed: (status.st_ctime as i64, status.st_ctime_nsec as i64),
    }
}

fn file_type(status: &Stat) -> FileType {
    FileType::from_raw_mode(status.st_mode)
}

fn open_at(
    folder: impl AsFd,
    name: impl rustix::path::Arg + Copy,
    flags: OFlags,
) -> io::Result<OwnedFd> {
    Ok(retry_on_intr(|| openat(folder.as_fd(), name, flags, Mode::empty()))?)
}

/// Has the disk asked for more at a time: twice as fast where nothing is in memory.
#[cfg(target_os = "linux")]
fn advise_sequential(file: &File) {
    let _ = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::Sequential);
}

/// Does nothing: this system reads ahead by itself.
#[cfg(not(target_os = "linux"))]
fn advise_sequential(_: &File) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slashes_at_the_end_of_a_path_say_nothing_but_for_the_root() {
        for (path, expected) in
            [("a/link//", "a/link"), ("a", "a"), ("/", "/"), ("///", "/"), ("a/.", "a/."), ("", "")]
        {
            let shorter = without_last_slashes(Path::new(path));
            assert_eq!(shorter.as_os_str(), expected);
        }
    }
}
