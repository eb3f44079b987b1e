//! What a push is of: files that this process reads, or bytes that the daemon finds by itself.
use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::mpsc;

use crate::error::{Error, Result};
use crate::hashing::Digests;
use crate::source::{Halt, Source, SourceFile};
use crate::v1;
use crate::v1::ErrorReason as Reason;
use crate::v1::push_request::Step;
use crate::v1::push_wanted::Part;

const FILES_PER_MESSAGE: usize = 1000;

#[derive(Clone)]
pub(crate) enum Content {
    /// What the daemon finds where the header says: nothing is announced, and nothing travels.
    Found,
    Local(Arc<Local>),
}

/// A source that was hashed; unless it is sent it is announced, and no byte of it travels.
pub(crate) struct Local {
    source: Arc<Source>,
    digests: Digests,
    is_sent: bool,
    by_path: HashMap<String, usize>,
}

impl Content {
    pub(crate) fn local(source: Arc<Source>, digests: Digests, is_sent: bool) -> Self {
        let paths = source.files.iter().map(|file| file.path.clone());
        let by_path = paths.enumerate().map(|(index, path)| (path, index)).collect();
        Self::Local(Arc::new(Local { source, digests, is_sent, by_path }))
    }

    /// Returns what is to be announced, a message each.
    pub(crate) fn batches(&self) -> Vec<v1::PushFiles> {
        let Self::Local(local) = self else { return Vec::new() };
        let announced = |file: &SourceFile| v1::PushFile {
            path: file.path.clone(),
            size_bytes: file.size_bytes.try_into().unwrap_or(i64::MAX),
            digest: local.digests.files.get(&file.path).cloned().unwrap_or_default(),
        };
        let batches = local.source.files.chunks(FILES_PER_MESSAGE);
        batches
            .map(|batch| v1::PushFiles { files: batch.iter().map(announced).collect() })
            .collect()
    }

    /// Adds up how many bytes travel if that is wanted; none if none ever do.
    ///
    /// Fails with `INTERNAL` if something is wanted that was not announced.
    pub(crate) fn wanted_bytes(&self, parts: &[Part]) -> Result<Option<u64>> {
        let Self::Local(local) = self else { return Ok(None) };
        let mut bytes = 0;
        for part in parts {
            bytes += local.file(part)?.size_bytes.saturating_sub(offset_of(part));
        }
        Ok(local.is_sent.then_some(bytes))
    }

    /// Sends the chunks of what is wanted, and the commit. Blocks as files are read, and as fast as
    /// the daemon takes their bytes.
    pub(crate) fn send_last(
        &self,
        parts: &[Part],
        requests: &mpsc::Sender<v1::PushRequest>,
    ) -> Result<()> {
        let send = |step| {
            let request = v1::PushRequest { step: Some(step) };
            // Closed: the stream has ended, and its status tells why.
            requests.blocking_send(request).map_err(|_| Halt::Stopped)
        };
        match self.send(parts, send) {
            Err(Halt::Failed(failure)) => Err(failure),
            Ok(()) | Err(Halt::Stopped) => Ok(()),
        }
    }

    fn send(&self, parts: &[Part], send: impl Fn(Step) -> Result<(), Halt>) -> Result<(), Halt> {
        let commit = |digest: &str| Step::Commit(v1::PushCommit { digest: digest.to_owned() });
        let Self::Local(local) = self else {
            // The digest is for the daemon to find.
            return send(commit(""));
        };
        for part in parts.iter().filter(|_| local.is_sent) {
            let mut offset = offset_of(part);
            local.source.read(local.file(part)?, offset, |data| {
                let chunk = v1::PushChunk {
                    path: part.path.clone(),
                    offset: offset.try_into().unwrap_or(i64::MAX),
                    data: data.to_vec(),
                };
                offset += data.len() as u64;
                send(Step::Chunk(chunk))
            })?;
        }
        local.source.check_unchanged()?;
        send(commit(&local.digests.digest))
    }

    /// Compares the source with what was hashed.
    pub(crate) fn check_unchanged(&self) -> Result<()> {
        match self {
            Self::Found => Ok(()),
            Self::Local(local) => local.source.check_unchanged(),
        }
    }
}

impl Local {
    fn file(&self, part: &Part) -> Result<&SourceFile> {
        let file = self.by_path.get(&part.path).map(|&index| &self.source.files[index]);
        file.ok_or_else(|| {
            let message = format!("the daemon wants {:?}, which was not announced", part.path);
            Error::own(Reason::Internal, message, [])
        })
    }
}

fn offset_of(part: &Part) -> u64 {
    part.offset.try_into().unwrap_or_default()
}
