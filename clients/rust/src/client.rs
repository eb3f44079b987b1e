//! The client, and what is made with it.
use std::collections::HashMap;
use std::env;
use std::fmt;
use std::path::{Path, PathBuf, absolute};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status};

use crate::address::{self, Target};
use crate::error::{Error, Result};
use crate::lease::Lease;
use crate::local::FastPath;
use crate::retry::{Call, Retry, RetryPolicy};
use crate::trace;
use crate::v1::asset_service_client::AssetServiceClient;
use crate::wire::{Connection, Wire};

type Metadata = Arc<dyn Fn(&mut MetadataMap) + Send + Sync>;

/// A connection to the daemon of this node. One is enough for a program: a clone is the same
/// client.
///
/// Nothing is dialled before the first call that needs the daemon. The connection belongs to the
/// Tokio runtime of that call.
#[derive(Clone)]
pub struct Client(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) address: String,
    pub(crate) caller: String,
    pub(crate) retry: RetryPolicy,
    /// Where this process sees ASSETS_DIR, and what looks there.
    pub(crate) assets_dir: Option<PathBuf>,
    pub(crate) fast: Option<FastPath>,
    connection: Connection,
    metadata: Option<Metadata>,
    /// True once the client was closed.
    closing: watch::Sender<bool>,
    leases: Mutex<Leases>,
}

/// The leases of holds without a call, by number, so that the end of the client ends them.
#[derive(Default)]
struct Leases {
    last: u64,
    kept: HashMap<u64, Lease>,
}

/// Says how a [`Client`] is to be.
#[derive(Default)]
#[must_use]
pub struct ClientBuilder {
    address: Option<String>,
    endpoint: Option<Endpoint>,
    caller: Option<String>,
    retry: RetryPolicy,
    assets_dir: Option<PathBuf>,
    metadata: Option<Metadata>,
}

impl Client {
    /// Returns a client for the daemon of this node: at `ASSETD_ADDRESS`, or where that is not set
    /// at the socket of a daemon of this user, which is `unix:///run/assetd/assetd.sock` for root
    /// and `assetd/assetd.sock` below `XDG_RUNTIME_DIR` for everybody else.
    ///
    /// A daemon that is not up yet is no failure here. The only failures are addresses: malformed,
    /// none to be found, or beyond this node, which needs [`ClientBuilder::endpoint`].
    pub fn connect() -> Result<Self> {
        Self::builder().build()
    }

    /// Begins to say how a client is to be.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }

    /// Ends the calls and the holds of this client and of its clones: calls fail with the code
    /// `Cancelled`. Harmless to call twice.
    ///
    /// A client that is dropped ends nothing: its calls and holds live on.
    pub fn close(&self) {
        self.0.closing.send_replace(true);
        self.0.leases().kept.clear();
    }

    /// Returns the connection itself, for the stubs of [`v1`](crate::v1), whose failures `?` turns
    /// into an [`Error`]. To be called in a Tokio runtime.
    pub fn channel(&self) -> Channel {
        self.0.connection.channel()
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = formatter.debug_struct("Client");
        shown.field("address", &self.0.address).finish_non_exhaustive()
    }
}

impl Inner {
    pub(crate) fn stub(&self) -> AssetServiceClient<Wire> {
        AssetServiceClient::new(self.wire())
    }

    pub(crate) fn wire(&self) -> Wire {
        Wire(self.connection.channel())
    }

    pub(crate) fn is_closed(&self) -> bool {
        *self.closing.borrow()
    }

    /// Becomes true with the end of the client.
    pub(crate) fn closing(&self) -> watch::Receiver<bool> {
        self.closing.subscribe()
    }

    fn leases(&self) -> MutexGuard<'_, Leases> {
        // Whoever panicked has left it whole.
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a lease until it is let go by the number that is returned, or the client is closed.
    /// None if it is closed already.
    pub(crate) fn keep(&self, lease: Lease) -> Option<u64> {
        let mut leases = self.leases();
        if self.is_closed() {
            return None;
        }
        leases.last += 1;
        let id = leases.last;
        leases.kept.insert(id, lease);
        Some(id)
    }

    /// Ends a lease; harmless if it has ended.
    pub(crate) fn let_go(&self, id: u64) {
        let lease = self.leases().kept.remove(&id);
        drop(lease);
    }

    /// Begins a call, which carries the trace that the program is in now.
    pub(crate) fn call(&self, timeout: Option<Duration>) -> Call {
        let mut metadata = MetadataMap::new();
        trace::inject(&mut metadata);
        if let Some(add) = &self.metadata {
            add(&mut metadata);
        }
        Call::new(timeout, self.closing.subscribe(), metadata)
    }

    /// Returns what ended a call.
    pub(crate) fn failure(&self, status: Status) -> Error {
        Error::of_call(status, &self.address)
    }

