//! Listings, page by page and entry by entry.
use std::pin::Pin;
use std::time::Duration;

use futures_util::stream::{self, Stream, StreamExt, TryStreamExt};

use crate::client::Client;
use crate::error::Result;
use crate::v1;
use crate::v1::asset_service_client::AssetServiceClient;

/// What a listing gives, one item after the other; dropping it asks for no more. After an error it
/// ends.
pub type Listing<Item> = Pin<Box<dyn Stream<Item = Result<Item>> + Send>>;

/// One version of a listing.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The version.
    pub version: v1::AssetVersion,
    /// What the cache of this node holds of it.
    pub cache_state: v1::CacheState,
    /// Whether the store has it. None when the store was not, or could not be, asked.
    pub in_store: Option<bool>,
}

/// Some versions of a listing. It may have none although it is not the last.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// The versions, by name, and those of one asset newest first.
    pub entries: Vec<Entry>,
    /// What could not be asked, so that versions may be missing here.
    pub unreachable: Vec<v1::Source>,
}

/// One file of a version.
#[derive(Clone, Debug, PartialEq)]
pub struct FileEntry {
    /// The file.
    pub file: v1::AssetFile,
    /// It is on this node, ready to be read.
    pub cached: bool,
}

/// Some files of a version.
#[derive(Clone, Debug, PartialEq)]
pub struct FilePage {
    /// The files, in bytewise order of their paths.
    pub entries: Vec<FileEntry>,
    /// The version that they are files of, the same on every page.
    pub version: v1::AssetVersion,
}

/// A listing of versions to be begun. See [`Client::list`].
#[must_use = "nothing is listed before its entries are asked for"]
pub struct List {
    client: Client,
    request: v1::ListRequest,
    timeout: Option<Duration>,
}

/// A listing of files to be begun. See [`Client::list_files`].
#[must_use = "nothing is listed before its entries are asked for"]
pub struct ListFiles {
    client: Client,
    request: v1::ListFilesRequest,
    timeout: Option<Duration>,
}

impl Client {
    /// Lists the versions of all assets whose names begin with the prefix: `nlp/` lists that
    /// folder, `nlp/ra` also `nlp/ranker`. The daemon is asked for the next page when it is wanted,
    /// so that the pages show different moments.
    ///
    /// # Errors
    ///
    /// `StoreUnavailable` only with `Scope::Store`; without it, a store that does not answer
    /// is named by [`List::pages`].
    pub fn list(&self, name_prefix: impl Into<String>) -> List {
        let name_prefix = name_prefix.into();
        let request = v1::ListRequest { name_prefix, ..Default::default() };
        List { client: self.clone(), request, timeout: None }
    }

    /// Lists the files of one version, in bytewise order of their paths. The version need not be in
    /// the cache. All pages are about the version of the first. A part in the spec narrows the
    /// answer to what is at or below it, and globs to what such a fetch would bring.
    ///
    /// # Errors
    ///
    /// `AssetNotFound`, `VersionNotFound`, `PartNotFound`: there is no such thing.
    pub fn list_files(&self, spec: impl Into<String>) -> ListFiles {
        let request = v1::ListFilesRequest { spec: spec.into(), ..Default::default() };
        ListFiles { client: self.clone(), request, timeout: None }
    }
}

impl List {
    /// Where to look. Without it, in store and cache.
    pub fn scope(mut self, scope: v1::list_request::Scope) -> Self {
        self.request.set_scope(scope);
        self
    }

    /// Lists only the newest version of each asset.
    pub fn latest_only(mut self) -> Self {
        self.request.latest_only = true;
        self
    }

    /// Tells size, digest, date and labels of each version too, which reads one manifest a version:
    /// slower by far.
    pub fn full(mut self) -> Self {
        self.request.set_view(v1::list_request::View::Full);
        self
    }

    /// How many entries one answer of the daemon has at most: up to 1,000. Without it, 100.
    pub fn page_size(mut self, entries: i32) -> Self {
        self.request.page_size = entries;
        self
    }

    /// How long each page may take, repeats included. After that the listing fails with the code
    /// `DeadlineExceeded`.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Returns the versions one by one.
    pub fn entries(self) -> Listing<Entry> {
        each(self.pages().map_ok(|page| page.entries))
    }

