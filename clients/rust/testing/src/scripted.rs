//! A daemon that plays scripts, behind a wire that can be cut.
use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use assetd::v1;
use assetd::v1::fetch_response::Event;
use futures_util::{Stream, StreamExt};
use prost::Message;
use tempfile::TempDir;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinHandle};
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tonic::metadata::MetadataMap;
use tonic::transport::Server;
use tonic::{Code, Request, Response, Status, Streaming};

use crate::rpc;
use crate::server::asset_service_server::{AssetService, AssetServiceServer};

/// What one call of Fetch hears.
pub type Script = Vec<Step>;

/// One step of a script. Scripts are short, and read better without boxes.
#[allow(clippy::large_enum_variant)]
pub enum Step {
    Say(Event),
    Fail(Status),
    /// Nothing more, until the caller leaves.
    Silence,
}

/// One call of Push, as a script sees it.
pub struct PushCall {
    pub requests: Streaming<v1::PushRequest>,
    pub responses: mpsc::Sender<Result<v1::PushResponse, Status>>,
}

impl PushCall {
    /// Returns the next step, none at the end of the stream.
    pub async fn hear(&mut self) -> Option<v1::push_request::Step> {
        self.requests.message().await.ok().flatten().and_then(|request| request.step)
    }

    pub async fn say(&self, event: v1::push_response::Event) {
        let response = v1::PushResponse { event_time: None, event: Some(event) };
        let _ = self.responses.send(Ok(response)).await;
    }

    pub async fn fail(&self, status: Status) {
        let _ = self.responses.send(Err(status)).await;
    }
}

/// What one call of Push meets.
pub type PushScript = Box<dyn FnOnce(PushCall) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// Returns a script of a push.
pub fn pushing<Played>(script: impl FnOnce(PushCall) -> Played + Send + 'static) -> PushScript
where
    Played: Future<Output = ()> + Send + 'static,
{
    Box::new(move |call| Box::pin(script(call)))
}

/// What a scripted daemon answers, call by call.
#[derive(Default)]
pub struct Scripts {
    pub fetches: VecDeque<Script>,
    pub pushes: VecDeque<PushScript>,
    pub resolves: VecDeque<Result<v1::ResolveVersionResponse, Status>>,
    pub lists: VecDeque<Result<v1::ListResponse, Status>>,
    pub file_lists: VecDeque<Result<v1::ListFilesResponse, Status>>,
}

impl Scripts {
    /// Returns scripts of fetches alone.
    pub fn fetches(scripts: impl IntoIterator<Item = Script>) -> Self {
        Self { fetches: scripts.into_iter().collect(), ..Self::default() }
    }

    /// Returns scripts of pushes alone.
    pub fn pushes(scripts: impl IntoIterator<Item = PushScript>) -> Self {
        Self { pushes: scripts.into_iter().collect(), ..Self::default() }
    }
}

/// What has been seen of the callers.
#[derive(Default)]
struct Seen {
    fetches: Vec<v1::FetchRequest>,
    lists: Vec<v1::ListRequest>,
    file_lists: Vec<v1::ListFilesRequest>,
    metadata: Vec<MetadataMap>,
}

struct State {
    scripts: Mutex<Scripts>,
    seen: Mutex<Seen>,
    /// Calls of Fetch that have begun and not ended.
    open: watch::Sender<usize>,
    wires: Mutex<Vec<AbortHandle>>,
}

/// An AssetService on a unix socket. It ends when it is dropped.
pub struct ScriptedDaemon {
    /// What clients dial.
    pub address: String,
    state: Arc<State>,
    tasks: Vec<JoinHandle<()>>,
    _folder: TempDir,
}

impl ScriptedDaemon {
    /// Starts one; a call that no script is left for fails with `DATA_LOSS`.
    pub fn start(scripts: Scripts) -> Self {
        let folder = tempfile::Builder::new().prefix("assetd-rs-").tempdir().unwrap();
        let (outside, inside) = (folder.path().join("o"), folder.path().join("i"));
        let state = Arc::new(State {
            scripts: Mutex::new(scripts),
            seen: Mutex::default(),
            open: watch::Sender::new(0),
            wires: Mutex::default(),
        });
        let served = UnixListenerStream::new(UnixListener::bind(&inside).unwrap());
        let service = AssetServiceServer::new(Service(state.clone()));
        let server = tokio::spawn(async move {
            Server::builder().add_service(service).serve_with_incoming(served).await.unwrap();
        });
        let listener = UnixListener::bind(&outside).unwrap();
        let forwarder = tokio::spawn(forward(listener, inside, state.clone()));
        let address = format!("unix://{}", outside.display());
        Self { address, state, tasks: vec![server, forwarder], _folder: folder }
    }

    /// Breaks every connection, as a process that dies does.
    pub fn cut(&self) {
        self.state.cut();
    }

    /// Adds one more script of a fetch.
    pub fn then(&self, script: Script) {
        lock(&self.state.scripts).fetches.push_back(script);
    }

    /// Returns once so many calls of Fetch are open: one that leaks makes it wait for ever.
    pub async fn open_fetches(&self, count: usize) {
        self.state.open.subscribe().wait_for(|open| *open == count).await.unwrap();
    }

    pub fn fetches(&self) -> Vec<v1::FetchRequest> {
        lock(&self.state.seen).fetches.clone()
    }

    pub fn lists(&self) -> Vec<v1::ListRequest> {
        lock(&self.state.seen).lists.clone()
    }

    pub fn file_lists(&self) -> Vec<v1::ListFilesRequest> {
        lock(&self.state.seen).file_lists.clone()
    }

    /// What the calls carried.
    pub fn metadata(&self) -> Vec<MetadataMap> {
        lock(&self.state.seen).metadata.clone()
    }
}

impl Drop for ScriptedDaemon {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
        self.cut();
    }
}