    /// Makes a call that may be made twice, repeating it while its failures may pass.
    pub(crate) async fn ask<Message, Answer, Sent>(
        &self,
        call: &Call,
        message: Message,
        send: impl Fn(Wire, Request<Message>) -> Sent,
    ) -> Result<Answer>
    where
        Message: Clone,
        Sent: Future<Output = Result<Response<Answer>, Status>>,
    {
        let mut retry = Retry::new(self.retry, call.clone());
        loop {
            let request = carrying(call, message.clone());
            let sent = async {
                let answer = send(self.wire(), request).await;
                answer.map_err(|status| self.failure(status))
            };
            match retry.ends.guard(sent).await {
                Ok(answer) => return Ok(answer.into_inner()),
                Err(failure) => retry.pause_after(failure, false).await?,
            }
        }
    }
}

/// Returns the request with what every message of the call carries.
pub(crate) fn carrying<Message>(call: &Call, message: Message) -> Request<Message> {
    let mut request = Request::new(message);
    *request.metadata_mut() = call.metadata.clone();
    request
}

impl ClientBuilder {
    /// Where the daemon is: `unix:///path/to/assetd.sock`, or `host:port` on this node.
    pub fn address(mut self, address: impl Into<String>) -> Self {
        self.address = Some(address.into());
        self
    }

    /// Reaches the daemon by an endpoint that the program has made, such as one beyond this node
    /// with a TLS configuration (`tonic` with one of its `tls` features). It wins over an address,
    /// and what this crate sets for its own endpoints, such as pings, is the program's to set.
    pub fn endpoint(mut self, endpoint: Endpoint) -> Self {
        self.endpoint = Some(endpoint);
        self
    }

    /// Names this program, such as `ranker-server`, in the daemon's logs and in its list of holds.
    /// It grants nothing. Without it, the program's name and process id.
    pub fn caller(mut self, name: impl Into<String>) -> Self {
        self.caller = Some(name.into());
        self
    }

    /// How long a daemon may be away, or silent, before a call fails.
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.retry = policy;
        self
    }

    /// Where this process sees the daemon's ASSETS_DIR. Pinned versions that stand there are found
    /// without a call. Without this it is what the environment variable `ASSETS_DIR` says, else
    /// `MODELKIT_ASSETS_DIR`. An empty path: every fetch is a call.
    pub fn assets_dir(mut self, folder: impl Into<PathBuf>) -> Self {
        self.assets_dir = Some(folder.into());
        self
    }

    /// Has the function add to what every call carries, such as a token. It runs once a call, before
    /// its first stream.
    pub fn metadata(mut self, add: impl Fn(&mut MetadataMap) + Send + Sync + 'static) -> Self {
        self.metadata = Some(Arc::new(add));
        self
    }

    /// Returns the client; see [`Client::connect`].
    pub fn build(self) -> Result<Client> {
        let (address, connection) = match self.endpoint {
            Some(endpoint) => (endpoint.uri().to_string(), Connection::to_endpoint(endpoint)),
            None => reach(self.address)?,
        };
        let assets_dir = find_assets_dir(self.assets_dir)?;
        Ok(Client(Arc::new(Inner {
            address,
            caller: self.caller.unwrap_or_else(this_program),
            retry: self.retry,
            fast: assets_dir.as_deref().and_then(FastPath::new),
            assets_dir,
            connection,
            metadata: self.metadata,
            closing: watch::Sender::new(false),
            leases: Mutex::default(),
        })))
    }
}

fn reach(address: Option<String>) -> Result<(String, Connection)> {
    let address = match address.filter(|address| !address.is_empty()) {
        Some(address) => address,
        None => address::default_address()?,
    };
    let target = address::parse(&address)?;
    if matches!(target, Target::Beyond(_)) {
        let message = format!(
            "{address:?} is beyond this node: give an endpoint with TLS, so that nothing is said in \
             the clear"
        );
        return Err(Error::new(Code::InvalidArgument, message));
    }
    Ok((address, Connection::new(target)?))
}

/// Returns the directory that this process knows the node's versions in, as an absolute path. The
/// names are the daemon's own; which of the two wins is as there.
fn find_assets_dir(given: Option<PathBuf>) -> Result<Option<PathBuf>> {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let folder = given.or_else(|| set("ASSETS_DIR")).or_else(|| set("MODELKIT_ASSETS_DIR"));
    folder
        .filter(|folder| !folder.as_os_str().is_empty())
        .map(|folder| absolute(&folder).map_err(|cause| Error::io("where is ASSETS_DIR?", cause)))
        .transpose()
}

fn this_program() -> String {
    let path = env::args_os().next().unwrap_or_default();
    let name = Path::new(&path).file_name().unwrap_or_default();
    format!("{}[{}]", name.to_string_lossy(), std::process::id())
}
