use std::time::Duration;

use assetd::v1::asset_service_client::AssetServiceClient;
use assetd::{Code, Error, Freshness, Progress, Reason, RetryPolicy, Source, v1};
use assetd_testing::{
    ScriptedDaemon, Scripts, Step, completed, daemon_error, progressed, started, trailer_error,
};
use tokio::time::Instant;
use tonic::Status;

use crate::{client_of, client_of_nobody, quick};

#[tokio::test]
async fn a_fetch_asks_for_what_was_said_and_returns_where_it_is() {
    let daemon = ScriptedDaemon::start(Scripts::fetches([vec![started(), completed()]]));
    let client = client_of(&daemon.address);
    let asset = client
        .fetch("nlp/ranker:1")
        .freshness(Freshness::StoreOrCache)
        .store_timeout(Duration::from_millis(1500))
        .include(["a*"])
        .include(["b*"])
        .exclude(["c"])
        .expected_digest("sha256:ab")
        .part_only()
        .verify()
        .force_download()
        .progress_interval(Duration::from_secs(1))
        .await
        .unwrap();
    assert_eq!(asset.path().to_str(), Some("/assets/nlp/ranker/1.2"));
    assert_eq!((asset.name(), asset.version()), ("nlp/ranker", "1.2"));
    assert_eq!((asset.source(), asset.transferred_bytes()), (Source::Store, 100));
    assert_eq!(
        (asset.size_bytes(), asset.file_count(), asset.digest()),
        (Some(100), Some(1), None)
    );

    let asked = &daemon.fetches()[0];
    assert_eq!((asked.spec.as_str(), asked.caller.as_str()), ("nlp/ranker:1", "tests"));
    assert_eq!(asked.freshness(), Freshness::StoreOrCache);
    assert_eq!(asked.store_timeout.unwrap().nanos, 500_000_000);
    assert_eq!(
        (&*asked.include, &*asked.exclude),
        (&["a*", "b*"].map(String::from)[..], &["c".to_owned()][..])
    );
    assert!(asked.part_only && asked.verify && asked.force_download && !asked.hold);
    assert_eq!(asked.expected_digest, "sha256:ab");
    assert_eq!(asked.progress_interval.unwrap().seconds, 1);
    daemon.open_fetches(0).await;
}

/// Fetches, and returns what was shown: attempt and bytes. At 40 bytes the wire is cut.
async fn shown(daemon: &ScriptedDaemon) -> (assetd::Result<assetd::Asset>, Vec<(u32, u64)>) {
    let mut shown = Vec::new();
    let client = client_of(&daemon.address);
    let note = |progress: &Progress| {
        shown.push((progress.attempt, progress.present_bytes));
        if progress.present_bytes == 40 {
            daemon.cut();
        }
    };
    let fetched = client.fetch("nlp/ranker").progress(note).await;
    (fetched, shown)
}

#[tokio::test]
async fn a_stream_that_is_cut_is_joined_again_for_the_same_version() {
    let daemon = ScriptedDaemon::start(Scripts::fetches([
        vec![started(), progressed(40, 1), Step::Silence],
        vec![started(), progressed(60, 1), Step::Fail(Status::unavailable("going"))],
        // As gRPC ends calls that are on their way to a daemon that begins to stop.
        vec![Step::Fail(Status::cancelled("on its way"))],
        vec![Step::Fail(daemon_error(Code::Unavailable, "SHUTTING_DOWN", &[], None))],
        vec![started(), progressed(20, 1), completed()],
    ]));
    let (fetched, shown) = shown(&daemon).await;
    assert_eq!(fetched.unwrap().version(), "1.2");
    assert_eq!(shown, [(1, 40), (1, 60), (2, 20)]);
    let specs: Vec<String> = daemon.fetches().into_iter().map(|asked| asked.spec).collect();
    assert_eq!(specs[0], "nlp/ranker");
    assert!(specs[1..].iter().all(|spec| spec == "nlp/ranker:1.2"), "{specs:?}");
    daemon.open_fetches(0).await;
}