/// Carries bytes between callers and the service, on wires that can be cut.
async fn forward(listener: UnixListener, inside: PathBuf, state: Arc<State>) {
    while let Ok((mut outside, _)) = listener.accept().await {
        let inside = inside.clone();
        let wire = tokio::spawn(async move {
            if let Ok(mut inside) = UnixStream::connect(inside).await {
                let _ = tokio::io::copy_bidirectional(&mut outside, &mut inside).await;
            }
        });
        lock(&state.wires).push(wire.abort_handle());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nobody panics with it")
}

impl State {
    fn cut(&self) {
        lock(&self.wires).drain(..).for_each(|wire| wire.abort());
    }
}

/// One open call.
struct Open(Arc<State>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.send_modify(|open| *open -= 1);
    }
}

struct Service(Arc<State>);

impl Service {
    fn see<T>(&self, request: &Request<T>) {
        lock(&self.0.seen).metadata.push(request.metadata().clone());
    }
}

fn next<T>(scripts: &mut VecDeque<T>) -> Result<T, Status> {
    scripts.pop_front().ok_or_else(|| Status::data_loss("no script for this call"))
}

type Responses<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl AssetService for Service {
    type FetchStream = Responses<v1::FetchResponse>;
    type PushStream = Responses<v1::PushResponse>;

    async fn fetch(
        &self,
        request: Request<v1::FetchRequest>,
    ) -> Result<Response<Self::FetchStream>, Status> {
        self.see(&request);
        lock(&self.0.seen).fetches.push(request.into_inner());
        let script = next(&mut lock(&self.0.scripts).fetches)?;
        self.0.open.send_modify(|open| *open += 1);
        let open = Open(self.0.clone());
        let played = futures_util::stream::iter(script).then(move |step| {
            // The call is open for as long as the stream is.
            let _open = &open;
            play(step)
        });
        Ok(Response::new(Box::pin(played)))
    }

    async fn push(
        &self,
        request: Request<Streaming<v1::PushRequest>>,
    ) -> Result<Response<Self::PushStream>, Status> {
        self.see(&request);
        let script = next(&mut lock(&self.0.scripts).pushes)?;
        let (responses, receiver) = mpsc::channel(16);
        tokio::spawn(script(PushCall { requests: request.into_inner(), responses }));
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn resolve_version(
        &self,
        request: Request<v1::ResolveVersionRequest>,
    ) -> Result<Response<v1::ResolveVersionResponse>, Status> {
        self.see(&request);
        next(&mut lock(&self.0.scripts).resolves)?.map(Response::new)
    }

    async fn list(
        &self,
        request: Request<v1::ListRequest>,
    ) -> Result<Response<v1::ListResponse>, Status> {
        self.see(&request);
        lock(&self.0.seen).lists.push(request.into_inner());
        next(&mut lock(&self.0.scripts).lists)?.map(Response::new)
    }

    async fn list_files(
        &self,
        request: Request<v1::ListFilesRequest>,
    ) -> Result<Response<v1::ListFilesResponse>, Status> {
        self.see(&request);
        lock(&self.0.seen).file_lists.push(request.into_inner());
        next(&mut lock(&self.0.scripts).file_lists)?.map(Response::new)
    }
}

async fn play(step: Step) -> Result<v1::FetchResponse, Status> {
    match step {
        Step::Say(event) => Ok(v1::FetchResponse { event_time: None, event: Some(event) }),
        Step::Fail(status) => Err(status),
        Step::Silence => std::future::pending().await,
    }
}

/// The one asset of these scripts.
fn ranker() -> v1::AssetVersion {
    v1::AssetVersion {
        name: "nlp/ranker".to_owned(),
        version: "1.2".to_owned(),
        kind: v1::AssetKind::File.into(),
        size_bytes: Some(100),
        file_count: Some(1),
        ..Default::default()
    }
}

/// `nlp/ranker:1.2` is known.
pub fn started() -> Step {
    Step::Say(Event::Started(v1::FetchStarted {
        asset_version: Some(ranker()),
        resolution: v1::Resolution::Store.into(),
        total_bytes: 100,
        total_files: 1,
        ..Default::default()
    }))
}

/// So much of it is here.
pub fn progressed(present_bytes: i64, attempt: i32) -> Step {
    Step::Say(Event::Progress(v1::FetchProgress {
        phase: v1::FetchPhase::Downloading.into(),
        present_bytes,
        total_bytes: Some(100),
        attempt,
        ..Default::default()
    }))
}

/// It is all here.
pub fn completed() -> Step {
    Step::Say(Event::Completed(v1::FetchCompleted {
        path: "/assets/nlp/ranker/1.2".to_owned(),
        relative_path: "nlp/ranker/1.2".to_owned(),
        asset_version: Some(ranker()),
        source: v1::Source::Store.into(),
        transferred_bytes: 100,
        ..Default::default()
    }))
}

/// The push of version 0.1 may go on.
pub fn accepted() -> v1::push_response::Event {
    let version = "0.1".to_owned();
    v1::push_response::Event::Accepted(v1::PushAccepted { version, ..Default::default() })
}

/// The store lacks these, from these offsets on.
pub fn wanted<'a>(parts: impl IntoIterator<Item = (&'a str, i64)>) -> v1::push_response::Event {
    let part =
        |(path, offset): (&str, i64)| v1::push_wanted::Part { path: path.to_owned(), offset };
    let parts = parts.into_iter().map(part).collect();
    v1::push_response::Event::Wanted(v1::PushWanted { parts })
}

