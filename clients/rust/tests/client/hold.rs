use std::time::Duration;

use assetd::{Code, Reason};
use assetd_testing::{ScriptedDaemon, Scripts, Step, completed, daemon_error, progressed, started};
use tonic::Status;

use crate::client_of;

fn held() -> Vec<Step> {
    vec![started(), completed(), Step::Silence]
}

/// Returns once so many fetches were asked for.
async fn seen(daemon: &ScriptedDaemon, count: usize) {
    while daemon.fetches().len() < count {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_hold_is_an_open_call_until_it_is_dropped() {
    let daemon = ScriptedDaemon::start(Scripts::fetches([held(), held()]));
    let client = client_of(&daemon.address);
    let dropped = client.hold("nlp/ranker").await.unwrap();
    let released = client.hold("nlp/ranker").await.unwrap();
    daemon.open_fetches(2).await;
    assert!(dropped.is_held() && daemon.fetches()[0].hold);
    assert_eq!(dropped.version(), "1.2", "it is its asset");
    drop(dropped);
    daemon.open_fetches(1).await;
    assert_eq!(released.release().unwrap().name(), "nlp/ranker");
    daemon.open_fetches(0).await;
}

#[tokio::test]
async fn a_hold_is_taken_again_whatever_ends_its_stream() {
    let ends = [
        Step::Fail(daemon_error(Code::Unavailable, "SHUTTING_DOWN", &[], None)),
        Step::Fail(Status::cancelled("on its way")),
        Step::Fail(Status::unknown("some proxy")),
        Step::Fail(daemon_error(Code::ResourceExhausted, "CACHE_FULL", &[], None)),
        Step::Silence,
    ];
    let count = ends.len();
    let scripts =
        ends.map(|end| vec![started(), progressed(90, 1), progressed(20, 1), completed(), end]);
    // The figures of the first one would be refused: nothing is told of what is here already.
    let first = vec![started(), completed(), Step::Fail(Status::unavailable("going"))];
    let daemon = ScriptedDaemon::start(Scripts::fetches([first].into_iter().chain(scripts)));
    daemon.then(held());
    let mut shown = 0;
    let client = client_of(&daemon.address);
    let hold = client.hold("nlp/ranker").verify().force_download().progress(|_| shown += 1);
    let held = hold.await.unwrap();
    seen(&daemon, count + 1).await;
    daemon.cut();
    seen(&daemon, count + 2).await;
    assert!(held.is_held());
    daemon.open_fetches(1).await;
    let asked = daemon.fetches();
    assert!(asked[0].verify && asked[0].force_download);
    for again in &asked[1..] {
        assert_eq!(again.spec, "nlp/ranker:1.2");
        assert!(again.hold && !again.verify && !again.force_download, "{again:?}");
    }
    drop(held);
    daemon.open_fetches(0).await;
    assert_eq!(shown, 0);
}

#[tokio::test]
async fn a_hold_ends_when_the_daemon_refuses_it() {
    let drained = vec![started(), completed(), Step::Fail(Status::unavailable("going"))];
    let gone = daemon_error(Code::NotFound, "VERSION_NOT_FOUND", &[], None);
    let daemon = ScriptedDaemon::start(Scripts::fetches([drained, vec![Step::Fail(gone)]]));
    let held = client_of(&daemon.address).hold("nlp/ranker").await.unwrap();
    let lost = held.ended().await.unwrap_err();
    assert_eq!(lost.reason(), Some(Reason::VersionNotFound));
    assert!(!held.is_held());
    assert_eq!(held.release().unwrap_err().reason(), Some(Reason::VersionNotFound));
}

#[tokio::test(start_paused = true)]
async fn a_hold_waits_for_its_daemon_without_an_end() {
    let daemon = ScriptedDaemon::start(Scripts::fetches([held()]));
    let held_asset = client_of(&daemon.address).hold("nlp/ranker").await.unwrap();
    let busy = || vec![Step::Fail(Status::unavailable("not yet"))];
    (0..1000).for_each(|_| daemon.then(busy()));
    daemon.then(held());
    daemon.cut();
    while daemon.fetches().len() < 1002 {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!(held_asset.is_held());
}

#[tokio::test]
async fn a_client_that_is_closed_ends_its_holds_well() {
    let daemon = ScriptedDaemon::start(Scripts::fetches([held()]));
    let client = client_of(&daemon.address);
    let held = client.hold("nlp/ranker").await.unwrap();
    client.close();
    held.ended().await.unwrap();
    assert!(!held.is_held());
    daemon.open_fetches(0).await;
    held.release().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_hold_outlives_its_client_and_the_time_of_its_fetch() {
    let daemon = ScriptedDaemon::start(Scripts::fetches([held()]));
    let client = client_of(&daemon.address);
    let held = client.hold("nlp/ranker").timeout(Duration::from_secs(40)).await.unwrap();
    drop(client);
    let ended = tokio::time::timeout(Duration::from_secs(600), held.ended()).await;
    assert!(ended.is_err() && held.is_held());
    daemon.open_fetches(1).await;
}