#[tokio::test]
async fn progress_that_falls_within_one_attempt_is_refused() {
    let lie = vec![started(), progressed(50, 1), progressed(49, 1), completed()];
    let daemon = ScriptedDaemon::start(Scripts::fetches([lie]));
    let (fetched, shown) = shown(&daemon).await;
    let refused = fetched.unwrap_err();
    assert_eq!((refused.code(), refused.reason()), (Code::Internal, Some(Reason::Internal)));
    assert_eq!(refused.metadata()["present_bytes"], "49");
    assert_eq!(shown, [(1, 50)]);
    assert_eq!(daemon.fetches().len(), 1, "a defect is not repeated");
    daemon.open_fetches(0).await;
}

#[tokio::test]
async fn a_stream_that_ends_without_an_answer_is_a_defect() {
    for script in [vec![], vec![started()], vec![completed()]] {
        let daemon = ScriptedDaemon::start(Scripts::fetches([script]));
        let failure = client_of(&daemon.address).fetch("nlp/ranker").await.unwrap_err();
        assert_eq!(failure.reason(), Some(Reason::Internal), "{failure}");
        assert_eq!(daemon.fetches().len(), 1);
    }
}

#[tokio::test]
async fn a_stream_that_something_on_the_way_ends_is_joined_again() {
    let reset = || Step::Fail(Status::internal("reset by a proxy"));
    let daemon = ScriptedDaemon::start(Scripts::fetches([
        vec![reset()],
        vec![started(), progressed(40, 1), reset()],
        vec![started(), completed()],
    ]));
    client_of(&daemon.address).fetch("nlp/ranker").await.unwrap();
    assert_eq!(daemon.fetches().len(), 3);
    let said = daemon_error(Code::Internal, "IO_ERROR", &[], None);
    daemon.then(vec![Step::Fail(said)]);
    let failure = client_of(&daemon.address).fetch("nlp/ranker").await.unwrap_err();
    assert_eq!(failure.reason(), Some(Reason::IoError), "the daemon's own word is final");
}

#[tokio::test(start_paused = true)]
async fn patience_with_resets_ends_as_with_any_failure() {
    let resets = std::iter::repeat_with(|| vec![Step::Fail(Status::internal("reset"))]).take(50);
    let daemon = ScriptedDaemon::start(Scripts::fetches(resets));
    let builder = assetd::Client::builder().address(&daemon.address).assets_dir("");
    let client = builder.retry(RetryPolicy::default()).build().unwrap();
    let began = Instant::now();
    let failure = client.fetch("nlp/ranker").await.unwrap_err();
    assert_eq!((failure.code(), failure.reason_name()), (Code::Internal, ""));
    assert_eq!(failure.message(), "reset");
    assert!(began.elapsed() > Duration::from_secs(12), "{:?}", began.elapsed());
}

#[tokio::test]
async fn what_completed_is_here_whatever_the_status_says() {
    let late = Step::Fail(Status::internal("late"));
    let daemon = ScriptedDaemon::start(Scripts::fetches([vec![started(), completed(), late]]));
    client_of(&daemon.address).fetch("nlp/ranker").await.unwrap();
    assert_eq!(daemon.fetches().len(), 1);
}