/// Version 0.1 exists.
pub fn push_completed() -> v1::push_response::Event {
    let asset_version = Some(v1::AssetVersion {
        name: "nlp/ranker".to_owned(),
        version: "0.1".to_owned(),
        ..Default::default()
    });
    v1::push_response::Event::Completed(v1::PushCompleted { asset_version, ..Default::default() })
}

/// Returns an error as a daemon raises it, with a proxy's own details around it.
pub fn daemon_error(
    code: Code,
    reason: &str,
    metadata: &[(&str, &str)],
    retry_after: Option<Duration>,
) -> Status {
    let info = |domain: &str, reason: &str, metadata: HashMap<String, String>| {
        let (domain, reason) = (domain.to_owned(), reason.to_owned());
        any("google.rpc.ErrorInfo", &rpc::ErrorInfo { reason, domain, metadata })
    };
    let metadata = metadata.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    let mut details = vec![
        info("assetd.v1", reason, metadata),
        info("proxy.example", "PASSED_ON", HashMap::new()),
    ];
    if let Some(delay) = retry_after {
        let retry_delay = prost_types::Duration::try_from(delay).ok();
        details.insert(0, any("google.rpc.RetryInfo", &rpc::RetryInfo { retry_delay }));
    }
    let message = format!("said {reason}");
    let whole = rpc::Status { code: code as i32, message: message.clone(), details };
    Status::with_details(code, message, whole.encode_to_vec().into())
}

/// Returns an error whose details were lost on the way.
pub fn trailer_error(code: Code, reason: &'static str) -> Status {
    let mut metadata = MetadataMap::new();
    metadata.insert("assetd-reason", reason.parse().expect("it is ASCII"));
    Status::with_metadata(code, format!("said {reason}"), metadata)
}

fn any(name: &str, message: &impl Message) -> prost_types::Any {
    let type_url = format!("type.googleapis.com/{name}");
    prost_types::Any { type_url, value: message.encode_to_vec() }
}
