use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use assetd::{AssetKind, Client, Freshness, Resolution, RetryPolicy, Source, Verification};
use assetd_testing::{ScriptedDaemon, Scripts, completed, started};
use tempfile::TempDir;

const RECEIPT: &str = r#"{"format": 1, "digest": "sha256:ab", "size": 7, "files": {"": {}},
    "verification": "checksum"}"#;

/// An ASSETS_DIR with a file `a/file:1.2` and a directory `a/folder:1.2`, and nobody's daemon.
struct Cache {
    folder: TempDir,
    client: Client,
}

impl Cache {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in [
            ("a/file/1.2", "weights"),
            ("a/file/.1.2.SUCCESS", RECEIPT),
            ("a/folder/1.2/.SUCCESS", ""),
            ("a/folder/1.2/sub/b", "b"),
        ] {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let builder = Client::builder().address("unix:///nowhere/assetd.sock");
        let retry = RetryPolicy { connect_patience: Duration::ZERO, ..RetryPolicy::default() };
        let client = builder.assets_dir(folder.path()).retry(retry).build().unwrap();
        Self { folder, client }
    }

    fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    /// Whether an evictor could take it.
    fn is_free(&self, below: &str) -> bool {
        File::open(self.path(below)).unwrap().try_lock().is_ok()
    }
}

fn touched(path: &Path) -> SystemTime {
    fs::metadata(path).unwrap().modified().unwrap()
}

fn set_age(path: &Path, age: Duration) -> SystemTime {
    let time = SystemTime::now() - age;
    File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
    touched(path)
}

#[tokio::test]
async fn a_pinned_version_that_stands_here_is_a_hit_without_a_daemon() {
    let cache = Cache::new();
    let file = cache.client.fetch("a/file:1.2").await.unwrap();
    assert_eq!(file.path(), cache.path("a/file/1.2"));
    assert_eq!(
        (file.relative_path(), file.name(), file.version()),
        ("a/file/1.2", "a/file", "1.2")
    );
    assert_eq!((file.kind(), file.source()), (AssetKind::File, Source::Cache));
    assert_eq!((file.resolution(), file.transferred_bytes()), (Resolution::Exact, 0));
    assert_eq!(
        (file.digest(), file.size_bytes(), file.file_count()),
        (Some("sha256:ab"), Some(7), Some(1))
    );
    assert_eq!((file.verification(), file.reused_bytes()), (Verification::Checksum, 7));

    let folder = cache.client.fetch("a/folder:1.2[sub/b]").await.unwrap();
    assert_eq!(folder.path(), cache.path("a/folder/1.2/sub/b"));
    assert_eq!(folder.kind(), AssetKind::Directory);
    assert_eq!((folder.digest(), folder.size_bytes()), (None, None), "modelkit's marker is empty");
}

#[tokio::test]
async fn a_hold_leases_the_version_until_it_is_dropped_or_the_client_is_closed() {
    let cache = Cache::new();
    for (spec, path) in [("a/file:1.2", "a/file/1.2"), ("a/folder:1.2[sub]", "a/folder/1.2")] {
        let held = cache.client.hold(spec).await.unwrap();
        assert!(held.is_held() && !cache.is_free(path));
        drop(held);
        assert!(cache.is_free(path));
        cache.client.hold(spec).await.unwrap().release().unwrap();
        assert!(cache.is_free(path));
    }
    let held = cache.client.hold("a/file:1.2").await.unwrap();
    cache.client.close();
    held.ended().await.unwrap();
    assert!(!held.is_held() && cache.is_free("a/file/1.2"));
    assert!(cache.client.hold("a/file:1.2").await.is_err());
}

#[tokio::test]
async fn what_an_evictor_has_locked_is_no_hit() {
    let cache = Cache::new();
    let evictor = File::open(cache.path("a/file/1.2")).unwrap();
    evictor.lock().unwrap();
    assert!(cache.client.hold("a/file:1.2").await.unwrap_err().is_daemon_unavailable());
}