#[tokio::test]
async fn a_failure_has_its_reason_metadata_and_pause() {
    let metadata = [("needed_bytes", "7")];
    let pause = Some(Duration::from_millis(2500));
    let full = daemon_error(Code::ResourceExhausted, "CACHE_FULL", &metadata, pause);
    let daemon = ScriptedDaemon::start(Scripts::fetches([vec![Step::Fail(full)]]));
    let failure = client_of(&daemon.address).fetch("nlp/ranker").await.unwrap_err();
    assert_eq!(
        (failure.code(), failure.reason()),
        (Code::ResourceExhausted, Some(Reason::CacheFull))
    );
    assert_eq!((failure.metadata()["needed_bytes"].as_str(), failure.retry_after()), ("7", pause));
    assert_eq!(failure.to_string(), "assetd: CACHE_FULL: said CACHE_FULL");
    assert!(!failure.is_daemon_unavailable() && !failure.is_timeout());
    assert_eq!(daemon.fetches().len(), 1, "only UNAVAILABLE is repeated");
}

#[tokio::test]
async fn a_reason_is_read_from_the_trailer_where_the_details_are_lost() {
    let lost = trailer_error(Code::NotFound, "VERSION_NOT_FOUND");
    let daemon = ScriptedDaemon::start(Scripts::fetches([vec![Step::Fail(lost)]]));
    let failure = client_of(&daemon.address).fetch("nlp/ranker").await.unwrap_err();
    assert_eq!(failure.reason(), Some(Reason::VersionNotFound));
}

#[tokio::test]
async fn a_reason_of_a_later_release_keeps_its_name_and_code() {
    let newer = daemon_error(Code::FailedPrecondition, "MOON_IN_THE_WAY", &[], None);
    let daemon = ScriptedDaemon::start(Scripts::fetches([vec![Step::Fail(newer)]]));
    let failure = client_of(&daemon.address).fetch("nlp/ranker").await.unwrap_err();
    assert_eq!((failure.reason(), failure.reason_name()), (None, "MOON_IN_THE_WAY"));
    assert_eq!(failure.code(), Code::FailedPrecondition);
}

