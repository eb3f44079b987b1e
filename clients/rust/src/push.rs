//! The pushes that a program asks for.
use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tonic::Code;
use uuid::{Uuid, Version};

use crate::asset::extent;
use crate::client::Client;
use crate::content::Content;
use crate::error::{Error, Result};
use crate::globs::Globs;
use crate::hashing::hash;
use crate::meter::{Meter, PushProgress, PushReport};
use crate::pushing::Pushing;
use crate::retry::{Call, Retry};
use crate::source::Source;
use crate::v1;
use crate::v1::ErrorReason as Reason;
use crate::v1::cache_service_client::CacheServiceClient;
use crate::v1::push_header;

/// Where the daemon finds what is staged, below ASSETS_DIR.
const STAGED_FOLDER: &str = ".assetd/push";

/// The version that a push created.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pushed {
    /// The asset's name.
    pub name: String,
    /// The version in full, such as `1.3`.
    pub version: String,
    /// The version's identity, if it was to be had.
    pub digest: Option<String>,
    /// The sizes of all its files added up, if they were to be had.
    pub size_bytes: Option<u64>,
    /// How many files it has, if that was to be had.
    pub file_count: Option<u32>,
    /// What is kept with the version: the labels of the push that created it.
    pub labels: HashMap<String, String>,
    /// Who the store says created it.
    pub pushed_by: String,
    /// It was there before this push: somebody else had pushed the same. Nothing was changed. A
    /// repeat under one push id gets the answer of the first try.
    pub already_existed: bool,
    /// Under what name the push can be repeated.
    pub push_id: String,
}

/// A push that is begun by `.await`, and ended by dropping what awaits it. See [`Client::push`].
#[must_use = "nothing is pushed before it is awaited"]
pub struct Push<'a> {
    client: Client,
    header: v1::PushHeader,
    from: From,
    exclude: Vec<String>,
    report: Option<PushReport<'a>>,
    timeout: Option<Duration>,
}

/// Where the bytes are.
enum From {
    Here(PathBuf),
    Staged(PathBuf),
    Uri(String),
}

impl Client {
    /// Creates one new version of an asset from a file or folder, and returns the version.
    ///
    /// All or nothing: when it returns well, the version is durable and listed; when it fails,
    /// nothing was created, unless the daemon was already committing. The source is read twice, once
    /// to hash it, on all processors, and once for what the store lacks, and must not change
    /// meanwhile. A cut push is continued where it was.
    ///
    /// The spec is `name` for the next version, `name:1` for the next 1.x, `name:1.2` for exactly
    /// that.
    ///
    /// # Errors
    ///
    /// `UnsupportedFile`: the source holds a symlink, hard link, device, FIFO or socket.
    /// `InvalidPart`: an empty folder, a name that is not UTF-8, or nothing that is not excluded.
    /// `InvalidField`: [`exclude`](Push::exclude) for a file; a label or push id that is none.
    /// `SourceChanged`: it changed meanwhile. `VersionExists`: the version exists with other
    /// content. `AssetExists`, `AssetNotFound`: what [`mode`](Push::mode) demands is not so.
    /// `PushInProgress`: somebody else is pushing this version. A source that cannot be read is a
    /// failure without a reason, whose cause is the system's.
    pub fn push<'a>(&self, path: impl Into<PathBuf>, spec: impl Into<String>) -> Push<'a> {
        Push::new(self, From::Here(path.into()), spec.into())
    }

    /// Creates one new version from what lies below `ASSETS_DIR/.assetd/push` on the node.
    ///
    /// No byte travels to the daemon: it reads the file or folder where it lies, which must not
    /// change until the push has ended. The path is relative to that folder, or absolute and below
    /// it, as the daemon or this client's ASSETS_DIR has it. All else is as for
    /// [`push`](Client::push), but that nothing can be excluded.
    ///
    /// # Errors
    ///
    /// `InvalidField`: the path is absolute and not below that folder, or nothing lies there.
    /// `SourceNotAllowed`: the path leads elsewhere, or the daemon may not read it.
    pub fn push_staged<'a>(&self, path: impl Into<PathBuf>, spec: impl Into<String>) -> Push<'a> {
        Push::new(self, From::Staged(path.into()), spec.into())
    }