#[tokio::test]
async fn what_is_odd_is_for_the_daemon() {
    let cache = Cache::new();
    fs::write(cache.path("a/file/1.3"), "no marker").unwrap();
    fs::write(cache.path("a/file/.1.4.SUCCESS"), "no data").unwrap();
    symlink("1.2", cache.path("a/file/1.5")).unwrap();
    fs::write(cache.path("a/file/.1.5.SUCCESS"), "").unwrap();
    fs::write(cache.path("a/file/1.6"), "").unwrap();
    symlink(".1.2.SUCCESS", cache.path("a/file/.1.6.SUCCESS")).unwrap();
    symlink("b", cache.path("a/folder/1.2/sub/link")).unwrap();
    for spec in [
        "a/file",
        "a/file:1",
        "a/file:1.3",
        "a/file:1.4",
        "a/file:1.5",
        "a/file:1.6",
        "a/file:1.2[b]",
        "a/folder:1.2[no]",
        "a/folder:1.2[sub/link]",
        "a/folder:1.2[sub/b/c]",
    ] {
        for failure in [
            cache.client.fetch(spec).await.map(drop).unwrap_err(),
            cache.client.hold(spec).await.map(drop).unwrap_err(),
        ] {
            assert!(failure.is_daemon_unavailable(), "{spec}: {failure}");
        }
    }
}

#[tokio::test]
async fn any_other_wish_is_a_call() {
    let cache = Cache::new();
    let fetch = || cache.client.fetch("a/file:1.2");
    for fetch in [
        fetch().freshness(Freshness::Cache),
        fetch().expected_digest("sha256:ab"),
        fetch().include(["*"]),
        fetch().exclude(["*"]),
        fetch().part_only(),
        fetch().verify(),
        fetch().force_download(),
    ] {
        assert!(fetch.await.unwrap_err().is_daemon_unavailable());
    }
    let second = Duration::from_secs(1);
    let fetch = fetch().store_timeout(second).progress(|_| ()).progress_interval(second);
    fetch.timeout(second).await.unwrap();
}

#[tokio::test]
async fn what_has_been_evicted_is_not_found_again() {
    let cache = Cache::new();
    let asset = cache.client.fetch("a/file:1.2").await.unwrap();
    fs::remove_file(cache.path("a/file/.1.2.SUCCESS")).unwrap();
    assert!(cache.client.fetch("a/file:1.2").await.is_err());
    assert_eq!((asset.size_bytes(), asset.digest()), (None, None));
}

#[tokio::test]
async fn a_use_is_left_as_a_trace_once_a_minute() {
    let cache = Cache::new();
    let marker = cache.path("a/file/.1.2.SUCCESS");
    let recent = set_age(&marker, Duration::from_secs(30));
    cache.client.fetch("a/file:1.2").await.unwrap();
    assert_eq!(touched(&marker), recent);
    for age in [90, 100 * 365 * 24 * 3600 / 2] {
        let old = set_age(&marker, Duration::from_secs(age));
        cache.client.fetch("a/file:1.2").await.unwrap();
        assert!(touched(&marker) > old + Duration::from_secs(60), "{age}");
    }
    // A clock that was set back.
    let future = SystemTime::now() + Duration::from_secs(3600);
    File::options().write(true).open(&marker).unwrap().set_modified(future).unwrap();
    cache.client.fetch("a/file:1.2").await.unwrap();
    assert!(touched(&marker) < future - Duration::from_secs(1800));
    assert_eq!(fs::metadata(&marker).unwrap().size(), RECEIPT.len() as u64);
}

#[tokio::test]
async fn a_folder_on_the_way_may_be_a_link() {
    let cache = Cache::new();
    symlink("a", cache.path("b")).unwrap();
    assert!(cache.client.hold("b/file:1.2").await.unwrap().is_held());
}

#[tokio::test]
async fn the_daemons_path_is_looked_for_below_our_own_assets_dir() {
    let folder = tempfile::tempdir().unwrap();
    let script = || vec![started(), completed()];
    let daemon = ScriptedDaemon::start(Scripts::fetches([script(), script()]));
    let builder = Client::builder().address(&daemon.address).assets_dir(folder.path());
    let client = builder.build().unwrap();
    let unseen = client.fetch("nlp/ranker").await.unwrap();
    assert_eq!(unseen.path().to_str(), Some("/assets/nlp/ranker/1.2"));
    fs::create_dir_all(folder.path().join("nlp/ranker/1.2")).unwrap();
    let seen = client.fetch("nlp/ranker").await.unwrap();
    assert_eq!(seen.path(), folder.path().join("nlp/ranker/1.2"));
}