#[tokio::test(start_paused = true)]
async fn nobody_at_the_address_is_told_after_a_short_patience() {
    let began = Instant::now();
    let builder = assetd::Client::builder().address("unix:///nowhere/assetd.sock").assets_dir("");
    let failure = builder.build().unwrap().fetch("nlp/ranker").await.unwrap_err();
    assert!(failure.is_daemon_unavailable());
    assert!(failure.message().contains("unix:///nowhere/assetd.sock"), "{failure}");
    assert!(failure.message().contains("assetd serve"), "{failure}");
    assert!(failure.metadata()["cause"].contains("No such file"), "{failure}");
    let waited = began.elapsed();
    assert!(
        (Duration::from_millis(700)..Duration::from_millis(1500)).contains(&waited),
        "{waited:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn patience_begins_anew_whenever_a_fetch_comes_further() {
    let retry = RetryPolicy::default();
    let cut = |bytes| vec![started(), progressed(bytes, 1), Step::Fail(Status::unavailable("cut"))];
    let further = (1..=40).map(cut);
    let stuck = std::iter::repeat_with(|| cut(40)).take(60);
    let daemon = ScriptedDaemon::start(Scripts::fetches(further.chain(stuck)));
    let builder = assetd::Client::builder().address(&daemon.address).assets_dir("");
    let began = Instant::now();
    let client = builder.retry(retry).build().unwrap();
    let failure = client.fetch("nlp/ranker").await.unwrap_err();
    assert!(failure.is_daemon_unavailable(), "{failure}");
    let tries = daemon.fetches().len();
    assert!((47..=70).contains(&tries), "{tries} tries");
    assert!(began.elapsed() > Duration::from_secs(12), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn the_daemons_own_pause_is_kept() {
    let asks = daemon_error(Code::Unavailable, "LOCK_BUSY", &[], Some(Duration::from_secs(7)));
    let daemon = ScriptedDaemon::start(Scripts::fetches([
        vec![Step::Fail(asks)],
        vec![started(), completed()],
    ]));
    let began = Instant::now();
    client_of(&daemon.address).fetch("nlp/ranker").await.unwrap();
    assert!(began.elapsed() >= Duration::from_secs(7));
}

#[tokio::test(start_paused = true)]
async fn a_silent_stream_is_cut_and_joined_again() {
    let daemon = ScriptedDaemon::start(Scripts::fetches([
        vec![Step::Silence],
        vec![started(), progressed(10, 1), Step::Silence],
        vec![started(), completed()],
    ]));
    let began = Instant::now();
    client_of(&daemon.address).fetch("nlp/ranker").await.unwrap();
    let silence = Duration::from_millis(31_500);
    assert!(began.elapsed() >= 2 * silence, "{:?}", began.elapsed());
    daemon.open_fetches(0).await;
}

#[tokio::test(start_paused = true)]
async fn a_daemon_that_stays_silent_is_told_so() {
    let daemon = ScriptedDaemon::start(Scripts::fetches([vec![Step::Silence]]));
    let retry =
        RetryPolicy { patience: Duration::ZERO, connect_patience: Duration::ZERO, ..quick() };
    let builder = assetd::Client::builder().address(&daemon.address).assets_dir("").retry(retry);
    let failure = builder.build().unwrap().fetch("nlp/ranker").await.unwrap_err();
    assert!(failure.is_daemon_unavailable());
    assert_eq!(failure.metadata()["silent_seconds"], "31.5");
}

#[tokio::test(start_paused = true)]
async fn the_callers_own_time_is_no_silence() {
    let daemon = ScriptedDaemon::start(Scripts::fetches([vec![
        started(),
        progressed(10, 1),
        progressed(20, 1),
        completed(),
    ]]));
    let retry = RetryPolicy { stall_timeout: Duration::ZERO, ..quick() };
    let builder = assetd::Client::builder().address(&daemon.address).assets_dir("").retry(retry);
    let slow = |_: &Progress| std::thread::sleep(Duration::from_millis(5));
    let fetch = builder.build().unwrap().fetch("nlp/ranker").progress(slow);
    fetch.progress_interval(Duration::from_millis(1)).await.unwrap();
    assert_eq!(daemon.fetches().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn time_that_is_up_ends_the_fetch_and_tells_what_was_retried() {
    let busy = || vec![Step::Fail(daemon_error(Code::Unavailable, "LOCK_BUSY", &[], None))];
    let slow = ScriptedDaemon::start(Scripts::fetches([busy(), vec![started(), Step::Silence]]));
    let limit = Duration::from_secs(3);
    let failure = client_of(&slow.address).fetch("nlp/ranker").timeout(limit).await.unwrap_err();
    assert!(failure.is_timeout(), "{failure}");
    assert!(
        failure.message().contains("3 seconds, while retrying after: said LOCK_BUSY"),
        "{failure}"
    );
    slow.open_fetches(0).await;

    // A pause that would outlast the time is not begun: the caller learns what is the matter.
    let pause = Some(Duration::from_secs(5));
    let asks = daemon_error(Code::Unavailable, "LOCK_BUSY", &[], pause);
    let asking = ScriptedDaemon::start(Scripts::fetches([vec![Step::Fail(asks)]]));
    let began = Instant::now();
    let failure = client_of(&asking.address).fetch("nlp/ranker").timeout(limit).await.unwrap_err();
    assert_eq!(failure.reason(), Some(Reason::LockBusy));
    assert!(began.elapsed() < limit);
}

#[tokio::test]
async fn no_time_at_all_is_no_fetch() {
    let failure = client_of_nobody().fetch("a:1.2").timeout(Duration::ZERO).await.unwrap_err();
    assert!(failure.is_timeout());
}

#[tokio::test]
async fn a_fetch_that_is_dropped_ends_its_call() {
    let daemon = ScriptedDaemon::start(Scripts::fetches([vec![started(), Step::Silence]]));
    let client = client_of(&daemon.address);
    let fetch = tokio::spawn(async move { client.fetch("nlp/ranker").await });
    daemon.open_fetches(1).await;
    fetch.abort();
    daemon.open_fetches(0).await;
}

#[tokio::test]
async fn a_client_that_is_closed_ends_its_calls() {
    let daemon = ScriptedDaemon::start(Scripts::fetches([vec![started(), Step::Silence]]));
    let client = client_of(&daemon.address);
    let fetch = tokio::spawn(client.fetch("nlp/ranker").into_future());
    daemon.open_fetches(1).await;
    client.close();
    client.close();
    let failure = fetch.await.unwrap().unwrap_err();
    assert_eq!((failure.code(), failure.message()), (Code::Cancelled, "the client was closed"));
    daemon.open_fetches(0).await;
    assert_eq!(client.fetch("nlp/ranker").await.unwrap_err().code(), Code::Cancelled);
}

#[tokio::test]
async fn a_report_that_panics_leaves_no_call_behind() {
    let lines = vec![started(), progressed(1, 1), Step::Silence];
    let daemon = ScriptedDaemon::start(Scripts::fetches([lines]));
    let client = client_of(&daemon.address);
    let fetch = client.fetch("nlp/ranker").progress(|_| panic!("the report's own fault"));
    assert!(tokio::spawn(fetch.into_future()).await.unwrap_err().is_panic());
    daemon.open_fetches(0).await;
}

#[tokio::test]
async fn every_call_carries_what_the_program_adds() {
    let script = || vec![started(), completed()];
    let daemon = ScriptedDaemon::start(Scripts::fetches([script(), script()]));
    let builder = assetd::Client::builder().address(&daemon.address).assets_dir("");
    let client = builder
        .metadata(|metadata| {
            metadata.insert("authorization", "Bearer x".parse().unwrap());
        })
        .build()
        .unwrap();
    client.fetch("nlp/ranker").await.unwrap();
    let carried = daemon.metadata();
    assert_eq!(carried[0].get("authorization").unwrap(), "Bearer x");
    let caller = &daemon.fetches()[0].caller;
    assert!(caller.ends_with(&format!("[{}]", std::process::id())), "{caller}");
}

#[tokio::test]
async fn the_failures_of_stubs_are_read_alike() {
    let full = daemon_error(Code::ResourceExhausted, "DISK_FULL", &[], None);
    let daemon = ScriptedDaemon::start(Scripts::fetches([vec![Step::Fail(full)]]));
    let client = client_of(&daemon.address);
    let mut stub = AssetServiceClient::new(client.channel());
    let status = match stub.fetch(v1::FetchRequest::default()).await {
        Ok(events) => events.into_inner().message().await.unwrap_err(),
        Err(status) => status,
    };
    assert_eq!(Error::from(status).reason(), Some(Reason::DiskFull));
    let mut nobody = AssetServiceClient::new(client_of_nobody().channel());
    let status = nobody.fetch(v1::FetchRequest::default()).await.unwrap_err();
    assert!(Error::from(status).is_daemon_unavailable());
}

#[tokio::test]
async fn a_daemon_may_listen_on_tcp() {
    let daemon = ScriptedDaemon::start(Scripts::fetches([vec![started(), completed()]]));
    let path = daemon.address.strip_prefix("unix://").unwrap().to_owned();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let (mut outside, _) = listener.accept().await.unwrap();
        let mut inside = tokio::net::UnixStream::connect(path).await.unwrap();
        let _ = tokio::io::copy_bidirectional(&mut outside, &mut inside).await;
    });
    assert_eq!(client_of(&address).fetch("nlp/ranker").await.unwrap().version(), "1.2");
}

#[test]
fn what_goes_beyond_the_node_needs_an_endpoint() {
    let refused = assetd::Client::builder().address("models:7000").build().unwrap_err();
    assert!(refused.message().contains("TLS"), "{refused}");
    let endpoint = tonic::transport::Endpoint::from_static("http://models:7000");
    assetd::Client::builder().endpoint(endpoint).build().unwrap();
}