    /// Creates one new version from where a URI points, and returns the version.
    ///
    /// The daemon reads it; no byte comes from here. The URI is `s3://...` or `file://...`, among
    /// those that the daemon's operator allows. All else is as for
    /// [`push_staged`](Client::push_staged).
    ///
    /// # Errors
    ///
    /// `SourceNotAllowed`: the operator does not allow it.
    pub fn push_from<'a>(&self, uri: impl Into<String>, spec: impl Into<String>) -> Push<'a> {
        Push::new(self, From::Uri(uri.into()), spec.into())
    }
}

impl<'a> Push<'a> {
    fn new(client: &Client, from: From, spec: String) -> Self {
        let header = v1::PushHeader { spec, ..Default::default() };
        let client = client.clone();
        Self { client, header, from, exclude: Vec::new(), report: None, timeout: None }
    }

    /// Which number to raise, for a spec without a version.
    pub fn bump(mut self, bump: push_header::Bump) -> Self {
        self.header.set_bump(bump);
        self
    }

    /// What must be true of the asset beforehand. Without it: nothing.
    pub fn mode(mut self, mode: push_header::Mode) -> Self {
        self.header.set_mode(mode);
        self
    }

    /// Keeps free keys and values with the version, for ever. Given twice, they add up.
    pub fn labels<Key: Into<String>, Value: Into<String>>(
        mut self,
        labels: impl IntoIterator<Item = (Key, Value)>,
    ) -> Self {
        let labels = labels.into_iter().map(|(key, value)| (key.into(), value.into()));
        self.header.labels.extend(labels);
        self
    }

    /// Names the push by a UUID4 in its canonical form. Another push with the same one, after
    /// whatever failure, continues this one or returns its answer. Without it, or empty, a new one.
    pub fn push_id(mut self, id: impl Into<String>) -> Self {
        self.header.push_id = id.into();
        self
    }

    /// Leaves out the files that one of the globs matches: `*` stops at `/`, `**` does not. Given
    /// twice, the globs add up.
    ///
    /// What is left out is not looked at, whatever it is; nor is a folder of which `folder/**`
    /// leaves nothing.
    pub fn exclude<Glob: Into<String>>(mut self, globs: impl IntoIterator<Item = Glob>) -> Self {
        self.exclude.extend(globs.into_iter().map(Into::into));
        self
    }

    /// Checks all that can be checked, and creates nothing: what is returned is the version that
    /// would be created, and whether it is there already.
    pub fn validate_only(mut self) -> Self {
        self.header.validate_only = true;
        self
    }

    /// Has the function called with how far the push is, hashing included: while the push is
    /// awaited, one call at a time, and none after it.
    pub fn progress(mut self, report: impl FnMut(&PushProgress) + Send + 'a) -> Self {
        self.report = Some(Box::new(report));
        self
    }

    /// How long the push may take, hashing and repeats included. After that it fails with the code
    /// `DeadlineExceeded`.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    async fn run(mut self) -> Result<Pushed> {
        name_push(&mut self.header)?;
        let call = self.client.0.call(self.timeout);
        let retry = Retry::new(self.client.0.retry, call.clone());
        let mut meter = Meter::new(self.report);
        let header = &mut self.header;
        let content = match self.from {
            From::Here(path) => {
                let hashed = here(path, &self.exclude, header, &mut meter);
                retry.ends.guard(hashed).await?
            }
            _ if !self.exclude.is_empty() => return Err(excludes_what_is_found()),
            From::Staged(path) => {
                let below = below_staged(&self.client, &call, &path).await?;
                header.content = Some(push_header::Content::StagedPath(below));
                Content::Found
            }
            From::Uri(uri) => {
                header.content = Some(push_header::Content::SourceUri(uri));
                Content::Found
            }
        };
        let push_id = header.push_id.clone();
        let client = self.client;
        let mut pushing = Pushing { client, call, header: self.header, content, meter };
        let completed = pushing.run(retry).await?;
        Ok(pushed(completed, push_id))
    }
}

