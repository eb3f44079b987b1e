use std::time::Duration;

use assetd::v1::{list_files_response, list_response};
use assetd::{Code, Freshness, Reason, Scope, Source, v1};
use assetd_testing::{ScriptedDaemon, Scripts, daemon_error};
use futures_util::TryStreamExt;
use tokio::time::Instant;

use crate::{client_of, client_of_nobody};

fn page(names: &[&str], next: &str) -> v1::ListResponse {
    let entry = |name: &&str| list_response::Entry {
        asset_version: Some(v1::AssetVersion { name: (*name).to_owned(), ..Default::default() }),
        cache_state: None,
        in_store: Some(true),
    };
    let mut page = v1::ListResponse {
        entries: names.iter().map(entry).collect(),
        next_page_token: next.to_owned(),
        unreachable: Vec::new(),
    };
    page.unreachable.push(Source::Store.into());
    page
}

#[tokio::test]
async fn pages_are_asked_for_as_they_are_wanted() {
    let pages = [Ok(page(&["a", "b"], "t1")), Ok(page(&[], "t2")), Ok(page(&["c"], ""))];
    let daemon = ScriptedDaemon::start(Scripts { lists: pages.into(), ..Scripts::default() });
    let client = client_of(&daemon.address);
    let list = client.list("nlp/").scope(Scope::All).latest_only().full().page_size(2);
    let mut entries = list.entries();
    assert!(daemon.lists().is_empty());
    let mut names = Vec::new();
    while let Some(entry) = entries.try_next().await.unwrap() {
        names.push(entry.version.name);
        let asked = if names.len() < 3 { 1 } else { 3 };
        assert_eq!(daemon.lists().len(), asked);
    }
    assert_eq!(names, ["a", "b", "c"]);
    let asked = daemon.lists();
    let tokens: Vec<&str> = asked.iter().map(|asked| asked.page_token.as_str()).collect();
    assert_eq!(tokens, ["", "t1", "t2"]);
    for asked in &asked {
        assert_eq!((asked.name_prefix.as_str(), asked.page_size), ("nlp/", 2));
        assert!(asked.latest_only && asked.view() == v1::list_request::View::Full);
        assert_eq!(asked.scope(), Scope::All);
    }
}

#[tokio::test]
async fn a_page_tells_what_could_not_be_asked() {
    let busy = daemon_error(Code::Unavailable, "LOCK_BUSY", &[], None);
    let pages = [Err(busy), Ok(page(&["a"], ""))];
    let daemon = ScriptedDaemon::start(Scripts { lists: pages.into(), ..Scripts::default() });
    let pages: Vec<_> = client_of(&daemon.address).list("").pages().try_collect().await.unwrap();
    assert_eq!(pages.len(), 1);
    assert_eq!((pages[0].entries.len(), &*pages[0].unreachable), (1, &[Source::Store][..]));
    assert_eq!(daemon.lists().len(), 2, "UNAVAILABLE is repeated");
}

#[tokio::test(start_paused = true)]
async fn the_timeout_of_a_listing_is_for_each_page() {
    let pause = Some(Duration::from_secs(2));
    let busy = || Err(daemon_error(Code::Unavailable, "LOCK_BUSY", &[], pause));
    let pages = ["x", "y", ""].map(|next| [busy(), Ok(page(&["a"], next))]);
    let lists = pages.into_iter().flatten().collect();
    let daemon = ScriptedDaemon::start(Scripts { lists, ..Scripts::default() });
    let list = client_of(&daemon.address).list("").timeout(Duration::from_secs(3));
    let began = Instant::now();
    let entries: Vec<_> = list.entries().try_collect().await.unwrap();
    assert_eq!(entries.len(), 3);
    assert!(began.elapsed() >= Duration::from_secs(6), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_listing_ends_with_its_error() {
    let lost = daemon_error(Code::InvalidArgument, "INVALID_PAGE_TOKEN", &[], None);
    let pages = [Ok(page(&["a"], "t")), Err(lost)];
    let daemon = ScriptedDaemon::start(Scripts { lists: pages.into(), ..Scripts::default() });
    let mut entries = client_of(&daemon.address).list("").entries();
    assert!(entries.try_next().await.unwrap().is_some());
    let failure = entries.try_next().await.unwrap_err();
    assert_eq!(failure.reason(), Some(Reason::InvalidPageToken));
    assert!(entries.try_next().await.unwrap().is_none());
}

#[tokio::test]
async fn files_are_listed_with_their_version() {
    let file = |path: &str| list_files_response::Entry {
        file: Some(v1::AssetFile { path: path.to_owned(), ..Default::default() }),
        cached: true,
    };
    let version = v1::AssetVersion { version: "1.2".to_owned(), ..Default::default() };
    let page = |path, next: &str| {
        Ok(v1::ListFilesResponse {
            files: vec![file(path)],
            next_page_token: next.to_owned(),
            asset_version: Some(version.clone()),
        })
    };
    let file_lists = [page("a", "t"), page("b", ""), page("c", "")].into();
    let daemon = ScriptedDaemon::start(Scripts { file_lists, ..Scripts::default() });
    let client = client_of(&daemon.address);
    let list = client.list_files("nlp/ranker").include(["*"]).exclude(["x"]).page_size(1);
    let list = list.freshness(Freshness::Cache);
    let files: Vec<_> = list.entries().try_collect().await.unwrap();
    let paths: Vec<&str> = files.iter().map(|entry| entry.file.path.as_str()).collect();
    assert_eq!(paths, ["a", "b"]);
    let asked = &daemon.file_lists()[1];
    assert_eq!((asked.spec.as_str(), asked.page_token.as_str()), ("nlp/ranker", "t"));
    assert_eq!((asked.include.len(), asked.exclude.len(), asked.page_size), (1, 1, 1));
    assert_eq!(asked.freshness(), Freshness::Cache);
    let pages: Vec<_> = client.list_files("nlp/ranker").pages().try_collect().await.unwrap();
    assert_eq!(pages[0].version.version, "1.2");
}

#[tokio::test]
async fn a_version_is_resolved() {
    let answer = v1::ResolveVersionResponse {
        asset_version: Some(v1::AssetVersion { version: "1.7".to_owned(), ..Default::default() }),
        resolution: v1::Resolution::Fallback.into(),
        cache_state: None,
    };
    let cut = tonic::Status::unavailable("going");
    let reset = tonic::Status::internal("reset by a proxy");
    let resolves = [Err(cut), Err(reset), Ok(answer)].into();
    let daemon = ScriptedDaemon::start(Scripts { resolves, ..Scripts::default() });
    let found = client_of(&daemon.address).resolve("nlp/ranker:1").await.unwrap();
    assert_eq!(
        (found.version.version.as_str(), found.resolution),
        ("1.7", v1::Resolution::Fallback)
    );
    assert_eq!(found.cache_state.presence(), v1::cache_state::Presence::Unspecified);
}

#[tokio::test]
async fn time_that_is_up_ends_questions_too() {
    let client = client_of_nobody();
    let failure = client.resolve("a").timeout(Duration::ZERO).await.unwrap_err();
    assert!(failure.is_timeout());
    let mut entries = client.list("").timeout(Duration::ZERO).entries();
    assert!(entries.try_next().await.unwrap_err().is_timeout());
    let mut files = client.list_files("a").timeout(Duration::ZERO).entries();
    assert!(files.try_next().await.unwrap_err().is_timeout());
}
