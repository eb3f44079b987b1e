//! One push over all its streams.
//!
//! The two sides take turns. All files are announced before the first chunk, so that the daemon
//! knows the whole version when bytes begin to arrive. The push id makes repeating it safe.
use std::collections::VecDeque;

use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Streaming};

use crate::client::{Client, carrying};
use crate::content::Content;
use crate::error::{Error, Result};
use crate::meter::Meter;
use crate::retry::{Call, Retry, Tries};
use crate::v1;
use crate::v1::ErrorReason as Reason;
use crate::v1::push_request::Step;
use crate::v1::push_response::Event;
use crate::v1::push_wanted::Part;

/// Some content under one header.
pub(crate) struct Pushing<'a> {
    pub(crate) client: Client,
    pub(crate) call: Call,
    pub(crate) header: v1::PushHeader,
    pub(crate) content: Content,
    pub(crate) meter: Meter<'a>,
}

impl Pushing<'_> {
    /// Creates the version, or nothing; cut streams are continued. Each try is the same push under
    /// the same push id, and sends what the daemon then wants. Tries go on for as long as one comes
    /// further than all before, and then for the patience of the policy, also while the daemon takes
    /// an earlier one for alive.
    pub(crate) async fn run(&mut self, mut retry: Retry) -> Result<v1::PushCompleted> {
        let mut is_repeat = false;
        loop {
            let failure = match retry.ends.guard(self.attempt(&mut retry.tries)).await {
                Ok(completed) => return Ok(completed),
                Err(failure) => explained(failure, self.content.clone()).await,
            };
            let passes = self.passes(&failure, is_repeat);
            retry.pause_after(failure, passes).await?;
            is_repeat = true;
        }
    }

    /// Whether a failure ends by itself although it is the daemon's word: the push that is in
    /// progress is an earlier try of this one, whose stream the daemon does not know to be dead yet.
    /// A daemon that names the push which is in the way is believed; else it is ours, if there was
    /// such a stream.
    fn passes(&self, failure: &Error, is_repeat: bool) -> bool {
        if failure.reason() != Some(Reason::PushInProgress) {
            return false;
        }
        match failure.metadata().get("push_id").filter(|id| !id.is_empty()) {
            Some(id) => *id == self.header.push_id,
            None => is_repeat,
        }
    }

    /// Follows one stream. It leaves no call behind.
    async fn attempt(&mut self, tries: &mut Tries) -> Result<v1::PushCompleted> {
        let client = self.client.clone();
        let mut stub = client.0.stub();
        let (requests, receiver) = mpsc::channel(1);
        let mut turns = Turns::new(requests, self.content.batches());
        turns.send(Step::Header(self.header.clone())).await;
        let stream = carrying(&self.call, ReceiverStream::new(receiver));
        let opened = stub.push(stream).await.map_err(|status| client.0.failure(status))?;
        let mut events = opened.into_inner();
        loop {
            let event = tokio::select! {
                biased;
                failure = turns.failure() => return Err(failure),
                event = next(&client, &mut events) => event?,
            };
            self.meter.observe(&event);
            tries.answered(self.meter.furthest());
            match event {
                Event::Completed(completed) => {
                    // The status comes right behind. Whatever it says, the version exists.
                    while let Ok(Some(_)) = events.message().await {}
                    return Ok(completed);
                }
                Event::Wanted(wanted) => turns.wanted.extend(wanted.parts),
                Event::Accepted(_) => (),
                Event::Progress(_) => continue,
            }
            if !turns.announce().await {
                if let Some(bytes) = self.content.wanted_bytes(&turns.wanted)? {
                    self.meter.lacks(bytes);
                }
                turns.take_last(self.content.clone());
            }
        }
    }
}

async fn next(client: &Client, events: &mut Streaming<v1::PushResponse>) -> Result<Event> {
    loop {
        match events.message().await.map_err(|status| client.0.failure(status))? {
            None => return Err(Error::cut_short("push")),
            Some(v1::PushResponse { event: Some(event), .. }) => return Ok(event),
            // An event of a newer daemon.
            Some(_) => (),
        }
    }
}

/// What one stream says, each time that it is the client's turn. Dropped without the last turn, the
/// stream ends without a commit, by which the daemon gives up too.
struct Turns {
    requests: Option<mpsc::Sender<v1::PushRequest>>,
    batches: VecDeque<v1::PushFiles>,
    wanted: Vec<Part>,
    last: Option<JoinHandle<LastTurn>>,
}

/// How the last turn was made, and the way to say more. Should it have failed, the stream must not
/// end before that is known here: the daemon would answer that there was no commit.
type LastTurn = (Result<()>, mpsc::Sender<v1::PushRequest>);

impl Turns {
    fn new(requests: mpsc::Sender<v1::PushRequest>, batches: Vec<v1::PushFiles>) -> Self {
        let batches = batches.into();
        Self { requests: Some(requests), batches, wanted: Vec::new(), last: None }
    }

    /// Says this, unless the stream has ended: its status tells why.
    async fn send(&mut self, step: Step) {
        if let Some(requests) = &self.requests {
            let _ = requests.send(v1::PushRequest { step: Some(step) }).await;
        }
    }

    /// Announces the next files; false if all are.
    async fn announce(&mut self) -> bool {
        let Some(batch) = self.batches.pop_front() else { return false };
        self.send(Step::Files(batch)).await;
        true
    }

    /// Sends what is wanted, and the commit, while the daemon is listened to.
    fn take_last(&mut self, content: Content) {
        let Some(requests) = self.requests.take() else { return };
        let wanted = std::mem::take(&mut self.wanted);
        self.last = Some(spawn_blocking(move || {
            let made = content.send_last(&wanted, &requests);
            (made, requests)
        }));
    }

    /// Returns why the last turn could not be made, such as a source that changed; never, if it can.
    async fn failure(&mut self) -> Error {
        if let Some(last) = &mut self.last {
            let made = last.await;
            self.last = None;
            match made {
                Ok((Ok(()), _)) => (),
                Ok((Err(failure), _)) => return failure,
                Err(cause) => return Error::new(Code::Internal, cause.to_string()),
            }
        }
        std::future::pending().await
    }
}

/// Finds out whose doing it is that the daemon sees other bytes than it was told.
async fn explained(failure: Error, content: Content) -> Error {
    if failure.reason() != Some(Reason::PushMismatch) {
        return failure;
    }
    match spawn_blocking(move || content.check_unchanged()).await {
        Ok(Err(changed)) => changed,
        _ => failure,
    }
}