    /// Returns them page by page, each with what could not be asked.
    pub fn pages(self) -> Listing<Page> {
        let Self { client, request, timeout } = self;
        let call = client.0.call(timeout);
        pages(move |page_token| {
            let (client, call) = (client.clone(), call.begun_again());
            let request = v1::ListRequest { page_token, ..request.clone() };
            async move {
                let send = |wire, request| async move {
                    AssetServiceClient::new(wire).list(request).await
                };
                let answer = client.0.ask(&call, request, send).await?;
                let unreachable = answer.unreachable().collect();
                let entries = answer.entries.into_iter().map(entry).collect();
                Ok((Page { entries, unreachable }, answer.next_page_token))
            }
        })
    }
}

impl ListFiles {
    /// Who decides what an unpinned spec stands for. Without it, the daemon's operator does.
    pub fn freshness(mut self, freshness: v1::Freshness) -> Self {
        self.request.set_freshness(freshness);
        self
    }

    /// Only the files that a fetch with these globs would bring. Given twice, the globs add up.
    pub fn include<Glob: Into<String>>(mut self, globs: impl IntoIterator<Item = Glob>) -> Self {
        self.request.include.extend(globs.into_iter().map(Into::into));
        self
    }

    /// Not the files that a fetch with these globs would leave out. Given twice, the globs add up.
    pub fn exclude<Glob: Into<String>>(mut self, globs: impl IntoIterator<Item = Glob>) -> Self {
        self.request.exclude.extend(globs.into_iter().map(Into::into));
        self
    }

    /// How many entries one answer of the daemon has at most: up to 1,000. Without it, 100.
    pub fn page_size(mut self, entries: i32) -> Self {
        self.request.page_size = entries;
        self
    }

    /// How long each page may take, repeats included. After that the listing fails with the code
    /// `DeadlineExceeded`.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Returns the files one by one.
    pub fn entries(self) -> Listing<FileEntry> {
        each(self.pages().map_ok(|page| page.entries))
    }

    /// Returns them page by page, each with the version.
    pub fn pages(self) -> Listing<FilePage> {
        let Self { client, request, timeout } = self;
        let call = client.0.call(timeout);
        pages(move |page_token| {
            let (client, call) = (client.clone(), call.begun_again());
            let request = v1::ListFilesRequest { page_token, ..request.clone() };
            async move {
                let send = |wire, request| async move {
                    AssetServiceClient::new(wire).list_files(request).await
                };
                let answer = client.0.ask(&call, request, send).await?;
                let entries = answer.files.into_iter().map(file).collect();
                let version = answer.asset_version.unwrap_or_default();
                Ok((FilePage { entries, version }, answer.next_page_token))
            }
        })
    }
}

fn entry(entry: v1::list_response::Entry) -> Entry {
    Entry {
        version: entry.asset_version.unwrap_or_default(),
        cache_state: entry.cache_state.unwrap_or_default(),
        in_store: entry.in_store,
    }
}

fn file(entry: v1::list_files_response::Entry) -> FileEntry {
    FileEntry { file: entry.file.unwrap_or_default(), cached: entry.cached }
}

/// Asks for page after page, each when it is wanted, by the token of the one before.
fn pages<OnePage, Asked>(ask: impl Fn(String) -> Asked + Send + 'static) -> Listing<OnePage>
where
    OnePage: Send + 'static,
    Asked: Future<Output = Result<(OnePage, String)>> + Send + 'static,
{
    let next = move |token: Option<String>| {
        let asked = token.map(&ask);
        async move {
            let Some(asked) = asked else { return Ok(None) };
            let (page, token) = asked.await?;
            Ok(Some((page, Some(token).filter(|token| !token.is_empty()))))
        }
    };
    Box::pin(stream::try_unfold(Some(String::new()), next))
}

fn each<Item: Send + 'static>(
    pages: impl Stream<Item = Result<Vec<Item>>> + Send + 'static,
) -> Listing<Item> {
    let entries = pages.map_ok(|entries| stream::iter(entries).map(Ok));
    Box::pin(entries.try_flatten())
}
