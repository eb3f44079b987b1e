//! Against assetd itself.
use std::fs;
use std::process::Stdio;

use assetd::v1::cache_service_client::CacheServiceClient;
use assetd::v1::cache_state::Presence;
use assetd::{AssetKind, Client, Mode, Reason, Scope, Source, v1};
use assetd_testing::RealDaemon;
use futures_util::TryStreamExt;
use tokio::process::Command;

use crate::client_of;

#[tokio::test]
async fn a_model_is_pushed_fetched_held_listed_and_found() {
    let Some(mut daemon) = RealDaemon::start().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model");
    fs::create_dir_all(model.join("vocab")).unwrap();
    fs::write(model.join("weights"), vec![7; 3 << 20]).unwrap();
    fs::write(model.join("vocab/en.txt"), "words").unwrap();
    let digest = assetd::digest(&model).await.unwrap();

    let client = client_of(&daemon.address);
    let push = || client.push(&model, "nlp/ranker:1").labels([("team", "nlp")]);
    let pushed = push().mode(Mode::New).await.unwrap();
    assert_eq!((pushed.version.as_str(), pushed.digest.as_deref()), ("1.0", Some(&*digest)));
    assert_eq!((pushed.file_count, pushed.labels["team"].as_str()), (Some(2), "nlp"));
    let refused = push().mode(Mode::New).await.unwrap_err();
    assert_eq!(refused.reason(), Some(Reason::AssetExists));
    let repeated = push().push_id(&pushed.push_id).mode(Mode::New).await.unwrap();
    assert_eq!((repeated.version, repeated.already_existed), ("1.0".to_owned(), false));

    let found = client.resolve("nlp/ranker").await.unwrap();
    assert_eq!(found.cache_state.presence(), Presence::Absent);
    let mut shown = 0;
    let hold = client.hold("nlp/ranker").progress(|progress| shown = progress.present_bytes);
    let held = hold.expected_digest(&digest).await.unwrap();
    assert_eq!((held.kind(), held.source()), (AssetKind::Directory, Source::Store));
    assert_eq!(held.transferred_bytes(), (3 << 20) + 5);
    assert!(shown <= (3 << 20) + 5);
    assert_eq!(assetd::digest(held.path()).await.unwrap(), digest);
    let part = client.fetch("nlp/ranker[vocab/en.txt]").await.unwrap();
    assert_eq!(fs::read_to_string(part.path()).unwrap(), "words");

    // By the daemon's address alone, without it, and as it stands.
    let local = Client::builder().address("unix:///nowhere/assetd.sock");
    let local = local.assets_dir(&daemon.assets_dir).build().unwrap();
    let hit = local.fetch("nlp/ranker:1.0").await.unwrap();
    assert_eq!(
        (hit.path(), hit.digest(), hit.file_count()),
        (held.path(), Some(&*digest), Some(2))
    );

    let list = client.list("nlp/").scope(Scope::All).full();
    let listed: Vec<_> = list.entries().try_collect().await.unwrap();
    assert_eq!((listed.len(), listed[0].in_store), (1, Some(true)));
    assert_eq!(listed[0].version.digest, digest);
    let files: Vec<_> = client.list_files("nlp/ranker").entries().try_collect().await.unwrap();
    assert_eq!(
        files.iter().map(|entry| &*entry.file.path).collect::<Vec<_>>(),
        ["vocab/en.txt", "weights"]
    );

    daemon.restart().await;
    let status = async || {
        let mut cache = CacheServiceClient::new(client.channel());
        cache.get_cache_status(v1::GetCacheStatusRequest {}).await
    };
    while !status().await.is_ok_and(|status| status.get_ref().holds.len() == 1) {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let holds = status().await.unwrap().into_inner().holds;
    assert_eq!(holds[0].caller, "tests");
    assert!(held.is_held());
    held.release().unwrap();
}

#[tokio::test]
async fn what_is_staged_is_pushed_where_it_lies() {
    let Some(daemon) = RealDaemon::start().await else { return };
    let staged = daemon.assets_dir.join(".assetd/push/model");
    fs::create_dir_all(staged.parent().unwrap()).unwrap();
    fs::write(&staged, "weights").unwrap();
    let client = client_of(&daemon.address);
    let pushed = client.push_staged(&staged, "nlp/ranker").await.unwrap();
    assert_eq!((pushed.size_bytes, pushed.file_count), (Some(7), Some(1)));
    let refused = client.push_staged("/elsewhere", "nlp/ranker").await.unwrap_err();
    assert_eq!(refused.reason(), Some(Reason::InvalidField));
    let missing = client.push_staged("nothing", "nlp/ranker").await.unwrap_err();
    assert_eq!(missing.reason(), Some(Reason::InvalidField), "{missing}");
    let climbs = client.push_staged("../../nlp", "nlp/ranker").await.unwrap_err();
    assert_eq!(climbs.reason(), Some(Reason::SourceNotAllowed), "{climbs}");
    let unknown = client.fetch("no/such").await.unwrap_err();
    assert_eq!(unknown.reason(), Some(Reason::AssetNotFound));
    assert_eq!(unknown.metadata()["name"], "no/such");
}

#[tokio::test]
async fn the_example_of_the_readme_runs() {
    let Some(daemon) = RealDaemon::start().await else { return };
    // Cargo builds the examples beside the tests.
    let tests = std::env::current_exe().unwrap();
    let example = tests.parent().unwrap().parent().unwrap().join("examples/serve");
    let run = async || {
        let mut command = Command::new(&example);
        command.env_clear().env("ASSETD_ADDRESS", &daemon.address).stdin(Stdio::null());
        let output = command.output().await.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(run().await.starts_with("there is none: assetd: ASSET_NOT_FOUND"));
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "weights").unwrap();
    client_of(&daemon.address).push(file.path(), "nlp/ranker:0.0").await.unwrap();
    let path = daemon.assets_dir.join("nlp/ranker/0.0");
    assert_eq!(run().await, format!("serving 0.0 from {}\n", path.display()));
}