impl<'a> IntoFuture for Push<'a> {
    type Output = Result<Pushed>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

/// Lists and hashes what this process reads, and says in the header what it is.
async fn here(
    path: PathBuf,
    exclude: &[String],
    header: &mut v1::PushHeader,
    meter: &mut Meter<'_>,
) -> Result<Content> {
    let exclude = Globs::parse(exclude)?;
    let listed = spawn_blocking(move || Source::list(&path, exclude)).await;
    let source = listed.map_err(|cause| Error::new(Code::Internal, cause.to_string()))??;
    let source = Arc::new(source);
    meter.total_bytes = Some(source.total_bytes());
    let digests = hash(source.clone(), |bytes| meter.hashed(bytes)).await?;
    header.digest = digests.digest.clone();
    header.set_kind(match source.is_folder {
        true => v1::AssetKind::Directory,
        false => v1::AssetKind::File,
    });
    Ok(Content::local(source, digests, !header.validate_only))
}

/// Makes up a name for the push, or compares it with what the daemon takes, who would say so only
/// once all is hashed.
fn name_push(header: &mut v1::PushHeader) -> Result<()> {
    let id = &mut header.push_id;
    if id.is_empty() {
        *id = Uuid::new_v4().to_string();
    }
    let is_canonical =
        |parsed: Uuid| parsed.get_version() == Some(Version::Random) && parsed.to_string() == *id;
    if Uuid::try_parse(id).is_ok_and(is_canonical) {
        return Ok(());
    }
    let message = format!("{id:?} is no UUID4 in its canonical form, so that no push has it");
    let metadata = [("field", "header.push_id".to_owned()), ("push_id", id.clone())];
    Err(Error::own(Reason::InvalidField, message, metadata))
}

fn excludes_what_is_found() -> Error {
    let message = "exclude is for what this process reads: the daemon takes all that it finds";
    Error::own(Reason::InvalidField, message, [("field", "exclude".to_owned())])
}

/// Returns the path below the folder of what is staged.
async fn below_staged(client: &Client, call: &Call, path: &Path) -> Result<String> {
    if !path.is_absolute() {
        return Ok(path.to_string_lossy().into_owned());
    }
    if let Some(assets_dir) = &client.0.assets_dir
        && let Some(below) = relative_to(&assets_dir.join(STAGED_FOLDER), path)
    {
        return Ok(below);
    }
    let send = |wire, request| async move {
        CacheServiceClient::new(wire).get_cache_status(request).await
    };
    let status = client.0.ask(call, v1::GetCacheStatusRequest {}, send).await?;
    let folder = Path::new(&status.assets_dir).join(STAGED_FOLDER);
    relative_to(&folder, path).ok_or_else(|| {
        let shown = path.display().to_string();
        let folder = folder.display();
        let message = format!("{shown} is not below {folder}, where the daemon looks for it");
        let metadata = [("field", "header.staged_path".to_owned()), ("staged_path", shown)];
        Error::own(Reason::InvalidField, message, metadata)
    })
}

/// Returns the path below the folder; none if it is not, or climbs.
fn relative_to(folder: &Path, path: &Path) -> Option<String> {
    let below = path.strip_prefix(folder).ok()?;
    let climbs = below.components().any(|part| part == Component::ParentDir);
    if climbs { None } else { below.to_str().map(str::to_owned) }
}

fn pushed(completed: v1::PushCompleted, push_id: String) -> Pushed {
    let version = completed.asset_version.unwrap_or_default();
    let (size_bytes, file_count) = extent(&version);
    Pushed {
        name: version.name,
        version: version.version,
        digest: Some(version.digest).filter(|digest| !digest.is_empty()),
        size_bytes,
        file_count,
        labels: version.labels,
        pushed_by: version.pushed_by,
        already_existed: completed.already_existed,
        push_id,
    }
}
