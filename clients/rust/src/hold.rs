//! A hold: what keeps a version from being evicted, and the scope around it.
use std::fmt;
use std::ops::Deref;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tonic::Code;

use crate::asset::Asset;
use crate::client::Client;
use crate::course::{Course, Events, end_of};
use crate::error::{Error, Result};
use crate::lease::Lease;
use crate::retry::Retry;

/// An [`Asset`] that the cache must keep: it is neither evicted nor replaced until this is dropped,
/// the client is closed or the process ends. Its path and all else are those of the asset.
#[must_use = "a version is held for as long as this lives"]
pub struct Held {
    asset: Asset,
    keeping: Keeping,
}

enum Keeping {
    /// The lease is the client's, which ends it when it is closed.
    Lease { client: Client, id: u64 },
    /// The task has an open stream, and opens another one when that is cut.
    Stream { task: JoinHandle<()>, ended: watch::Receiver<Option<Result<()>>> },
}

impl Held {
    /// None if the client is closed.
    pub(crate) fn leased(client: &Client, asset: Asset, lease: Lease) -> Option<Self> {
        let id = client.0.keep(lease)?;
        let keeping = Keeping::Lease { client: client.clone(), id };
        Some(Self { asset, keeping })
    }

    pub(crate) fn streamed(asset: Asset, course: Course<'static>, stream: Events) -> Self {
        let (sender, ended) = watch::channel(None);
        let task = tokio::spawn(async move {
            let end = keep(course, stream).await;
            sender.send_replace(Some(end));
        });
        Self { asset, keeping: Keeping::Stream { task, ended } }
    }

    /// The version that is held.
    pub fn asset(&self) -> &Asset {
        &self.asset
    }

    /// Whether the cache must keep the version for this process right now. It is also true while a
    /// daemon that went away is waited for: its successor evicts nothing before the holders had time
    /// to come back.
    pub fn is_held(&self) -> bool {
        match &self.keeping {
            Keeping::Lease { client, .. } => !client.0.is_closed(),
            Keeping::Stream { ended, .. } => ended.borrow().is_none(),
        }
    }

    /// Waits until the version is no longer held.
    ///
    /// Returns well when the client was closed, and fails when the daemon refuses to hold the version
    /// again after a restart.
    pub async fn ended(&self) -> Result<()> {
        match &self.keeping {
            Keeping::Lease { client, .. } => {
                // It ends with the client, which lives here too.
                let _ = client.0.closing().wait_for(|closed| *closed).await;
                Ok(())
            }
            Keeping::Stream { ended, .. } => {
                let mut ended = ended.clone();
                match ended.wait_for(Option::is_some).await {
                    Ok(end) => end.clone().unwrap_or(Ok(())),
                    // The runtime ended the task.
                    Err(_) => Ok(()),
                }
            }
        }
    }

    /// Ends the hold, and returns the asset, which may be evicted from now on. Dropping ends it too.
    ///
    /// Fails with the reason if the hold had been lost before.
    pub fn release(self) -> Result<Asset> {
        if let Keeping::Stream { ended, .. } = &self.keeping
            && let Some(end) = &*ended.borrow()
        {
            end.clone()?;
        }
        Ok(self.asset.clone())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        match &self.keeping {
            Keeping::Lease { client, id } => client.0.let_go(*id),
            Keeping::Stream { task, .. } => task.abort(),
        }
    }
}

impl Deref for Held {
    type Target = Asset;

    fn deref(&self) -> &Asset {
        &self.asset
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = formatter.debug_struct("Held");
        shown.field("asset", &self.asset).field("is_held", &self.is_held()).finish_non_exhaustive()
    }
}

/// Holds until it is told otherwise: whenever the stream is cut, the same version is fetched again,
/// which is a hit as long as the daemon still has it.
async fn keep(mut course: Course<'static>, stream: Events) -> Result<()> {
    let client = course.client.clone();
    let mut retry = Retry::new(client.0.retry.endless(), course.call.clone());
    let mut opened = Some(stream);
    loop {
        let held = async {
            let stream = match opened.take() {
                Some(stream) => stream,
                None => {
                    let (stream, _) = course.complete(&mut retry.tries).await?;
                    retry.tries.begin_anew();
                    stream
                }
            };
            Err::<(), _>(end_of(&client, stream).await)
        };
        let ended = match retry.ends.guard(held).await {
            Err(cut) => {
                let passes = passes(&cut);
                retry.pause_after(cut, passes).await
            }
            Ok(()) => Ok(()),
        };
        match ended {
            _ if client.0.is_closed() => return Ok(()),
            Err(lost) => return Err(lost),
            Ok(()) => (),
        }
    }
}

/// Whether a hold is taken again after this. Only the daemon's own word ends one, and only if it is
/// not about room, which a restarted daemon may lack until all its callers are back.
fn passes(failure: &Error) -> bool {
    failure.reason_name().is_empty() || failure.code() == Code::ResourceExhausted
}
